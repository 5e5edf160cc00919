// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/check.hpp>
#include <ringlet/coro/promise.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace ringlet {

template <class T>
class task;

namespace detail {

template <class T>
class task_promise final : public promise_base {
public:
    [[nodiscard]] task<T> get_return_object() noexcept;
    void unhandled_exception() noexcept { failure_ = std::current_exception(); }
    template <class U>
        requires std::is_convertible_v<U, T>  // what `return` would take, and no more
    void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U>) {
        value_.emplace(std::forward<U>(value));
    }
    void finish(std::coroutine_handle<> ended) noexcept { finish_with(ended, failure_); }
    [[nodiscard]] T take() {
        if (failure_) std::rethrow_exception(std::move(failure_));
        return std::move(*value_);
    }

private:
    std::optional<T> value_;
    std::exception_ptr failure_;
};

template <>
class task_promise<void> final : public promise_base {
public:
    [[nodiscard]] task<void> get_return_object() noexcept;
    void unhandled_exception() noexcept { failure_ = std::current_exception(); }
    void return_void() const noexcept {}
    void finish(std::coroutine_handle<> ended) noexcept { finish_with(ended, failure_); }
    void take() {
        if (failure_) std::rethrow_exception(std::move(failure_));
    }

private:
    std::exception_ptr failure_;
};

}  // namespace detail

/// A coroutine that starts when it is awaited (or given to a scope) and whose frame lives as long
/// as this object. Awaiting runs it on the same core, in the same cancel scope, and returns its
/// value or throws what it threw. A task is awaited once; one that is never started just goes away.
template <class T = void>
class [[nodiscard]] task {
public:
    using promise_type = detail::task_promise<T>;
    using value_type = T;

    task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            reset();
            frame_ = std::exchange(other.frame_, nullptr);
        }
        return *this;
    }
    ~task() { reset(); }

    class awaiter {
    public:
        awaiter(task&& t, cancel_scope* context) noexcept : task_(std::move(t)), context_(context) {}
        awaiter(const awaiter&) = delete;
        awaiter& operator=(const awaiter&) = delete;

        [[nodiscard]] bool await_ready() const noexcept {
            RINGLET_CHECK(task_.frame_, "a task was awaited that is empty: awaited or moved before");
            return false;
        }
        template <ringlet_promise Promise>
        void await_suspend(std::coroutine_handle<Promise> waiter) noexcept {
            cancel_scope& context = context_ ? *context_ : waiter.promise().context();
            task_.frame_.promise().adopt(waiter, context);
            here().run_next(task_.frame_);
        }
        T await_resume() {
            // The frame ends with this expression, not with the enclosing block.
            task ended(std::move(task_));
            return ended.frame_.promise().take();
        }

    private:
        task task_;
        cancel_scope* context_;
    };

    [[nodiscard]] awaiter operator co_await() && noexcept {
        return awaiter(std::move(*this), nullptr);
    }
    /// Awaits the task with another cancel scope than the waiter's; for combinators.
    [[nodiscard]] awaiter in(cancel_scope& context) && noexcept {
        return awaiter(std::move(*this), &context);
    }

    /// Gives the frame up to a scope or a loop, which starts it and destroys it at its end.
    [[nodiscard]] std::coroutine_handle<promise_type> release() && noexcept {
        RINGLET_CHECK(frame_, "a task was started that is empty: awaited, started or moved before");
        return std::exchange(frame_, nullptr);
    }

private:
    friend promise_type;
    explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    void reset() noexcept {
        if (frame_) std::exchange(frame_, nullptr).destroy();
    }

    std::coroutine_handle<promise_type> frame_;
};

template <class T>
task<T> detail::task_promise<T>::get_return_object() noexcept {
    return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> detail::task_promise<void>::get_return_object() noexcept {
    return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

namespace detail {
template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;
}  // namespace detail

}  // namespace ringlet
