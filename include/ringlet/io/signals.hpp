// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/coro/parked.hpp>
#include <ringlet/coro/promise.hpp>

#include <coroutine>
#include <cstdint>
#include <initializer_list>
#include <utility>

namespace ringlet {

/// Signals as awaitables: from its construction to its end this object takes the listed signals
/// (1 to 63: SIGHUP, SIGUSR1, ...) for the process, and next() gives them one by one. Before and
/// after, what was there applies: by default SIGUSR1 ends the process. Several objects, on several
/// cores, may take the same signal: each gets it. A signal that comes while nobody waits is kept;
/// like the kernel's own pending signals it is kept once.
class signal_set : link {
public:
    explicit signal_set(std::initializer_list<int> signals);
    ~signal_set();
    signal_set(const signal_set&) = delete;
    signal_set& operator=(const signal_set&) = delete;

    class [[nodiscard]] next_signal : public detail::stoppable_wait<next_signal> {
    public:
        explicit next_signal(signal_set& s) noexcept : set_(&s) {}
        next_signal(next_signal&& unstarted) noexcept
            : stoppable_wait(std::move(unstarted)), set_(unstarted.set_) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <ringlet_promise Promise>
        [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            cancel_scope& context = handle.promise().context();
            if (refused(context)) return detail::answered_at_once(*this, handle);
            answer = set_->take();
            if (answer != 0) return false;
            if (stopped()) return detail::answered_at_once(*this, handle);
            RINGLET_CHECK(set_->waiting_ == nullptr, "two tasks wait for one signal_set at once");
            park(context, handle);
            set_->waiting_ = this;
            return true;
        }
        result<int> await_resume() noexcept {
            if (set_->waiting_ == this) set_->waiting_ = nullptr;
            leave();
            if (answer < 0) return answer::to_error(answer);
            return answer;
        }

    private:
        signal_set* set_;
    };
    /// The number of the next signal, or errc::cancelled. A stop does not end it: see or_stop().
    [[nodiscard]] next_signal next() noexcept { return next_signal(*this); }

private:
    friend struct signal_hub;
    [[nodiscard]] int take() noexcept;

    std::uint64_t wanted_ = 0;
    std::uint64_t arrived_ = 0;
    completion* waiting_ = nullptr;
};

}  // namespace ringlet
