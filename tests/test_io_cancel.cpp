// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Every awaitable of io, ended at each moment it can be ended at: before it starts, while it waits, as
// its answer comes; by a scope, by a deadline and by a stop. Exactly one outcome each, and no byte and
// no connection is lost.

#include "net_helpers.hpp"

#include <sys/socket.h>

#include <cstring>
#include <string>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using room_type = std::array<std::byte, 64>;

}  // namespace

TEST_CASE("every wait ends with cancelled, before it starts and while it is in flight") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        auto full = co_await flavours::connected();
        co_await net::fill(full.client);
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        room_type room{};
        const std::vector<std::byte> block(4 << 20);
        const send_part part{std::span<const std::byte>(block)};
        const auto base = c.in_flight;

        auto recv = [&]() -> task<std::error_code> {
            co_return (co_await both.client.recv(room)).error();
        };
        auto recv_within = [&]() -> task<std::error_code> {
            co_return (co_await both.client.recv(room).within(1h)).error();
        };
        auto recv_or_stop = [&]() -> task<std::error_code> {
            co_return (co_await both.client.recv(room).within(1h).or_stop()).error();
        };
        auto send = [&]() -> task<std::error_code> {
            co_return (co_await full.client.send(block)).error();
        };
        auto send_all = [&]() -> task<std::error_code> {
            co_return (co_await full.client.send_all(block)).error();
        };
        auto gathered = [&]() -> task<std::error_code> {
            co_return (co_await full.client.send_all(std::span(&part, 1))).error();
        };
        auto next = [&]() -> task<std::error_code> { co_return (co_await door.next()).error(); };
        for (const int turns : {-1, 0, 1, 3}) {
            INFO("after turns: ", turns);
            CHECK(co_await net::cancelled_after(turns, recv) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, recv_within) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, recv_or_stop) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, send) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, send_all) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, gathered) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, next) == errc::cancelled);
        }
        auto alone = tcp_listener::bind("127.0.0.1:0").value();
        auto accept = [&]() -> task<std::error_code> { co_return (co_await alone.accept()).error(); };
        for (const int turns : {-1, 0, 1, 3})
            CHECK(co_await net::cancelled_after(turns, accept) == errc::cancelled);
        // The listener's own multishot accept may stay armed; nothing else does.
        CHECK(c.in_flight <= base + 1);
    });
}

TEST_CASE("a connect that is cancelled or timed out closes its socket") {
    flavours::each_task([](core& c) -> task<> {
        // A backlog of one that is full answers no further connect.
        listen_options options;
        options.backlog = 1;
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<tcp_stream> waiting;
        std::error_code outcome;
        for (int i = 0; i < 16 && !outcome; ++i) {
            auto stream = co_await tcp_stream::connect(door.local_name()).within(100ms);
            if (stream) {
                waiting.push_back(std::move(*stream));
            } else {
                outcome = stream.error();
            }
        }
        CHECK(outcome == errc::timed_out);
        const auto open = c.descriptors().open();
        auto connect = [&]() -> task<std::error_code> {
            co_return (co_await tcp_stream::connect(door.local_name())).error();
        };
        CHECK(co_await net::cancelled_after(2, connect) == errc::cancelled);
        CHECK(c.descriptors().open() == open);
    });
}

TEST_CASE("a receive that timed out loses nothing: what comes later is received") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        room_type room{};
        for (int i = 0; i < 20; ++i) {
            const auto late = co_await both.server.recv(room).within(1ms);
            CHECK(late.error() == errc::timed_out);
            CHECK(co_await both.client.send_all("abc"));
            const auto got = co_await both.server.recv(room).within(1h);
            REQUIRE(got);
            CHECK(*got == 3);
            CHECK(std::memcmp(room.data(), "abc", 3) == 0);
        }
    });
}

TEST_CASE("cancellation against arriving data: one outcome each, every byte once, 10,000 times") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        constexpr int rounds = 10'000;
        int completed = 0;
        int cancelled = 0;
        std::uint8_t expected = 0;
        room_type room{};
        auto check = [&](std::size_t count) {
            for (std::size_t i = 0; i < count; ++i)
                if (room[i] != std::byte(expected++)) return false;
            return true;
        };
        bool in_order = true;
        int outstanding = 0;
        auto receive = [&]() -> task<> {
            const auto got = co_await both.server.recv(room);
            if (got) {
                ++completed;
                outstanding -= static_cast<int>(*got);
                in_order = in_order && check(*got);
            } else {
                ++cancelled;
                in_order = in_order && got.error() == errc::cancelled;
            }
        };
        std::uint8_t next = 0;
        for (int round = 0; round < rounds; ++round) {
            co_await with_scope([&](scope& s) -> task<> {
                s.start(receive());
                for (int i = 0; i < round % 3; ++i) co_await yield();
                const std::byte one{next++};
                CHECK(co_await both.client.send_all(std::span(&one, 1)));
                ++outstanding;
                for (int i = 0; i < round / 3 % 3; ++i) co_await yield();
                s.cancel();
            });
        }
        while (outstanding > 0) {
            const auto rest = co_await both.server.recv(room).within(5s);
            REQUIRE(rest);
            in_order = in_order && check(*rest);
            outstanding -= static_cast<int>(*rest);
        }
        CHECK(in_order);
        CHECK(completed + cancelled == rounds);
        CHECK(completed > 0);
    });
}

