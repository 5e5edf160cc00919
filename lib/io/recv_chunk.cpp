// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/recv_chunk.hpp>

#include <core/buffer_pool.hpp>
#include <io/recv_many.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <poll.h>

namespace ringlet {

void chunk::give_back() noexcept {
    here().buffers().give_back(buffer_);
    data_ = nullptr;
    size_ = 0;
}

bool recv_chunk_op::start(core& c, cancel_scope& context) noexcept {
    descriptor& d = *descriptor_;
    if (const int error = c.buffers().open(); error != 0) {
        answer = error;
        return answered_at_once(c);
    }
    if (many::has_answer(d.many)) {
        d.must_be_free(seat);
        answer = attempt();
        return answered_at_once(c);
    }
    if (!d.many.armed && !many::wanted(c, d)) return operation::start(c, context);
    // Armed all the time: most waits cost no submission, and cancelling one costs nothing.
    wait(c, context, phase::parked);
    if (!d.many.armed && !d.starved.linked()) many::arm(c, d);
    return true;
}

void recv_chunk_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_poll_add(&sqe, descriptor_->fd, POLLIN);
}

int recv_chunk_op::advance(int) noexcept { return attempt(); }

int recv_chunk_op::attempt() noexcept {
    descriptor& d = *descriptor_;
    core& c = here();
    multishot_recv& m = d.many;
    if (m.armed && !many::has_answer(m)) c.look();  // only when a stop asks what there is
    if (m.first != multishot_recv::none) {
        const many::piece oldest = many::take_first(c, m);
        deliver(oldest.data, oldest.buffer);
        return static_cast<int>(oldest.size);
    }
    if (m.end != multishot_recv::open) return m.end;
    if (m.armed || !d.readable) return -EAGAIN;
    buffer_pool& pool = c.buffers();
    const buffer_pool::room room = pool.take(d.bulk);
    if (room.data == nullptr) {
        pool.wait(d, buffer_pool::taker::hand, many::again);
        return -EAGAIN;
    }
    const int got = sys::recv(d.fd, room.data, room.size);
    if (got == -EAGAIN || (got > 0 && static_cast<std::uint32_t>(got) < room.size && d.trust_short))
        d.readable = false;
    if (got <= 0) {
        pool.give_back(room.id);
        return got;
    }
    many::learn(c, d, static_cast<std::uint32_t>(got));
    deliver(room.data, room.id);
    return got;
}

template class operation<recv_chunk_op>;

}  // namespace ringlet
