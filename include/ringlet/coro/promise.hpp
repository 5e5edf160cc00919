// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/core.hpp>
#include <ringlet/coro/cancel.hpp>
#include <ringlet/base/frame.hpp>

#include <concepts>
#include <coroutine>
#include <exception>

namespace ringlet {

/// Who is told when a task that nobody awaits has ended: a scope, or the loop for its root task.
class task_owner {
public:
    /// Runs in the ended task's last moment; its frame is destroyed right after.
    virtual void child_ended(std::exception_ptr failure) noexcept = 0;

protected:
    ~task_owner() = default;
};

/// What every ringlet coroutine has: a place in the ready queue, who goes on when it ends, and the
/// scope that can cancel what it waits for.
class promise_base {
public:
    static void* operator new(std::size_t size) { return frame::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        frame::release(memory, size);
    }

#if defined(__GNUC__) && !defined(__clang__)
    // g++ 12 (newer ones were not tried) puts the promise where no handle finds it in a coroutine that
    // has no local variable and awaits in the condition of an if or while: it would never run its
    // first line.
    promise_base() noexcept { last_made_ = this; }
    struct initial_awaiter {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> made) const noexcept {
            RINGLET_CHECK(&made.promise() == last_made_,
                          "g++ has miscompiled this coroutine: it has no local variable and "
                          "awaits in the condition of an if or while. Name the result first: "
                          "`const auto sent = co_await ...; if (!sent) ...`");
        }
        void await_resume() const noexcept {}
    };
    [[nodiscard]] initial_awaiter initial_suspend() const noexcept { return {}; }
#else
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
#endif

    struct final_awaiter {
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
            ended.promise().finish(ended);
        }
        void await_resume() const noexcept {}
    };
    [[nodiscard]] final_awaiter final_suspend() const noexcept { return {}; }

    [[nodiscard]] cancel_scope& context() const noexcept { return *context_; }

    /// The task was awaited: `continuation` goes on when it ends.
    void adopt(std::coroutine_handle<> continuation, cancel_scope& context) noexcept {
        node.waiter = continuation;
        context_ = &context;
    }
    /// The task was started: `owner` hears of its end, and the frame is the loop's to destroy.
    void adopt(task_owner& owner, cancel_scope& context) noexcept {
        owner_ = &owner;
        context_ = &context;
    }

    ready_node node;  ///< until the end the continuation, or the task itself before its first run

protected:
    void finish_with(std::coroutine_handle<> ended, std::exception_ptr failure) noexcept {
        core& c = here();
        if (owner_ == nullptr) {
            c.run_next(node.waiter);
            return;
        }
        c.bury(ended);
        owner_->child_ended(std::move(failure));
    }

private:
#if defined(__GNUC__) && !defined(__clang__)
    static inline thread_local constinit const promise_base* last_made_ = nullptr;
#endif
    cancel_scope* context_ = nullptr;
    task_owner* owner_ = nullptr;
};

/// A coroutine that ringlet's awaitables may suspend.
template <class Promise>
concept ringlet_promise = std::derived_from<Promise, promise_base>;

}  // namespace ringlet
