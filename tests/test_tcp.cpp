// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// What a peer may do to a connection, and what a connection may be made of; the plain exchange of
// bytes is in test_stream.cpp.

#include "aborts.hpp"
#include "net_helpers.hpp"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using room_type = std::array<std::byte, 64>;

}  // namespace

TEST_CASE("accept() takes one connection at a time, those that wait and those that come") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::vector<net::plain_client> clients;
        for (int i = 0; i < 3; ++i) clients.emplace_back(door.local_name());
        for (int i = 0; i < 3; ++i) {
            auto peer = co_await door.accept();
            REQUIRE(peer);
            CHECK(clients[static_cast<std::size_t>(i)].send("hello"));
            room_type room{};
            const auto got = co_await peer->recv(room);
            REQUIRE(got);
            CHECK(*got == 5);
        }
        int later = 0;
        auto take = [&]() -> task<> {
            const auto peer = co_await door.accept();
            if (peer) ++later;
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(take());
            for (int i = 0; i < 2; ++i) co_await yield();
            CHECK(later == 0);
            clients.emplace_back(door.local_name());
        });
        CHECK(later == 1);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a thousand pipelined requests, cut at odd places, are read as one stream") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await net::half_connected();
        std::string all;
        for (int i = 0; i < 1000; ++i) all += "request " + std::to_string(i) + "\n";
        for (std::size_t at = 0, size = 1; at < all.size(); at += size, size = size * 7 % 97 + 1)
            CHECK(both.client.send(std::string_view(all).substr(at, size)));
        both.client.close();
        const auto received = co_await net::receive(both.server, all.size() + 1, 113);
        CHECK(net::text_of(received) == all);
    });
}

TEST_CASE("a reset ends the wait of a reader and of a writer") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        const auto block = net::pattern(8 << 20);
        std::error_code read_end;
        std::error_code write_end;
        auto read = [&]() -> task<> {
            room_type room{};
            read_end = (co_await both.server.recv(room)).error();
        };
        auto write = [&]() -> task<> {
            write_end = (co_await both.server.send_all(block)).error();
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read());
            s.start(write());
            for (int i = 0; i < 3; ++i) co_await yield();
            both.client.reset();
        });
        // The kernel tells of a reset once; who hears of it is not ours to choose. (In the ring it may
        // be a send that has moved some bytes and says so instead: then nobody hears of it.)
        CHECK((read_end == std::errc::connection_reset || read_end == errc::end_of_stream));
        CHECK((write_end == std::errc::connection_reset || write_end == std::errc::broken_pipe));
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a connection that was reset before it is taken harms nobody") {
    flavours::each_task([](core&) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        for (int i = 0; i < 5; ++i) net::plain_client(door.local_name()).reset();
        net::plain_client good(door.local_name());
        CHECK(good.send("good"));
        bool heard = false;
        for (int i = 0; i < 6 && !heard; ++i) {
            auto peer = co_await door.next();
            REQUIRE(peer);
            room_type room{};
            const auto got = co_await peer->recv(room);
            heard = got && *got == 4;
            if (!got) CHECK(got.error() == std::errc::connection_reset);
        }
        CHECK(heard);
    });
}

TEST_CASE("abort() is a reset at the peer, also with bytes unread on both sides") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        CHECK(co_await both.client.send_all("unread"));
        room_type room{};
        std::error_code end;
        auto read = [&]() -> task<> { end = (co_await both.client.recv(room)).error(); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read());
            for (int i = 0; i < 2; ++i) co_await yield();
            both.server.abort();
        });
        CHECK_FALSE(both.server);
        CHECK(end == std::errc::connection_reset);
    });
}

TEST_CASE("four megabytes that are under way when a half is closed all arrive, then the end") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        const auto all = net::pattern(4 << 20);
        std::vector<std::byte> received;
        std::string back;
        auto write = [&]() -> task<> {
            CHECK(co_await both.client.send_all(all));
            CHECK(both.client.try_shutdown_send());
            back = net::text_of(co_await net::receive(both.client, 100));
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(write());
            for (int i = 0; i < 3; ++i) co_await yield();
            received = co_await net::receive(both.server, all.size() + 1);
            CHECK(co_await both.server.send_all("still open this way"));
            auto closing = both.server.close();
            co_await std::move(closing);
        });
        CHECK(received == all);
        CHECK(back == "still open this way");
    });
}

