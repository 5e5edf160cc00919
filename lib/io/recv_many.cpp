// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/recv_many.hpp>

#include <ringlet/io/recv.hpp>
#include <ringlet/io/recv_chunk.hpp>

#include <core/user_data.hpp>
#include <io/start.hpp>
#include <kernel/abi.hpp>
#include <kernel/fault.hpp>
#include <kernel/ring.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ringlet::many {

namespace {

using phase = completion::phase;
constexpr std::uint16_t none = multishot_recv::none;

constexpr std::uint8_t bulk_from = 8;
constexpr std::uint8_t highest_score = 15;

/// Who waits for what the ring receives; null when nobody does.
completion* waiter_of(descriptor& d) noexcept {
    completion* const reader = d.seat(side::read);
    return reader != nullptr && reader->at == phase::parked ? reader : nullptr;
}

bool takes_chunks(const completion& reader) noexcept {
    return reader.kind->attempt == detail::kind_of<recv_chunk_op>::attempt;
}
bool takes_bytes(const completion& reader) noexcept {
    return reader.kind->attempt == detail::kind_of<recv_op>::attempt;
}
/// True when this one is to be answered by multishot.
bool by_multishot(core& c, const descriptor& d, const completion& reader) noexcept {
    return takes_chunks(reader) && wanted(c, d) &&
           !static_cast<const recv_chunk_op&>(reader).limited();
}

void answer_waiter(core& c, completion& waiter, int value) noexcept {
    --c.in_flight;
    c.answer(waiter, value);
}

void append(buffer_pool& pool, multishot_recv& m, const piece& got) noexcept {
    const auto offset = static_cast<std::uint32_t>(got.data - pool.data(got.buffer));
    pool.of(got.buffer) = {.offset = offset, .size = got.size, .next = none};
    if (m.first == none) {
        m.first = static_cast<std::uint16_t>(got.buffer);
    } else {
        pool.of(m.last).next = static_cast<std::uint16_t>(got.buffer);
    }
    m.last = static_cast<std::uint16_t>(got.buffer);
    ++m.queued;
}

void pause_if_enough(core& c, descriptor& d) noexcept {
    const multishot_recv& m = d.many;
    if (!m.armed || m.pausing || m.queued < c.buffers().hold()) return;
    ++c.counters().pauses;
    pause(c, d);
}

void unqueue_first(buffer_pool& pool, multishot_recv& m) noexcept {
    m.first = pool.of(m.first).next;
    if (m.first == none) m.last = none;
    --m.queued;
}

inline void deliver(core& c, completion& waiter, piece got) noexcept {
    static_cast<recv_chunk_op&>(waiter).deliver(got.data, got.buffer);
    answer_waiter(c, waiter, static_cast<int>(got.size));
}

/// To whoever waits, from the queue.
void deliver_first(core& c, descriptor& d) noexcept {
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr) return;
    if (takes_chunks(*waiter)) return deliver(c, *waiter, take_first(c, d.many));
    if (!takes_bytes(*waiter)) return;  // a splice hears of it at the end
    auto& op = *static_cast<recv_op*>(waiter);
    answer_waiter(c, op, copy_first(c, d.many, op.room().data(), op.room().size()));
}

/// Nobody waits for it, or somebody who wants it in another form.
[[gnu::noinline]] void received_otherwise(core& c, descriptor& d, std::byte* data,
                                          std::uint32_t size, std::uint32_t buffer) noexcept {
    append(c.buffers(), d.many, {.data = data, .size = size, .buffer = buffer});
    pause_if_enough(c, d);
    deliver_first(c, d);
}

inline void received(core& c, descriptor& d, piece got) noexcept {
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr || !takes_chunks(*waiter)) [[unlikely]]
        return received_otherwise(c, d, got.data, got.size, got.buffer);
    deliver(c, *waiter, got);
}

/// The multishot receive is over and somebody waits: by another multishot, or by the operation's
/// own way.
void go_on(core& c, descriptor& d, completion& waiter, bool no_buffer) noexcept {
    if (by_multishot(c, d, waiter)) {
        if (no_buffer) {
            c.buffers().wait(d, buffer_pool::taker::ring, again);
        } else {
            arm(c, d);
        }
        return;
    }
    const int value = waiter.kind->attempt(waiter);
    if (value != -EAGAIN) {
        answer_waiter(c, waiter, value);
    } else if (!d.starved().linked()) {
        waiter.kind->submit(c, waiter);
    }
}

