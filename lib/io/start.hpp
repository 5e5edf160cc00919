// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/io/operation.hpp>

#include <core/user_data.hpp>
#include <kernel/poller.hpp>
#include <kernel/ring.hpp>

#include <cerrno>
#include <cstdint>
#include <new>

/// How an operation is started on either backend: the heart of operation<Op>, compiled once per
/// operation, where liburing may be seen. Each operation's source instantiates it.

namespace ringlet {

namespace detail {

template <class Op>
concept advances = requires(Op& op) { op.advance(0); };
template <class Op>
concept has_more = requires(Op& op, int value) { op.more(value, 0U); };
template <class Op>
concept has_seat = Op::seat != side::none;
template <class Op>
concept tries_first = requires { Op::tries_first; };
template <class Op>
concept blocks = requires(Op& op) { op.job(); };
template <class Op>
concept waits_for_buffer = requires(Op& op) { op.stop_waiting_for_buffer(); };
template <class Op>
concept never_in_ring = requires { Op::never_in_ring; };
/// One that stops half-way now and then to let the others have their turn: an attempt that says
/// -EAGAIN on a descriptor which is still good for more is made again later.
template <class Op>
concept takes_turns = requires { Op::takes_turns; };

template <class Op>
struct kind_of {
    static void cancel(core& c, completion& waiting) noexcept {
        if (waiting.at == completion::phase::ring) {
            c.ring()->cancel(request(static_cast<Op&>(waiting)));
        } else if (waiting.at == completion::phase::parked) {
            if constexpr (waits_for_buffer<Op>) {
                if (static_cast<Op&>(waiting).stop_waiting_for_buffer()) {
                    end(c, static_cast<Op&>(waiting), -ECANCELED);
                    return;
                }
            }
            if constexpr (blocks<Op>) {
                // One that a worker has begun is waited for.
                if (c.withdraw_blocking(static_cast<Op&>(waiting).job()))
                    c.answer(waiting, -ECANCELED);
            } else {
                --c.in_flight;
                c.answer(waiting, -ECANCELED);
            }
        }
        // With an edge pending it is attempted once more when its turn comes.
    }
    static int attempt(completion& waiting) noexcept {
        auto& op = static_cast<Op&>(waiting);
        const int value = op.attempt();
        if constexpr (takes_turns<Op>)
            if (value == -EAGAIN && op.ending == 0 && ready_for_more(op)) here().queue_attempt(op);
        return value;
    }
    static bool ready_for_more(Op& op) noexcept
        requires has_seat<Op>
    {
        return Op::seat == side::read ? op.target().readable : op.target().writable;
    }
    /// From here on the answer is the worker's to write, unless this gives an error.
    static int hand_to_worker(core& c, Op& op) noexcept {
        blocking_job& job = op.job();
        job.run = run;
        job.owner = &op;
        job.waiter = op.waiter;
        return c.start_blocking(job);
    }
    /// One that waits already, and now has what it waited for to begin.
    static void start_late(core& c, Op& op) noexcept {
        if (c.ring() != nullptr) {
            submit(c, op);
            return;
        }
        --c.in_flight;  // the core counts what its threads do by itself
        if (const int error = hand_to_worker(c, op); error != 0) c.answer(op, error);
    }
    /// On a worker thread.
    static void run(blocking_job& job) noexcept {
        auto& op = static_cast<Op&>(*job.owner);
        op.answer = op.attempt();
    }
    static void answered(core& c, ring_target& target, int value,
                         [[maybe_unused]] std::uint32_t flags) noexcept {
        auto& op = static_cast<Op&>(target);
        if constexpr (has_more<Op>)
            if (op.more(value, flags)) return;
        if constexpr (advances<Op>) {
            if (value >= 0) value = op.advance(value);
            if (value == -EAGAIN) [[unlikely]] {
                go_on(c, op);
                return;
            }
        }
        end(c, op, value);
    }
    static void end(core& c, Op& op, int value) noexcept {
        --c.in_flight;
        c.answer(op, value);
    }
    [[gnu::noinline]] static void go_on(core& c, Op& op) noexcept {
        if (op.ending == 0) {
            wait_on(c, op);
        } else {
            end(c, op, -ECANCELED);
        }
    }
    static void submit(core& c, completion& waiting) noexcept {
        waiting.at = completion::phase::ring;
        fill(static_cast<Op&>(waiting), c.ring()->take());
    }
    static void fill(Op& op, io_uring_sqe& sqe) noexcept {
        // The ring is asked now, so nothing is known any more of what a system call would find.
        if constexpr (has_seat<Op>)
            (Op::seat == side::read ? op.target().readable : op.target().writable) = true;
        op.prepare(sqe);
        if constexpr (has_seat<Op>) sqe.flags |= op.target().sqe_flags;
        io_uring_sqe_set_data64(&sqe, user_data(op, tag));
    }
    /// The user_data of what is in the ring for it, to cancel that.
    static std::uint64_t request(Op& op) noexcept {
        if constexpr (requires { op.stand_in(); })
            if (ring_target* other = op.stand_in(); other != nullptr) [[unlikely]]
                return user_data(*other, kernel::tag::many);
        return user_data(op, tag);
    }
    /// For the ring's answer, or for a buffer of the pool.
    static void wait_on(core& c, Op& op) noexcept {
        if constexpr (requires { Op::takes_buffers; }) {
            if (op.target().starved().linked()) {
                op.at = completion::phase::parked;
                return;
            }
        }
        submit(c, op);
    }

