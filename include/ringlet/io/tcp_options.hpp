// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/time.hpp>

#include <cstdint>
#include <system_error>
#include <type_traits>

namespace ringlet {

/// Options of one TCP connection. A listener's are inherited by what it accepts.
struct stream_options {
    bool nodelay = true;         ///< TCP_NODELAY: small messages go out at once
    int receive_buffer = 0;      ///< SO_RCVBUF in bytes; 0: the kernel's own tuning
    int send_buffer = 0;         ///< SO_SNDBUF in bytes; 0: the kernel's own tuning
    /// SO_KEEPALIVE with this idle time before the first probe; 0: off.
    std::chrono::seconds keepalive{0};
};

struct listen_options {
    int backlog = 4096;          ///< capped by net.core.somaxconn
    /// Many sockets on one address, the kernel spreads the connections. run() sets it for more than
    /// one core. Without it, and also with it as long as the address is held by another program,
    /// bind() says address_in_use.
    bool reuse_port = false;
    /// For [::]: IPv4 too (the default) or IPv6 only.
    bool dual_stack = true;
    /// TCP_DEFER_ACCEPT: accept only once data has come, at most this long; 0: off.
    std::chrono::seconds defer_accept{0};
    /// While the loop has not begun: how long to try again while the address is in use, since a
    /// ring that was killed holds its port for some ms (once 200 ms were seen). 0: not at all; nor for
    /// Unix-domain addresses.
    nanoseconds retry = std::chrono::seconds(1);
    /// Connections accepted by the kernel for us and not yet taken by next(); beyond it accepting
    /// pauses and the rest waits in the backlog. With io_uring a burst may bring as many more as
    /// the backlog holds, except with a limit of 1: then they are accepted one at a time.
    unsigned ready_limit = 64;
    stream_options stream = {};
    /// Told of errors that next() absorbs with a pause (EMFILE, ENFILE, ENOBUFS, ENOMEM...), at most
    /// once a second. The default writes one line to stderr.
    void (*on_absorbed)(const std::error_code&) = nullptr;
};

// See core_options: trivial members only.
static_assert(std::is_trivially_copyable_v<stream_options>);
static_assert(std::is_trivially_copyable_v<listen_options>);

}  // namespace ringlet
