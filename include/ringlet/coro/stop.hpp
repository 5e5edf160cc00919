// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/coro/parked.hpp>
#include <ringlet/coro/promise.hpp>

#include <coroutine>
#include <utility>

namespace ringlet {

/// True once this core has been asked to stop: listeners have ended, and sessions should finish
/// what they have received. On a core's thread only. See run().
[[nodiscard]] inline bool stop_requested() noexcept { return here().stop_requested(); }

/// Ends when this core is asked to stop (a value), or with errc::cancelled.
class [[nodiscard]] stop_request : detail::parked_wait {
public:
    [[nodiscard]] stop_request() noexcept { extras = ends_at_stop; }
    stop_request(stop_request&&) noexcept : stop_request() {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        cancel_scope& context = handle.promise().context();
        if (refused(context) || stopped()) return detail::answered_at_once(*this, handle);
        park(context, handle);
        return true;
    }
    result<void> await_resume() noexcept {
        leave();
        if (answer == answer::stopping) return {};
        return answer::to_error(answer);
    }
};

}  // namespace ringlet
