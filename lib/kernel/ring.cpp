// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <kernel/ring.hpp>

#include <kernel/abi.hpp>
#include <kernel/fault.hpp>
#include <kernel/probe.hpp>
#include <kernel/sys.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace ringlet::kernel {

namespace {

constexpr unsigned deferred = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                              IORING_SETUP_TASKRUN_FLAG;                    // Linux 6.1
constexpr unsigned cooperative = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN |
                                 IORING_SETUP_TASKRUN_FLAG;                 // Linux 6.0
constexpr unsigned always = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;  // Linux 5.18

/// Flag sets to try, best first: probing by trial, since version numbers lie (vendor backports).
std::array<unsigned, 3> ladder(ring_flavour flavour) noexcept {
    switch (flavour) {
        case ring_flavour::deferred: return {deferred, deferred, deferred};
        case ring_flavour::cooperative: return {cooperative, cooperative, cooperative};
        case ring_flavour::plain: return {0, 0, 0};
        case ring_flavour::best: break;
    }
    return {deferred, cooperative, 0};
}

bool exhaustion(int error) noexcept {
    return error == ENOMEM || error == EMFILE || error == ENFILE;
}

/// What io_uring_enter says: look at the completions.
bool passes(int error) noexcept {
    return error == 0 || error == EINTR || error == ETIME || error == EBUSY || error == EAGAIN;
}

}  // namespace

int ring::set_up(const setup& options, unsigned flags, unsigned sq, unsigned cq) noexcept {
    io_uring_params params{};
    params.flags = flags | always | IORING_SETUP_CLAMP;
    params.cq_entries = cq;
    const int error = -io_uring_queue_init_params(sq, &ring_, &params);
    if (error != 0) return error;
    open_ = true;
    keep_pointers();
    set_up_extras(options);
    const int refusal = prove();
    proven_ = refusal == 0;
    if (proven_) ask_of_receives();
    return refusal;
}

std::unique_ptr<ring> ring::make(const setup& options, failure& why) {
    const unsigned sq = std::bit_ceil(std::clamp(options.submission_entries, 4U, 32768U));
    const unsigned cq =
        options.completion_entries != 0
            ? std::bit_ceil(std::clamp(options.completion_entries, sq, 65536U))
            : std::clamp(sq * 16, 4096U, 65536U);
    int error = 0;
    // Locked memory is counted per user and freed late, so a smaller ring may fit where a large one
    // does not: halve before giving up.
    for (unsigned shrink = options.only_to_try ? sq / 4 : 1;; shrink *= 2) {
        unsigned tried = ~0U;
        for (const unsigned flags : ladder(options.flavour)) {
            if (flags == tried) continue;
            tried = flags;
            std::unique_ptr<ring> made(new ring);
            error = made->set_up(options, flags, sq / shrink, cq / shrink);
            if (error == 0) {
                // One queue full without asking for memory: calls are made where nothing may fail.
                if (options.direct_descriptors > 0) made->aside_.reserve(made->cq_mask_ + 1);
                return made;
            }
            if (error != EINVAL) break;  // only EINVAL says: not with these flags
        }
        if (error != ENOMEM || sq / shrink < 32) break;
    }
    why.error = error;
    why.exhausted = exhaustion(error);
    why.explanation = explain_refusal(error, sq, cq);
    return nullptr;
}

ring::~ring() {
    if (open_) io_uring_queue_exit(&ring_);
}

void ring::keep_pointers() noexcept {
    sqes_ = ring_.sq.sqes;
    sq_entries_ = *ring_.sq.kring_entries;
    sq_mask_ = *ring_.sq.kring_mask;
    sq_head_ = ring_.sq.khead;
    sq_tail_ = ring_.sq.ktail;
    sq_flags_ = ring_.sq.kflags;
    cqes_ = ring_.cq.cqes;
    cq_head_ = ring_.cq.khead;
    cq_tail_ = ring_.cq.ktail;
    cq_mask_ = *ring_.cq.kring_mask;
    // Entries are used in order, so the indirection array is written once. (A newer liburing may
    // have set the ring up without it.)
    if (ring_.sq.array != nullptr)
        for (unsigned i = 0; i < sq_entries_; ++i) ring_.sq.array[i] = i;
    enter_fd_ = ring_.ring_fd;
}

void ring::set_up_extras(const setup& options) noexcept {
    min_wait_ = (ring_.features & abi::feature_min_timeout) != 0;
    if ((ring_.features & abi::feature_no_iowait) != 0) enter_flags_ |= abi::enter_no_iowait;
    // None of these is needed to run; a filter may refuse io_uring_register alone.
    if (io_uring_register_ring_fd(&ring_) == 1) {
        registered_ = true;
        enter_fd_ = ring_.enter_ring_fd;
        enter_flags_ |= IORING_ENTER_REGISTERED_RING;
    }
    std::array<unsigned, 2> workers{options.bounded_workers, options.unbounded_workers};
    workers_capped_ = io_uring_register_iowq_max_workers(&ring_, workers.data()) == 0;
    static_cast<void>(io_uring_ring_dontfork(&ring_));
    if (options.direct_descriptors > 0) make_table(options.direct_descriptors);
}

