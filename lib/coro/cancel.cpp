// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/coro/cancel.hpp>

#include <ringlet/coro/parked.hpp>

namespace ringlet {

namespace {
void answer_parked(core& c, completion& waiting) noexcept {
    c.answer(waiting, answer::own_base - waiting.ending);
}
}  // namespace

const completion_kind detail::parked_kind{.cancel = answer_parked};

void cancel_scope::cancel(errc reason) noexcept {
    if (reason_ != 0) return;  // and so is everything below, or it began cancelled
    reason_ = static_cast<int>(reason);
    // Asking may answer some of the others (a full submission queue is submitted and reaped on the
    // way), so what is left to ask is a list of its own, which they can leave.
    link_list to_ask;
    to_ask.take(waits_);
    while (!to_ask.empty()) {
        auto& waiting = static_cast<completion&>(to_ask.pop_front());
        waits_.push_back(waiting);
        here().request_end(waiting, reason);
    }
    for (ringlet::link* child = children_.front(); child != children_.end(); child = child->next)
        static_cast<sibling_link&>(*child).scope->cancel(reason);
}

}  // namespace ringlet
