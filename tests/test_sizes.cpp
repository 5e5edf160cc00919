// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// What waits is paid for per connection: a size that grows is a decision, not an accident.

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

#include <type_traits>
#include <utility>

using namespace ringlet;

static_assert(sizeof(completion) == 40);
static_assert(sizeof(descriptor) == 144);
static_assert(sizeof(tcp_stream) == 8);
static_assert(sizeof(file) == 8);
static_assert(sizeof(splice_pipe) == 24);
static_assert(sizeof(chunk) == 16);

// Streams: what a session waits in.
static_assert(sizeof(recv_op) == 72);
static_assert(sizeof(recv_chunk_op) == 72);
static_assert(sizeof(send_op) == 72);
static_assert(sizeof(send_all_op) == 88);
static_assert(sizeof(send_gathered_op) == 384);
static_assert(sizeof(send_file_op) == 104);
static_assert(sizeof(splice_to_op) == 80);
static_assert(sizeof(splice_from_op) == 72);
static_assert(sizeof(next_op) == 56);
static_assert(sizeof(accept_op) == 64);
static_assert(sizeof(connect_op) == 200);
static_assert(sizeof(close_op) == 32);

// Files.
static_assert(sizeof(open_op) == 200);
static_assert(sizeof(read_at_op) == 184);
static_assert(sizeof(write_at_op) == 176);
static_assert(sizeof(write_all_at_op) == 192);
static_assert(sizeof(read_chunk_op) == 224);
static_assert(sizeof(fetch_op) == 168);
static_assert(sizeof(sync_op) == 160);
static_assert(sizeof(resize_op) == 160);
static_assert(sizeof(stat_op) == 408);
static_assert(sizeof(close_file_op) == 160);

// The rest; with a function of one pointer where one is kept.
struct function {
    int* where;
    int operator()() const noexcept { return *where; }
};
static_assert(sizeof(uring_op) == 176);
static_assert(sizeof(detail::blocking_op<function>) == 112);
static_assert(sizeof(on_core<function>) == 72);
static_assert(sizeof(sleep_for) == 120);
static_assert(sizeof(yield) == 24);
static_assert(sizeof(stop_request) == 64);
static_assert(sizeof(semaphore::acquire_op) == 96);
static_assert(sizeof(signal_set::next_signal) == 72);

TEST_CASE("settings are part of an operation: they do not make it another, larger one") {
    using recv = decltype(std::declval<tcp_stream&>().chunks().next());
    using limited = decltype(std::declval<recv>().within(nanoseconds(1)).or_stop());
    CHECK(std::is_same_v<recv&&, limited>);
}
