// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/splice.hpp>

#include <core/pipe_pool.hpp>
#include <io/recv_many.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <fcntl.h>
#include <poll.h>

#include <cerrno>
#include <utility>

namespace ringlet {

namespace {

bool by_ring(core& c) noexcept {
    return c.ring() != nullptr && c.pipes().options().path == splice_path::ring;
}
/// A worker has been interrupted (the kernel's ERESTARTSYS has no name for programs); nothing moved.
bool interrupted(int answer) noexcept {
    return answer == -EINTR || answer == -512;
}
void prepare_splice(io_uring_sqe& sqe, int from, int to, std::size_t most) noexcept {
    io_uring_prep_splice(&sqe, from, -1, to, -1, static_cast<unsigned>(capped(most)),
                         SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

}  // namespace

// ---- into a pipe ------------------------------------------------------------------------------

int splice_to_op::get_ready(core& c) noexcept {
    RINGLET_CHECK(pipe_->empty(), "splice_to() into a pipe that is not empty: splice_from() first");
    descriptor_->must_be_free(seat);
    return open_to_calls(c, *descriptor_);
}

bool splice_to_op::start(core& c, cancel_scope& context) noexcept {
    descriptor& d = *descriptor_;
    answer = get_ready(c);
    if (answer < 0 || most_ == 0) [[unlikely]] return answered_at_once(c);
    if (many::at_rest(d.many)) [[likely]] return start_at_rest(c, context);
    many::pause(c, d);
    // Asking for its end may have taken its last answer: nothing would end a wait for that.
    if (many::at_rest(d.many)) return start_at_rest(c, context);
    if (many::has_answer(d.many)) {
        answer = attempt();
        return answered_at_once(c);
    }
    return wait(c, context, phase::parked);
}

bool splice_to_op::start_at_rest(core& c, cancel_scope& context) noexcept {
    if (!by_ring(c)) [[likely]] return operation::start(c, context);
    wait(c, context, phase::ring);
    detail::kind_of<splice_to_op>::submit(c, *this);
    return true;
}

/// A splice that has to wait would hold a worker and a pipe: so only what is there is spliced.
void splice_to_op::prepare(io_uring_sqe& sqe) noexcept {
    splicing_ = std::exchange(ready_, false);
    if (splicing_) [[unlikely]] {
        prepare_splice(sqe, descriptor_->fd, pipe_->write_, most_);
    } else {
        pipe_->reset();
        io_uring_prep_poll_add(&sqe, descriptor_->fd, POLLIN);
    }
}

int splice_to_op::attempt() noexcept {
    core& c = here();
    descriptor& d = *descriptor_;
    if (!many::at_rest(d.many)) [[unlikely]] {
        if (!many::has_answer(d.many)) c.look();  // a stop asks what there is
        if (d.many.first != multishot_recv::none) return -EBUSY;
        if (d.many.end != multishot_recv::open) return many::take_end(d.many);
        if (d.many.armed) return -EAGAIN;
    }
    if (!d.readable) return -EAGAIN;
    if (!*pipe_)
        if (const int error = pipe_->take(); error < 0) return error;
    // A short one may mean that the pipe is full as well as that the socket is empty.
    return received(c, sys::splice(d.fd, pipe_->write_, capped(most_)));
}

int splice_to_op::received(core& c, int moved) noexcept {
    if (moved > 0) [[likely]] {
        pipe_->size_ = static_cast<std::size_t>(moved);
        ++c.counters().splices;
        return moved;
    }
    if (at_mark(moved)) [[unlikely]] moved = -EBUSY;
    if (moved == -EAGAIN) descriptor_->readable = false;
    pipe_->reset();
    return moved;
}

/// splice(2) stops before an urgent byte and says EAGAIN, or 0 when the peer has ended its stream: so
/// it is not the end, and no edge would come; poll(2) in the ring says that there is something. Asked
/// only when that may be: EAGAIN is the usual answer to a first try. At a stop the first try is the
/// last, and nothing tells.
bool splice_to_op::at_mark(int moved) const noexcept {
    core& c = here();
    const descriptor& d = *descriptor_;
    const bool told =
        c.stop_requested() || (c.ring() != nullptr ? at != phase::idle : !d.trust_short);
    return (moved == 0 || (moved == -EAGAIN && told)) && sys::at_urgent_mark(d.fd);
}

int splice_to_op::advance(int answer) noexcept {
    core& c = here();
    if (!by_ring(c)) [[likely]] return attempt();
    if (splicing_) return received(c, answer);
    if (!*pipe_)
        if (const int error = pipe_->take(); error < 0) return error;
    ready_ = true;
    return -EAGAIN;
}

bool splice_to_op::more(int& answer, unsigned) noexcept {
    if (!splicing_) [[likely]] return false;
    if (answer == -EAGAIN && at_mark(answer)) answer = -EBUSY;
    if (!interrupted(answer) || ending != 0) [[likely]] return false;
    ready_ = true;
    detail::kind_of<splice_to_op>::submit(here(), *this);
    return true;
}

// ---- out of a pipe ----------------------------------------------------------------------------

int splice_from_op::get_ready(core& c) noexcept {
    RINGLET_CHECK(!pipe_->empty(), "splice_from() a pipe that has nothing in it");
    c.hold_sigpipe();  // splice(2) has no MSG_NOSIGNAL
    return open_to_calls(c, *descriptor_);
}

bool splice_from_op::start(core& c, cancel_scope& context) noexcept {
    if (answer = get_ready(c); answer < 0) return answered_at_once(c);
    if (!by_ring(c)) [[likely]] return operation::start(c, context);
    descriptor_->must_be_free(seat);
    ready_ = true;
    wait(c, context, phase::ring);
    detail::kind_of<splice_from_op>::submit(c, *this);
    return true;
}

void splice_from_op::prepare(io_uring_sqe& sqe) noexcept {
    splicing_ = std::exchange(ready_, false);
    if (splicing_) [[unlikely]] {
        prepare_splice(sqe, pipe_->read_, descriptor_->fd, pipe_->size_);
    } else {
        io_uring_prep_poll_add(&sqe, descriptor_->fd, POLLOUT);
    }
}

int splice_from_op::attempt() noexcept {
    descriptor& d = *descriptor_;
    if (!d.writable) return -EAGAIN;
    return sent(here(), sys::splice(pipe_->read_, d.fd, pipe_->size_));
}

int splice_from_op::sent(core& c, int moved) noexcept {
    if (moved > 0) [[likely]] {
        pipe_->size_ -= static_cast<std::size_t>(moved);
        ++c.counters().splices;
        c.counters().spliced_bytes += static_cast<std::uint64_t>(moved);
        return moved;
    }
    if (moved == -EAGAIN) descriptor_->writable = false;
    return moved == 0 ? -EIO : moved;  // 0 would mean that the pipe is empty, which it is not
}

int splice_from_op::advance(int answer) noexcept {
    core& c = here();
    if (!by_ring(c)) [[likely]] return attempt();
    if (splicing_) return sent(c, answer);
    ready_ = true;
    return -EAGAIN;
}

bool splice_from_op::more(int answer, unsigned) noexcept {
    if (!splicing_ || !interrupted(answer) || ending != 0) [[likely]] return false;
    ready_ = true;
    detail::kind_of<splice_from_op>::submit(here(), *this);
    return true;
}

template class operation<splice_to_op, side::read>;
template class operation<splice_from_op, side::write>;

}  // namespace ringlet
