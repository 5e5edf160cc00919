// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/recv_chunk.hpp>

#include <core/buffer_pool.hpp>
#include <io/recv_many.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>

#include <poll.h>

#include <algorithm>

namespace ringlet {

void chunk::give_back() noexcept {
    buffer_pool& pool = here().buffers();
    pool.must_be_ours(data_);
    pool.give_back(buffer_);
    data_ = nullptr;
    size_ = 0;
}

namespace {
/// What a stream of large messages may do in one go before the others have their turn: a chunk more
/// received and sent on. With none, 16 x 64 KiB x 16 costs 1.13 to 1.58 times C, with one 0.98 to 1.12.
constexpr unsigned one_chunk_more = 2;
}  // namespace

/// Armed all the time: most waits cost no submission, and cancelling one costs nothing. A stream of
/// large messages has taken all there was and asks the ring to tell of more.
inline recv_chunk_op::start_by recv_chunk_op::usual_start(core& c) const noexcept {
    descriptor& d = *descriptor_;
    if (limited() || many::has_answer(d.many)) return start_by::other;
    if (d.many.armed) return start_by::waiting;
    if (d.readable) return start_by::other;
    if (d.registered) return c.buffers().opened() ? start_by::waiting : start_by::other;
    const bool may_ask = d.bulk && !d.starved().linked() && c.ring() != nullptr;
    return may_ask && !c.ring()->full() ? start_by::submission : start_by::other;
}

bool recv_chunk_op::start(core& c, cancel_scope& context) noexcept {
    descriptor& d = *descriptor_;
    if (const int error = c.buffers().open(); error != 0) [[unlikely]] {
        answer = error;
        return answered_at_once(c);
    }
    if (many::has_answer(d.many)) [[unlikely]] {
        d.must_be_free(seat);
        answer = attempt_beside_multishot(c);
        return answered_at_once(c);
    }
    if (!d.many.armed && (limited() || !many::wanted(c, d))) {
        const bool filled_a_buffer = d.bulk && d.readable && !limited();
        const bool may_wait = c.ring() != nullptr || d.registered;
        return filled_a_buffer && may_wait && c.spent() > one_chunk_more
                   ? start_behind_others(c, context)
                   : operation::start(c, context);
    }
    wait(c, context, phase::parked);
    if (limited()) {
        many::pause(c, d);
    } else if (!d.many.armed && !d.starved().linked()) {
        many::arm(c, d);
    }
    return true;
}

/// There may be more where the last chunks came from. The others first, for their sake and its own:
/// what is received in a hurry comes in smaller pieces (a third more calls, 1.12 to 1.26 times the
/// CPU where 256 KiB are on their way per connection).
bool recv_chunk_op::start_behind_others(core& c, cancel_scope& context) noexcept {
    wait(c, context, phase::parked);
    if (c.ring() != nullptr) {
        detail::kind_of<recv_chunk_op>::wait_on(c, *this);
    } else {
        c.queue_attempt(*this);
    }
    return true;
}

void recv_chunk_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_poll_add(&sqe, descriptor_->fd, POLLIN);
}

int recv_chunk_op::advance(int) noexcept { return attempt(); }

/// The ring tells of data: not all who have some receive it now, but each in its turn, sends it on
/// and gives the buffer to the next, still in the cache.
bool recv_chunk_op::more(int ready, unsigned) noexcept {
    core& c = here();
    if (ready < 0 || ending != 0 || !c.make_room_for_edges()) return false;
    c.queue_attempt(*this);
    return true;
}

int recv_chunk_op::attempt() noexcept {
    if (!many::at_rest(descriptor_->many)) [[unlikely]] return attempt_beside_multishot(here());
    return descriptor_->readable ? attempt_by_hand(here()) : -EAGAIN;
}

int recv_chunk_op::attempt_beside_multishot(core& c) noexcept {
    multishot_recv& m = descriptor_->many;
    if (!many::has_answer(m)) c.look();  // a stop asks what there is
    if (m.first != multishot_recv::none) {
        const many::piece oldest = many::take_first(c, m);
        deliver(oldest.data, oldest.buffer);
        return static_cast<int>(oldest.size);
    }
    if (m.end != multishot_recv::open) return many::take_end(m);
    return m.armed ? -EAGAIN : attempt();
}

namespace {
[[gnu::noinline]] int nothing_came(buffer_pool& pool, descriptor& d, std::uint32_t buffer,
                                   int answer) noexcept {
    if (answer == -EAGAIN) d.readable = false;
    pool.give_back(buffer);
    return answer;
}
}  // namespace

int recv_chunk_op::attempt_by_hand(core& c) noexcept {
    descriptor& d = *descriptor_;
    buffer_pool& pool = c.buffers();
    const buffer_pool::room room = pool.take(d.bulk && most_ > pool.options().size);
    if (room.data == nullptr) [[unlikely]] {
        pool.wait(d, buffer_pool::taker::hand, many::again);
        return -EAGAIN;
    }
    const std::uint32_t wanted = std::min(room.size, most_);
    const int got = recv_now(d, room.data, wanted);
    if (got <= 0) [[unlikely]] return nothing_came(pool, d, room.id, got);
    // After a short read the socket was empty; see recv_op.
    if (static_cast<std::uint32_t>(got) < wanted && d.trust_short) d.readable = false;
    many::learn(c, d, static_cast<std::uint32_t>(got));
    deliver(room.data, room.id);
    return got;
}

template class operation<recv_chunk_op, side::read>;

}  // namespace ringlet
