// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/splice.hpp>

#include <io/recv_many.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <poll.h>

#include <cerrno>

namespace ringlet {

bool splice_to_op::start(core& c, cancel_scope& context) noexcept {
    RINGLET_CHECK(pipe_->empty(), "splice_to() into a pipe that is not empty: splice_from() first");
    descriptor& d = *descriptor_;
    d.must_be_free(seat);
    if (answer = open_to_calls(c, d); answer < 0) return answered_at_once(c);
    if (many::at_rest(d.many)) [[likely]]
        return operation::start(c, context);
    many::pause(c, d);
    if (many::has_answer(d.many)) {
        answer = attempt();
        return answered_at_once(c);
    }
    return wait(c, context, phase::parked);
}

void splice_to_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_poll_add(&sqe, descriptor_->fd, POLLIN);
}

int splice_to_op::attempt() noexcept {
    core& c = here();
    descriptor& d = *descriptor_;
    if (!many::at_rest(d.many)) [[unlikely]] {
        if (d.many.first != multishot_recv::none) return -EBUSY;
        return d.many.end != multishot_recv::open ? d.many.end : -EAGAIN;
    }
    if (!d.readable) return -EAGAIN;
    if (!*pipe_)
        if (const int error = pipe_->take(); error < 0) return error;
    // A short one may mean that the pipe is full as well as that the socket is empty.
    const int moved = sys::splice(d.fd, pipe_->write_, capped(most_));
    if (moved > 0) [[likely]] {
        pipe_->size_ = static_cast<std::size_t>(moved);
        ++c.counters().splices;
        c.counters().spliced_bytes += static_cast<std::uint64_t>(moved);
        return moved;
    }
    if (moved == -EAGAIN) d.readable = false;
    pipe_->reset();
    return moved;
}

bool splice_from_op::start(core& c, cancel_scope& context) noexcept {
    RINGLET_CHECK(!pipe_->empty(), "splice_from() a pipe that has nothing in it");
    c.hold_sigpipe();  // splice(2) has no MSG_NOSIGNAL
    if (answer = open_to_calls(c, *descriptor_); answer < 0) return answered_at_once(c);
    return operation::start(c, context);
}

void splice_from_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_poll_add(&sqe, descriptor_->fd, POLLOUT);
}

int splice_from_op::attempt() noexcept {
    descriptor& d = *descriptor_;
    if (!d.writable) return -EAGAIN;
    const int moved = sys::splice(pipe_->read_, d.fd, pipe_->size_);
    if (moved > 0) [[likely]] {
        pipe_->size_ -= static_cast<std::size_t>(moved);
        ++here().counters().splices;
        return moved;
    }
    if (moved == -EAGAIN) d.writable = false;
    return moved == 0 ? -EIO : moved;  // 0 would mean that the pipe is empty, which it is not
}

template class operation<splice_to_op, side::read>;
template class operation<splice_from_op, side::write>;

}  // namespace ringlet
