// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/coro/sleep.hpp>

namespace ringlet {

/// True once this core has been asked to stop: listeners have ended, and sessions should finish
/// what they have received. See run().
[[nodiscard]] inline bool stop_requested() noexcept { return here().stop_requested(); }

/// Ends when this core is asked to stop (a value), or with errc::cancelled.
class [[nodiscard]] stop_request : completion {
public:
    [[nodiscard]] stop_request() noexcept : completion(detail::parked_kind), node_(*this) {}
    stop_request(stop_request&&) noexcept : stop_request() {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        cancel_scope& context = handle.promise().context();
        core& c = here();
        if (context.cancelled() || c.stop_requested()) {
            answer = context.cancelled() ? context.refusal() : answer::stopping;
            return false;
        }
        waiter = handle;
        at = phase::parked;
        context.link(*this);
        c.stop_waiters().push_back(node_);
        return true;
    }
    result<void> await_resume() noexcept {
        node_.unlink_if_linked();
        if (answer == answer::stopping) return {};
        return answer::to_error(answer);
    }

private:
    stop_node node_;
};

}  // namespace ringlet