TEST_CASE("a connection accepted while next() is cancelled goes to the next call") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        int served = 0;
        std::vector<tcp_stream> clients;
        auto take = [&]() -> task<> {
            if (co_await door.next()) ++served;
        };
        constexpr int rounds = 300;
        for (int round = 0; round < rounds; ++round) {
            co_await with_scope([&](scope& s) -> task<> {
                s.start(take());
                for (int i = 0; i < round % 2; ++i) co_await yield();
                clients.push_back((co_await tcp_stream::connect(door.local_name())).value());
                for (int i = 0; i < round / 2 % 3; ++i) co_await yield();
                s.cancel();
            });
        }
        while (served < rounds) {
            const auto rest = co_await with_deadline(5s, [](tcp_listener& d) -> task<int> {
                co_return (co_await d.next()) ? 1 : 0;
            }(door));
            REQUIRE(rest);
            served += *rest;
        }
        CHECK(served == rounds);
        clients.clear();
        static_cast<void>(c);
    });
}

TEST_CASE("a stop ends waits marked or_stop() but not before what has come is received") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        room_type room{};
        std::string received;
        std::error_code end;
        auto session = [&]() -> task<> {
            for (;;) {
                const auto got = co_await both.server.recv(room).or_stop();
                if (!got) {
                    end = got.error();
                    co_return;
                }
                received.append(reinterpret_cast<const char*>(room.data()), *got);
            }
        };
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::error_code door_end;
        auto listen = [&]() -> task<> { door_end = (co_await door.next()).error(); };
        bool told = false;
        auto watch = [&]() -> task<> { told = static_cast<bool>(co_await stop_request()); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(session());
            s.start(listen());
            s.start(watch());
            co_await yield();
            CHECK(co_await both.client.send_all("first "));
            co_await yield();
            // In the socket, and no turn of the loop between it and the stop.
            REQUIRE(::send(both.client.duplicate()->get(), "second", 6, MSG_NOSIGNAL) == 6);
            c.request_stop();
        });
        CHECK(received == "first second");
        CHECK(end == errc::stopping);
        CHECK(door_end == errc::stopping);
        CHECK(told);
        CHECK(stop_requested());
        // Later waits end at once, and still give what is there.
        REQUIRE(::send(both.client.duplicate()->get(), "third", 5, MSG_NOSIGNAL) == 5);
        const auto got = co_await both.server.recv(room).or_stop();
        REQUIRE(got);
        CHECK(*got == 5);
        CHECK((co_await both.server.recv(room).or_stop()).error() == errc::stopping);
    });
}

TEST_CASE("the same errors on every flavour") {
    flavours::each_task([](core&) -> task<> {
        room_type room{};
        const net::held_port nobody;
        CHECK((co_await tcp_stream::connect(nobody.name())).error() ==
              std::errc::connection_refused);

        auto closed = co_await flavours::connected();
        co_await closed.client.close();
        CHECK((co_await closed.server.recv(room)).error() == errc::end_of_stream);

        auto reset = co_await flavours::connected();
        reset.client.abort();
        CHECK((co_await reset.server.recv(room)).error() == std::errc::connection_reset);
        CHECK((co_await reset.server.send_all("x")).error() == std::errc::broken_pipe);

        auto shut = co_await flavours::connected();
        CHECK(shut.client.try_shutdown_send());
        CHECK((co_await shut.client.send_all("x")).error() == std::errc::broken_pipe);

        listen_options at_once;
        at_once.retry = nanoseconds(0);
        auto first = tcp_listener::bind("127.0.0.1:0").value();
        CHECK(tcp_listener::bind(first.local_name(), at_once).error() ==
              std::errc::address_in_use);
        CHECK(tcp_listener::bind("192.0.2.1:0", at_once).error() ==
              std::errc::address_not_available);
        CHECK(tcp_listener::bind("localhost:80").error() == errc::bad_address);
    });
}
