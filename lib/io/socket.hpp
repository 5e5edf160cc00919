// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/core.hpp>
#include <ringlet/core/descriptor.hpp>
#include <ringlet/io/tcp_options.hpp>

#include <kernel/sys.hpp>

#include <cstddef>

struct msghdr;

namespace ringlet {

/// Whether sockets of this core are made non-blocking: epoll's are. The ring's need not be: it never
/// blocks in one. See open_to_calls() for the exception.
[[nodiscard]] inline bool nonblocking(core& c) noexcept { return c.ring() == nullptr; }

/// What one call may move: the kernel does not move more at once (MAX_RW_COUNT), and an SQE's length
/// has 32 bits.
[[nodiscard]] constexpr std::size_t capped(std::size_t size) noexcept {
    constexpr std::size_t most = 1U << 30;
    return size < most ? size : most;
}

// Tried at once, never waiting, whichever table the socket is in.
[[nodiscard]] int direct_recv(const descriptor& d, void* room, std::size_t size) noexcept;
[[nodiscard]] int direct_send(const descriptor& d, const void* data, std::size_t size) noexcept;
[[nodiscard]] int direct_sendmsg(const descriptor& d, const msghdr* message) noexcept;
[[nodiscard]] inline int recv_now(const descriptor& d, void* room, std::size_t size) noexcept {
    if (d.direct()) return direct_recv(d, room, size);
    const int got = sys::recv(d.fd, room, size);
    // At an urgent mark it says EAGAIN while a signal is pending, whatever there is behind: the edge
    // has been, and no other would come. Asked again, the signal has been dealt with.
    if (got == -EAGAIN && !d.trust_short && sys::at_urgent_mark(d.fd)) [[unlikely]]
        return sys::recv(d.fd, room, size);
    return got;
}
[[nodiscard]] inline int send_now(const descriptor& d, const void* data,
                                  std::size_t size) noexcept {
    return d.direct() ? direct_send(d, data, size) : sys::send(d.fd, data, size);
}
[[nodiscard]] inline int sendmsg_now(const descriptor& d, const msghdr* message) noexcept {
    return d.direct() ? direct_sendmsg(d, message) : sys::sendmsg(d.fd, message);
}

/// Before splice(2) and sendfile(2) on a socket of the ring or of somebody else's, which take no flag
/// to make them return at once: from now on it is non-blocking (the ring's RECV and SEND wait all the same, by a poll),
/// and a direct descriptor becomes a plain one. 0 or -errno.
[[nodiscard]] int open_to_calls(core& c, descriptor& d) noexcept;

/// A socket in the ring's own table, with the direct_bit; or -errno.
[[nodiscard]] int direct_socket(core& c, int family) noexcept;

/// Applies the options to a socket of this family, those that it has; 0 or -errno.
[[nodiscard]] int apply(const stream_options& options, int family, int fd) noexcept;

}  // namespace ringlet
