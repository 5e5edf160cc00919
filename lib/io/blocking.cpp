// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/blocking.hpp>

#include <ringlet/coro/parked.hpp>

namespace ringlet::detail {

const completion_kind blocking_wait::kind_{.cancel = cancel};

bool blocking_wait::start(cancel_scope& context) noexcept {
    ending = 0;  // nothing of a wait before is left
    answer = 0;
    if (context.cancelled()) {
        answer = context.refusal();
        return answered_at_once(*this, waiter);
    }
    job_.waiter = waiter;
    job_.owner = this;
    if (const int error = here().start_blocking(job_); error != 0) {
        answer = error;
        return answered_at_once(*this, waiter);
    }
    at = phase::parked;
    context.link(*this);
    return true;
}

void blocking_wait::cancel(core& c, completion& waiting) noexcept {
    if (c.withdraw_blocking(static_cast<blocking_wait&>(waiting).job_))
        c.answer(waiting, answer::own_base - waiting.ending);
}

void blocking_wait::leave() noexcept {
    if (at != phase::parked) return;
    at = phase::ready;
    unlink_if_linked();
    here().came_back();
}

}  // namespace ringlet::detail
