// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/tcp_stream.hpp>

#include <kernel/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

namespace ringlet {

namespace {
result<void> as_result(int answer) noexcept {
    if (answer < 0) return answer::to_error(answer);
    return {};
}
result<address> as_address(int answer, const sockaddr_storage& name, unsigned size) noexcept {
    if (answer < 0) return answer::to_error(answer);
    return address::from_sockaddr(&name, size);
}
}  // namespace

result<void> tcp_stream::try_shutdown_send() noexcept {
    return as_result(sys::shutdown((*socket_).fd, SHUT_WR));
}
result<void> tcp_stream::try_shutdown_receive() noexcept {
    return as_result(sys::shutdown((*socket_).fd, SHUT_RD));
}
void tcp_stream::abort() noexcept {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    static_cast<void>(
        sys::set_option((*socket_).fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    socket_.reset();
}
result<address> tcp_stream::peer_name() const noexcept {
    sockaddr_storage name{};
    unsigned size = sizeof name;
    const int answer = sys::peer_name((*socket_).fd, &name, size);
    return as_address(answer, name, size);
}
result<address> tcp_stream::local_name() const noexcept {
    sockaddr_storage name{};
    unsigned size = sizeof name;
    const int answer = sys::local_name((*socket_).fd, &name, size);
    return as_address(answer, name, size);
}
result<void> tcp_stream::set_nodelay(bool on) noexcept {
    return as_result(sys::set_option((*socket_).fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0));
}

}  // namespace ringlet
