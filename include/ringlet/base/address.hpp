// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace ringlet {

/// An endpoint: IPv4 or IPv6, numeric address and port (names are not resolved here), or a
/// Unix-domain socket by its path. Holds the kernel's own form (struct sockaddr_in, sockaddr_in6 or
/// sockaddr_un), so using it copies nothing.
class address {
public:
    /// 0.0.0.0:0
    address() noexcept;

    /// Parses `127.0.0.1:7000`, `[::1]:7000`, `[fe80::1%2]:7000` (scope by number), `*:7000` and
    /// `:7000` (any address, both families), `unix:/run/x.sock` (a path of at most 107 bytes) and
    /// `unix:@name` (Linux's abstract names, unix(7)). Errors: errc::bad_address.
    [[nodiscard]] static result<address> parse(std::string_view text);
    /// What is wrong with `text`, as a sentence that names it; empty when it parses.
    [[nodiscard]] static std::string explain(std::string_view text);

    [[nodiscard]] static address loopback_v4(std::uint16_t port) noexcept;
    [[nodiscard]] static address loopback_v6(std::uint16_t port) noexcept;
    [[nodiscard]] static address any_v4(std::uint16_t port) noexcept;
    [[nodiscard]] static address any_v6(std::uint16_t port) noexcept;
    /// From a struct sockaddr the kernel filled in. A Unix socket without a name, such as a client's,
    /// is `unix:`. Errors: errc::bad_address for another family.
    [[nodiscard]] static result<address> from_sockaddr(const void* sockaddr, std::size_t length);

    /// 0 for a Unix-domain socket, which has none.
    [[nodiscard]] std::uint16_t port() const noexcept;
    /// Nothing for a Unix-domain socket.
    void set_port(std::uint16_t port) noexcept;
    [[nodiscard]] bool is_v4() const noexcept;
    [[nodiscard]] bool is_v6() const noexcept;
    [[nodiscard]] bool is_unix() const noexcept;
    [[nodiscard]] bool is_any() const noexcept;
    /// The file of a Unix-domain socket; empty for all others, abstract ones too.
    [[nodiscard]] std::string file() const;

    /// The struct sockaddr and its length, for system calls.
    [[nodiscard]] const void* data() const noexcept { return storage_.data(); }
    [[nodiscard]] unsigned size() const noexcept;
    /// AF_INET, AF_INET6 or AF_UNIX.
    [[nodiscard]] int family() const noexcept;

    /// `127.0.0.1:7000`, `[::1]:7000` or `unix:/run/x.sock`; of what parse() has
    /// made, parse(to_string()) gives the same address back.
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const address& a, const address& b) noexcept;

private:
    explicit address(std::in_place_t) noexcept {}  // all zero, for the functions that fill it in

    alignas(4) std::array<std::byte, 110> storage_{};
    std::uint8_t unix_size_ = 0;  // of a Unix-domain address, which has no length of its own
};

}  // namespace ringlet
