// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/recv_many.hpp>

#include <ringlet/io/recv.hpp>
#include <ringlet/io/recv_chunk.hpp>

#include <core/user_data.hpp>
#include <io/start.hpp>
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

void queue(core& c, descriptor& d, std::uint32_t buffer, std::uint32_t offset,
           std::uint32_t size) noexcept {
    multishot_recv& m = d.many;
    buffer_pool& pool = c.buffers();
    pool.of(buffer) = {.offset = offset, .size = size, .next = none};
    if (m.first == none) {
        m.first = static_cast<std::uint16_t>(buffer);
    } else {
        pool.of(m.last).next = static_cast<std::uint16_t>(buffer);
    }
    m.last = static_cast<std::uint16_t>(buffer);
    if (++m.queued >= pool.options().hold && m.armed && !m.pausing) {
        ++c.counters().pauses;
        pause(c, d);
    }
}

void unqueue_first(buffer_pool& pool, multishot_recv& m) noexcept {
    m.first = pool.of(m.first).next;
    if (m.first == none) m.last = none;
    --m.queued;
}

/// Nobody waits for it, or somebody who wants it in another form.
[[gnu::noinline]] void received_otherwise(core& c, descriptor& d, std::uint32_t buffer,
                                          std::uint32_t size) noexcept {
    queue(c, d, buffer, 0, size);
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr || !takes_bytes(*waiter)) return;  // a splice hears of it at the end
    auto& op = *static_cast<recv_op*>(waiter);
    answer_waiter(c, op, copy_first(c, d.many, op.room().data(), op.room().size()));
}

inline void received(core& c, descriptor& d, std::uint32_t buffer, std::uint32_t size) noexcept {
    std::byte* const data = c.buffers().taken_by_kernel(buffer, size);
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr || !takes_chunks(*waiter)) [[unlikely]]
        return received_otherwise(c, d, buffer, size);
    static_cast<recv_chunk_op*>(waiter)->deliver(data, buffer);
    answer_waiter(c, *waiter, static_cast<int>(size));
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
    if (result == -EINVAL) {
        c.buffers().stop_providing();  // Linux before 6.0: buffers, but no multishot receive
    } else if (result == 0 ||
               (result < 0 && result != -ECANCELED && result != -ENOBUFS && result != -EINTR)) {
        m.end = result;
    }
    completion* const waiter = waiter_of(d);
    if (waiter == nullptr) return;
    if (m.end != multishot_recv::open) {
        answer_waiter(c, *waiter, m.end);
    } else {
        go_on(c, d, *waiter, result == -ENOBUFS);
    }
}

[[gnu::noinline]] void answered_otherwise(core& c, descriptor& d, int result,
                                          std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        const std::uint32_t buffer = flags >> IORING_CQE_BUFFER_SHIFT;
        if (result > 0 && !d.many.retired) {
            learn(c, d, static_cast<std::uint32_t>(result));
            received(c, d, buffer, static_cast<std::uint32_t>(result));
        } else {
            static_cast<void>(c.buffers().taken_by_kernel(buffer, 0));
            c.buffers().give_back(buffer);
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
    received(c, d, flags >> IORING_CQE_BUFFER_SHIFT, size);
}

/// The descriptor is being closed.
void retire(core& c, ring_target& self) noexcept {
    auto& m = static_cast<multishot_recv&>(self);
    drop_queue(c, m);
    if (!m.armed) return;
    m.retired = true;
    pause(c, *m.owner);
}

constexpr completion_kind kind{.answered = answered, .retire = retire};

}  // namespace

void arm(core& c, descriptor& d) noexcept {
    multishot_recv& m = d.many;
    m.kind = &kind;
    m.used = m.armed = true;
    m.pausing = false;
    ++c.in_flight;
    io_uring_sqe& sqe = c.ring()->take();
    io_uring_prep_recv_multishot(&sqe, d.fd, nullptr, 0, 0);
    sqe.flags |= IOSQE_BUFFER_SELECT | d.sqe_flags;
    sqe.buf_group = kernel::ring::buffer_group;
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
    to.many.kind = &kind;
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
        queue(c, to, room.id, 0, s.size);
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
