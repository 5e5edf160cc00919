// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/socket.hpp>

#include <core/direct.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

namespace ringlet {

namespace {
template <class Prepare>
int call_on(const descriptor& d, Prepare prepare) noexcept {
    return here().ring()->call([&](io_uring_sqe& sqe) {
        prepare(sqe);
        sqe.flags |= d.sqe_flags;
    });
}
}  // namespace

int direct_recv(const descriptor& d, void* room, std::size_t size) noexcept {
    return call_on(d, [&](io_uring_sqe& sqe) {
        io_uring_prep_recv(&sqe, d.fd, room, size, MSG_DONTWAIT);
    });
}
int direct_send(const descriptor& d, const void* data, std::size_t size) noexcept {
    return call_on(d, [&](io_uring_sqe& sqe) {
        io_uring_prep_send(&sqe, d.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    });
}
int direct_sendmsg(const descriptor& d, const msghdr* message) noexcept {
    return call_on(d, [&](io_uring_sqe& sqe) {
        io_uring_prep_sendmsg(&sqe, d.fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    });
}

int open_to_calls(core& c, descriptor& d) noexcept {
    if (d.nonblocking) return 0;
    if (d.direct()) {
        const int fd = installed(c, d);
        if (fd < 0) return fd;
        c.ring()->close_direct(static_cast<unsigned>(d.fd));
        d.fd = fd;
        d.sqe_flags = 0;
    }
    if (const int error = sys::set_nonblocking(d.fd); error < 0) return error;
    d.nonblocking = true;
    return 0;
}

int direct_socket(core& c, int family) noexcept {
    const int slot = c.ring()->call([&](io_uring_sqe& sqe) {
        io_uring_prep_socket_direct_alloc(&sqe, family, SOCK_STREAM, 0, 0);
    });
    if (slot < 0) return slot;
    c.ring()->take_direct(1);
    return slot | direct_bit;
}

int apply(const stream_options& options, int family, int fd) noexcept {
    int error = 0;
    const auto set = [&](int level, int name, int value) {
        if (error == 0) error = sys::set_option(fd, level, name, value);
    };
    const bool tcp = family != AF_UNIX;
    if (tcp && options.nodelay) set(IPPROTO_TCP, TCP_NODELAY, 1);
    if (options.receive_buffer > 0) set(SOL_SOCKET, SO_RCVBUF, options.receive_buffer);
    if (options.send_buffer > 0) set(SOL_SOCKET, SO_SNDBUF, options.send_buffer);
    if (tcp && options.keepalive.count() > 0) {
        set(SOL_SOCKET, SO_KEEPALIVE, 1);
        set(IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(options.keepalive.count()));
    }
    return error;
}

}  // namespace ringlet
