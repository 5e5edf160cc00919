// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/time.hpp>
#include <ringlet/coro/cancel.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/core/descriptor.hpp>

#include <coroutine>
#include <cstdint>
#include <utility>

struct io_uring_sqe;

namespace ringlet {

template <class Base>
class timed;
template <class Base>
class stoppable;

/// The skin of everything that is awaited from the kernel. `Op` adds the meaning:
///   `void prepare(io_uring_sqe&)`  how io_uring is asked;
///   `int attempt()`                the non-blocking system call epoll tries (-EAGAIN: park);
///   `int advance(int answer)`      where one call may do only part of the job: the final answer,
///                                  or -EAGAIN for another go (io_uring);
///   `result<T> finish(int answer)` what the answer means;
/// and names its place: `descriptor& target()`, `static constexpr side seat`.
///
/// The operation lives in the frame of the coroutine that awaits it, its address is the SQE's
/// user_data, and nothing is allocated for it. It can be moved until it is awaited, not after.
/// Cancellation: errc::cancelled from the scope around it, at once when that is cancelled already;
/// what had been done by then (bytes received, a connection accepted) is kept and returned.
template <class Op>
class operation : public completion {
public:
    operation() noexcept : completion(kind_) {}
    operation(operation&&) noexcept : operation() {}
    ~operation() {
        RINGLET_DEBUG_CHECK(at == phase::idle || at == phase::ready,
                            "an operation was destroyed while in flight: the kernel may still "
                            "write to its buffer; end the task through its scope");
    }

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
        return self().start(here(), context);
    }
    auto await_resume() noexcept { return self().finish(settle()); }

    /// The same with a time limit: errc::timed_out when it passes first. Costs no system call.
    [[nodiscard]] timed<Op> within(nanoseconds limit) && noexcept {
        return timed<Op>(std::move(self()), limit);
    }
    /// The same, ended by a stop of the program with errc::stopping as soon as there is nothing to
    /// be had at once: for the place where a session waits for its next request, so that it
    /// finishes what it has received and then ends.
    [[nodiscard]] stoppable<Op> or_stop() && noexcept {
        return stoppable<Op>(std::move(self()));
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
        self().target().sit(Op::seat, *this);
        at = how;
        ++c.in_flight;
        context.link(*this);
        return true;
    }

    /// Resumes the waiter with the answer it has, after the others and the kernel had their turn.
    void answer_later(std::coroutine_handle<> handle) noexcept {
        waiter = handle;
        self().target().sit(Op::seat, *this);
        at = phase::ready;
        here().make_ready_later(*this);
    }

    /// Leaves the seat; the answer, or why there is none.
    [[nodiscard]] int settle() noexcept {
        if (at == phase::ready) self().target().vacate(Op::seat);
        if (answer < 0 && ending != 0) [[unlikely]]
            return answer::own_base - ending;
        return answer;
    }
    [[nodiscard]] Op& self() noexcept { return static_cast<Op&>(*this); }

private:
    static const completion_kind kind_;
};

/// An operation with a deadline; see operation::within().
template <class Base>
class [[nodiscard]] timed : public Base {
public:
    timed(Base&& untimed, nanoseconds limit) noexcept
        : Base(std::move(untimed)), timer_(*this, limit) {}
    timed(timed&& unstarted) noexcept
        : Base(std::move(unstarted)), timer_(*this, unstarted.timer_.limit) {}

    template <class Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        if (!Base::await_suspend(handle)) return false;
        const auto ns = timer_.limit.count() > 0 ? timer_.limit.count() : 0;
        here().timers().arm_after(timer_, static_cast<std::uint64_t>(ns));
        return true;
    }
    auto await_resume() noexcept {
        timer_.disarm();
        return Base::await_resume();
    }
    [[nodiscard]] stoppable<timed> or_stop() && noexcept {
        return stoppable<timed>(std::move(*this));
    }

private:
    struct limit_timer : timer {
        limit_timer(completion& c, nanoseconds l) noexcept : timer(passed), target(&c), limit(l) {}
        static void passed(timer& t) noexcept {
            here().request_end(*static_cast<limit_timer&>(t).target, errc::timed_out);
        }
        completion* target;
        nanoseconds limit;
    };
    limit_timer timer_;
};

/// An operation that a stop ends; see operation::or_stop().
template <class Base>
class [[nodiscard]] stoppable : public Base {
public:
    explicit stoppable(Base&& unstopped) noexcept : Base(std::move(unstopped)), node_(*this) {}
    stoppable(stoppable&& unstarted) noexcept : Base(std::move(unstarted)), node_(*this) {}

    template <class Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        core& c = here();
        if (c.stop_requested() && !handle.promise().context().cancelled()) [[unlikely]] {
            this->answer = last_attempt();
            if (this->answer == would_wait) this->answer = answer::stopping;
            if (this->answer < 0 || c.spend()) return false;
            this->answer_later(handle);  // a flood must not keep the others from stopping
            return true;
        }
        if (!Base::await_suspend(handle)) return false;
        c.stop_waiters().push_back(node_);
        return true;
    }
    auto await_resume() noexcept {
        node_.unlink_if_linked();
        if (this->answer < 0 && this->ending == static_cast<std::uint8_t>(errc::stopping)) {
            // What arrived while the kernel was cancelling the wait is still in the socket.
            const int last = last_attempt();
            if (last != would_wait) this->answer = last;
        }
        return Base::await_resume();
    }
    [[nodiscard]] timed<stoppable> within(nanoseconds limit) && noexcept {
        return timed<stoppable>(std::move(*this), limit);
    }

private:
    static constexpr int would_wait = -11;  // -EAGAIN
    /// Asks the kernel whatever epoll last said, since its next edge will not be waited for.
    [[nodiscard]] int last_attempt() noexcept {
        if constexpr (requires { Base::never_at_once; }) return would_wait;
        this->target().readable = this->target().writable = true;
        return this->attempt();
    }
    stop_node node_;
};

}  // namespace ringlet