TEST_CASE("a socket made by somebody else is taken on, blocking or not") {
    flavours::each_task([](core&) -> task<> {
        for (const bool nonblocking : {false, true}) {
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            net::plain_client other(door.local_name());
            auto server = (co_await door.next()).value();
            const int fd = other.release();
            if (nonblocking) REQUIRE(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
            tcp_stream taken{owned_descriptor(fd)};
            room_type room{};
            std::error_code error;
            std::size_t count = 0;
            auto read = [&]() -> task<> {
                const auto got = co_await taken.recv(room);
                error = got.error();
                if (got) count = *got;
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(read());
                for (int i = 0; i < 3; ++i) co_await yield();
                CHECK(co_await server.send_all("waited for"));
            });
            CHECK(!error);
            CHECK(count == 10);
            const auto all = net::pattern(4 << 20);
            std::vector<std::byte> received;
            auto write = [&]() -> task<> {
                CHECK(co_await taken.send_all(all));
                CHECK(taken.try_shutdown_send());
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(write());
                received = co_await net::receive(server, all.size() + 1);
            });
            CHECK(received == all);
        }
    });
}

TEST_CASE("dual stack takes IPv4 and IPv6, and IPv6 alone refuses IPv4") {
    flavours::each_task([](core&) -> task<> {
        for (const bool dual : {true, false}) {
            listen_options options;
            options.dual_stack = dual;
            auto door = tcp_listener::bind("[::]:0", options);
            if (!door) {
                MESSAGE("skipped: no IPv6 here: ", door.error().message());
                co_return;
            }
            const std::uint16_t port = door->local_name().port();
            auto v6 = co_await tcp_stream::connect(address::loopback_v6(port));
            CHECK(v6);
            CHECK(co_await door->next());
            auto v4 = co_await tcp_stream::connect(address::loopback_v4(port));
            CHECK(static_cast<bool>(v4) == dual);
            if (!v4) CHECK(v4.error() == std::errc::connection_refused);
        }
    });
}

TEST_CASE("what outlives its core is named") {
    for (const flavours::flavour& f : flavours::all) {
        INFO("on ", std::string(f.name));
        std::string why;
        if (!choose_backend(flavours::options_of(f), &why)) {
            MESSAGE("skipped on ", f.name, ": ", why);
            continue;
        }
        const auto ends_after = [&f](auto open) {
            return abort_message([&] {
                auto c = core::make(flavours::options_of(f)).value();
                const auto open_in_task = [&]() -> task<> {
                    open();
                    co_return;
                };
                block_on(*c, open_in_task());
                c.reset();
            });
        };
        std::optional<tcp_listener> door;
        const std::string listener =
            ends_after([&] { door.emplace(tcp_listener::bind("127.0.0.1:0").value()); });
        CHECK(says(listener, "a stream, listener or file outlives its core"));
        std::optional<tcp_stream> stream;
        const std::string other = ends_after(
            [&] { stream.emplace(owned_descriptor(::socket(AF_INET, SOCK_STREAM, 0))); });
        CHECK(says(other, "a stream, listener or file outlives its core"));
    }
}

TEST_CASE("with defer_accept a connection is taken only once data has come") {
    flavours::each_task([](core&) -> task<> {
        listen_options patient;
        patient.defer_accept = 20s;
        auto door = tcp_listener::bind("127.0.0.1:0", patient).value();
        const net::plain_client client(door.local_name());
        bool taken = false;
        const auto serve = [&]() -> task<> {
            auto peer = (co_await door.next()).value();
            taken = true;
            room_type room{};
            CHECK((co_await peer.recv(room)).value() == 5);
        };
        const auto talk = [&]() -> task<> {
            for (int i = 0; i < 16; ++i) co_await yield();
            CHECK_FALSE(taken);
            CHECK(client.send("hello"));
            CHECK(co_await net::come_true([&] { return taken; }));
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(serve());
            s.start(talk());
            co_return;
        });
    });
}

namespace {
task<> send_twice_at_once() {
    auto both = co_await flavours::connected();
    const std::vector<std::byte> much(std::size_t{64} << 20);
    const auto send = [&]() -> task<> { std::ignore = co_await both.client.send_all(much); };
    co_await with_scope([&](scope& s) -> task<> {
        s.start(send());
        s.start(send());
        co_return;
    });
}
task<> send_too_many_parts() {
    auto both = co_await flavours::connected();
    const std::vector<send_part> parts(send_gathered_op::max_parts + 1);
    std::ignore = co_await both.client.send_all(parts);
}
task<> wait_twice_at_the_door() {
    auto door = tcp_listener::bind("127.0.0.1:0").value();
    const auto wait = [&]() -> task<> { std::ignore = co_await door.next(); };
    co_await with_scope([&](scope& s) -> task<> {
        s.start(wait());
        s.start(wait());
        co_return;
    });
}
}  // namespace

TEST_CASE("what two tasks may not do at once, or one with too much, is named") {
    const std::pair<task<> (*)(), const char*> misuses[] = {
        {send_twice_at_once, "two operations write to one descriptor at once"},
        {send_too_many_parts, "a gathered send has more than 16 parts"},
        {wait_twice_at_the_door, "two tasks wait for the next connection of one listener"},
    };
    for (const auto& [misuse, rule] : misuses) {
        const std::string said =
            abort_message_on_core([start = misuse](core& c) { block_on(c, start()); });
        INFO(said);
        CHECK(says(said, rule));
    }
}
