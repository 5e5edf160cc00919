// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/descriptor.hpp>

#include <core/direct.hpp>
#include <kernel/sys.hpp>

namespace ringlet {

/// A number for system calls on a descriptor, while this lives. A direct descriptor gets one for the
/// time: for what is rarely asked of a socket, three calls in place of one.
class plain {
public:
    explicit plain(const descriptor& d) noexcept
        : made_(d.direct()), fd_(made_ ? installed(here(), d) : d.fd) {}
    ~plain() {
        if (made_ && fd_ >= 0) sys::close(fd_);
    }
    plain(const plain&) = delete;
    plain& operator=(const plain&) = delete;

    /// The call's answer, or -EMFILE and its like when there was no number to be had.
    template <class Call>
    [[nodiscard]] int then(Call call) const noexcept {
        return fd_ < 0 ? fd_ : call(fd_);
    }

private:
    bool made_;
    int fd_;
};

}  // namespace ringlet
