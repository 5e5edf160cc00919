// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/coro/scope.hpp>

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace ringlet {

namespace detail {

/// A wait for a call on the blocking pool, whatever the call.
class blocking_wait : public completion {
public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        waiter = handle;
        return start(handle.promise().context());
    }

protected:
    explicit blocking_wait(void (*call)(blocking_job&) noexcept) noexcept : completion(kind_) {
        job_.run = call;
    }
    ~blocking_wait() {
        RINGLET_DEBUG_CHECK(at != phase::parked,
                            "a wait for a blocking call was destroyed: the call may still write to "
                            "its caller's memory; end the task through its scope");
    }
    void leave() noexcept;

private:
    [[nodiscard]] bool start(cancel_scope& context) noexcept;
    static void cancel(core& c, completion& waiting) noexcept;
    static const completion_kind kind_;

    blocking_job job_;
};

template <class T>
using value_or_error = std::conditional_t<is_result<T>, T, result<T>>;

template <class F>  // an lvalue reference for a named callable, else the callable itself
class [[nodiscard]] blocking_op : public blocking_wait {
    using value_type = std::invoke_result_t<F&>;
    static_assert(!std::is_reference_v<value_type>,
                  "a blocking call gives a value: what a reference refers to may have gone");

public:
    explicit blocking_op(F&& function) noexcept
        : blocking_wait(call), function_(std::forward<F>(function)) {}
    blocking_op(blocking_op&& unstarted) noexcept
        : blocking_op(std::forward<F>(unstarted.function_)) {}

    value_or_error<value_type> await_resume() {
        leave();
        if (failure_) std::rethrow_exception(std::move(failure_));
        if (answer < 0) return answer::to_error(answer);
        if constexpr (std::is_void_v<value_type>) {
            return {};
        } else {
            return std::move(*value_);
        }
    }

private:
    /// On a worker thread.
    static void call(blocking_job& job) noexcept {
        auto& self = static_cast<blocking_op&>(*job.owner);
        try {
            if constexpr (std::is_void_v<value_type>) {
                self.function_();
            } else {
                self.value_.emplace(self.function_());
            }
        } catch (...) {
            self.failure_ = std::current_exception();
        }
    }

    using stored = std::conditional_t<std::is_void_v<value_type>, char, value_type>;
    F function_;
    std::optional<stored> value_;
    std::exception_ptr failure_;
};

}  // namespace detail

/// Calls a plain function that may block (a name look-up, a library without a loop) on one of a few
/// threads of the process, and resumes on this core with its value as a result<T>; a result<T> is
/// given as it is, and what it throws is thrown here:
///
///     auto answer = co_await blocking([&] { return ::getaddrinfo(host, port, &hints, &list); });
///     if (!answer || *answer != 0) co_return;  // not called; or called, and what it said
///
/// The function runs on another thread: what it touches must live until the wait ends and be
/// touched by nobody else, and it may use nothing of a core. One that has not begun when its scope
/// is cancelled, or its with_deadline() passes, is dropped with that error. One that runs is waited
/// for, however long it takes, since it may write to its caller's memory, and its value is kept; so
/// give it a time limit of its own where it has one. run() and the last core wait for it too.
/// Errors: errc::cancelled; errc::pool_full when blocking_options::queue calls are waiting.
template <class F>
[[nodiscard]] auto blocking(F&& function) {
    static_assert(std::is_invocable_v<F&>, "blocking() takes a callable without parameters");
    static_assert(detail::safe_temporary<F>,
                  "g++ 12 destroys the captures of this closure twice: give the lambda a name and "
                  "pass the name, or capture by reference");
    return detail::blocking_op<F>(std::forward<F>(function));
}

}  // namespace ringlet
