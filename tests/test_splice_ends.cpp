// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Where a spliced stream begins and ends: after a stop, at an urgent mark, with nothing asked for, on
// a socket of somebody else's.

#include "net_helpers.hpp"
#include "splice_paths.hpp"

#include <kernel/ring.hpp>

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <array>
#include <chrono>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

/// Two connected sockets, both blocking, of which the first is a stream.
struct adopted_pair {
    tcp_stream stream;
    unique_fd peer;
};
adopted_pair adopted() {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    return {tcp_stream(owned_descriptor(ends[0])), unique_fd(ends[1])};
}

void fill(const tcp_stream& to) {
    std::array<char, 4096> block{};
    while (::send(to.native_handle(), block.data(), block.size(), MSG_DONTWAIT) > 0) {}
}

/// Until the other end's kernel has what was sent, without a turn of the loop.
void until_arrived(const net::plain_client& from) {
    const auto give_up = std::chrono::steady_clock::now() + 30s;
    int on_its_way = 1;
    while (on_its_way > 0 && std::chrono::steady_clock::now() < give_up)
        REQUIRE(::ioctl(from.fd(), SIOCOUTQ, &on_its_way) == 0);
    REQUIRE(on_its_way == 0);
}

}  // namespace

TEST_CASE("after a stop the first splice from a silent peer ends at once") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        auto other = co_await flavours::connected();
        c.request_stop();
        splice_pipe through;
        CHECK((co_await both.server.splice_to(through).or_stop()).error() == errc::stopping);
        CHECK(!through);
        // What is there is still taken, once.
        CHECK((co_await other.client.send_all("here")).has_value());
        CHECK((co_await other.server.splice_to(through).or_stop()).value_or(0) == 4);
        std::array<std::byte, 8> room{};
        CHECK(through.try_read(room).value_or(0) == 4);
        through.reset();
    });
}

TEST_CASE("after a stop a splice tells of an urgent mark with bytes behind it") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("!", MSG_OOB));
        CHECK(both.client.send("def"));
        until_arrived(both.client);
        c.request_stop();
        splice_pipe through;
        CHECK((co_await both.server.splice_to(through).or_stop()).error() ==
              std::errc::device_or_resource_busy);
        CHECK(!through);
        std::array<std::byte, 8> room{};
        CHECK((co_await both.server.recv(room)).value_or(0) == 3);
        CHECK((co_await both.server.splice_to(through).or_stop()).error() == errc::stopping);
    });
}

TEST_CASE("after a stop a splice tells of what the ring has received unseen") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("one"));
        {
            const auto first = co_await both.server.chunks().next();
            CHECK((first && first->text() == "one"));
        }
        // Armed from here on, where there is a ring.
        CHECK((co_await both.server.chunks().next().within(0ns)).error() == errc::timed_out);
        CHECK(both.client.send("x"));
        until_arrived(both.client);
        c.request_stop();
        splice_pipe through;
        const auto got = co_await both.server.splice_to(through).or_stop();
        if (c.ring() != nullptr) {
            CHECK(got.error() == std::errc::device_or_resource_busy);
            const auto left = co_await both.server.chunks().next().or_stop();
            CHECK((left && left->text() == "x"));
        } else {
            CHECK((got && *got == 1));
        }
        through.reset();
        CHECK((co_await both.server.splice_to(through).or_stop()).error() == errc::stopping);
    });
}

TEST_CASE("after a stop the first splice into a full or dead socket ends at once, and without a signal") {
    each_splice_path([](core& c) -> task<> {
        auto in = co_await flavours::connected();
        auto full = adopted();
        auto dead = co_await net::half_connected();
        CHECK((co_await in.client.send_all("bytes")).has_value());
        splice_pipe through;
        CHECK((co_await in.server.splice_to(through)).value_or(0) == 5);
        fill(full.stream);
        CHECK(dead.server.try_shutdown_send().has_value());
        c.request_stop();
        CHECK((co_await full.stream.splice_from(through).or_stop()).error() == errc::stopping);
        CHECK((co_await dead.server.splice_from(through).or_stop()).error() ==
              std::errc::broken_pipe);
        CHECK(through.size() == 5);
    });
}

