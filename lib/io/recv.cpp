// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/recv.hpp>

#include <io/recv_many.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>

namespace ringlet {

void recv_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_recv(&sqe, descriptor_->fd, room_, capped(size_), 0);
}

inline recv_op::start_by recv_op::usual_start(core& c) const noexcept {
    const descriptor& d = *descriptor_;
    if (d.bulk || !many::at_rest(d.many)) return start_by::other;
    if (c.ring() != nullptr) return c.ring()->full() ? start_by::other : start_by::submission;
    return d.registered && !d.readable ? start_by::waiting : start_by::other;
}

bool recv_op::start(core& c, cancel_scope& context) noexcept {
    descriptor& d = *descriptor_;
    if (many::at_rest(d.many)) [[likely]]
        return operation::start(c, context);
    d.must_be_free(seat);
    if (many::has_answer(d.many)) {
        answer = attempt_beside_chunks(c);
        return answered_at_once(c);
    }
    // Seated first: asking for its end may take its last answer, which lets this one go on.
    wait(c, context, phase::parked);
    many::pause(c, d);
    return true;
}

/// The stream has been read by chunks(): what the ring has received for it comes first.
int recv_op::attempt_beside_chunks(core& c) noexcept {
    multishot_recv& m = descriptor_->many;
    if (!many::has_answer(m)) c.look();
    if (m.first != multishot_recv::none) return many::copy_first(c, m, room_, size_);
    if (m.end != multishot_recv::open) return many::take_end(m);
    return m.armed ? -EAGAIN : attempt();
}

int recv_op::attempt() noexcept {
    descriptor& d = *descriptor_;
    if (!many::at_rest(d.many)) [[unlikely]] return attempt_beside_chunks(here());
    if (!d.readable) return -EAGAIN;
    const int got = recv_now(d, room_, capped(size_));
    // After a short read the socket was empty; what comes later makes an edge, so the call that
    // would only say EAGAIN is saved.
    if (got == -EAGAIN) {
        d.readable = false;
    } else if (got > 0 && static_cast<std::size_t>(got) < size_ && d.trust_short) {
        d.readable = false;
    }
    return got;
}

template class operation<recv_op, side::read>;

}  // namespace ringlet
