// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <chrono>
#include <cstdint>
#include <type_traits>

namespace ringlet {

/// Points in time and durations are std::chrono's; the loop counts CLOCK_MONOTONIC nanoseconds.
using nanoseconds = std::chrono::nanoseconds;
using time_point = std::chrono::time_point<std::chrono::steady_clock, nanoseconds>;

namespace detail {
/// What converts to nanoseconds by itself: seconds, minutes, hours.
template <class D>
concept coarser_duration = std::is_convertible_v<D, nanoseconds> && !std::is_same_v<D, nanoseconds>;

/// A time limit in nanoseconds. hours::max() means for ever; multiplied out it would overflow.
template <class Rep, class Period>
[[nodiscard]] constexpr nanoseconds saturated(std::chrono::duration<Rep, Period> limit) noexcept {
    using wide = std::chrono::duration<std::int64_t, Period>;
    if (limit <= limit.zero()) return nanoseconds::zero();
    if (limit > std::chrono::duration_cast<wide>(nanoseconds::max())) return nanoseconds::max();
    return limit;
}
}  // namespace detail

/// Where a loop reads the time. The default is CLOCK_MONOTONIC; tests put a manual_clock here.
class clock_source {
public:
    virtual ~clock_source() = default;
    [[nodiscard]] virtual std::uint64_t now_ns() noexcept = 0;
    /// True when nothing but the loop itself moves this clock: instead of sleeping until `next_ns`
    /// the loop then calls skip_to(next_ns).
    [[nodiscard]] virtual bool is_virtual() const noexcept { return false; }
    virtual void skip_to(std::uint64_t /*next_ns*/) noexcept {}
};

/// Time that stands still until the loop has nothing else to do, then jumps to the next timer:
/// a test of a one-hour time-out takes microseconds and always takes the same path.
/// While I/O is in flight the loop first gives the kernel 20 ms of real time to answer; while a
/// blocking call or a call to another core is out, the clock stands still. Of one core: not safe for
/// several threads.
class manual_clock final : public clock_source {
public:
    [[nodiscard]] std::uint64_t now_ns() noexcept override { return now_; }
    [[nodiscard]] bool is_virtual() const noexcept override { return true; }
    void skip_to(std::uint64_t next_ns) noexcept override {
        if (next_ns > now_) now_ = next_ns;
    }
    void advance(nanoseconds by) noexcept { now_ += static_cast<std::uint64_t>(by.count()); }

private:
    std::uint64_t now_ = 1'000'000'000;
};

}  // namespace ringlet
