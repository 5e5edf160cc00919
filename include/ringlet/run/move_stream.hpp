// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/coro/task.hpp>
#include <ringlet/io/tcp_stream.hpp>

#include <type_traits>
#include <utility>

namespace ringlet {

namespace detail {
/// What is called with the stream on its new core.
struct stream_receiver {
    void (*call)(void* subject, tcp_stream arrived) noexcept;
    void* subject;
};
[[nodiscard]] task<result<void>> move_stream(unsigned index, tcp_stream& stream,
                                             stream_receiver receiver);
}  // namespace detail

/// Moves a connection to another core of the program and calls `arrived(tcp_stream)` there, a plain
/// function (not a coroutine) that may start a task in a scope of that core. Nothing may be in flight
/// on the stream. What chunks() has received and nobody has taken goes with it, in order; a direct
/// descriptor goes from table to table (IORING_OP_MSG_RING, Linux 6.0) or becomes a plain one.
///
///     co_await move_stream(2, peer, [&](tcp_stream s) noexcept { sessions[2]->start(echo(std::move(s))); });
///
/// Errors, with the stream still here and whole: errc::core_stopped; errc::inbox_full when the other
/// core is that far behind; no_buffer_space when its pool has no buffer for what was received;
/// not_enough_memory. Cannot be cancelled half-way.
template <class F>
[[nodiscard]] task<result<void>> move_stream(unsigned index, tcp_stream& stream, F arrived) {
    static_assert(std::is_nothrow_invocable_v<F&, tcp_stream>,
                  "a function for another core is noexcept: its failure has nowhere to go there");
    const detail::stream_receiver receiver{
        [](void* f, tcp_stream s) noexcept { (*static_cast<F*>(f))(std::move(s)); }, &arrived};
    co_return co_await detail::move_stream(index, stream, receiver);
}

}  // namespace ringlet
