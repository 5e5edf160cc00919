// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/coro/awaitable.hpp>
#include <ringlet/coro/cancel.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/coro/task.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace ringlet {

namespace detail {
template <class F, class... Args>
concept starts_task = std::is_same_v<std::invoke_result_t<F&, Args...>, task<void>>;

// g++ before 13 copies a closure made inside a co_await expression bit by bit and destroys it twice
// (GCC PR 99576 and its family); a trivially copyable one survives that.
template <class F>
inline constexpr bool safe_temporary =
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
    std::is_lvalue_reference_v<F> || std::is_trivially_copyable_v<std::remove_cvref_t<F>>;
#else
    true;
#endif
}  // namespace detail

/// Where tasks are started and where all of them end: leaving a with_scope() block waits for its
/// children. An exception from a child cancels its siblings and the body and is rethrown there.
/// One core, one thread.
class scope final : private task_owner {
public:
    explicit scope(cancel_scope& parent) noexcept : cancel_(parent) {}
    ~scope() { RINGLET_CHECK(running_ == 0, "a scope was left while its children ran"); }
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;

    /// Starts a child. It runs for the first time after the caller has suspended.
    void start(task<void> child) noexcept {
        auto frame = std::move(child).release();
        promise_base& promise = frame.promise();
        promise.adopt(*this, cancel_);
        promise.node.waiter = frame;
        ++running_;
        here().make_ready(promise.node);
    }
    /// Starts `callable(args...)`; both are kept alive by the child, so a lambda with captures is
    /// safe here.
    template <class F, class... Args>
        requires detail::starts_task<F, Args...>
    void start(F callable, Args... args) {
        start(keep(std::move(callable), std::move(args)...));
    }

    /// Calls `starter`, which starts children; what it throws (no memory for a frame) fails the
    /// scope like a child's exception, so that those already started are still waited for.
    template <class Starter>
    void start_all(Starter starter) noexcept {
        try {
            starter();
        } catch (...) {
            fail(std::current_exception());
        }
    }

    /// Asks every child, and the body, to end; does not wait.
    void cancel() noexcept { cancel_.cancel(); }
    [[nodiscard]] bool cancelled() const noexcept { return cancel_.cancelled(); }
    /// Children that have not ended.
    [[nodiscard]] std::size_t size() const noexcept { return running_; }

    [[nodiscard]] cancel_scope& context() noexcept { return cancel_; }

    /// Waits until no child is left. Cannot be cancelled itself: cancelling the scope's parent
    /// cancels the children, and then this ends. One waiter at a time.
    class join_awaiter {
    public:
        explicit join_awaiter(scope& s) noexcept : scope_(s) {}
        join_awaiter(const join_awaiter&) = delete;
        join_awaiter& operator=(const join_awaiter&) = delete;
        [[nodiscard]] bool await_ready() const noexcept { return scope_.running_ == 0; }
        template <ringlet_promise Promise>
        void await_suspend(std::coroutine_handle<Promise> waiter) noexcept {
            RINGLET_CHECK(scope_.joiner_ == nullptr, "a scope was joined twice at once");
            node_.waiter = waiter;
            scope_.joiner_ = &node_;
        }
        void await_resume() const noexcept {}

    private:
        scope& scope_;
        ready_node node_;
    };
    [[nodiscard]] join_awaiter join() noexcept { return join_awaiter(*this); }

    [[nodiscard]] bool failed() const noexcept { return failure_ != nullptr; }
    /// The first failure of a child, taken; null when there was none.
    [[nodiscard]] std::exception_ptr take_failure() noexcept {
        return std::exchange(failure_, nullptr);
    }
    /// Notes a failure (the first one stays) and cancels everything.
    void fail(std::exception_ptr failure) noexcept {
        if (!failure_) failure_ = std::move(failure);
        cancel();
    }

private:
    template <class F, class... Args>
    static task<void> keep(F callable, Args... args) {
        auto child = callable(std::move(args)...);
        co_await std::move(child);
    }

    void child_ended(std::exception_ptr failure) noexcept override {
        if (failure) fail(std::move(failure));
        if (--running_ == 0 && joiner_ != nullptr)
            here().make_ready(*std::exchange(joiner_, nullptr));
    }

    cancel_scope cancel_;
    std::size_t running_ = 0;
    ready_node* joiner_ = nullptr;
    std::exception_ptr failure_;
};

namespace detail {
/// The running coroutine's cancel scope.
struct context_awaiter {
    context_awaiter() noexcept = default;
    context_awaiter(const context_awaiter&) = delete;
    context_awaiter& operator=(const context_awaiter&) = delete;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> waiter) noexcept {
        context = &waiter.promise().context();
        return false;
    }
    [[nodiscard]] cancel_scope& await_resume() const noexcept { return *context; }
    cancel_scope* context = nullptr;
};

template <class Body>  // an lvalue reference for a named callable, else the callable itself
auto run_in_scope(Body body) -> std::invoke_result_t<Body&, scope&> {
    using T = typename std::invoke_result_t<Body&, scope&>::value_type;
    scope children(co_await context_awaiter());
    std::optional<stored<T>> value;
    try {
        auto main = body(children);
        if constexpr (std::is_void_v<T>) {
            co_await std::move(main).in(children.context());
        } else {
            value.emplace(co_await std::move(main).in(children.context()));
        }
    } catch (...) {
        children.fail(std::current_exception());
    }
    // Again: what a child's arguments destroy at its end may start another.
    while (children.size() > 0) co_await children.join();
    if (auto failure = children.take_failure()) std::rethrow_exception(std::move(failure));
    if constexpr (!std::is_void_v<T>) co_return std::move(*value);
}
}  // namespace detail

/// Runs `body(scope&)`, a task, and waits for every child it started; then gives the body's value,
/// or throws the first exception of body or children. What children refer to is declared before
/// with_scope(): the body's own variables go when the body returns, and the children are waited for
/// after that. To let children outlive the body's interest, call scope::cancel() in it.
///
///     co_await ringlet::with_scope([&](ringlet::scope& sessions) -> ringlet::task<> {
///         while (auto peer = co_await door.next()) sessions.start(echo(std::move(*peer)));
///     });
template <class Body>
[[nodiscard]] auto with_scope(Body&& body) {
    static_assert(detail::is_task<std::invoke_result_t<Body&, scope&>>,
                  "with_scope() takes a callable that returns a task: [&](scope&) -> task<>");
    static_assert(detail::safe_temporary<Body>,
                  "g++ 12 destroys the captures of this closure twice: give the lambda a name and "
                  "pass the name, or capture by reference");
    return detail::run_in_scope<Body>(std::forward<Body>(body));
}

}  // namespace ringlet