/// A missing F_MORE alone says that it is over: with EOF, an error, no buffer, a full completion
/// queue (io_uring_multishot.7).
[[gnu::noinline]] void ended(core& c, descriptor& d, int result) noexcept {
    multishot_recv& m = d.many;
    m.armed = m.pausing = false;
    --c.in_flight;
    if (m.retired) {
        c.descriptors().recycle(d);
        return;
    }
    const bool is_end = result == 0 || (result < 0 && result != -ECANCELED &&
                                        result != -ENOBUFS && result != -EINTR);
    if (is_end && m.end == multishot_recv::open) m.end = result;
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr) return;
    // Bytes that are still queued come before the end: who cannot take them in his form is told so.
    if (m.end != multishot_recv::open && m.first == none) {
        answer_waiter(c, *waiter, take_end(m));
    } else {
        go_on(c, d, *waiter, result == -ENOBUFS);
    }
}

/// The buffer that an answer names, with what has been received into it.
inline piece take_buffer(buffer_pool& pool, std::uint32_t buffer, std::uint32_t size) noexcept {
    return {.data = pool.taken_by_kernel(buffer, size), .size = size, .buffer = buffer};
}

[[gnu::noinline]] void answered_otherwise(core& c, descriptor& d, int result,
                                          std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        const auto size = static_cast<std::uint32_t>(std::max(result, 0));
        const piece got = take_buffer(c.buffers(), flags >> IORING_CQE_BUFFER_SHIFT, size);
        if (size > 0 && !d.many.retired) {
            received(c, d, got);
            // After that: it may submit, and reap what has come since.
            learn(c, d, size);
        } else {
            c.buffers().give_back(got.buffer);
        }
    }
    if ((flags & IORING_CQE_F_MORE) == 0) ended(c, d, result);
}

void answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept {
    constexpr std::uint32_t usual = IORING_CQE_F_BUFFER | IORING_CQE_F_MORE;
    auto& m = static_cast<multishot_recv&>(self);
    descriptor& d = *m.owner;
    const auto size = static_cast<std::uint32_t>(result);
    if ((flags & usual) != usual || result <= 0 || m.retired || teaches(d, size)) [[unlikely]]
        return answered_otherwise(c, d, result, flags);
    received(c, d, take_buffer(c.buffers(), flags >> IORING_CQE_BUFFER_SHIFT, size));
}

/// The answer names the first buffer only. All are queued before anything is submitted, which might
/// reap what has come after them.
void queue_bundle(core& c, descriptor& d, std::uint32_t buffer, std::uint32_t size) noexcept {
    buffer_pool& pool = c.buffers();
    for (std::uint32_t left = size; left > 0;) {
        const auto [most, next] = pool.part_of_bundle(buffer);
        const piece got = take_buffer(pool, buffer, std::min(left, most));
        if (d.many.retired) {
            pool.give_back(got.buffer);
        } else {
            append(pool, d.many, got);
        }
        left -= got.size;
        buffer = next;
    }
    if (d.many.retired) return;
    pause_if_enough(c, d);
    deliver_first(c, d);
    learn(c, d, size);
}

void bundle_answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept {
    const std::uint32_t buffer = flags >> IORING_CQE_BUFFER_SHIFT;
    const auto size = static_cast<std::uint32_t>(result);
    const bool several = (flags & IORING_CQE_F_BUFFER) != 0 && result > 0 &&
                         size > c.buffers().part_of_bundle(buffer).most;
    if (!several) return answered(c, self, result, flags);
    descriptor& d = *static_cast<multishot_recv&>(self).owner;
    queue_bundle(c, d, buffer, size);
    if ((flags & IORING_CQE_F_MORE) == 0) ended(c, d, result);
}

/// Bytes had to be skipped: the stream ends here, since nothing that comes later may follow them.
void lose(core& c, descriptor& d) noexcept {
    d.many.end = -ENOBUFS;
    pause(c, d);
}

void queue_slice(core& c, descriptor& d, std::uint32_t buffer, std::uint32_t size,
                 bool goes_on) noexcept {
    const buffer_pool::room room = c.buffers().slice_taken(buffer, size, goes_on);
    if (room.data == nullptr) return lose(c, d);
    if (d.many.retired || d.many.end != multishot_recv::open)
        return c.buffers().give_back(room.id);
    received(c, d, {.data = room.data, .size = size, .buffer = room.id});
    learn(c, d, size);
}

void slice_answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept {
    descriptor& d = *static_cast<multishot_recv&>(self).owner;
    if ((flags & IORING_CQE_F_BUFFER) != 0 && result > 0)
        queue_slice(c, d, flags >> IORING_CQE_BUFFER_SHIFT, static_cast<std::uint32_t>(result),
                    (flags & abi::cqe_buffer_more) != 0);
    if ((flags & IORING_CQE_F_MORE) == 0) ended(c, d, result);
}

/// The descriptor is being closed.
void retire(core& c, ring_target& self) noexcept {
    auto& m = static_cast<multishot_recv&>(self);
    drop_queue(c, m);
    if (!m.armed) return;
    // Cancelling may reap, and with that the last answer: then nothing of the record is the ring's.
    pause(c, *m.owner);
    drop_queue(c, m);
    m.retired = m.armed;
}

