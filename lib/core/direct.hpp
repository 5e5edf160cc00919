// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/core.hpp>
#include <ringlet/core/descriptor.hpp>

#include <kernel/ring.hpp>

namespace ringlet {

/// A new descriptor of the process for a direct one, close-on-exec, or -errno.
[[nodiscard]] inline int installed(core& c, const descriptor& d) noexcept {
    return c.ring()->call([&](io_uring_sqe& sqe) {
        kernel::ring::prepare_install(sqe, static_cast<unsigned>(d.fd));
    });
}

/// Closes a descriptor that has no record: a number of the process or, with the direct_bit, a slot.
void close_file(core& c, int file) noexcept;

}  // namespace ringlet
