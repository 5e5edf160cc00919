// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "net_helpers.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

/// Receives until the end of the stream, at most `chunk` bytes at a time.
task<std::vector<std::byte>> receive_all(tcp_stream& from, std::size_t chunk) {
    std::vector<std::byte> all;
    std::vector<std::byte> room(chunk);
    for (;;) {
        const auto got = co_await from.recv(room);
        if (!got) {
            CHECK(got.error() == errc::end_of_stream);
            co_return all;
        }
        all.insert(all.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*got));
    }
}

task<> echo_to_the_end(tcp_stream& peer) {
    std::vector<std::byte> room(16 * 1024);
    while (auto got = co_await peer.recv(room))
        if (!co_await peer.send_all(std::span(room).first(*got))) co_return;
    CHECK(peer.try_shutdown_send());
}

/// Sends `bytes` in pieces, then ends its half.
task<> send_in_pieces(tcp_stream& to, std::span<const std::byte> bytes, std::size_t piece) {
    while (!bytes.empty()) {
        const auto now = bytes.first(std::min(piece, bytes.size()));
        CHECK(co_await to.send_all(now));
        bytes = bytes.subspan(now.size());
    }
    CHECK(to.try_shutdown_send());
}

int option(const tcp_stream& s, int level, int name) {
    return s.option(level, name).value();
}

}  // namespace

TEST_CASE("every byte comes back, for sizes from 1 B to 4 MiB, whole or in pieces, half-closed") {
    flavours::each_task([](core&) -> task<> {
        for (const std::size_t size : {1U, 2U, 63U, 4096U, 65537U, 1U << 20, 4U << 20}) {
            INFO("size ", size);
            const auto sent = net::pattern(size);
            auto both = co_await flavours::connected();
            std::vector<std::byte> received;
            auto receiver = [&]() -> task<> { received = co_await receive_all(both.client, 32768); };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(echo_to_the_end(both.server));
                s.start(receiver());
                co_await send_in_pieces(both.client, sent, size);
            });
            CHECK(received == sent);
        }
    });
}

TEST_CASE("a dribble of single bytes comes through") {
    flavours::each_task([](core&) -> task<> {
        const auto sent = net::pattern(700);
        auto both = co_await flavours::connected();
        std::vector<std::byte> received;
        auto receiver = [&]() -> task<> { received = co_await receive_all(both.client, 1); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(echo_to_the_end(both.server));
            s.start(receiver());
            co_await send_in_pieces(both.client, sent, 1);
        });
        CHECK(received == sent);
    });
}

TEST_CASE("a gathered send of sixteen parts is one stream of bytes, also when it is short") {
    flavours::each_task([](core&) -> task<> {
        const auto bytes = net::pattern(3'000'001);
        auto both = co_await flavours::connected();
        std::array<send_part, send_gathered_op::max_parts> parts;
        std::span<const std::byte> rest(bytes);
        for (std::size_t i = 0; i < parts.size(); ++i) {
            // Of very different sizes, one of them empty.
            const std::size_t size = i + 1 == parts.size() ? rest.size() : i == 3 ? 0 : (1U << i) * 37;
            parts[i] = rest.first(size);
            rest = rest.subspan(size);
        }
        std::vector<std::byte> received;
        auto receiver = [&]() -> task<> { received = co_await receive_all(both.server, 10'000); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(receiver());
            CHECK(co_await both.client.send_all(std::span<const send_part>(parts)));
            CHECK(both.client.try_shutdown_send());
        });
        CHECK(received == bytes);
    });
}

TEST_CASE("a peer that does not read stops the sender, and loses nothing when it reads again") {
    flavours::each_task([](core&) -> task<> {
        const auto bytes = net::pattern(16 << 20);
        auto both = co_await flavours::connected();
        std::size_t sent = 0;
        std::error_code end;
        while (!end) {
            const auto now = co_await both.client.send(std::span(bytes).subspan(sent)).within(100ms);
            if (now) sent += *now;
            end = now.error();
        }
        CHECK(end == errc::timed_out);
        CHECK(sent < bytes.size());
        std::vector<std::byte> received;
        auto receiver = [&]() -> task<> { received = co_await receive_all(both.server, 65536); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(receiver());
            CHECK(co_await both.client.send_all(std::span(bytes).subspan(sent)));
            CHECK(both.client.try_shutdown_send());
        });
        CHECK(received == bytes);
    });
}

TEST_CASE("close() ends what other tasks wait for on the stream") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        const std::vector<std::byte> much(32 << 20);
        std::error_code read_end;
        std::error_code write_end;
        auto reader = [&]() -> task<> {
            std::array<std::byte, 16> room{};
            read_end = (co_await both.client.recv(room)).error();
        };
        auto writer = [&]() -> task<> { write_end = (co_await both.client.send_all(much)).error(); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(reader());
            s.start(writer());
            for (int i = 0; i < 5; ++i) co_await yield();
            co_await both.client.close();
            CHECK_FALSE(both.client);
        });
        CHECK(read_end == errc::cancelled);
        CHECK(write_end == errc::cancelled);
        CHECK(c.descriptors().open() == 1);
    });
}

