// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// What nobody may touch of the pool's memory is poisoned: the kernel's, and what was given back. Only
// AddressSanitizer knows, so elsewhere nothing is tested here.

#include "receive_ways.hpp"

#include <core/poison.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

#ifdef RINGLET_POISONS

namespace {

bool poisoned(const std::byte* at) { return __asan_address_is_poisoned(at) != 0; }

/// Chunks of a message each, all of them kept.
task<> receive_each(const std::vector<std::string>& messages, std::vector<chunk>& kept) {
    auto both = co_await net::half_connected();
    for (const std::string& message : messages) {
        CHECK(both.client.send(message));
        auto got = co_await both.server.chunks().next().within(10s);
        REQUIRE(got);
        CHECK(got->text() == message);
        kept.push_back(std::move(*got));
    }
}

}  // namespace

TEST_CASE("buffers that nobody has leased are poisoned, those of the kernel's window among them") {
    flavours::each([](core& c) {
        REQUIRE(c.buffers().open() == 0);
        const buffer_options& o = c.buffers().options();
        for (const std::uint32_t id : {0U, o.window - 1, o.window, o.limit - 1, o.limit}) {
            CHECK(poisoned(c.buffers().data(id)));
            CHECK(poisoned(c.buffers().data(id) + o.size - 1));
        }
    });
}

TEST_CASE("a chunk's bytes are poisoned again when it is given back, those of a slice too") {
    receiving::each_core_way([](core&) -> task<> {
        // Whole words: of others the first and the last are shared with their neighbours.
        const std::vector<std::string> messages(3, std::string(64, 'w'));
        std::vector<chunk> kept;
        co_await receive_each(messages, kept);
        for (const std::size_t i : std::array<std::size_t, 3>{1, 0, 2}) {
            const std::byte* const bytes = kept[i].bytes().data();
            CHECK_FALSE(poisoned(bytes));
            CHECK_FALSE(poisoned(bytes + 63));
            kept[i].reset();
            CHECK(poisoned(bytes));
            CHECK(poisoned(bytes + 63));
        }
    }, [](core_options&) {});
}

TEST_CASE("giving a slice back takes nothing from its neighbours") {
    receiving::each_core_way([](core&) -> task<> {
        std::vector<std::string> messages;
        for (std::size_t i = 0; i < 12; ++i) messages.emplace_back(1 + i * 5 % 7, 'n');
        std::vector<chunk> kept;
        co_await receive_each(messages, kept);
        for (std::size_t i = 0; i < kept.size(); i += 2) kept[i].reset();
        for (std::size_t i = 1; i < kept.size(); i += 2) CHECK(kept[i].text() == messages[i]);
    }, [](core_options&) {});
}

#endif
