// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>

#include <kernel/sys.hpp>

#include <string>
#include <utility>

namespace ringlet {

/// The file that bind(2) made for a Unix-domain listener: removed with it, unless another one has
/// taken its place meanwhile.
class socket_file {
public:
    /// Of no file.
    socket_file() noexcept = default;
    /// Right after the bind to `local`; of no file when that has none.
    explicit socket_file(const address& local) : path_(local.file()) {
        if (!path_.empty() && !sys::identify(path_.c_str(), id_)) path_.clear();
    }
    socket_file(socket_file&& other) noexcept
        : path_(std::exchange(other.path_, {})), id_(other.id_) {}
    socket_file& operator=(socket_file&& other) noexcept {
        remove();
        path_ = std::exchange(other.path_, {});
        id_ = other.id_;
        return *this;
    }
    ~socket_file() { remove(); }
    void remove() noexcept;
    [[nodiscard]] bool exists() const noexcept { return !path_.empty(); }

private:
    std::string path_;
    sys::file_id id_;
};

}  // namespace ringlet