/// By buffer_pool::window_form.
constexpr completion_kind kinds[] = {{.answered = answered, .retire = retire},
                                     {.answered = bundle_answered, .retire = retire},
                                     {.answered = slice_answered, .retire = retire}};

}  // namespace

void arm(core& c, descriptor& d) noexcept {
    multishot_recv& m = d.many;
    const buffer_pool::window_form form = c.buffers().form();
    m.kind = &kinds[static_cast<unsigned>(form)];
    m.used = m.armed = true;
    m.pausing = false;
    ++c.in_flight;
    io_uring_sqe& sqe = c.ring()->take();
    io_uring_prep_recv_multishot(&sqe, d.fd, nullptr, 0, 0);
    sqe.flags |= IOSQE_BUFFER_SELECT | d.sqe_flags;
    // The kernel says ENOBUFS of a group that there is not (ENOENT if it is for a bundle).
    const bool without = kernel::fault::injected("receive_buffers") != 0;
    sqe.buf_group = without ? kernel::ring::buffer_group + 1 : kernel::ring::buffer_group;
    if (form == buffer_pool::window_form::bundles && !without) kernel::ring::set_bundle(sqe);
    kernel::ring::set_receive_limit(sqe, c.buffers().receive_limit());
    io_uring_sqe_set_data64(&sqe, user_data(m, kernel::tag::many));
}

void pause(core& c, descriptor& d) noexcept {
    multishot_recv& m = d.many;
    if (!m.armed || m.pausing) return;
    m.pausing = true;
    c.ring()->cancel(user_data(m, kernel::tag::many));
}

void drop_queue(core& c, multishot_recv& m) noexcept {
    buffer_pool& pool = c.buffers();
    while (m.first != none) {
        const std::uint32_t buffer = m.first;
        unqueue_first(pool, m);
        pool.give_back(buffer);
    }
}

int copy_queue(core& c, descriptor& to, core& other, descriptor& from) noexcept {
    if (!from.many.used) return 0;
    to.many.kind = &kinds[0];
    to.many.used = true;
    to.many.end = from.many.end;
    if (from.many.first == none) return 0;
    if (c.buffers().open() != 0) return -ENOBUFS;
    buffer_pool& old = other.buffers();
    for (std::uint32_t id = from.many.first; id != none; id = old.of(id).next) {
        const buffer_pool::segment& s = old.of(id);
        const buffer_pool::room room = c.buffers().take(false);
        if (room.data == nullptr || room.size < s.size) {
            if (room.data != nullptr) c.buffers().give_back(room.id);
            drop_queue(c, to.many);
            return -ENOBUFS;
        }
        std::memcpy(room.data, old.data(id) + s.offset, s.size);
        append(c.buffers(), to.many, {.data = room.data, .size = s.size, .buffer = room.id});
    }
    return 0;
}

piece take_first(core& c, multishot_recv& m) noexcept {
    buffer_pool& pool = c.buffers();
    const std::uint32_t buffer = m.first;
    const buffer_pool::segment& s = pool.of(buffer);
    const piece taken{.data = pool.data(buffer) + s.offset, .size = s.size, .buffer = buffer};
    unqueue_first(pool, m);
    return taken;
}

int copy_first(core& c, multishot_recv& m, std::byte* room, std::size_t size) noexcept {
    buffer_pool& pool = c.buffers();
    const std::uint32_t buffer = m.first;
    buffer_pool::segment& s = pool.of(buffer);
    const auto copied = static_cast<std::uint32_t>(std::min<std::size_t>(size, s.size));
    if (copied > 0) std::memcpy(room, pool.data(buffer) + s.offset, copied);
    s.offset += copied;
    s.size -= copied;
    if (s.size == 0) {
        unqueue_first(pool, m);
        pool.give_back(buffer);
    }
    return static_cast<int>(copied);
}

void learn_of_large_ones(core& c, descriptor& d, std::uint32_t size) noexcept {
    if (size < large_message) {
        if (--d.bulk_score == 0) d.bulk = false;
        return;
    }
    d.bulk_score = static_cast<std::uint8_t>(std::min(d.bulk_score + 2, int{highest_score}));
    if (d.bulk || d.bulk_score < bulk_from) return;
    if (c.buffers().options().receive == receive_path::multishot && c.ring() != nullptr) return;
    d.bulk = true;
    pause(c, d);
}

bool again(core& c, descriptor& d) noexcept {
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr) return false;
    if (c.ring() == nullptr) {
        c.queue_attempt(*waiter);
    } else if (by_multishot(c, d, *waiter)) {
        if (d.many.armed) return false;
        arm(c, d);
    } else {
        waiter->kind->submit(c, *waiter);
    }
    return true;
}

}  // namespace ringlet::many