    static void wait_again(core& c, completion& waiting) noexcept {
        wait_on(c, static_cast<Op&>(waiting));
    }

    static constexpr kernel::tag tag =
        advances<Op> || has_more<Op> ? kernel::tag::many : kernel::tag::completion;
    static constexpr completion_kind table{
        .cancel = cancel, .attempt = attempt, .answered = answered, .submit = wait_again};
};

}  // namespace detail

template <class Op, side Seat>
constexpr completion_kind operation<Op, Seat>::kind_ = detail::kind_of<Op>::table;

template <class Op, side Seat>
bool operation<Op, Seat>::begin(core& c, cancel_scope& context) noexcept {
    if ((extras & ends_at_stop) != 0 && c.stop_requested()) [[unlikely]] return end_at_stop(c);
    if constexpr (requires { self().usual_start(c); }) {
        const start_by how = self().usual_start(c);
        if (how == start_by::attempt) return begin_with_attempt(c, context);
        if (how == start_by::other) [[unlikely]] return begin_otherwise(c, context);
        if (how == start_by::waiting) {
            ++c.counters().parks;
            wait(c, context, phase::parked);
        } else {
            wait(c, context, phase::ring);
            detail::kind_of<Op>::fill(self(), c.ring()->take_free());
        }
        arm_extras(c);
        return true;
    } else {
        return begin_otherwise(c, context);
    }
}

template <class Op, side Seat>
bool operation<Op, Seat>::begin_otherwise(core& c, cancel_scope& context) noexcept {
    if (!self().start(c, context)) return false;
    arm_extras(c);
    return true;
}

template <class Op, side Seat>
bool operation<Op, Seat>::begin_with_attempt(core& c, cancel_scope& context) noexcept {
    return attempted() ? answered_at_once(c) : begin_with_wait(c, context);
}

template <class Op, side Seat>
bool operation<Op, Seat>::begin_with_wait(core& c, cancel_scope& context) noexcept {
    if (!wait_after_attempt(c, context)) return false;
    arm_extras(c);
    return true;
}

template <class Op, side Seat>
bool operation<Op, Seat>::end_at_stop(core& c) noexcept {
    answer = 0;
    if constexpr (requires { self().get_ready(c); }) answer = self().get_ready(c);
    if (answer == 0) answer = last_attempt();
    if (answer == would_wait) answer = answer::stopping;
    // Neither a flood nor who asks again whatever he is told keeps the others from stopping.
    return answered_at_once(c);
}

template <class Op, side Seat>
inline void operation<Op, Seat>::arm_extras(core& c) noexcept {
    if constexpr (Seat != side::none) {
        if ((extras & has_limit) != 0)
            c.timers().arm_after(self().target(), static_cast<unsigned>(Seat), room_.limit_ns);
    } else if ((extras & (has_limit | ends_at_stop)) != 0) {
        const std::uint64_t limit_ns = room_.limit_ns;
        auto& made = *new (&room_.extras) detail::wait_extras(*this);
        extras |= waiting_with_them;
        if ((extras & has_limit) != 0) c.timers().arm_after(made, limit_ns);
        if ((extras & ends_at_stop) != 0) c.stop_waiters().push_back(made.stop);
    }
}

/// It has been asked to end: the answer is why.
template <class Op, side Seat>
void operation<Op, Seat>::explain() noexcept {
    if (ending == static_cast<std::uint8_t>(errc::stopping)) {
        // What arrived while the kernel was cancelling the wait is still in the socket.
        const int last = last_attempt();
        if (last != would_wait) answer = last;
    }
    if (answer < 0) answer = answer::own_base - ending;
}

/// Asks the kernel whatever epoll last said, since its next edge will not be waited for.
template <class Op, side Seat>
int operation<Op, Seat>::last_attempt() noexcept {
    if constexpr (requires { Op::never_at_once; }) {
        return would_wait;
    } else {
        self().target().readable = self().target().writable = true;
        return self().attempt();
    }
}

template <class Op, side Seat>
bool operation<Op, Seat>::start(core& c, cancel_scope& context) noexcept {
    if constexpr (detail::blocks<Op>) {
        if (detail::never_in_ring<Op> || c.ring() == nullptr) return start_off_loop(c, context);
    }
    if constexpr (detail::has_seat<Op>) {
        if (detail::tries_first<Op> || detail::takes_turns<Op> || c.ring() == nullptr ||
            self().target().bulk)
            return start_with_attempt(c, context);
    }
    wait(c, context, phase::ring);
    detail::kind_of<Op>::submit(c, *this);
    return true;
}

/// Where the only system call is one that blocks: at once if it has the answer at hand, else on a
/// worker thread.
template <class Op, side Seat>
bool operation<Op, Seat>::start_off_loop(core& c, cancel_scope& context) noexcept {
    if constexpr (detail::blocks<Op>) {
        if constexpr (requires(Op& op) { op.try_now(); }) {
            answer = self().try_now();
            if (answer != -EAGAIN) {
                if (!c.has_edges()) return answered_at_once(c);
                // After the others that have received something: their answers then go out close
                // together, and wake who waits for them once. See docs/design/files.md.
                sit_down();
                at = phase::ready;
                c.make_ready(*this);
                return true;
            }
        }
        if (const int error = detail::kind_of<Op>::hand_to_worker(c, self()); error != 0) {
            answer = error;
            return answered_at_once(c);
        }
    }
    sit_down();
    at = phase::parked;
    context.link(*this);
    return true;
}

/// On epoll always; in the ring for streams that move much at a time, and for splices.
template <class Op, side Seat>
bool operation<Op, Seat>::start_with_attempt(core& c, cancel_scope& context) noexcept {
    return attempted() ? answered_at_once(c) : wait_after_attempt(c, context);
}

template <class Op, side Seat>
inline bool operation<Op, Seat>::attempted() noexcept {
    if constexpr (detail::has_seat<Op>) self().target().must_be_free(Op::seat);
    answer = self().attempt();
    return answer != -EAGAIN;
}

template <class Op, side Seat>
bool operation<Op, Seat>::wait_after_attempt(core& c, cancel_scope& context) noexcept {
    if (c.ring() != nullptr) {
        wait(c, context, phase::parked);
        detail::kind_of<Op>::wait_on(c, self());
    } else {
        if constexpr (detail::has_seat<Op>) {
            if (const int error = c.register_descriptor(self().target(), Op::seat); error != 0) {
                answer = error;
                return answered_at_once(c);
            }
        }
        wait(c, context, phase::parked);
        if constexpr (detail::takes_turns<Op>) {
            if (detail::kind_of<Op>::ready_for_more(self())) {
                c.queue_attempt(*this);
                return true;
            }
        }
        ++c.counters().parks;
    }
    return true;
}

}  // namespace ringlet
