// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/coro/awaitable.hpp>
#include <ringlet/coro/cancel.hpp>
#include <ringlet/coro/scope.hpp>
#include <ringlet/core/time.hpp>

#include <type_traits>
#include <utility>

namespace ringlet {

namespace detail {

/// A cancel scope that cancels itself with errc::timed_out.
class deadline_scope : timer {
public:
    deadline_scope(cancel_scope& parent, nanoseconds limit) noexcept : timer(passed), scope_(parent) {
        here().timers().arm_after(
            *this, limit.count() > 0 ? static_cast<std::uint64_t>(limit.count()) : 0);
    }
    ~deadline_scope() { disarm(); }
    [[nodiscard]] cancel_scope& scope() noexcept { return scope_; }
    [[nodiscard]] bool fired() const noexcept { return fired_; }

private:
    static void passed(timer& t) noexcept {
        auto& self = static_cast<deadline_scope&>(t);
        self.fired_ = !self.scope_.cancelled();  // the first reason stays
        self.scope_.cancel(errc::timed_out);
    }
    cancel_scope scope_;
    bool fired_ = false;
};

template <class T>
struct deadline_result {
    using type = result<T>;
};
template <class T>
struct deadline_result<result<T>> {
    using type = result<T>;
};

}  // namespace detail

/// Runs a task under a time limit: when it passes, everything the task waits for ends with
/// errc::timed_out, and the task is waited for. Gives the task's value; or errc::timed_out when the
/// limit passed before the end, unless the task had been cancelled before. A task of result<T> that
/// still ended with a value keeps it.
template <class T>
[[nodiscard]] task<typename detail::deadline_result<T>::type> with_deadline(nanoseconds limit,
                                                                            task<T> work) {
    cancel_scope& parent = co_await detail::context_awaiter();
    detail::deadline_scope deadline(parent, limit);
    if constexpr (std::is_void_v<T>) {
        co_await std::move(work).in(deadline.scope());
        if (deadline.fired()) co_return errc::timed_out;
        co_return result<void>();
    } else {
        T value = co_await std::move(work).in(deadline.scope());
        if constexpr (detail::is_result<T>) {
            if (!value && deadline.fired()) co_return errc::timed_out;
            co_return value;
        } else {
            if (deadline.fired()) co_return errc::timed_out;
            co_return result<T>(std::move(value));
        }
    }
}
template <detail::coarser_duration D, class T>
[[nodiscard]] task<typename detail::deadline_result<T>::type> with_deadline(D limit, task<T> work) {
    return with_deadline(detail::saturated(limit), std::move(work));
}

}  // namespace ringlet
