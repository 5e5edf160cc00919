// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/socket.hpp>

#include <kernel/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

namespace ringlet {

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
