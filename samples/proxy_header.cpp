// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "proxy_header.hpp"

#include "common/v4_in_v6.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <string_view>

namespace samples {

namespace {

/// An address as the protocol has it: 4 or 16 bytes, in network order.
struct host {
    std::string bytes;
    std::uint16_t port = 0;

    [[nodiscard]] std::string text() const {
        std::array<char, INET6_ADDRSTRLEN> room{};
        inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), room.data(), room.size());
        return room.data();
    }
};

host host_of(const ringlet::address& a) {
    const auto* raw = static_cast<const char*>(a.data());
    if (a.is_v4()) return {std::string(raw + offsetof(sockaddr_in, sin_addr), 4), a.port()};
    if (a.is_v6()) return {std::string(raw + offsetof(sockaddr_in6, sin6_addr), 16), a.port()};
    return {};
}
bool is_mapped(const host& h) { return h.bytes.starts_with(v4_in_v6) && h.bytes.size() == 16; }

std::string big_endian(std::uint16_t number) {
    return {static_cast<char>(number >> 8), static_cast<char>(number & 0xff)};
}

std::string version_1(const host& from, const host& to) {
    if (from.bytes.empty()) return "PROXY UNKNOWN\r\n";
    return fmt::format("PROXY TCP{} {} {} {} {}\r\n", from.bytes.size() == 4 ? 4 : 6, from.text(),
                       to.text(), from.port, to.port);
}

std::string version_2(const host& from, const host& to) {
    const std::string addresses =
        from.bytes.empty() ? std::string()
                           : from.bytes + to.bytes + big_endian(from.port) + big_endian(to.port);
    const char family = from.bytes.empty() ? '\x00' : from.bytes.size() == 4 ? '\x11' : '\x21';
    std::string header("\r\n\r\n\0\r\nQUIT\n", 12);
    header += '\x21';  // version 2, on behalf of a client
    header += family;
    return header + big_endian(static_cast<std::uint16_t>(addresses.size())) + addresses;
}

}  // namespace

std::string proxy_header(unsigned version, const ringlet::address& client,
                         const ringlet::address& listener) {
    host from = host_of(client);
    host to = host_of(listener);
    if (is_mapped(from) && is_mapped(to)) {
        from.bytes.erase(0, v4_in_v6.size());
        to.bytes.erase(0, v4_in_v6.size());
    }
    if (from.bytes.size() != to.bytes.size()) from = to = host();
    return version == 1 ? version_1(from, to) : version_2(from, to);
}

}  // namespace samples
