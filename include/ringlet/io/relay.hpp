// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/time.hpp>
#include <ringlet/coro/task.hpp>
#include <ringlet/io/tcp_stream.hpp>

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>

namespace ringlet {

/// How a relay moves bytes.
enum class relay_mode : std::uint8_t {
    automatic,  ///< each direction by what it moves: small messages copied, much at a time spliced
    copy,       ///< through buffers of the core's pool
    splice,     ///< through a pipe, from the first byte; copied while no pipe can be had
};

/// What relays have moved so far; several may add to the same one.
struct relay_totals {
    std::uint64_t a_to_b = 0;
    std::uint64_t b_to_a = 0;
    std::uint64_t spliced = 0;  ///< of both together, and not copied
};

struct relay_options {
    relay_mode mode = relay_mode::automatic;
    /// Ends the relay with errc::timed_out when for this long no byte has moved in either direction, or
    /// one direction has had bytes in hand and its receiver has taken none of them, whatever moves in
    /// the other; at the latest a quarter of it later; 0: never. Costs no timer per message.
    nanoseconds idle{0};
    /// The same once the program is stopping, with errc::stopping: who is in the middle of something
    /// goes on, at most for the program's grace; 0: ends at once.
    nanoseconds idle_at_stop = std::chrono::seconds(1);
    /// Bytes a second; 0: no limit. Moved in portions of a sixteenth of it, at most.
    std::uint64_t rate_a_to_b = 0;
    std::uint64_t rate_b_to_a = 0;
    /// Bytes that may have been received and not sent yet, in each direction; 0: what one buffer or
    /// pipe holds, and what the ring has received unasked (buffer_options::hold).
    std::uint32_t in_flight = 0;
    /// Added to as bytes move; not owned, outlives the relay.
    relay_totals* totals = nullptr;
};

static_assert(std::is_trivially_copyable_v<relay_options>);  // see core_options

/// What came of one direction.
struct relayed {
    std::uint64_t bytes = 0;   ///< received and sent on
    std::uint64_t unsent = 0;  ///< received and lost: its receiver failed, or the relay was cancelled
    std::error_code end;       ///< end_of_stream, or what ended it
};

struct relay_result {
    enum class side : std::uint8_t { a, b, neither };

    relayed a_to_b;
    relayed b_to_a;
    /// Whose doing the end began with, and how: end_of_stream or the connection's error of that side;
    /// of neither: timed_out (idle), stopping, cancelled.
    side first = side::neither;
    std::error_code how;

    /// True when both sides have sent everything and all of it has been passed on.
    [[nodiscard]] bool complete() const noexcept {
        return a_to_b.end == errc::end_of_stream && b_to_a.end == errc::end_of_stream;
    }
};

/// Moves bytes both ways between two streams until both directions have ended. The end of one side's
/// stream is passed on (the other's sending side is shut down) and the other direction goes on. A
/// side that fails ends both: what it had sent before still goes to the other one. Nothing is
/// received that the receiver's side has no room for, beyond relay_options::in_flight.
///
/// The streams stay open and the caller's; nothing else may use them meanwhile. When it is cancelled
/// or has timed out, bytes that were received and not sent are in `unsent`: those in a pipe or in a
/// buffer are gone; those that the ring has received unasked stay with the stream. On io_uring both
/// sockets are left non-blocking once bytes have been spliced.
///
/// Memory: its coroutine frames (about 2 KiB) while idle; per busy direction a buffer of the pool (64
/// KiB, 256 KiB for large messages) or a pipe, and on io_uring what buffer_options::hold allows. Errors are in the result; throws std::bad_alloc when there is no
/// memory for its frames.
[[nodiscard]] task<relay_result> relay(tcp_stream& a, tcp_stream& b,
                                       relay_options options = relay_options());

}  // namespace ringlet
