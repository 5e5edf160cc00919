// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "../samples/upstreams.hpp"
#include "fault_helpers.hpp"
#include "flavours.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;
using samples::upstream;
using samples::upstreams;

namespace {

// Of Unix-domain sockets connect(2) has the answer at once, whatever the flavour.
address named(std::string_view name) {
    return address::parse(fmt::format("unix:@ringlet-test-{}-{}", ::getpid(), name)).value();
}
address nobody() { return named("nobody"); }
address somebody() { return named("somebody"); }

upstreams::options one_failure() {
    upstreams::options o;
    o.eject_after = 1;
    o.eject_for = 10s;
    return o;
}

/// With this budget no answer comes at once, so that connects which all_of() starts overlap.
template <class Body>
void each_overlapping(Body body) {
    manual_clock clock;
    flavours::each([&](core& c) { block_on(c, body(clock)); },
                   [&](core_options& o) {
                       o.clock = &clock;
                       o.inline_budget = 0;
                   });
}

task<bool> connects(upstreams& servers) {
    const auto made = co_await servers.connect();
    co_return made.has_value();
}

}  // namespace

#ifndef NDEBUG  // the seam is not in release builds
TEST_CASE("probes that overlap and end in a shortage do not leave a server alone") {
    each_overlapping([](manual_clock& clock) -> task<> {
        upstreams servers({nobody()}, one_failure());
        const upstream& u = servers.all()[0];
        CHECK_FALSE(co_await connects(servers));
        CHECK(servers.ejected(u));
        clock.advance(11s);
        CHECK_FALSE(servers.ejected(u));
        {
            const faults::failing lacking("socket", EMFILE, 0, 2);
            std::ignore = co_await all_of(connects(servers), connects(servers));
        }
        CHECK(u.shortages == 2);
        CHECK(u.failures == 1);
        CHECK_FALSE(servers.ejected(u));
    });
}

TEST_CASE("a shortage does not bring back a server that others have found to fail meanwhile") {
    each_overlapping([](manual_clock& clock) -> task<> {
        upstreams servers({nobody()}, one_failure());
        const upstream& u = servers.all()[0];
        {
            const faults::failing then_lacking("socket", EMFILE, 0, 1);
            const faults::failing refusing("socket", ECONNREFUSED, 0, 1);
            std::ignore = co_await all_of(connects(servers), connects(servers));
        }
        CHECK(u.failures == 1);
        CHECK(u.shortages == 1);
        CHECK(servers.ejected(u));
        clock.advance(11s);
        CHECK_FALSE(servers.ejected(u));
    });
}
#endif

TEST_CASE("one connection at a time probes a server that was left alone") {
    each_overlapping([](manual_clock& clock) -> task<> {
        auto door = tcp_listener::bind(somebody()).value();
        upstreams servers({nobody(), somebody()}, one_failure());
        const upstream& dead = servers.all()[0];
        CHECK(co_await connects(servers));
        CHECK(dead.failures == 1);
        CHECK(servers.ejected(dead));
        clock.advance(11s);
        // The third is the one whose turn it would be to go to the first server again.
        std::ignore = co_await all_of(connects(servers), connects(servers), connects(servers));
        CHECK(dead.failures == 2);
        CHECK(servers.ejected(dead));
        CHECK(servers.all()[1].total == 4);
    });
}

TEST_CASE("a Unix-domain server with a full backlog is waited for, as one of TCP is") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        listen_options few;
        few.backlog = 0;
        auto door = tcp_listener::bind(somebody(), few).value();
        std::vector<tcp_stream> waiting;
        for (bool is_full = false; !is_full;) {
            auto stream = co_await tcp_stream::connect(somebody());
            is_full = !stream;
            if (stream) waiting.push_back(std::move(*stream));
            REQUIRE(waiting.size() < 16);
        }
        const std::vector<address> one{somebody()};
        upstreams servers(one, one_failure());
        const upstream& u = servers.all()[0];
        const time_point began = now();
        CHECK_FALSE(co_await connects(servers));  // there is never room
        CHECK(now() - began >= 4s);
        CHECK(now() - began <= 5s);
        CHECK(u.failures == 1);
        const time_point again = now();
        auto takes_all = [&]() -> task<> {
            // Not before it was refused once: the clock moves when nothing else can happen.
            while (now() == again) static_cast<void>(co_await sleep_for(1ms));
            for (std::size_t i = 0; i < waiting.size(); ++i)
                static_cast<void>(co_await door.next());
        };
        const auto made = co_await all_of(connects(servers), takes_all());
        CHECK(std::get<0>(made));
        CHECK(now() - again < 5s);
        CHECK(u.failures == 1);
    });
}

TEST_CASE("a probe that is cancelled was none") {
    each_overlapping([](manual_clock& clock) -> task<> {
        upstreams servers({nobody()}, one_failure());
        const upstream& u = servers.all()[0];
        CHECK_FALSE(co_await connects(servers));
        clock.advance(11s);
        std::error_code end;
        auto probe = [&]() -> task<> { end = (co_await servers.connect()).error(); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(probe());
            s.cancel();
            co_return;
        });
        CHECK(end == errc::cancelled);
        CHECK(u.failures == 1);
        CHECK_FALSE(servers.ejected(u));
    });
}

#ifndef NDEBUG
TEST_CASE("a full backlog is asked for room again and again, and not often") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        auto door = tcp_listener::bind(somebody()).value();
        upstreams servers({somebody()}, one_failure());
        // No connect is let through: the server's backlog is as good as full.
        static int connects_made = 0;
        connects_made = 0;
        kernel::fault::hook = [](const char* call) noexcept {
            if (call != std::string_view("connect")) return 0;
            ++connects_made;
            return EAGAIN;
        };
        const time_point began = now();
        CHECK_FALSE(co_await connects(servers));
        kernel::fault::hook = nullptr;
        CHECK(now() - began >= 4s);
        CHECK(now() - began <= 5s);
        CHECK(connects_made >= 20);
        CHECK(connects_made <= 50);
        CHECK(servers.all()[0].failures == 1);
    });
}
#endif
