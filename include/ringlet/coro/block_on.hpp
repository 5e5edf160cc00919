// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/check.hpp>
#include <ringlet/coro/awaitable.hpp>
#include <ringlet/coro/scope.hpp>

#include <optional>
#include <utility>

namespace ringlet {

/// The root of a core's tasks: one task, run to its end by a loop. `cancel()` may be called from a
/// message or a timer on the core's thread.
class root_task final : private task_owner {
public:
    root_task() noexcept = default;
    ~root_task() { RINGLET_CHECK(ended_, "a root task was left while it ran: finish() it"); }
    root_task(const root_task&) = delete;
    root_task& operator=(const root_task&) = delete;

    /// Lets `work` run as soon as the core's loop turns.
    void start(core& c, task<void> work) noexcept {
        auto frame = std::move(work).release();
        promise_base& promise = frame.promise();
        promise.adopt(*this, cancel_);
        promise.node.waiter = frame;
        c.make_ready(promise.node);
        ended_ = false;
    }
    /// Turns the loop until it has ended, and rethrows what it threw.
    void finish(core& c) {
        c.run_until(ended_);
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }
    void cancel() noexcept { cancel_.cancel(); }
    [[nodiscard]] bool ended() const noexcept { return ended_; }

private:
    void child_ended(std::exception_ptr failure) noexcept override {
        failure_ = std::move(failure);
        ended_ = true;
    }
    cancel_scope cancel_;
    std::exception_ptr failure_;
    bool ended_ = true;
};

/// Runs a task on a core made by hand (tests, tools) and gives its value. Servers use run(). From
/// within a task of the same core it is a misuse that aborts: co_await instead.
template <class T>
T block_on(core& c, task<T> work) {
    std::optional<detail::stored<T>> value;
    root_task root;
    root.start(c, detail::store(std::move(work), value));
    root.finish(c);
    if constexpr (!std::is_void_v<T>) return std::move(*value);
}

}  // namespace ringlet
