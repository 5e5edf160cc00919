// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/tcp_stream.hpp>

#include <io/plain.hpp>
#include <kernel/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <bit>

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
    return as_result(plain(*socket_).then([](int fd) { return sys::shutdown(fd, SHUT_WR); }));
}
result<void> tcp_stream::try_shutdown_receive() noexcept {
    return as_result(plain(*socket_).then([](int fd) { return sys::shutdown(fd, SHUT_RD); }));
}
void tcp_stream::abort() noexcept {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    static_cast<void>(plain(*socket_).then([&](int fd) {
        return sys::set_option(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }));
    socket_.reset();
}
result<address> tcp_stream::peer_name() const noexcept {
    sockaddr_storage name{};
    unsigned size = sizeof name;
    const int answer =
        plain(*socket_).then([&](int fd) { return sys::peer_name(fd, &name, size); });
    return as_address(answer, name, size);
}
result<address> tcp_stream::local_name() const noexcept {
    sockaddr_storage name{};
    unsigned size = sizeof name;
    const int answer =
        plain(*socket_).then([&](int fd) { return sys::local_name(fd, &name, size); });
    return as_address(answer, name, size);
}
result<unique_fd> tcp_stream::duplicate() const noexcept {
    const descriptor& d = *socket_;
    const int fd = d.direct() ? installed(here(), d) : sys::duplicate(d.fd);
    if (fd < 0) return answer::to_error(fd);
    return unique_fd(fd);
}
void tcp_stream::aim(io_uring_sqe& prepared) const noexcept {
    const descriptor& d = *socket_;
    prepared.fd = d.fd;
    prepared.flags |= d.sqe_flags;
}
result<int> tcp_stream::option(int level, int name) const noexcept {
    int value = 0;
    const int answer = plain(*socket_).then(
        [&](int fd) { return sys::get_option(fd, level, name, value); });
    if (answer < 0) return answer::to_error(answer);
    return value;
}
result<void> tcp_stream::set_option(int level, int name, int value) noexcept {
    return as_result(plain(*socket_).then(
        [&](int fd) { return sys::set_option(fd, level, name, value); }));
}
void tcp_stream::set_zero_copy(std::size_t least) noexcept {
    constexpr int unit = 10;  // 1 KiB
    const int shift = std::clamp(static_cast<int>(std::bit_width(std::max<std::size_t>(least, 2) - 1)),
                                 unit, unit + 14);
    (*socket_).zero_copy = least == 0 ? 0 : static_cast<std::uint8_t>(shift - unit + 1) & 15;
}
result<void> tcp_stream::set_nodelay(bool on) noexcept {
    return set_option(IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

}  // namespace ringlet
