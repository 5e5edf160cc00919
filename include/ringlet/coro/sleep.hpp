// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/time.hpp>
#include <ringlet/coro/parked.hpp>
#include <ringlet/coro/promise.hpp>

#include <coroutine>
#include <utility>

namespace ringlet {

/// Ends after a duration (never early, late by up to 65 us and the loop's turn) or with
/// errc::cancelled: test the result, since a loop that goes on when its scope has been cancelled
/// waits no more. Costs no system call.
class [[nodiscard]] sleep_for : public detail::stoppable_wait<sleep_for> {
public:
    [[nodiscard]] explicit sleep_for(nanoseconds duration) noexcept
        : timer_(*this, duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) : 0,
                 false) {}
    template <detail::coarser_duration D>
    [[nodiscard]] explicit sleep_for(D duration) noexcept : sleep_for(detail::saturated(duration)) {}
    sleep_for(sleep_for&& unstarted) noexcept
        : stoppable_wait(std::move(unstarted)),
          timer_(*this, unstarted.timer_.ns, unstarted.timer_.is_point) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        cancel_scope& context = handle.promise().context();
        if (refused(context) || stopped()) return detail::answered_at_once(*this, handle);
        park(context, handle);
        here().timers().arm_after(timer_, timer_.from_now());
        return true;
    }
    result<void> await_resume() noexcept {
        timer_.disarm();
        leave();
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    struct wake_up : timer {
        wake_up(sleep_for& s, std::uint64_t n, bool point) noexcept
            : timer(fired), sleeper(s), ns(n), is_point(point) {}
        [[nodiscard]] std::uint64_t from_now() const noexcept {
            if (!is_point) return ns;
            const std::uint64_t now = here().now_ns();
            return ns > now ? ns - now : 0;
        }
        static void fired(timer& t) noexcept {
            // A cancel of the same turn may have been faster, and has not been resumed yet.
            sleep_for& sleeper = static_cast<wake_up&>(t).sleeper;
            if (sleeper.at == phase::parked) here().answer(sleeper, 0);
        }
        sleep_for& sleeper;
        std::uint64_t ns;
        bool is_point;  // in time, not a duration
    };
    friend sleep_for sleep_until(time_point when) noexcept;
    struct point_in_time {};
    sleep_for(point_in_time, std::uint64_t ns) noexcept : timer_(*this, ns, true) {}

    wake_up timer_;
};

/// Ends at a point in time; at once when it has passed.
[[nodiscard]] inline sleep_for sleep_until(time_point when) noexcept {
    const std::int64_t at = when.time_since_epoch().count();
    return {sleep_for::point_in_time{}, at > 0 ? static_cast<std::uint64_t>(at) : 0};
}

/// The loop's time: CLOCK_MONOTONIC, or the test's virtual clock. On a core's thread only.
[[nodiscard]] inline time_point now() noexcept {
    return time_point(nanoseconds(static_cast<std::int64_t>(here().now_ns())));
}

/// Lets everything else that is ready run, and the kernel be asked, before going on.
class [[nodiscard]] yield : ready_node {
public:
    [[nodiscard]] yield() noexcept {}
    yield(yield&&) noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        waiter = handle;
        here().make_ready_later(*this);
    }
    void await_resume() const noexcept {}
};

}  // namespace ringlet
