// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/run/move_stream.hpp>

#include <ringlet/coro/shield.hpp>
#include <ringlet/coro/sleep.hpp>
#include <ringlet/io/uring.hpp>
#include <ringlet/run/on_core.hpp>

#include <core/buffer_pool.hpp>
#include <core/direct.hpp>
#include <io/recv_many.hpp>
#include <kernel/poller.hpp>
#include <kernel/sys.hpp>

#include <cerrno>

namespace ringlet::detail {

namespace {

/// Nothing is armed in the ring any more; what has been received stays queued.
task<> come_to_rest(core& c, descriptor& d) {
    RINGLET_CHECK(!d.busy(), "a stream was moved while an operation on it was in flight");
    many::pause(c, d);
    while (d.many.armed) co_await yield();
}

/// On the new core: the stream of `file`, with what had been received of it; or why not, with the
/// file still the old core's.
result<void> arrive(int file, core& old_core, descriptor& old, stream_receiver receiver) noexcept {
    core& c = here();
    descriptor* const fresh = c.descriptors().take(file);
    if (fresh == nullptr) return std::make_error_code(std::errc::not_enough_memory);
    if (const int error = many::copy_queue(c, *fresh, old_core, old); error != 0) {
        c.descriptors().give_back(*fresh);
        return answer::to_error(error);
    }
    fresh->zero_copy = old.zero_copy;
    receiver.call(receiver.subject, tcp_stream(owned_descriptor(*fresh)));
    return {};
}

/// Again while the other core is behind: what has been begun there must be ended.
template <class F>
task<result<void>> insist_on_core(unsigned index, F function) {
    for (;;) {
        auto done = co_await on_core(index, function);
        if (done) co_return *done;
        if (done.error() != errc::inbox_full) co_return done.error();
        co_await yield();
    }
}

/// The slot in the other ring's table; negative when it cannot be had that way.
task<int> send_to_ring(core& other, unsigned slot) {
    const int ring = other.ring()->fd();
    const auto prepare = [=](io_uring_sqe& sqe) {
        constexpr std::uint64_t send_fd = 1;         // IORING_MSG_SEND_FD
        constexpr std::uint32_t no_answer_there = 1; // IORING_MSG_RING_CQE_SKIP
        io_uring_prep_rw(IORING_OP_MSG_RING, &sqe, ring, nullptr, 0, 0);
        sqe.addr = send_fd;
        sqe.addr3 = slot;
        sqe.file_index = IORING_FILE_INDEX_ALLOC;
        sqe.msg_ring_flags = no_answer_there;
    };
    const auto sent = co_await uring(prepare);
    co_return sent ? *sent : -1;
}

task<bool> move_direct(unsigned index, core& home, descriptor& d, stream_receiver receiver) {
    core* const other = core_at(index);
    const auto reserve = []() noexcept {
        core& c = here();
        if (!c.direct() || c.ring()->direct_left() == 0) return false;
        c.ring()->take_direct(1);
        return true;
    };
    const auto reserved = co_await on_core(index, reserve);
    if (!reserved || !*reserved) co_return false;
    const int slot = co_await send_to_ring(*other, static_cast<unsigned>(d.fd));
    const auto take_in = [&, slot]() noexcept -> result<void> {
        core& c = here();
        if (slot < 0) {
            c.ring()->untake_direct(1);
            return std::make_error_code(std::errc::not_supported);
        }
        auto done = arrive(slot | direct_bit, home, d, receiver);
        if (!done) c.ring()->close_direct(static_cast<unsigned>(slot));
        return done;
    };
    const auto arrived = co_await insist_on_core(index, take_in);
    co_return arrived.has_value();
}

task<result<void>> move_plain(unsigned index, core& home, descriptor& d, stream_receiver receiver) {
    const int fd = d.direct() ? installed(home, d) : d.fd;
    if (fd < 0) co_return answer::to_error(fd);
    if (d.known_to_epoll()) home.poller()->remove(d.fd);
    d.registered = d.muted = false;
    d.readable = d.writable = true;
    const auto take_in = [&]() noexcept { return arrive(fd, home, d, receiver); };
    auto done = co_await on_core(index, take_in);
    result<void> arrived = done ? *done : result<void>(done.error());
    if (!arrived && d.direct()) sys::close(fd);
    co_return arrived;
}

task<result<void>> move_at_rest(unsigned index, owned_descriptor& socket,
                                stream_receiver receiver) {
    core& home = here();
    descriptor& d = *socket;
    co_await come_to_rest(home, d);
    const bool by_table = d.direct() && co_await move_direct(index, home, d, receiver);
    if (!by_table)
        if (auto moved = co_await move_plain(index, home, d, receiver); !moved) co_return moved.error();
    many::drop_queue(home, d.many);
    if (d.direct()) {
        socket.reset();  // this ring's slot; the connection is held by the other
    } else {
        static_cast<void>(socket.release());
    }
    co_return result<void>();
}

}  // namespace

task<result<void>> move_stream(unsigned index, tcp_stream& stream, stream_receiver receiver) {
    if (core_at(index) == nullptr) co_return errc::core_stopped;
    if (core_at(index) == &here()) {
        receiver.call(receiver.subject, std::move(stream));
        co_return result<void>();
    }
    auto work = move_at_rest(index, stream.socket(), receiver);
    co_return co_await shield(std::move(work));
}

}  // namespace ringlet::detail