int ring::prove() noexcept {
    return -call([](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); });
}

int ring::await_call() noexcept {
    for (int answer = 0;;) {
        const int entered = enter(1, -1, 0);
        if (find_call(answer)) return answer;
        if (!passes(-entered)) return entered;
    }
}

bool ring::find_call(int& answer) noexcept {
    const std::uint32_t tail = load_acquire(cq_tail_);
    for (std::uint32_t i = *cq_head_; i != tail; ++i) {
        io_uring_cqe& cqe = cqes_[i & cq_mask_];
        if (cqe.user_data != static_cast<std::uint64_t>(tag::call)) continue;
        answer = cqe.res;
        cqe.user_data = static_cast<std::uint64_t>(tag::nobody);
        return true;
    }
    // It may stand behind a full queue. The others are not told now: they would make calls too.
    if (overflown()) {
        for (std::uint32_t i = *cq_head_; i != tail; ++i) aside_.push_back(cqes_[i & cq_mask_]);
        std::atomic_ref(*cq_head_).store(tail, std::memory_order_release);
    }
    return false;
}

void ring::make_table(unsigned slots) noexcept {
    // The kernel refuses a table larger than the process may have descriptors, although the slots
    // are none.
    const auto most = sys::get_limit(sys::limit_kind::open_files).soft;
    slots = static_cast<unsigned>(std::min<std::uint64_t>(slots, most));
    direct_refusal_ = fault::injected("register_files");
    if (direct_refusal_ == 0)
        direct_refusal_ = -io_uring_register_files_sparse(&ring_, slots);  // Linux 5.19
    if (direct_refusal_ != 0) return;
    direct_refusal_ = prove_table();
    if (direct_refusal_ == 0) {
        direct_slots_ = slots;
    } else {
        io_uring_unregister_files(&ring_);
    }
}

/// A socket in the table can be had and got out again; else direct descriptors are of no use to us.
int ring::prove_table() noexcept {
    const int slot = call([](io_uring_sqe& sqe) {
        io_uring_prep_socket_direct_alloc(&sqe, AF_INET, SOCK_STREAM, 0, 0);
    });
    if (slot < 0) return -slot;
    const int fd = call(
        [&](io_uring_sqe& sqe) { prepare_install(sqe, static_cast<unsigned>(slot)); });
    if (fd >= 0) sys::close(fd);
    const int closed = call([&](io_uring_sqe& sqe) {
        io_uring_prep_close_direct(&sqe, static_cast<unsigned>(slot));
    });
    return fd < 0 ? -fd : -closed;
}

void ring::close_direct(unsigned slot) noexcept {
    io_uring_sqe& sqe = take();
    --direct_taken_;
    io_uring_prep_close_direct(&sqe, slot);
    sqe.user_data = static_cast<std::uint64_t>(tag::nobody);
}

/// A descriptor of the process for what is in the slot; close-on-exec.
void ring::prepare_install(io_uring_sqe& sqe, unsigned slot) noexcept {
    io_uring_prep_rw(static_cast<int>(abi::op_fixed_fd_install), &sqe, static_cast<int>(slot),
                     nullptr, 0, 0);
    sqe.flags |= IOSQE_FIXED_FILE;
}

void ring::make_room() noexcept {
    while (tail_ - load_acquire(sq_head_) == sq_entries_) {
        const int entered = enter(0, 0, 0);
        // EBUSY: the completion queue has overflown and nothing is taken until it is read.
        if ((entered == -EBUSY || entered == -EAGAIN || must_enter()) && drain != nullptr)
            drain(drain_subject);
    }
}

