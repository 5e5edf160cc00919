// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "../samples/connect_any.hpp"
#include "flavours.hpp"

#include <chrono>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;
using samples::connect_any;

namespace {

/// A listener whose backlog is full: it answers no connect.
struct full_house {
    tcp_listener door;
    std::vector<tcp_stream> waiting;
};
task<full_house> full() {
    listen_options options;
    options.backlog = 0;
    full_house made{tcp_listener::bind("127.0.0.1:0", options).value(), {}};
    for (int i = 0; i < 16; ++i) {
        auto stream = co_await tcp_stream::connect(made.door.local_name()).within(50ms);
        if (!stream) co_return made;
        made.waiting.push_back(std::move(*stream));
    }
    FAIL("the backlog takes all of 16");
    co_return made;
}

}  // namespace

TEST_CASE("an address that never answers leaves the others their part of the time") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const full_house silent = co_await full();
        auto open = tcp_listener::bind("127.0.0.1:0").value();
        const address mute = silent.door.local_name();
        const std::vector<address> one_of_three{mute, mute, open.local_name()};
        const time_point began = now();
        const auto made = co_await connect_any(one_of_three, began + 30s);
        CHECK(made);
        CHECK(now() - began >= 20s);
        CHECK(now() - began < 30s);
    });
}

TEST_CASE("an address that refuses leaves its time to the others") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const full_house silent = co_await full();
        const address nobody = [] {
            auto closed = tcp_listener::bind("127.0.0.1:0").value();
            return closed.local_name();
        }();
        const std::vector<address> both{nobody, silent.door.local_name()};
        const time_point began = now();
        const auto made = co_await connect_any(both, began + 10s);
        CHECK(made.error() == errc::timed_out);
        CHECK(now() - began >= 10s);
        const std::vector<address> refusing{nobody};
        const auto refused = co_await connect_any(refusing, now() + 10s);
        CHECK(refused.error() == std::errc::connection_refused);
        const std::vector<address> none;
        const auto nothing = co_await connect_any(none, now() + 10s);
        CHECK(nothing.error() == std::errc::host_unreachable);
    });
}
