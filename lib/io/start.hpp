// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/io/operation.hpp>

#include <core/user_data.hpp>
#include <kernel/poller.hpp>
#include <kernel/ring.hpp>

#include <cerrno>
#include <cstdint>

/// How an operation is started on either backend: the heart of operation<Op>, compiled once per
/// operation, where liburing may be seen. Each operation's source instantiates it.

namespace ringlet {

namespace detail {

template <class Op>
concept advances = requires(Op& op) { op.advance(0); };

template <class Op>
struct kind_of {
    static void cancel(core& c, completion& waiting) noexcept {
        if (waiting.at == completion::phase::ring) {
            c.ring()->cancel(user_data(waiting, tag));
        } else if (waiting.at == completion::phase::parked) {
            --c.in_flight;
            c.answer(waiting, -ECANCELED);
        }
        // With an edge pending it is attempted once more when its turn comes.
    }
    static int attempt(completion& waiting) noexcept {
        return static_cast<Op&>(waiting).attempt();
    }
    static void answered(core& c, completion& waiting, int value, std::uint32_t) noexcept {
        auto& op = static_cast<Op&>(waiting);
        if constexpr (advances<Op>) {
            if (value >= 0) value = op.advance(value);
            if (value == -EAGAIN) {
                if (waiting.ending == 0) {
                    submit(c, op);
                    return;
                }
                value = -ECANCELED;
            }
        }
        --c.in_flight;
        c.answer(waiting, value);
    }
    static void submit(core& c, Op& op) noexcept {
        io_uring_sqe& sqe = c.ring()->take();
        op.prepare(sqe);
        io_uring_sqe_set_data64(&sqe, user_data(op, tag));
    }

    static constexpr kernel::tag tag =
        advances<Op> ? kernel::tag::many : kernel::tag::completion;
    static constexpr completion_kind table{
        .cancel = cancel, .attempt = attempt, .answered = answered};
};

}  // namespace detail

template <class Op>
operation<Op>::operation() noexcept : completion(detail::kind_of<Op>::table) {}

template <class Op>
bool operation<Op>::start(core& c, cancel_scope& context) noexcept {
    Op& op = self();
    descriptor& d = op.target();
    if (c.ring() != nullptr) {
        d.sit(Op::seat, *this);
        at = phase::ring;
        detail::kind_of<Op>::submit(c, op);
    } else {
        d.must_be_free(Op::seat);
        answer = op.attempt();
        if (answer == -EAGAIN) {
            if (const int error = c.register_descriptor(d); error != 0) answer = error;
        }
        if (answer != -EAGAIN && c.spend()) return false;
        if (answer != -EAGAIN) {
            answer_later(waiter);
            return true;
        }
        d.sit(Op::seat, *this);
        ++c.counters().parks;
        at = phase::parked;
    }
    ++c.in_flight;
    context.link(*this);
    return true;
}

}  // namespace ringlet