TEST_CASE("urgent data ends a read early and yet no later byte is missed") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        std::vector<std::byte> received;
        auto receiver = [&]() -> task<> { received = co_await receive_all(both.server, 64); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(receiver());
            co_await yield();
            const unique_fd client = both.client.duplicate().value();
            REQUIRE(::send(client.get(), "ab", 2, 0) == 2);
            REQUIRE(::send(client.get(), "!", 1, MSG_OOB) == 1);
            REQUIRE(::send(client.get(), "cdef", 4, 0) == 4);
            CHECK(both.client.try_shutdown_send());
        });
        const std::string_view got(reinterpret_cast<const char*>(received.data()), received.size());
        CHECK(got == "abcdef");  // the urgent byte is not part of the stream
    });
}

#ifndef NDEBUG
TEST_CASE("a signal that falls upon a receive at an urgent mark hides nothing") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        auto both = co_await flavours::connected();
        const unique_fd client = both.client.duplicate().value();
        REQUIRE(::send(client.get(), "!", 1, MSG_OOB) == 1);
        REQUIRE(::send(client.get(), "def", 3, 0) == 3);
        // The first receive, and the one after its edge.
        const faults::failing interrupted("recv", EAGAIN, 0, 2);
        std::array<std::byte, 8> room{};
        const auto got = co_await both.server.recv(room).within(std::chrono::seconds(5));
        REQUIRE(got.has_value());
        CHECK(*got == 3);
        CHECK((interrupted.refused() == 2) == (c.ring() == nullptr));  // the ring asks by itself
    });
}
#endif

TEST_CASE("both ends agree on their names, in IPv4, IPv6 and both") {
    flavours::each_task([](core&) -> task<> {
        for (const char* where : {"127.0.0.1:0", "[::1]:0", "*:0"}) {
            INFO(where);
            auto door = tcp_listener::bind(where).value();
            address to = door.local_name();
            if (to.is_any()) to = address::loopback_v4(to.port());
            auto [client, server] = co_await all_of(tcp_stream::connect(to), door.next());
            REQUIRE(client);
            REQUIRE(server);
            CHECK(client->peer_name()->port() == door.local_name().port());
            CHECK(server->peer_name()->port() == client->local_name()->port());
            CHECK(option(*server, IPPROTO_TCP, TCP_NODELAY) == 1);
        }
        listen_options six_only;
        six_only.dual_stack = false;
        auto door = tcp_listener::bind("[::]:0", six_only).value();
        const auto refused =
            co_await tcp_stream::connect(address::loopback_v4(door.local_name().port()));
        CHECK(refused.error() == std::errc::connection_refused);
    });
}

TEST_CASE("options reach the sockets") {
    flavours::each_task([](core&) -> task<> {
        listen_options options;
        options.stream.nodelay = false;
        options.stream.keepalive = 77s;
        options.stream.receive_buffer = 20'000;
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        stream_options mine;
        mine.send_buffer = 30'000;
        auto [client, server] =
            co_await all_of(tcp_stream::connect(door.local_name(), mine), door.accept());
        REQUIRE(client);
        REQUIRE(server);
        CHECK(option(*server, IPPROTO_TCP, TCP_NODELAY) == 0);
        CHECK(option(*server, SOL_SOCKET, SO_KEEPALIVE) == 1);
        CHECK(option(*server, IPPROTO_TCP, TCP_KEEPIDLE) == 77);
        CHECK(option(*server, SOL_SOCKET, SO_RCVBUF) == 40'000);  // the kernel doubles it
        CHECK(option(*client, SOL_SOCKET, SO_SNDBUF) == 60'000);
        CHECK(server->set_nodelay(true));
        CHECK(option(*server, IPPROTO_TCP, TCP_NODELAY) == 1);
    });
}

TEST_CASE("a socket can be given up and taken on again") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        std::array<std::byte, 8> room{};
        CHECK((co_await both.server.recv(room).within(1ms)).error() == errc::timed_out);
        const int fd = both.server.release();
        CHECK_FALSE(both.server);
        CHECK(c.descriptors().open() == 1);
        tcp_stream again{owned_descriptor(fd)};
        CHECK(co_await both.client.send_all("12345678"));
        const auto got = co_await again.recv(room).within(5s);
        REQUIRE(got);
        CHECK(*got == 8);
    });
}

TEST_CASE("sending nothing is done at once, receiving into no room gives zero") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        CHECK(co_await both.client.send_all(std::string_view()));
        CHECK(co_await both.client.send_all(std::span<const send_part>()));
        CHECK(co_await both.client.send_all("x"));
        const auto none = co_await both.server.recv(std::span<std::byte>());
        REQUIRE(none);
        CHECK(*none == 0);
    });
}
