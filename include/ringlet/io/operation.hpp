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
#include <type_traits>
#include <utility>

struct io_uring_sqe;

namespace ringlet {

namespace detail {
/// What may end the wait of an operation without a seat besides its answer. Made only when it is
/// asked for.
struct wait_extras : timer {
    explicit wait_extras(completion& c) noexcept : timer(limit_passed), stop(c) {}
    static void limit_passed(timer& t) noexcept {
        here().request_end(*static_cast<wait_extras&>(t).stop.target, errc::timed_out);
    }
    stop_node stop;
};
/// Where an operation keeps it. The time limit of a seat is the descriptor's.
struct limit_only {
    std::uint64_t limit_ns;
};
union limit_or_extras {
    limit_or_extras() noexcept {}
    ~limit_or_extras() {}
    std::uint64_t limit_ns;  // from within() or or_stop() to the start
    wait_extras extras;      // while it waits
};
}  // namespace detail

/// The skin of everything that is awaited from the kernel. `Op` adds the meaning:
///   `void prepare(io_uring_sqe&)`  how io_uring is asked;
///   `int attempt()`                the non-blocking system call epoll tries (-EAGAIN: park);
///   `int advance(int answer)`      where one call may do only part of the job: the final answer,
///                                  or -EAGAIN for another go (io_uring);
///   `result<T> finish(int answer)` what the answer means;
///   `int get_ready(core&)`         what comes before the first attempt, if anything does: 0 or -errno;
/// and has a seat, which is part of a descriptor, `descriptor& target()`; or, where any number may go
/// on at once, what they share: `descriptor* shared()`.
/// An operation with a `blocking_job& job()` has no non-blocking system call: without a ring a
/// worker thread makes the attempt, unless `int try_now()` has the answer at once (-EAGAIN: it has
/// not).
///
/// The operation lives in the frame of the coroutine that awaits it, its address is the SQE's
/// user_data, and nothing is allocated for it. It can be moved until it is awaited, not after.
/// Cancellation: errc::cancelled from the scope around it, at once when that is cancelled already;
/// what had been done by then (bytes received, a connection accepted) is kept and returned.
template <class Op, side Seat = side::none>
class operation : public completion {
public:
    static constexpr side seat = Seat;

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
    /// (No await_ready() here: an operation is awaited once, and `co_await op` of a named one shall
    /// not compile. std::move(op), or better, await it where it is made.)
    [[nodiscard]] auto operator co_await() && noexcept { return in_place(self()); }

    template <class Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        static_assert(ringlet_promise<Promise>,
                      "ringlet's operations can be awaited only in a ringlet::task");
        cancel_scope& context = handle.promise().context();
        waiter = handle;
        if (context.cancelled()) [[unlikely]] {
            answer = context.refusal();
            return answered_at_once(here());
        }
        return begin(here(), context);
    }
    auto await_resume() noexcept {
        leave();
        return self().finish(answer);
    }

    /// The same with a time limit: errc::timed_out when it passes first. Costs no system call.
    /// (By reference: of an argument by value g++ 12 keeps a copy in the frame.)
    [[nodiscard]] Op&& within(const nanoseconds& limit) && noexcept {
        room_.limit_ns = limit.count() > 0 ? static_cast<std::uint64_t>(limit.count()) : 0;
        extras |= has_limit;
        return std::move(self());
    }
    template <detail::coarser_duration D>
    [[nodiscard]] Op&& within(const D& limit) && noexcept {
        return std::move(*this).within(detail::saturated(limit));
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
    /// How an operation that says so by `start_by usual_start(core&)` is started almost every time:
    /// in a few instructions, without a call.
    enum class start_by : std::uint8_t {
        waiting,     ///< there is nothing now, and whatever comes will be told
        submission,  ///< the ring has room
        attempt,     ///< a system call that will most likely have the answer
        other,       ///< start() finds out
    };
    /// Hands the operation to the kernel. False: it is answered, do not suspend.
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    /// The end of a start that found an answer at once. False: do not suspend. A loop that goes on
    /// whatever it is told must not keep the others from running.
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

    /// After the answer, whatever it is.
    void leave() noexcept {
        if constexpr (requires(Op& op) { op.job(); }) {
            if (at == phase::parked) {
                at = phase::ready;
                unlink_if_linked();
                here().came_back();
            }
        }
        if constexpr (Seat == side::none) {
            if ((extras & waiting_with_them) != 0) {
                room_.extras.disarm();
                room_.extras.stop.unlink_if_linked();
            }
        }
        if (answer < 0 && ending != 0) [[unlikely]] explain();
        if (at == phase::ready) stand_up();
    }
    void sit_down() noexcept {
        if constexpr (Seat != side::none) self().target().sit(Seat, *this);
        if constexpr (requires(Op& op) { op.shared(); })
            if (descriptor* d = self().shared(); d != nullptr) d->share();
    }
    void stand_up() noexcept {
        if constexpr (Seat != side::none) self().target().vacate(Seat);
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

    static const completion_kind kind_;

    [[nodiscard]] bool start_with_attempt(core& c, cancel_scope& context) noexcept;
    [[nodiscard]] bool start_off_loop(core& c, cancel_scope& context) noexcept;
    [[nodiscard]] bool begin(core& c, cancel_scope& context) noexcept;
    /// What a system call has at once is in `answer`; else false.
    [[nodiscard]] bool attempted() noexcept;
    /// After an attempt that found nothing. False: it is answered, do not suspend.
    [[nodiscard]] bool wait_after_attempt(core& c, cancel_scope& context) noexcept;
    // Out of line, so that begin() needs no stack.
    [[nodiscard, gnu::noinline]] bool begin_with_attempt(core& c, cancel_scope& context) noexcept;
    [[nodiscard, gnu::noinline]] bool begin_with_wait(core& c, cancel_scope& context) noexcept;
    [[nodiscard, gnu::noinline]] bool begin_otherwise(core& c, cancel_scope& context) noexcept;
    [[nodiscard, gnu::noinline]] bool end_at_stop(core& c) noexcept;
    void arm_extras(core& c) noexcept;
    [[gnu::noinline]] void explain() noexcept;
    static constexpr int would_wait = -11;  // -EAGAIN
    [[nodiscard]] int last_attempt() noexcept;

    std::conditional_t<Seat == side::none, detail::limit_or_extras, detail::limit_only> room_;
};

}  // namespace ringlet
