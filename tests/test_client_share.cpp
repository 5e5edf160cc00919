// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "../samples/client_share.hpp"
#include "flavours.hpp"

#include <string>
#include <tuple>

using namespace ringlet;
using samples::client_share;

namespace {

address of(const char* text) { return address::parse(text).value(); }

/// Notes its name when it has a turn, and keeps that until it may `go`.
task<> take_turn(client_share& share, const char* who, std::string& order, char name,
                 semaphore& go) {
    client_share::guest here(share, of(who));
    const auto turn = co_await here.turns().acquire();
    if (!turn) co_return;
    order += name;
    std::ignore = co_await go.acquire();
}

task<> some_turns() {
    for (int i = 0; i < 4; ++i) co_await yield();
}

}  // namespace

TEST_CASE("a client has no more than its share of turns, and takes none of the others'") {
    flavours::each_task([](core&) -> task<> {
        client_share share(2);
        std::string order;
        semaphore go(1);
        auto barrier = co_await go.acquire();
        co_await with_scope([&](scope& s) -> task<> {
            for (const char name : {'a', 'b', 'c', 'd'})
                s.start(take_turn(share, "192.0.2.1:1000", order, name, go));
            s.start(take_turn(share, "192.0.2.2:1000", order, 'x', go));
            co_await some_turns();
            CHECK(order == "abx");
            CHECK(share.clients() == 2);
            barrier->give_back();
        });
        CHECK(order == "abxcd");
        CHECK(share.clients() == 0);
    });
}

TEST_CASE("who one client is") {
    const auto are_one = [](const char* one, const char* other) {
        client_share share(1);
        const client_share::guest a(share, of(one));
        const client_share::guest b(share, of(other));
        return share.clients() == 1;
    };
    CHECK(are_one("192.0.2.1:1", "192.0.2.1:2"));
    CHECK_FALSE(are_one("192.0.2.1:1", "192.0.2.2:1"));
    CHECK(are_one("192.0.2.1:1", "[::ffff:192.0.2.1]:1"));
    CHECK_FALSE(are_one("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1"));
    CHECK(are_one("[2001:db8::1]:1", "[2001:db8::2:3:4:5]:1"));
    CHECK_FALSE(are_one("[2001:db8::1]:1", "[2001:db8:0:1::1]:1"));
    CHECK(are_one("unix:/one", "unix:/other"));
}

TEST_CASE("who waits for a turn in vain leaves nothing behind") {
    flavours::each_task([](core&) -> task<> {
        client_share share(1);
        std::string order;
        semaphore never(0);
        co_await with_scope([&](scope& s) -> task<> {
            for (const char name : {'a', 'b'})
                s.start(take_turn(share, "[::1]:1", order, name, never));
            co_await some_turns();
            s.cancel();
        });
        CHECK(order == "a");
        CHECK(share.clients() == 0);
    });
}