TEST_CASE("a relay that splices passes an urgent mark, and loses nothing behind it") {
    each_splice_path([](core& c) -> task<> {
        auto in = co_await net::half_connected();
        auto out = co_await flavours::connected();
        relay_options options;
        options.mode = relay_mode::splice;
        relay_result how;
        std::vector<std::byte> arrived;
        const auto run = [&]() -> task<> { how = co_await relay(in.server, out.client, options); };
        const auto receive = [&]() -> task<> {
            arrived = co_await net::receive(out.server, 6);
            std::array<std::byte, 8> room{};
            CHECK((co_await out.server.recv(room)).error() == errc::end_of_stream);
            CHECK(out.server.try_shutdown_send().has_value());
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(run);
            s.start(receive);
            CHECK(in.client.send("abc"));
            CHECK(in.client.send("!", MSG_OOB));
            CHECK(in.client.send("def"));
            CHECK(::shutdown(in.client.fd(), SHUT_WR) == 0);
            co_return;
        });
        CHECK(net::text_of(arrived) == "abcdef");
        CHECK(how.complete());
        static_cast<void>(c);
    });
}

TEST_CASE("at an urgent mark a splice says so, once, and the core sleeps while the peer is silent") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        splice_pipe through;
        CHECK(both.client.send("abc"));
        CHECK((co_await both.server.splice_to(through)).value_or(0) == 3);
        std::array<std::byte, 8> room{};
        CHECK(through.try_read(room).value_or(0) == 3);
        through.reset();
        CHECK(both.client.send("!", MSG_OOB));
        CHECK(both.client.send("def"));
        const auto before = c.stats().turns;
        CHECK((co_await both.server.splice_to(through).within(20s)).error() ==
              std::errc::device_or_resource_busy);
        CHECK(c.stats().turns - before < 50);
        CHECK(!through);
        CHECK((co_await both.server.recv(room)).value_or(0) == 3);
        CHECK(both.client.send("ghi"));
        CHECK((co_await both.server.splice_to(through)).value_or(0) == 3);
        through.reset();
        // An end that comes with the mark does not hide what is between them.
        CHECK(both.client.send("!", MSG_OOB));
        CHECK(both.client.send("jkl"));
        CHECK(::shutdown(both.client.fd(), SHUT_WR) == 0);
        for (int i = 0; i < 20; ++i) co_await yield();
        CHECK((co_await both.server.splice_to(through).within(20s)).error() ==
              std::errc::device_or_resource_busy);
        CHECK((co_await both.server.recv(room)).value_or(0) == 3);
        CHECK((co_await both.server.splice_to(through)).error() == errc::end_of_stream);
    });
}

TEST_CASE("to splice at most nothing is no end of the stream") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        splice_pipe through;
        CHECK((co_await both.server.splice_to(through, 0)).value_or(1) == 0);
        CHECK((co_await both.client.send_all("abc")).has_value());
        CHECK((co_await both.server.splice_to(through, 0)).value_or(1) == 0);
        CHECK(!through);
        CHECK((co_await both.server.splice_to(through, 2)).value_or(0) == 2);
        through.reset();
        c.request_stop();
        CHECK((co_await both.server.splice_to(through, 0).or_stop()).value_or(1) == 0);
        CHECK((co_await both.server.splice_to(through).or_stop()).value_or(0) == 1);
    });
}

TEST_CASE("a socket that was made blocking elsewhere does not hold the loop when it is spliced") {
    each_splice_path([](core&) -> task<> {
        auto in = adopted();
        auto out = adopted();
        splice_pipe through;
        const auto later = [&]() -> task<> {
            for (int i = 0; i < 3; ++i) co_await yield();
            CHECK(::send(in.peer.get(), "late", 4, MSG_NOSIGNAL) == 4);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(later);
            CHECK((co_await in.stream.splice_to(through)).value_or(0) == 4);
        });
        // Full, until another task has emptied it.
        fill(out.stream);
        std::array<char, 4096> block{};
        const auto empty_it = [&]() -> task<> {
            for (int i = 0; i < 3; ++i) co_await yield();
            while (::recv(out.peer.get(), block.data(), block.size(), MSG_DONTWAIT) > 0) {}
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(empty_it);
            CHECK((co_await out.stream.splice_from(through)).value_or(0) == 4);
        });
    });
}
