// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// What waits is paid for per connection: a size that grows is a decision, not an accident.

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

#include <type_traits>
#include <utility>

using namespace ringlet;

static_assert(sizeof(completion) == 40);
static_assert(sizeof(descriptor) == 160);
static_assert(sizeof(tcp_stream) == 8);
static_assert(sizeof(chunk) == 16);
static_assert(sizeof(recv_op) == 72);
static_assert(sizeof(recv_chunk_op) == 72);
static_assert(sizeof(send_op) == 72);
static_assert(sizeof(send_all_op) == 88);

TEST_CASE("settings are part of an operation: they do not make it another, larger one") {
    using recv = decltype(std::declval<tcp_stream&>().chunks().next());
    using limited = decltype(std::declval<recv>().within(nanoseconds(1)).or_stop());
    CHECK(std::is_same_v<recv&&, limited>);
}
