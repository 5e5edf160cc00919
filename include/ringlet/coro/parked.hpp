// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/coro/cancel.hpp>

#include <coroutine>

namespace ringlet::detail {

extern const completion_kind parked_kind;  // not the kernel's: cancelling answers at once

/// The end of a start that found an answer, or was refused. False: do not suspend. A loop that goes
/// on whatever it is told must not keep the others from running.
[[nodiscard]] inline bool answered_at_once(completion& c, std::coroutine_handle<> handle) noexcept {
    if (here().spend()) return false;
    c.waiter = handle;
    c.at = completion::phase::ready;
    here().make_ready_later(c);
    return true;
}

/// A wait for what is not the kernel's: a point in time, a permit, a signal, a stop.
class parked_wait : public completion {
protected:
    parked_wait() noexcept : completion(parked_kind), stop_(*this) {}
    parked_wait(parked_wait&& unstarted) noexcept : parked_wait() { extras = unstarted.extras; }

    /// Whether it may not begin; `answer` then says why. Each wait begins with this: nothing of one
    /// that was awaited before is left.
    [[nodiscard]] bool refused(const cancel_scope& context) noexcept {
        ending = 0;
        answer = context.cancelled() ? context.refusal() : 0;
        return context.cancelled();
    }
    [[nodiscard]] bool stopped() noexcept {
        if ((extras & ends_at_stop) == 0 || !here().stop_requested()) return false;
        answer = answer::stopping;
        return true;
    }
    void park(cancel_scope& context, std::coroutine_handle<> handle) noexcept {
        waiter = handle;
        at = phase::parked;
        context.link(*this);
        if ((extras & ends_at_stop) != 0) here().stop_waiters().push_back(stop_);
    }
    /// After the answer, whatever it is.
    void leave() noexcept { stop_.unlink_if_linked(); }

private:
    stop_node stop_;
};

/// One of them that may be ended by a stop of the program.
template <class Op>
class stoppable_wait : public parked_wait {
public:
    /// The same, ended by a stop of the program with errc::stopping when it would have to wait.
    [[nodiscard]] Op&& or_stop() && noexcept {
        extras |= ends_at_stop;
        return static_cast<Op&&>(*this);
    }

protected:
    stoppable_wait() noexcept = default;
    stoppable_wait(stoppable_wait&&) noexcept = default;
};

}  // namespace ringlet::detail