int ring::enter(unsigned wait_count, std::int64_t timeout_ns, std::int64_t min_wait_ns) noexcept {
    ledger_.submitted(sqes_, sq_mask_, tail_);
    std::atomic_ref(*sq_tail_).store(tail_, std::memory_order_release);
    const unsigned to_submit = tail_ - load_acquire(sq_head_);
    if (!aside_.empty()) wait_count = 0;
    // Without GETEVENTS a ring with deferred task work would never run it.
    unsigned flags = enter_flags_ | IORING_ENTER_GETEVENTS;
    const bool batching = wait_count > 1;
    // The minimum wait is waited out first, and the time limit looked at only after that.
    if (timeout_ns >= 0) min_wait_ns = std::min(min_wait_ns, timeout_ns);
    if (batching && timeout_ns < 0) timeout_ns = 3'600'000'000'000;
    ++enters;
    int answer = 0;
    if (wait_count == 0 || timeout_ns < 0) {
        answer = io_uring_enter2(static_cast<unsigned>(enter_fd_), to_submit, wait_count, flags,
                                 nullptr, _NSIG / 8);
    } else {
        __kernel_timespec limit{.tv_sec = timeout_ns / 1'000'000'000,
                                .tv_nsec = timeout_ns % 1'000'000'000};
        io_uring_getevents_arg wait{};
        wait.ts = reinterpret_cast<std::uint64_t>(&limit);
        if (batching) {
            // min_wait_usec has the place of liburing 2.3's `pad`. It needs a time limit beside it,
            // else the kernel returns at min_wait even with nothing done.
            // 0 would be for ever.
            const auto whole_us = static_cast<std::uint64_t>(min_wait_ns - 1) / 1000 + 1;
            const auto us = static_cast<std::uint32_t>(std::min<std::uint64_t>(whole_us, UINT32_MAX));
            std::memcpy(reinterpret_cast<char*>(&wait) + 12, &us, sizeof us);
        }
        flags |= IORING_ENTER_EXT_ARG;
        answer = io_uring_enter2(static_cast<unsigned>(enter_fd_), to_submit, wait_count, flags,
                                 reinterpret_cast<sigset_t*>(&wait), sizeof wait);
    }
    if (answer < 0) [[unlikely]] return refused(-answer);
    submitted += static_cast<unsigned>(answer);
    return 0;
}

int ring::refused(int error) const noexcept {
    // Whoever tries a ring goes on without it.
    if (passes(error) || !proven_) return -error;
    end_refused("io_uring_enter", error);
}

void ring::forget_in_child() noexcept {
    static constinit unsigned nothing[3]{};
    sys::close(ring_.ring_fd);
    open_ = false;
    enter_fd_ = -1;
    enter_flags_ &= ~static_cast<unsigned>(IORING_ENTER_REGISTERED_RING);
    // Full, so that the next entry asks for room, and without answers.
    tail_ = sq_entries_ = 0;
    ledger_.forget();
    sq_head_ = sq_flags_ = &nothing[0];
    sq_tail_ = &nothing[1];
    cq_head_ = &nothing[2];
    cq_tail_ = &nothing[2];
    aside_.clear();
}

void ring::cancel(std::uint64_t user_data) noexcept {
    io_uring_sqe& sqe = take();
    io_uring_prep_cancel64(&sqe, user_data, 0);
    sqe.user_data = static_cast<std::uint64_t>(tag::nobody);
    cancels_ = true;
}

int ring::provide_buffers(io_uring_buf_ring* entries, unsigned count, bool incremental) noexcept {
    if (const int error = fault::injected("register_buf_ring"); error != 0) return -error;
    io_uring_buf_reg group{};
    group.ring_addr = reinterpret_cast<std::uint64_t>(entries);
    group.ring_entries = count;
    group.bgid = buffer_group;
    if (incremental) abi::make_incremental(group);
    return io_uring_register_buf_ring(&ring_, &group, 0);
}
int ring::register_buffers(const iovec* memory, unsigned count) noexcept {
    if (const int error = fault::injected("register_buffers"); error != 0) return -error;
    return io_uring_register_buffers(&ring_, memory, count);
}
/// Now, while the ring has nothing else: a call on a full one needs memory.
void ring::ask_of_receives() noexcept {
    takes_limit_ = fault::injected("receive_limit") == 0 && knows_receive(1);
    takes_multishot_ =
        takes_limit_ || (fault::injected("multishot_receive") == 0 && knows_receive(0));
}
/// Of no file: a kernel that does not know such a receive refuses the entry before it looks for it.
bool ring::knows_receive(std::uint32_t limit) noexcept {
    return call([=](io_uring_sqe& sqe) {
               io_uring_prep_recv_multishot(&sqe, -1, nullptr, 0, 0);
               sqe.flags |= IOSQE_BUFFER_SELECT;
               sqe.buf_group = buffer_group;
               set_receive_limit(sqe, limit);
           }) == -EBADF;
}
void ring::set_bundle(io_uring_sqe& sqe) noexcept {
    sqe.ioprio = static_cast<std::uint16_t>(sqe.ioprio | abi::receive_bundle);
}
unsigned ring::setup_flags() const noexcept { return ring_.flags & (deferred | cooperative); }
void ring::withdraw_buffers() noexcept { io_uring_unregister_buf_ring(&ring_, buffer_group); }

std::string ring::describe() const {
    std::string text;
    const unsigned flags = ring_.flags;
    if (flags & IORING_SETUP_DEFER_TASKRUN) {
        text = "defer-taskrun";
    } else if (flags & IORING_SETUP_COOP_TASKRUN) {
        text = "coop-taskrun";
    } else {
        text = "plain";
    }
    if (flags & IORING_SETUP_SINGLE_ISSUER) text += " single-issuer";
    if (registered_) text += " registered-ring";
    if (enter_flags_ & abi::enter_no_iowait) text += " no-iowait";
    if (min_wait_) text += " min-wait";
    if (workers_capped_) text += " capped-workers";
    if (direct_slots_ > 0) text += fmt::format(" direct={}", direct_slots_);
    if (direct_refusal_ != 0)
        text += fmt::format(" no-direct({})", std::strerror(direct_refusal_));
    return text + fmt::format(" sq={} cq={}", sq_entries_, cq_mask_ + 1);
}

}  // namespace ringlet::kernel
