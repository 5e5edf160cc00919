// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "flavours.hpp"

using namespace ringlet;

namespace {
task<int> just(int value) { co_return value; }
}  // namespace

TEST_CASE("a million synchronous completions leave the stack flat") {
    flavours::each_task([](core&) -> task<> {
        long sum = 0;
        for (int i = 0; i < 1'000'000; ++i) sum += co_await just(1);
        CHECK(sum == 1'000'000);
    });
}

TEST_CASE("a connection carries bytes both ways") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        std::array<std::byte, 16> room{};
        CHECK(co_await both.client.send_all("ping"));
        const auto got = co_await both.server.recv(room);
        REQUIRE(got);
        CHECK(*got == 4);
    });
}
