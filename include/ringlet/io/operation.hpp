// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/time.hpp>
#include <ringlet/core/timer.hpp>
#include <ringlet/coro/cancel.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/core/descriptor.hpp>

#include <coroutine>
#include <cstdint>
#include <utility>

struct io_uring_sqe;

namespace ringlet {

namespace detail {
/// What may end an operation's wait besides its answer. Made only when it is asked for: most
/// operations pay nothing for it but the room.
struct wait_extras : timer {
    explicit wait_extras(completion& c) noexcept : timer(limit_passed), stop(c) {}
    static void limit_passed(timer& t) noexcept {
        here().request_end(*static_cast<wait_extras&>(t).stop.target, errc::timed_out);
    }
    stop_node stop;
};
}  // namespace detail

/// The skin of everything that is awaited from the kernel. `Op` adds the meaning:
///   `void prepare(io_uring_sqe&)`  how io_uring is asked;
///   `int attempt()`                the non-blocking system call epoll tries (-EAGAIN: park);
///   `int advance(int answer)`      where one call may do only part of the job: the final answer,
///                                  or -EAGAIN for another go (io_uring);
///   `result<T> finish(int answer)` what the answer means;
/// and names its place, if it has one: `descriptor& target()`, `static constexpr side seat`; or,
/// where any number may go on at once, what they share: `descriptor* shared()`.
/// An operation with a `blocking_job& job()` has no non-blocking system call: without a ring a
/// worker thread makes the attempt, unless `int try_now()` has the answer at once (-EAGAIN: it has
/// not).
///
/// The operation lives in the frame of the coroutine that awaits it, its address is the SQE's
/// user_data, and nothing is allocated for it. It can be moved until it is awaited, not after.
/// Cancellation: errc::cancelled from the scope around it, at once when that is cancelled already;
/// what had been done by then (bytes received, a connection accepted) is kept and returned.
template <class Op>
class operation : public completion {
public:
    operation() noexcept : completion(kind_) {}
    operation(operation&& unstarted) noexcept : operation() {
        extras = unstarted.extras;
        if (extras != 0) room_.limit_ns = unstarted.room_.limit_ns;
    }
    ~operation() {
        RINGLET_DEBUG_CHECK(at == phase::idle || at == phase::ready,
                            "an operation was destroyed while in flight: the kernel may still "
                            "write to its buffer; end the task through its scope");
    }

    /// Awaited where it stands: g++ 12 keeps a second, moved copy in the frame of any awaiter that
    /// comes by reference, and so this one is only a pointer.
    [[nodiscard]] auto operator co_await() && noexcept { return in_place(self()); }
    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        static_assert(ringlet_promise<Promise>,
                      "ringlet's operations can be awaited only in a ringlet::task");
        cancel_scope& context = handle.promise().context();
        if (context.cancelled()) [[unlikely]] {
            answer = context.refusal();
            return false;
        }
        waiter = handle;
        return extras == 0 ? self().start(here(), context) : start_with_extras(here(), context);
    }
    auto await_resume() noexcept {
        if (extras != 0) leave_extras();
        return self().finish(settle());
    }

    /// The same with a time limit: errc::timed_out when it passes first. Costs no system call.
    [[nodiscard]] Op&& within(nanoseconds limit) && noexcept {
        room_.limit_ns = limit.count() > 0 ? static_cast<std::uint64_t>(limit.count()) : 0;
        extras |= has_limit;
        return std::move(self());
    }
    /// The same, ended by a stop of the program with errc::stopping as soon as there is nothing to
    /// be had at once: for the place where a session waits for its next request, so that it
    /// finishes what it has received and then ends.
    [[nodiscard]] Op&& or_stop() && noexcept {
        if (extras == 0) room_.limit_ns = 0;
        extras |= ends_at_stop;
        return std::move(self());
    }

protected:
    /// Hands the operation to the kernel. False: it is answered, do not suspend.
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    /// The end of a start that found an answer at once. False: do not suspend.
    [[nodiscard]] bool answered_at_once(core& c) noexcept {
        if (c.spend()) return false;
        answer_later(waiter);
        return true;
    }
    /// The end of a start that waits, in phase `how`.
    bool wait(core& c, cancel_scope& context, phase how) noexcept {
        sit_down();
        at = how;
        ++c.in_flight;
        context.link(*this);
        return true;
    }

    /// Resumes the waiter with the answer it has, after the others and the kernel had their turn.
    void answer_later(std::coroutine_handle<> handle) noexcept {
        waiter = handle;
        sit_down();
        at = phase::ready;
        here().make_ready_later(*this);
    }

    /// Leaves the seat; the answer, or why there is none.
    [[nodiscard]] int settle() noexcept {
        if constexpr (requires(Op& op) { op.job(); }) {
            if (at == phase::parked) {
                at = phase::ready;
                unlink_if_linked();
                here().left_blocking();
            }
        }
        if (at == phase::ready) stand_up();
        if (answer < 0 && ending != 0) [[unlikely]]
            return answer::own_base - ending;
        return answer;
    }
    void sit_down() noexcept {
        if constexpr (requires { Op::seat; }) self().target().sit(Op::seat, *this);
        if constexpr (requires(Op& op) { op.shared(); })
            if (descriptor* d = self().shared(); d != nullptr) d->share();
    }
    void stand_up() noexcept {
        if constexpr (requires { Op::seat; }) self().target().vacate(Op::seat);
        if constexpr (requires(Op& op) { op.shared(); })
            if (descriptor* d = self().shared(); d != nullptr) d->unshare();
    }
    [[nodiscard]] Op& self() noexcept { return static_cast<Op&>(*this); }

private:
    class in_place {
    public:
        explicit in_place(Op& op) noexcept : op_(&op) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
            return op_->await_suspend(handle);
        }
        auto await_resume() const noexcept { return op_->await_resume(); }

    private:
        Op* op_;
    };

    static constexpr std::uint8_t has_limit = 1;
    static constexpr std::uint8_t ends_at_stop = 2;
    static constexpr std::uint8_t waiting_with_them = 4;  // 8 and more are the operation's own
    static const completion_kind kind_;

    [[nodiscard]] bool start_with_attempt(core& c, cancel_scope& context) noexcept;
    [[nodiscard]] bool start_off_loop(core& c, cancel_scope& context) noexcept;
    [[nodiscard]] bool start_with_extras(core& c, cancel_scope& context) noexcept;
    void leave_extras() noexcept {
        if ((extras & waiting_with_them) != 0) {
            room_.extras.disarm();
            room_.extras.stop.unlink_if_linked();
        }
        if (answer < 0 && ending == static_cast<std::uint8_t>(errc::stopping)) [[unlikely]] {
            // What arrived while the kernel was cancelling the wait is still in the socket.
            const int last = last_attempt();
            if (last != would_wait) answer = last;
        }
    }
    static constexpr int would_wait = -11;  // -EAGAIN
    [[nodiscard]] int last_attempt() noexcept;

    union room {
        room() noexcept {}
        ~room() {}
        std::uint64_t limit_ns;      // from within() or or_stop() to the start
        detail::wait_extras extras;  // while it waits
    };
    room room_;
};

}  // namespace ringlet
