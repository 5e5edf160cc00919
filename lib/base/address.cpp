// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/base/address.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>

namespace ringlet {

namespace {

static_assert(sizeof(sockaddr_un) == 110 && sizeof(sockaddr_in6) < 110);

struct parsed {
    explicit parsed(const char* what) noexcept : problem(what) {}
    parsed(std::string_view h, std::string_view p) noexcept : host(h), port(p) {}
    std::string_view host;
    std::string_view port;
    const char* problem = nullptr;
};

/// Takes `host:port` and `[host]:port` apart.
parsed split(std::string_view text) noexcept {
    if (text.empty()) return parsed("it is empty");
    if (text.front() == '[') {
        const auto close = text.find(']');
        if (close == std::string_view::npos) return parsed("the `]` is missing");
        if (close + 1 >= text.size() || text[close + 1] != ':')
            return parsed("`:PORT` is missing behind the `]`");
        return parsed(text.substr(1, close - 1), text.substr(close + 2));
    }
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return parsed("`:PORT` is missing");
    if (text.find(':') != colon) return parsed("an IPv6 address is written `[ADDRESS]:PORT`");
    return parsed(text.substr(0, colon), text.substr(colon + 1));
}

bool parse_number(std::string_view text, unsigned limit, unsigned& out) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size() && !text.empty() && out <= limit;
}

constexpr std::string_view unix_prefix = "unix:";

const char* parse_unix(std::string_view name, address& out) noexcept {
    sockaddr_un sa{};
    sa.sun_family = AF_UNIX;
    constexpr std::size_t most = sizeof sa.sun_path - 1;
    if (name.empty()) return "the path of the Unix-domain socket is missing";
    if (name.find('\0') != std::string_view::npos) return "the path has a zero byte in it";
    if (name.size() > most) return "the path of a Unix-domain socket has at most 107 bytes";
    const bool abstract = name.front() == '@';
    if (abstract && name.size() == 1) return "the name behind the `@` is missing";
    std::memcpy(sa.sun_path, name.data(), name.size());
    if (abstract) sa.sun_path[0] = '\0';
    // An abstract name ends where the address does, a path with its zero byte.
    const std::size_t size = offsetof(sockaddr_un, sun_path) + name.size() + (abstract ? 0 : 1);
    out = *address::from_sockaddr(&sa, size);
    return nullptr;
}

/// Fills `out`; null on success, else what is wrong.
const char* parse_into(std::string_view text, address& out) noexcept {
    if (text.starts_with(unix_prefix)) return parse_unix(text.substr(unix_prefix.size()), out);
    const parsed parts = split(text);
    if (parts.problem) return parts.problem;
    unsigned port = 0;
    if (!parse_number(parts.port, 65535, port)) return "the port is not a number from 0 to 65535";
    const auto port16 = static_cast<std::uint16_t>(port);
    const bool bracketed = text.front() == '[';
    if (!bracketed && (parts.host.empty() || parts.host == "*")) {
        out = address::any_v6(port16);
        return nullptr;
    }
    std::string_view host = parts.host;
    unsigned scope = 0;
    if (const auto percent = host.find('%'); percent != std::string_view::npos) {
        if (!parse_number(host.substr(percent + 1), UINT32_MAX, scope))
            return "the scope behind `%` is not an interface number";
        host = host.substr(0, percent);
    }
    std::array<char, INET6_ADDRSTRLEN> room{};
    if (host.size() >= room.size()) return "the host is not a numeric address";
    std::memcpy(room.data(), host.data(), host.size());
    if (host.find('\0') != std::string_view::npos) return "the host has a zero byte in it";
    if (!bracketed) {
        if (host.size() != parts.host.size()) return "only an IPv6 address has a scope behind `%`";
        in_addr v4{};
        if (::inet_pton(AF_INET, room.data(), &v4) != 1)
            return "the host is not a numeric address (names are not looked up; 127.0.0.1 is this "
                   "machine)";
        sockaddr_in sa{};
        sa.sin_family = AF_INET;
        sa.sin_addr = v4;
        out = *address::from_sockaddr(&sa, sizeof sa);
    } else {
        sockaddr_in6 sa{};
        sa.sin6_family = AF_INET6;
        if (::inet_pton(AF_INET6, room.data(), &sa.sin6_addr) != 1)
            return "between `[` and `]` is no IPv6 address";
        sa.sin6_scope_id = scope;
        out = *address::from_sockaddr(&sa, sizeof sa);
    }
    out.set_port(port16);
    return nullptr;
}

template <class Sockaddr>
Sockaddr load(const address& a) noexcept {
    Sockaddr sa{};
    std::memcpy(&sa, a.data(), sizeof sa);
    return sa;
}

}  // namespace

address::address() noexcept { *this = any_v4(0); }

result<address> address::parse(std::string_view text) {
    address out = any_v4(0);
    if (parse_into(text, out) != nullptr) return errc::bad_address;
    return out;
}

std::string address::explain(std::string_view text) {
    address out = any_v4(0);
    const char* problem = parse_into(text, out);
    if (problem == nullptr) return {};
    return fmt::format("`{}` is not an address: {}; write it like 127.0.0.1:7000, [::1]:7000, "
                       "*:7000 or unix:/PATH",
                       text, problem);
}

