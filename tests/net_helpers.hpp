// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "fault_helpers.hpp"
#include "flavours.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What the tests of the network share: bytes that tell where they belong, and plain sockets for
/// doing something to a connection without a turn of the loop in between.
namespace net {

inline std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = std::byte((i * 131 + i / 251 + std::size_t{seed} * 17) & 0xff);
    return bytes;
}

inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

/// Descriptors this process has open.
inline std::size_t open_files() {
    const auto all = std::filesystem::directory_iterator("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Waits for what the kernel or another thread does; false when it has not come after half a
/// minute, which is for what never comes since something is wrong.
template <class Condition>
ringlet::task<bool> come_true(Condition condition) {
    const auto limit = ringlet::now() + std::chrono::seconds(30);
    while (!condition()) {
        if (ringlet::now() >= limit) co_return false;
        co_await ringlet::yield();
    }
    co_return true;
}

/// A blocking socket of the test's own, connected to `where`; closed at the end.
class plain_client {
public:
    explicit plain_client(const ringlet::address& where)
        : fd_(::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        connected_ = fd_ >= 0 && ::connect(fd_, static_cast<const sockaddr*>(where.data()),
                                           where.size()) == 0;
        // Nothing that a test waits for here may hang it.
        const timeval limit{.tv_sec = 20, .tv_usec = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    }
    plain_client(plain_client&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
    plain_client& operator=(plain_client&&) = delete;
    ~plain_client() { close(); }

    [[nodiscard]] bool connected() const noexcept { return connected_; }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    [[nodiscard]] bool send(std::string_view text, int flags = 0) const noexcept {
        return ::send(fd_, text.data(), text.size(), flags | MSG_NOSIGNAL) ==
               static_cast<ssize_t>(text.size());
    }
    /// What is there, at most `most` bytes; waits for the first.
    [[nodiscard]] std::string recv(std::size_t most) const {
        std::string room(most, '\0');
        const ssize_t got = ::recv(fd_, room.data(), room.size(), 0);
        room.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return room;
    }
    /// Closes with a reset.
    void reset() noexcept {
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }
    void close() noexcept {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }

private:
    int fd_;
    bool connected_ = false;
};

/// Receives until the stream ends, or `count` bytes are there; at most `chunk` at a time.
inline ringlet::task<std::vector<std::byte>> receive(ringlet::tcp_stream& from, std::size_t count,
                                                     std::size_t chunk = 65536) {
    std::vector<std::byte> all;
    std::vector<std::byte> room(chunk);
    while (all.size() < count) {
        const std::size_t wanted = std::min(chunk, count - all.size());
        const auto got = co_await from.recv(std::span(room).first(wanted));
        if (!got) break;
        all.insert(all.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*got));
    }
    co_return all;
}

/// Sends until nothing more fits; how much has gone. The peer must not read meanwhile.
inline ringlet::task<std::size_t> fill(ringlet::tcp_stream& to) {
    const auto block = pattern(256 * 1024);
    std::size_t gone = 0;
    // Twice: what had been under way at the first time-out makes some room.
    for (int times = 0; times < 2; ++times) {
        while (auto sent = co_await to.send(block).within(std::chrono::milliseconds(50)))
            gone += *sent;
    }
    co_return gone;
}

/// A connection, the client's end being a plain socket.
struct half_plain {
    plain_client client;
    ringlet::tcp_stream server;
};
inline ringlet::task<half_plain> half_connected() {
    auto door = ringlet::tcp_listener::bind("127.0.0.1:0").value();
    plain_client client(door.local_name());
    auto server = (co_await door.next()).value();
    half_plain both{std::move(client), std::move(server)};
    co_return both;
}

/// Raises the limit of open files to `count` if it is lower; false where that is forbidden.
inline bool may_open(rlim_t count) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= count) return true;
    limit.rlim_cur = count;
    return limit.rlim_max >= count && setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/// Lowers the limit of open files to what is open now and `spare` more, until it goes.
class few_descriptors : faults::soft_limit {
public:
    explicit few_descriptors(rlim_t spare) : soft_limit(RLIMIT_NOFILE, lowest_free() + spare) {}

private:
    static rlim_t lowest_free() noexcept {
        const int lowest = ::dup(0);
        ::close(lowest);
        return static_cast<rlim_t>(lowest);
    }
};

/// A port of 127.0.0.1 that the kernel gives to no other program meanwhile. Nobody listens there,
/// so connections are refused, until listeners of the test's own are bound to it: both have
/// SO_REUSEADDR.
class held_port {
public:
    held_port() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const int yes = 1;
        sockaddr_in where{};
        where.sin_family = AF_INET;
        where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof where;
        auto* const plain = reinterpret_cast<sockaddr*>(&where);
        REQUIRE(::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
        REQUIRE(::bind(fd_.get(), plain, size) == 0);
        REQUIRE(::getsockname(fd_.get(), plain, &size) == 0);
        name_ = ringlet::address::loopback_v4(ntohs(where.sin_port));
    }
    [[nodiscard]] const ringlet::address& name() const noexcept { return name_; }

private:
    ringlet::unique_fd fd_;
    ringlet::address name_;
};

/// Runs `wait` in a scope that is cancelled after `turns` turns of the loop (-1: before it starts);
/// its error.
template <class Wait>
ringlet::task<std::error_code> cancelled_after(int turns, Wait wait) {
    std::error_code outcome;
    auto keep = [&]() -> ringlet::task<> { outcome = co_await wait(); };
    co_await ringlet::with_scope([&](ringlet::scope& s) -> ringlet::task<> {
        if (turns < 0) s.cancel();
        s.start(keep());
        for (int i = 0; i < turns; ++i) co_await ringlet::yield();
        s.cancel();
    });
    co_return outcome;
}

}  // namespace net
