// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "../samples/warm_pieces.hpp"

#include <doctest/doctest.h>

#include <chrono>

using namespace std::chrono_literals;

TEST_CASE("warm pieces: the very piece is known, for a moment") {
    warm_pieces warm;
    const file_piece one{.device = 1, .inode = 2, .first = 0, .length = 65536};
    const ringlet::time_point then{1s};
    CHECK_FALSE(warm.holds(one, then));
    CHECK_FALSE(warm.holds(file_piece(), then));
    warm.add(one, then);
    CHECK(warm.holds(one, then));
    CHECK(warm.holds(one, then + warm_pieces::moment - 1ns));
    CHECK_FALSE(warm.holds(one, then + warm_pieces::moment));
    for (auto other : {file_piece{.device = 2, .inode = 2, .first = 0, .length = 65536},
                       file_piece{.device = 1, .inode = 3, .first = 0, .length = 65536},
                       file_piece{.device = 1, .inode = 2, .first = 1, .length = 65536},
                       file_piece{.device = 1, .inode = 2, .first = 0, .length = 65537}})
        CHECK_FALSE(warm.holds(other, then));
    warm.add(one, then + 50ms);
    CHECK(warm.holds(one, then + warm_pieces::moment));
}

TEST_CASE("warm pieces: many more than there is room for only forget each other") {
    warm_pieces warm;
    const ringlet::time_point then{1s};
    for (std::uint64_t inode = 1; inode <= 10'000; ++inode) {
        const file_piece one{.device = 1, .inode = inode, .first = 0, .length = 1};
        warm.add(one, then);
        CHECK(warm.holds(one, then));
    }
    unsigned held = 0;
    for (std::uint64_t inode = 1; inode <= 10'000; ++inode)
        held += warm.holds({.device = 1, .inode = inode, .first = 0, .length = 1}, then);
    CHECK(held > 128);
    CHECK(held <= 256);
}
