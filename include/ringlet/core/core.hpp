// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/core/batch_wait.hpp>
#include <ringlet/core/bell.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/core/completion.hpp>
#include <ringlet/core/descriptor.hpp>
#include <ringlet/core/inbox.hpp>
#include <ringlet/core/options.hpp>
#include <ringlet/core/timer.hpp>

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace ringlet {

namespace kernel {
class ring;
class poller;
}  // namespace kernel
class buffer_pool;
class zero_copy_sends;
class pipe_pool;
class blocking_pool;

/// What a core has done since it was made. Plain counters of the owning thread.
struct core_stats {
    std::uint64_t turns = 0;
    std::uint64_t enters = 0;       ///< io_uring_enter or epoll_wait calls
    std::uint64_t submitted = 0;    ///< SQEs (io_uring)
    std::uint64_t completed = 0;    ///< CQEs (io_uring)
    std::uint64_t registrations = 0;///< epoll_ctl calls
    std::uint64_t edges = 0;        ///< descriptors with something new (epoll)
    std::uint64_t parks = 0;        ///< waits for an edge (epoll) or an armed receive (io_uring)
    std::uint64_t resumes = 0;      ///< coroutines resumed by the loop
    std::uint64_t timers_fired = 0;
    std::uint64_t messages = 0;     ///< taken from the inbox
    std::uint64_t bells = 0;        ///< times another thread had to wake this core
    std::uint64_t accept_backoffs = 0;  ///< accepts put off: EMFILE and its like
    std::uint64_t overflows = 0;    ///< turns that found the completion queue overflown
    std::uint64_t starvations = 0;  ///< waits for a buffer of the pool
    std::uint64_t pauses = 0;       ///< multishot receives stopped: enough received unasked
    std::uint64_t zero_copies = 0;  ///< sends that asked the kernel to copy nothing
    std::uint64_t zero_copies_copied = 0;  ///< of which it reported that it copied all the same
    std::uint64_t fixed_transfers = 0;  ///< zero copies, reads and writes by registered buffers
    std::uint64_t splices = 0;      ///< splice(2) calls that moved something
    std::uint64_t spliced_bytes = 0;   ///< sent on from pipes
    std::uint64_t pipes_made = 0;
    std::uint64_t pipe_shortages = 0;  ///< times no pipe could be had: the limit, EMFILE, too small
    std::uint32_t pipes_open = 0;      ///< now, in use or spare
    std::uint32_t buffers_leased = 0;  ///< of the pool, now
};

/// What a core has registered with its ring, and what held it back.
struct registered_memory {
    std::size_t bytes = 0;
    std::size_t wanted = 0;      ///< buffer_options::registered
    std::size_t most = 0;        ///< this core's share of a quarter of `limit`
    std::size_t limit = 0;       ///< RLIMIT_MEMLOCK of the process; SIZE_MAX: none
    std::error_code refusal;     ///< the kernel's, to the last try
};

/// One loop: it owns one thread's time and decides what runs next, when to sleep and who may wake
/// it. Made, run and destroyed on the same thread; post(),
/// make_ready_from_anywhere() and wake() alone may be called from others.
class core {
public:
    /// Errors: the kernel's, with the cause and the remedy in *why when given.
    [[nodiscard]] static result<std::unique_ptr<core>> make(const core_options& options,
                                                            std::string* why = nullptr);
    /// The same with a choice that has been made before, for all cores of a process.
    [[nodiscard]] static result<std::unique_ptr<core>> make(const core_options& options,
                                                            backend_choice choice,
                                                            std::string* why = nullptr);
    ~core();
    core(const core&) = delete;
    core& operator=(const core&) = delete;

    /// The core whose loop runs on this thread. It must exist: this is not checked, and elsewhere
    /// a null pointer is followed.
    [[nodiscard]] static core& here() noexcept { return *current_; }
    [[nodiscard]] static core* here_or_null() noexcept { return current_; }

    /// Turns the loop until `done` is true. With a virtual clock and nothing that could ever wake
    /// anybody, it aborts with a message instead of hanging.
    void run_until(const bool& done);

    [[nodiscard]] ringlet::backend backend() const noexcept { return choice_.chosen; }
    [[nodiscard]] const std::string& fallback_reason() const noexcept {
        return choice_.fallback_reason;
    }
    /// What the loop got, for start lines and doctor: `defer-taskrun single-issuer ...`. One of
    /// `registered-buffers=512K`, `registered-buffers=on-demand(at most 2048K; RLIMIT_MEMLOCK 8192K)`
    /// and, with the reason, `no-registered-buffers(...)` is always in it.
    [[nodiscard]] std::string describe() const;
    /// A copy; on this core's thread only. For another core's: on_core().
    [[nodiscard]] core_stats stats() const noexcept;
    /// True until the loop has gone to the kernel for the first time.
    [[nodiscard]] bool starting() const noexcept { return stats_.turns == 0; }

    /// The time, read now.
    [[nodiscard]] std::uint64_t now_ns() noexcept;
    [[nodiscard]] timer_wheel& timers() noexcept { return timers_; }

    /// From any thread: runs the message on this core. errc::inbox_full when its inbox is full.
    [[nodiscard]] result<void> post(const message& m) noexcept;
    /// From any thread: queues a waiter of this core. The waiter itself is the place in the queue, so
    /// this cannot fail.
    void make_ready_from_anywhere(ready_node& node) noexcept;
    /// From any thread and from signal handlers: ends the core's sleep.
    void wake() noexcept;

    // ---- for awaitables -------------------------------------------------------------------

    /// Queues a waiter behind those that are ready already.
    void make_ready(ready_node& node) noexcept {
        node.next = nullptr;
        *ready_tail_ = &node;
        ready_tail_ = &node.next;
    }
    /// The same, but not before the kernel has been asked once more: for whoever could go on but
    /// has had its share.
    void make_ready_later(ready_node& node) noexcept {
        node.next = nullptr;
        *later_tail_ = &node;
        later_tail_ = &node.next;
    }
    /// Answers a waiting operation: out of its scope's list, into the ready queue.
    void answer(completion& c, int value) noexcept {
        c.answer = value;
        c.at = completion::phase::ready;
        c.unlink_if_linked();
        make_ready(c);
    }
    /// Asks a waiting operation to end with `reason`. Does nothing when it has been answered, or
    /// asked, already.
    void request_end(completion& c, errc reason) noexcept {
        using phase = completion::phase;
        if (c.ending != 0 || c.at == phase::idle || c.at == phase::ready) return;
        c.ending = static_cast<std::uint8_t>(reason);
        c.kind->cancel(*this, c);
    }
    /// Resumes `next` as soon as the running coroutine has suspended: the loop's trampoline. It
    /// stands where others use symmetric transfer, which is no tail call in g++ 12's debug and
    /// sanitizer builds, and so lets a million synchronous completions pass on a flat stack.
    void run_next(std::coroutine_handle<> next) noexcept { next_ = next; }
    /// A coroutine that has ended and that nobody awaits: destroyed once it has suspended.
    void bury(std::coroutine_handle<> ended) noexcept { ended_ = ended; }
    /// False when the running coroutine has used up what it may finish without suspending.
    [[nodiscard]] bool spend() noexcept {
        if (inline_left_ == 0) return false;
        --inline_left_;
        return true;
    }
    /// How often it has done so since it was resumed.
    [[nodiscard]] unsigned spent() const noexcept { return options_.inline_budget - inline_left_; }
    /// The descriptor of `c` had an edge (epoll) or may have more to give. There is room for every
    /// edge: register_descriptor() or make_room_for_edges() made it.
    void queue_attempt(completion& c) noexcept {
        c.at = completion::phase::edge;
        edges_.push_back(&c);
    }

    /// True when operations with an edge wait for their turn.
    [[nodiscard]] bool has_edges() const noexcept { return edges_.size() > 0; }
    /// Takes back queue_attempt(): `c` is about to go.
    void forget_attempt(completion& c) noexcept { edges_.remove(&c); }
    /// For a reader and a writer of each open descriptor; false when there is no memory.
    [[nodiscard]] bool make_room_for_edges() noexcept;
    /// epoll: lets an operation that waits on this side of `d` be found by its edges; 0 or -errno.
    [[nodiscard]] int register_descriptor(descriptor& d, side waiting) noexcept;

    [[nodiscard]] kernel::ring* ring() noexcept { return ring_.get(); }
    [[nodiscard]] kernel::poller* poller() noexcept { return poller_.get(); }
    [[nodiscard]] descriptor_pool& descriptors() noexcept { return *descriptors_; }
    [[nodiscard]] core_stats& counters() noexcept { return stats_; }
    [[nodiscard]] buffer_pool& buffers() noexcept { return *buffers_; }
    [[nodiscard]] zero_copy_sends& zero_copies() noexcept { return *zero_copies_; }
    /// Registers buffers with the ring now, not at the first operation that gains by it; once.
    /// Nothing on epoll.
    const registered_memory& register_buffers() noexcept;
    /// Whether sockets are opened into the ring's own table; see core_options::direct_descriptors.
    [[nodiscard]] bool direct() const noexcept { return direct_; }
    [[nodiscard]] pipe_pool& pipes() noexcept { return *pipes_; }
    /// io_uring: takes the answers there are now, without waiting.
    void look() noexcept;
    /// Before a system call that raises SIGPIPE whatever it is told: from then on and until the core
    /// ends the thread does not receive it.
    void hold_sigpipe() noexcept {
        if (!sigpipe_held_) [[unlikely]] hold_sigpipe_once();
    }
    /// Operations the kernel or a descriptor has; 0 when the core may be destroyed.
    std::uint32_t in_flight = 0;

    // ---- calls that block, on the threads of the blocking pool ------------------------------
    /// Hands a job to the pool: 0 (its waiter will be resumed here), or a negative answer.
    [[nodiscard]] int start_blocking(blocking_job& job) noexcept;
    /// False when the job has begun already: it is waited for. True: it will not run.
    [[nodiscard]] bool withdraw_blocking(blocking_job& job) noexcept;
    /// A task waits for another thread: until its return a virtual clock stands still.
    void called_out() noexcept { ++away_; }
    /// The waiter, of a job that has run or of another core's answer, has been resumed.
    void came_back() noexcept { --away_; }
    /// The worker: the job has run. Its waiter resumes here.
    void end_blocking(blocking_job& job) noexcept;

    // ---- the stop that run() spreads; see coro/stop.hpp -------------------------------------
    [[nodiscard]] bool stop_requested() const noexcept { return stop_requested_; }
    /// Ends the waits in stop_waiters() with errc::stopping; later ones end at once.
    void request_stop() noexcept;
    [[nodiscard]] link_list& stop_waiters() noexcept { return stop_waiters_; }

    /// Called between turns after a wake(): by the signal hub, and by run() to hear of a stop.
    void (*on_signals)(core&) noexcept = nullptr;
    void (*on_stop)(core&) noexcept = nullptr;

private:
    core(const core_options& options, backend_choice choice);
    void turn(const bool& done);
    void drain();
    [[noreturn]] void give_up() const;
    void run_ready();
    void run_edges();
    void resume(std::coroutine_handle<> first) {
        ++stats_.resumes;
        inline_left_ = options_.inline_budget;
        first.resume();
        if (next_ || ended_) [[unlikely]] follow();
    }
    void follow();
    void hold_sigpipe_once() noexcept;
    void read_inbox();
    void enter_kernel(bool may_sleep);
    void reap_ring() noexcept;
    int poll_edges(std::int64_t timeout_ns) noexcept;
    void mute(descriptor& d) noexcept;
    [[nodiscard]] bool spin_for_work();
    [[nodiscard]] std::int64_t time_to_sleep(bool may_sleep);
    void skip_time(bool nothing_came);

    static thread_local constinit core* current_;

    /// Completions with an edge, first come first served. A ring of pointers, not a list: the
    /// completion stays in its scope's list, so that it can still be cancelled.
    class edge_queue {
    public:
        /// Room for `count` at once; throws std::bad_alloc.
        void reserve(std::size_t count);
        void push_back(completion* c) noexcept { items_[tail_++ & mask_] = c; }
        /// Null in place of one that was removed.
        [[nodiscard]] completion* pop_front() noexcept { return items_[head_++ & mask_]; }
        void remove(completion* c) noexcept {
            for (std::size_t i = head_; i != tail_; ++i)
                if (items_[i & mask_] == c) items_[i & mask_] = nullptr;
        }
        [[nodiscard]] std::size_t size() const noexcept { return tail_ - head_; }

    private:
        std::unique_ptr<completion*[]> items_;
        std::size_t capacity_ = 0;
        std::size_t mask_ = 0;  // capacity_ is a power of two
        std::size_t head_ = 0;  // both only count up
        std::size_t tail_ = 0;
    };

    // What every operation touches.
    link* ready_head_ = nullptr;
    link** ready_tail_ = &ready_head_;
    link* later_head_ = nullptr;
    link** later_tail_ = &later_head_;
    std::coroutine_handle<> next_;
    std::coroutine_handle<> ended_;
    unsigned inline_left_ = 0;
    bool stop_requested_ = false;
    bool running_ = false;
    bool direct_ = false;
    bool sigpipe_held_ = false;
    bool sigpipe_to_release_ = false;
    std::unique_ptr<kernel::ring> ring_;
    std::unique_ptr<kernel::poller> poller_;
    edge_queue edges_;
    core_stats stats_;

    // What a turn touches.
    // Chains of tasks that had their share of a turn (see resume()), and those being resumed.
    std::vector<std::coroutine_handle<>> hopped_;
    std::vector<std::coroutine_handle<>> hopping_;
    timer_wheel timers_;
    batch_wait batch_wait_;
    clock_source* clock_;
    core_options options_;
    link_list stop_waiters_;
    std::unique_ptr<descriptor_pool> descriptors_;
    std::unique_ptr<buffer_pool> buffers_;
    std::unique_ptr<zero_copy_sends> zero_copies_;
    std::unique_ptr<pipe_pool> pipes_;
    backend_choice choice_;
    // Jobs handed to the blocking pool, and calls to other cores, whose waiters have not resumed.
    std::uint32_t away_ = 0;
    std::shared_ptr<blocking_pool> blocking_;  // from the first job on

    // What other threads touch.
    class inbox inbox_;
    class bell bell_;
    std::atomic<link*> returned_{nullptr};  // waiters from make_ready_from_anywhere, last first
    // Threads on their way out of post() and make_ready_from_anywhere(): what they brought may have run
    // already, and the core be about to end.
    std::atomic<std::uint32_t> visitors_{0};
    completion bell_completion_;
};

/// The current core, as core::here(): on a core's thread only.
[[nodiscard]] inline core& here() noexcept { return core::here(); }

/// Chooses the backend for the whole process: honours RINGLET_BACKEND before the first io_uring
/// call, tries a ring, and says why when it cannot be had.
[[nodiscard]] result<backend_choice> choose_backend(const core_options& options,
                                                    std::string* why = nullptr);

}  // namespace ringlet
