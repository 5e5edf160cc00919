// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/core.hpp>
#include <ringlet/io/tcp_options.hpp>

#include <cstddef>

namespace ringlet {

/// Whether sockets of this core are made non-blocking: epoll's are. The ring's are not, since it
/// would answer -EAGAIN for them instead of waiting (IORING_OP_RECV honours O_NONBLOCK).
[[nodiscard]] inline bool nonblocking(core& c) noexcept { return c.ring() == nullptr; }

/// What one call may move: the kernel does not move more at once (MAX_RW_COUNT), and an SQE's length
/// has 32 bits.
[[nodiscard]] constexpr std::size_t capped(std::size_t size) noexcept {
    constexpr std::size_t most = 1U << 30;
    return size < most ? size : most;
}

/// Applies the options to a socket of this family, those that it has; 0 or -errno.
[[nodiscard]] int apply(const stream_options& options, int family, int fd) noexcept;

}  // namespace ringlet
