// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "socks5.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

namespace samples::socks5 {

namespace {

constexpr std::uint8_t version = 5;
constexpr std::uint8_t login_version = 1;  // RFC 1929
constexpr std::uint8_t no_login = 0;
constexpr std::uint8_t by_password = 2;
constexpr std::uint8_t no_method = 0xff;
constexpr std::uint8_t connect_command = 1;
constexpr std::uint8_t v4 = 1;
constexpr std::uint8_t domain = 3;
constexpr std::uint8_t v6 = 4;

const std::error_code not_socks = std::make_error_code(std::errc::protocol_error);
const std::error_code denied = std::make_error_code(std::errc::permission_denied);

/// A field of at most 255 bytes: every length in the protocol is one byte.
using room = std::array<std::uint8_t, 256>;

/// Receives exactly `size` bytes; what follows them is left in the socket. At a stop it waits no
/// more.
ringlet::task<ringlet::result<void>> take(ringlet::tcp_stream& from, room& into, std::size_t size) {
    auto left = std::as_writable_bytes(std::span(into)).first(size);
    while (!left.empty()) {
        const auto got = co_await from.recv(left).or_stop();
        if (!got) co_return got.error();
        left = left.subspan(*got);
    }
    co_return ringlet::result<void>();
}
ringlet::task<ringlet::result<std::string>> take_text(ringlet::tcp_stream& from) {
    room bytes{};
    if (auto got = co_await take(from, bytes, 1); !got) co_return got.error();
    const std::size_t size = bytes[0];
    if (auto got = co_await take(from, bytes, size); !got) co_return got.error();
    co_return std::string(reinterpret_cast<const char*>(bytes.data()), size);
}

/// Sends the last word to a client and takes what it may still be sending: to close a socket with
/// something unread in it is to reset it, and the word might be lost with it.
ringlet::task<> part(ringlet::tcp_stream& client, std::string word) {
    if (!co_await client.send_all(word)) co_return;
    static_cast<void>(client.try_shutdown_send());
    room ignored{};
    for (int left = 256; left > 0; --left)
        if (!co_await client.recv(std::as_writable_bytes(std::span(ignored))).or_stop()) co_return;
}

std::string two(std::uint8_t first, std::uint8_t second) {
    return {static_cast<char>(first), static_cast<char>(second)};
}

/// Compared in the same time whatever is wrong with it.
bool same(std::string_view said, std::string_view wanted) noexcept {
    unsigned different = said.size() != wanted.size() ? 1 : 0;
    for (std::size_t i = 0; i < said.size(); ++i)
        different |= static_cast<unsigned>(said[i] ^ wanted[wanted.empty() ? 0 : i % wanted.size()]);
    return different == 0;
}

ringlet::task<ringlet::result<void>> log_in(ringlet::tcp_stream& client, const login& wanted) {
    room bytes{};
    if (auto got = co_await take(client, bytes, 1); !got) co_return got.error();
    if (bytes[0] != login_version) co_return not_socks;
    const auto user = co_await take_text(client);
    if (!user) co_return user.error();
    const auto password = co_await take_text(client);
    if (!password) co_return password.error();
    const bool user_is = same(*user, wanted.user);
    const bool granted = same(*password, wanted.password) && user_is;
    const std::string told = two(login_version, granted ? 0 : 1);
    if (!granted) {
        co_await part(client, told);
        co_return denied;
    }
    if (auto sent = co_await client.send_all(told); !sent) co_return sent.error();
    co_return ringlet::result<void>();
}

ringlet::task<ringlet::result<void>> greet(ringlet::tcp_stream& client, const login& wanted) {
    room bytes{};
    if (auto got = co_await take(client, bytes, 2); !got) co_return got.error();
    if (bytes[0] != version) co_return not_socks;
    const std::size_t count = bytes[1];
    if (auto got = co_await take(client, bytes, count); !got) co_return got.error();
    const std::uint8_t method = wanted.user.empty() ? no_login : by_password;
    const auto offered = std::span(bytes).first(count);
    const bool agreed = std::find(offered.begin(), offered.end(), method) != offered.end();
    const std::string told = two(version, agreed ? method : no_method);
    if (!agreed) {
        co_await part(client, told);
        co_return denied;
    }
    if (auto sent = co_await client.send_all(told); !sent) co_return sent.error();
    if (method == by_password) co_return co_await log_in(client, wanted);
    co_return ringlet::result<void>();
}

template <class Sockaddr>
ringlet::address from(const Sockaddr& sa) {
    return *ringlet::address::from_sockaddr(&sa, sizeof sa);
}
ringlet::address v4_of(const room& bytes) {
    sockaddr_in sa{};
    sa.sin_family = AF_INET;
    std::memcpy(&sa.sin_addr, bytes.data(), sizeof sa.sin_addr);
    return from(sa);
}
ringlet::address v6_of(const room& bytes) {
    sockaddr_in6 sa{};
    sa.sin6_family = AF_INET6;
    std::memcpy(&sa.sin6_addr, bytes.data(), sizeof sa.sin6_addr);
    return from(sa);
}

ringlet::task<ringlet::result<target>> take_target(ringlet::tcp_stream& client) {
    room bytes{};
    if (auto got = co_await take(client, bytes, 4); !got) co_return got.error();
    if (bytes[0] != version || bytes[2] != 0) {
        co_await refuse(client, reply::failed);
        co_return not_socks;
    }
    const std::uint8_t command = bytes[1];
    const std::uint8_t kind = bytes[3];
    target wanted;
    if (kind == domain) {
        auto name = co_await take_text(client);
        if (!name) co_return name.error();
        wanted.name = std::move(*name);
        if (wanted.name.empty() || wanted.name.find('\0') != std::string::npos) {
            co_await refuse(client, reply::failed);
            co_return not_socks;
        }
    } else if (kind == v4 || kind == v6) {
        if (auto got = co_await take(client, bytes, kind == v4 ? 4 : 16); !got)
            co_return got.error();
        wanted.where = kind == v4 ? v4_of(bytes) : v6_of(bytes);
    } else {
        co_await refuse(client, reply::address_not_supported);
        co_return not_socks;
    }
    if (auto got = co_await take(client, bytes, 2); !got) co_return got.error();
    wanted.port = static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
    wanted.where.set_port(wanted.port);
    if (command != connect_command) {
        co_await refuse(client, reply::command_not_supported);
        co_return not_socks;
    }
    co_return wanted;
}

}  // namespace

ringlet::task<ringlet::result<target>> take_request(ringlet::tcp_stream& client,
                                                    const login& wanted) {
    if (auto greeted = co_await greet(client, wanted); !greeted) co_return greeted.error();
    co_return co_await take_target(client);
}

ringlet::task<> refuse(ringlet::tcp_stream& client, reply why) {
    std::string word = answer(why);
    co_await part(client, std::move(word));
}

reply reply_for(const std::error_code& error) noexcept {
    if (error == std::errc::connection_refused) return reply::refused;
    if (error == std::errc::network_unreachable) return reply::network_unreachable;
    if (error == std::errc::host_unreachable) return reply::host_unreachable;
    if (error == std::errc::timed_out) return reply::expired;
    return reply::failed;
}

std::string answer(reply how, const ringlet::address& bound) {
    const auto* raw = static_cast<const char*>(bound.data());
    std::string text = two(version, static_cast<std::uint8_t>(how)) + two(0, bound.is_v6() ? v6 : v4);
    if (bound.is_v6()) {
        text.append(raw + offsetof(sockaddr_in6, sin6_addr), 16);
    } else {
        text.append(raw + offsetof(sockaddr_in, sin_addr), 4);
    }
    return text + two(static_cast<std::uint8_t>(bound.port() >> 8),
                      static_cast<std::uint8_t>(bound.port() & 0xff));
}

}  // namespace samples::socks5
