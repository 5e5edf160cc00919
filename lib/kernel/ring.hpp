// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/backend.hpp>

#include <kernel/ledger.hpp>

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ringlet::kernel {

/// What a user_data word says in its two low bits; the rest is a pointer.
enum class tag : std::uint64_t {
    completion = 0,  ///< a completion with one answer
    many = 1,        ///< a completion whose kind takes the answer (several may come)
    nobody = 2,      ///< an answer nobody waits for: a cancel request's
    call = 3,        ///< the answer of ring::call(), which is waited for on the spot
};

/// One io_uring, made and used on one thread: submission without locks, one enter per turn.
class ring {
public:
    struct setup {
        ring_flavour flavour = ring_flavour::best;
        unsigned submission_entries = 256;
        unsigned completion_entries = 0;  ///< 0: 16 times as many, at least 4096
        unsigned bounded_workers = 2;
        unsigned unbounded_workers = 4;
        unsigned direct_descriptors = 0;
        /// As small as can be, to see whether one can be had: its locked memory is given back late.
        bool only_to_try = false;
    };
    struct failure {
        int error = 0;              ///< errno
        std::string explanation;    ///< cause and remedy, one sentence
        bool exhausted = false;     ///< ENOMEM, EMFILE, ENFILE: no reason to fall back
    };
    /// Sets a ring up, from the best flavour down to the one the kernel grants, and proves it with
    /// one no-op through io_uring_enter.
    [[nodiscard]] static std::unique_ptr<ring> make(const setup& options, failure& why);
    ~ring();
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;

    /// A submission entry for io_uring_prep_*() and the user_data. Never fails: a full queue is
    /// submitted first.
    [[nodiscard]] io_uring_sqe& take() noexcept {
        if (full()) [[unlikely]] make_room();
        return take_free();
    }
    [[nodiscard]] bool full() const noexcept {
        return tail_ - load_acquire(sq_head_) == sq_entries_;
    }
    /// The same while the queue is not full.
    [[nodiscard]] io_uring_sqe& take_free() noexcept {
        io_uring_sqe& sqe = sqes_[tail_++ & sq_mask_];
#ifdef IO_URING_VERSION_MAJOR
        // From liburing 2.6 on io_uring_prep_*() leave in place what io_uring_get_sqe() has
        // cleared. Up to 2.3, which has no such macro, they fill all of it.
        std::memset(&sqe, 0, sizeof sqe);
#endif
        return sqe;
    }
    /// Submits everything taken; waits for `wait_count` completions, or `timeout_ns` (< 0: no
    /// limit), if any is to be waited for. For more than one, which may never come, `min_wait_ns`
    /// at most (then for one), and only where may_wait_for_batch() says so. Returns 0 or -errno
    /// (EINTR, ETIME, EBUSY, EAGAIN mean: look at the completions). Any other ends the program once
    /// the ring has proved to work: nothing could be waited for any more.
    int enter(unsigned wait_count, std::int64_t timeout_ns, std::int64_t min_wait_ns) noexcept;

    /// Calls `take(user_data, res, flags)` for each completion there is; their number. Each is
    /// consumed before it is told: `take` may need a submission entry, and a full queue reaps.
    template <class Take>
    unsigned reap(Take&& take) noexcept {
        unsigned count = 0;
        if (cancels_) [[unlikely]] cancels_ = unsubmitted() > 0;
        // One by one: `take` may reap in turn, which has to go on where this stands.
        while (!aside_.empty()) [[unlikely]] {
            const io_uring_cqe& cqe = aside_[aside_told_];
            const std::uint64_t user_data = cqe.user_data;
            const std::int32_t res = cqe.res;
            const std::uint32_t flags = cqe.flags;
            if (++aside_told_ == aside_.size()) {
                aside_.clear();
                aside_told_ = 0;
            }
            ledger_.answered(user_data, res, flags);
            take(user_data, res, flags);
            ++count;
        }
        const std::uint32_t tail = load_acquire(cq_tail_);
        for (std::uint32_t head = *cq_head_; static_cast<std::int32_t>(tail - head) > 0;
             head = *cq_head_) {
            const io_uring_cqe& cqe = cqes_[head & cq_mask_];
            const std::uint64_t user_data = cqe.user_data;
            const std::int32_t res = cqe.res;
            const std::uint32_t flags = cqe.flags;
            std::atomic_ref(*cq_head_).store(head + 1, std::memory_order_release);
            ledger_.answered(user_data, res, flags);
            take(user_data, res, flags);
            ++count;
        }
        return count;
    }
    [[nodiscard]] bool has_completions() const noexcept {
        return *cq_head_ != load_acquire(cq_tail_) || !aside_.empty();
    }
    /// Whether a wait may be for several completions (Linux 6.12): not for what has come already,
    /// nor for what a passed deadline has just cancelled.
    [[nodiscard]] bool may_wait_for_batch() const noexcept {
        return min_wait_ && !cancels_ && !has_completions();
    }
    /// One operation as if it were a system call: submitted, and its answer awaited here while the
    /// other answers stay where they are. For what the kernel does at once (not by a worker).
    template <class Fill>
    [[nodiscard]] int call(Fill fill) noexcept {
        io_uring_sqe& sqe = take();
        fill(sqe);
        sqe.user_data = static_cast<std::uint64_t>(tag::call);
        return await_call();
    }
    /// True when the kernel holds work or answers back until the next enter.
    [[nodiscard]] bool must_enter() const noexcept {
        return (load_relaxed(sq_flags_) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }
    [[nodiscard]] bool overflown() const noexcept {
        return (load_relaxed(sq_flags_) & IORING_SQ_CQ_OVERFLOW) != 0;
    }
    [[nodiscard]] unsigned unsubmitted() const noexcept { return tail_ - load_acquire(sq_head_); }
    /// Before a descriptor is closed that an entry may name: its number may be another's by the next
    /// turn.
    void submit_before_close() noexcept {
        if (unsubmitted() > 0) enter(0, 0, 0);
    }

    /// Asks the kernel to cancel the request with this user_data. Its own answer ends it.
    void cancel(std::uint64_t user_data) noexcept;
    /// Registers `count` entries (a power of two, page-aligned) as the group of buffers receives may
    /// pick from; 0 or -errno. EINVAL before Linux 5.19.
    /// `incremental`: each is filled bit by bit; EINVAL before 6.12.
    [[nodiscard]] int provide_buffers(io_uring_buf_ring* entries, unsigned count,
                                      bool incremental) noexcept;
    void withdraw_buffers() noexcept;
    /// True when a multishot receive takes a limit (Linux 6.17): it ends by itself after so many
    /// bytes.
    [[nodiscard]] bool takes_receive_limit() const noexcept { return takes_limit_; }
    /// True when there is a multishot receive at all (Linux 6.0; buffers there are from 5.19 on).
    [[nodiscard]] bool takes_multishot_receive() const noexcept { return takes_multishot_; }
    static void set_receive_limit(io_uring_sqe& sqe, std::uint32_t bytes) noexcept {
        sqe.file_index = bytes;  // optlen, which liburing 2.3 does not name, stands there
    }
    /// A receive that answers once for several buffers (Linux 6.10).
    static void set_bundle(io_uring_sqe& sqe) noexcept;
    static constexpr std::uint16_t buffer_group = 0;
    /// Pins memory for fixed operations, as buffers 0, 1...; 0 or -errno.
    [[nodiscard]] int register_buffers(const iovec* memory, unsigned count) noexcept;

    /// Slots of the ring's own file table; 0: none, and direct_refusal() says why if some were asked
    /// for.
    [[nodiscard]] unsigned direct_slots() const noexcept { return direct_slots_; }
    [[nodiscard]] int direct_refusal() const noexcept { return direct_refusal_; }
    /// Slots that are neither in use nor set aside. The count is kept here, since the kernel closes
    /// a connection that it has accepted and finds no slot for.
    [[nodiscard]] unsigned direct_left() const noexcept {
        return direct_slots_ > direct_taken_ ? direct_slots_ - direct_taken_ : 0;
    }
    void take_direct(unsigned count) noexcept { direct_taken_ += count; }
    void untake_direct(unsigned count) noexcept { direct_taken_ -= count; }
    /// Asks the kernel to close a slot, with the next enter.
    void close_direct(unsigned slot) noexcept;
    static void prepare_install(io_uring_sqe& sqe, unsigned slot) noexcept;
    /// In a forked child, which has not got the ring's memory: whatever needs the ring ends the
    /// child with a sentence.
    void forget_in_child() noexcept;
    /// The descriptor by which other rings reach this one.
    [[nodiscard]] int fd() const noexcept { return ring_.ring_fd; }

    /// With which it was set up: those that say when and by whom its completions are run.
    [[nodiscard]] unsigned setup_flags() const noexcept;

    /// Called when a full submission queue cannot be submitted because the completion queue is
    /// full: it must reap.
    void (*drain)(void*) noexcept = nullptr;
    void* drain_subject = nullptr;

    [[nodiscard]] std::string describe() const;
    /// Debug builds: what the kernel has not answered for the last time, without the operation of
    /// this user_data. Empty in others.
    [[nodiscard]] std::string unanswered(std::uint64_t except) const { return ledger_.names(except); }
    std::uint64_t enters = 0;
    std::uint64_t submitted = 0;

private:
    ring() noexcept = default;
    [[nodiscard]] int set_up(const setup& options, unsigned flags, unsigned sq,
                             unsigned cq) noexcept;
    void keep_pointers() noexcept;
    void make_room() noexcept;
    void set_up_extras(const setup& options) noexcept;
    [[nodiscard]] int prove() noexcept;
    void ask_of_receives() noexcept;
    [[nodiscard]] bool knows_receive(std::uint32_t limit) noexcept;
    [[nodiscard]] int await_call() noexcept;
    [[nodiscard]] int refused(int error) const noexcept;
    [[nodiscard]] bool find_call(int& answer) noexcept;
    void make_table(unsigned slots) noexcept;
    [[nodiscard]] int prove_table() noexcept;

    static std::uint32_t load_acquire(const unsigned* p) noexcept {
        return std::atomic_ref(*const_cast<unsigned*>(p)).load(std::memory_order_acquire);
    }
    static std::uint32_t load_relaxed(const unsigned* p) noexcept {
        return std::atomic_ref(*const_cast<unsigned*>(p)).load(std::memory_order_relaxed);
    }

    // What every operation touches.
    io_uring_sqe* sqes_ = nullptr;
    unsigned tail_ = 0;  // ours; the kernel sees it at the next enter
    unsigned sq_mask_ = 0;
    unsigned sq_entries_ = 0;
    const unsigned* sq_head_ = nullptr;
    const unsigned* sq_flags_ = nullptr;
    unsigned* sq_tail_ = nullptr;
    io_uring_cqe* cqes_ = nullptr;
    unsigned* cq_head_ = nullptr;
    const unsigned* cq_tail_ = nullptr;
    unsigned cq_mask_ = 0;
    int enter_fd_ = -1;
    unsigned enter_flags_ = 0;

    std::vector<io_uring_cqe> aside_;  // taken out of a full queue; empty once all are told
    std::size_t aside_told_ = 0;
    io_uring ring_{};
    bool open_ = false;
    bool proven_ = false;
    bool takes_limit_ = false;
    bool takes_multishot_ = false;
    bool min_wait_ = false;
    bool cancels_ = false;  // one may be unanswered: taken since all was submitted and reaped
    bool registered_ = false;
    bool workers_capped_ = false;
    [[no_unique_address]] ledger ledger_;
    unsigned direct_slots_ = 0;
    unsigned direct_taken_ = 0;
    int direct_refusal_ = 0;
};

}  // namespace ringlet::kernel
