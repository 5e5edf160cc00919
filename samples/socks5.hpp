// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/ringlet.hpp>

#include <cstdint>
#include <string>
#include <system_error>

namespace samples::socks5 {

/// RFC 1928's answers to a request.
enum class reply : std::uint8_t {
    granted = 0,
    failed = 1,
    network_unreachable = 3,
    host_unreachable = 4,
    refused = 5,
    expired = 6,
    command_not_supported = 7,
    address_not_supported = 8,
};

/// Where a client wants to be connected to: an address, or a name to look up and a port.
struct target {
    ringlet::address where;
    std::string name;  ///< empty for an address
    std::uint16_t port = 0;
};

/// What a client must say; empty: nobody is asked.
struct login {
    std::string user;
    std::string password;
};

/// Takes a client's greeting, login and request, each of bounded size. An error: what was received is
/// not SOCKS5, or not granted, and the client has been told so as far as the protocol can.
[[nodiscard]] ringlet::task<ringlet::result<target>> take_request(ringlet::tcp_stream& client,
                                                                  const login& wanted);
/// Tells a client why not, so that it arrives: bounded in bytes, not in time.
[[nodiscard]] ringlet::task<> refuse(ringlet::tcp_stream& client, reply why);
[[nodiscard]] reply reply_for(const std::error_code& error) noexcept;
/// The whole answer; `bound` is the proxy's own end of the connection that was made.
[[nodiscard]] std::string answer(reply how, const ringlet::address& bound = ringlet::address());

}  // namespace samples::socks5