result<address> address::from_sockaddr(const void* sockaddr, std::size_t length) {
    sa_family_t family = 0;
    if (length < sizeof family) return errc::bad_address;
    std::memcpy(&family, sockaddr, sizeof family);
    if (family == AF_UNIX) {
        if (length > sizeof(sockaddr_un)) return errc::bad_address;
        address out{std::in_place};
        std::memcpy(out.storage_.data(), sockaddr, length);
        // What the kernel says of a path may have zero bytes behind it.
        std::size_t used = length;
        constexpr std::size_t path = offsetof(sockaddr_un, sun_path);
        const auto* text = reinterpret_cast<const char*>(out.storage_.data());
        if (length > path && text[path] != '\0')
            used = std::min(path + ::strnlen(text + path, length - path) + 1, sizeof(sockaddr_un));
        out.unix_size_ = static_cast<std::uint8_t>(used);
        return out;
    }
    const std::size_t size = family == AF_INET    ? sizeof(sockaddr_in)
                             : family == AF_INET6 ? sizeof(sockaddr_in6)
                                                  : 0;
    if (size == 0 || length < size) return errc::bad_address;
    address out{std::in_place};
    std::memcpy(out.storage_.data(), sockaddr, size);
    if (family == AF_INET)  // the padding says nothing, and may say anything
        std::memset(out.storage_.data() + offsetof(sockaddr_in, sin_zero), 0,
                    sizeof(sockaddr_in::sin_zero));
    return out;
}

address address::any_v4(std::uint16_t port) noexcept {
    sockaddr_in sa{};
    sa.sin_family = AF_INET;
    sa.sin_port = htons(port);
    address out{std::in_place};
    std::memcpy(out.storage_.data(), &sa, sizeof sa);
    return out;
}
address address::loopback_v4(std::uint16_t port) noexcept {
    address out = any_v4(port);
    auto sa = load<sockaddr_in>(out);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(out.storage_.data(), &sa, sizeof sa);
    return out;
}
address address::any_v6(std::uint16_t port) noexcept {
    sockaddr_in6 sa{};
    sa.sin6_family = AF_INET6;
    sa.sin6_port = htons(port);
    address out{std::in_place};
    std::memcpy(out.storage_.data(), &sa, sizeof sa);
    return out;
}
address address::loopback_v6(std::uint16_t port) noexcept {
    address out = any_v6(port);
    auto sa = load<sockaddr_in6>(out);
    sa.sin6_addr = in6addr_loopback;
    std::memcpy(out.storage_.data(), &sa, sizeof sa);
    return out;
}

int address::family() const noexcept {
    sa_family_t family = 0;
    std::memcpy(&family, storage_.data(), sizeof family);
    return family;
}
bool address::is_v4() const noexcept { return family() == AF_INET; }
bool address::is_v6() const noexcept { return family() == AF_INET6; }
bool address::is_unix() const noexcept { return family() == AF_UNIX; }
unsigned address::size() const noexcept {
    if (is_unix()) return unix_size_;
    return is_v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}
bool address::is_any() const noexcept {
    if (is_unix()) return false;
    if (is_v4()) return load<sockaddr_in>(*this).sin_addr.s_addr == 0;
    const auto sa = load<sockaddr_in6>(*this);
    return std::memcmp(&sa.sin6_addr, &in6addr_any, sizeof in6addr_any) == 0;
}

// The port has the same place in both forms.
std::uint16_t address::port() const noexcept {
    return is_unix() ? std::uint16_t{0} : ntohs(load<sockaddr_in>(*this).sin_port);
}
void address::set_port(std::uint16_t port) noexcept {
    if (is_unix()) return;
    const std::uint16_t raw = htons(port);
    std::memcpy(storage_.data() + offsetof(sockaddr_in, sin_port), &raw, sizeof raw);
}

std::string address::file() const {
    if (!is_unix()) return {};
    const auto sa = load<sockaddr_un>(*this);
    return {sa.sun_path, ::strnlen(sa.sun_path, sizeof sa.sun_path)};
}

std::string address::to_string() const {
    if (is_unix()) {
        const auto sa = load<sockaddr_un>(*this);
        const std::size_t size = unix_size_ - offsetof(sockaddr_un, sun_path);
        if (size == 0 || sa.sun_path[0] != '\0') return fmt::format("{}{}", unix_prefix, file());
        return fmt::format("{}@{}", unix_prefix, std::string_view(sa.sun_path + 1, size - 1));
    }
    std::array<char, INET6_ADDRSTRLEN> room{};
    if (is_v4()) {
        const auto sa = load<sockaddr_in>(*this);
        ::inet_ntop(AF_INET, &sa.sin_addr, room.data(), room.size());
        return fmt::format("{}:{}", room.data(), port());
    }
    const auto sa = load<sockaddr_in6>(*this);
    ::inet_ntop(AF_INET6, &sa.sin6_addr, room.data(), room.size());
    if (sa.sin6_scope_id != 0)
        return fmt::format("[{}%{}]:{}", room.data(), sa.sin6_scope_id, port());
    return fmt::format("[{}]:{}", room.data(), port());
}

bool operator==(const address& a, const address& b) noexcept {
    return a.unix_size_ == b.unix_size_ && a.storage_ == b.storage_;
}

}  // namespace ringlet
