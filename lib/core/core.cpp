// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/core.hpp>

#include <ringlet/base/frame.hpp>
#include <core/blocking_pool.hpp>
#include <core/buffer_pool.hpp>
#include <core/pipe_pool.hpp>
#include <core/user_data.hpp>
#include <core/zero_copy.hpp>
#include <kernel/fault.hpp>
#include <kernel/poller.hpp>
#include <kernel/probe.hpp>
#include <kernel/ring.hpp>
#include <kernel/sys.hpp>

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace ringlet {

thread_local constinit core* core::current_ = nullptr;

namespace {

class monotonic_clock final : public clock_source {
public:
    [[nodiscard]] std::uint64_t now_ns() noexcept override { return sys::monotonic_ns(); }
};
monotonic_clock real_clock;

void bell_answered(core& c, ring_target& target, int result, std::uint32_t flags) noexcept;

/// The bell's eventfd is never read: each write makes a new edge, for epoll and for a multishot
/// poll alike, so one system call per wake-up is enough.
constexpr completion_kind bell_kind{.answered = bell_answered};

void arm_bell(core& c, completion& bell, int fd) noexcept {
    io_uring_sqe& sqe = c.ring()->take();
    io_uring_prep_poll_multishot(&sqe, fd, POLLIN);
    io_uring_sqe_set_data64(&sqe, user_data(bell, kernel::tag::many));
}

void bell_answered(core& c, ring_target& target, int result, std::uint32_t flags) noexcept {
    auto& bell = static_cast<completion&>(target);
    if (result >= 0) ++c.counters().bells;
    // The poll may end at any time (completion queue overflow); only F_MORE says that it goes on.
    // Nor is a cancel its end: a program's own may be of all that the ring has (uring()).
    if ((flags & IORING_CQE_F_MORE) == 0 && bell.answer >= 0 && result != -EBADF)
        arm_bell(c, bell, bell.answer);
}

kernel::ring::setup ring_setup(const core_options& o) noexcept {
    return {.flavour = o.flavour,
            .submission_entries = o.ring_entries,
            .completion_entries = o.completion_entries,
            .bounded_workers = o.bounded_workers,
            .unbounded_workers = o.unbounded_workers,
            .direct_descriptors = o.direct_descriptors};
}

/// A forked child has its parent's epoll instance, whose registrations it would take away by what it
/// destroys, and a ring without memory.
void forget_in_child() noexcept {
    core* const c = core::here_or_null();
    if (c == nullptr) return;
    if (c->ring() != nullptr) c->ring()->forget_in_child();
    if (c->poller() != nullptr) c->poller()->forget_in_child();
}

/// How long the kernel may take over I/O in flight before a virtual clock jumps.
constexpr std::int64_t settle_ns = 20'000'000;

}  // namespace

std::string_view to_string(backend b) noexcept {
    switch (b) {
        case backend::automatic: return "auto";
        case backend::uring: return "io_uring";
        case backend::epoll: return "epoll";
    }
    return "?";
}

result<backend_choice> choose_backend(const core_options& options, std::string* why) {
    backend wanted = options.backend;
    if (const char* text = std::getenv("RINGLET_BACKEND"); text != nullptr && *text != '\0') {
        const std::string_view name = text;
        backend asked = backend::automatic;
        if (name == "epoll") {
            asked = backend::epoll;
        } else if (name == "uring" || name == "io_uring") {
            asked = backend::uring;
        } else if (name != "auto") {
            if (why)
                *why = fmt::format("RINGLET_BACKEND is `{}`; it may be auto, uring or epoll", name);
            return std::make_error_code(std::errc::invalid_argument);
        }
        if (wanted == backend::automatic) wanted = asked;
    }
    backend_choice choice;
    if (wanted == backend::automatic && RINGLET_EPOLL_BY_DEFAULT) {
        choice.fallback_reason = "this ringlet was built with -Dio_backend=epoll; RINGLET_BACKEND=uring insists";
        return choice;
    }
    if (wanted == backend::epoll) return choice;
    if (wanted == backend::automatic) {
        choice.fallback_reason =
            kernel::known_bad_kernel(kernel::kernel_release(), kernel::kernel_build());
        if (!choice.fallback_reason.empty()) return choice;
    }
    kernel::ring::setup trial = ring_setup(options);
    trial.only_to_try = true;
    trial.direct_descriptors = 0;
    kernel::ring::failure refused;
    if (kernel::ring::make(trial, refused) != nullptr) {
        choice.chosen = backend::uring;
        return choice;
    }
    // Exhaustion hidden as "epoll" would be a trap for whoever has to find it later.
    if (wanted == backend::uring || refused.exhausted) {
        if (why) *why = refused.explanation;
        return std::error_code(refused.error, std::system_category());
    }
    choice.fallback_reason = refused.explanation;
    return choice;
}

core::core(const core_options& options, backend_choice choice)
    : clock_(options.clock != nullptr ? options.clock : &real_clock),
      options_(options),
      descriptors_(std::make_unique<descriptor_pool>()),
      buffers_(std::make_unique<buffer_pool>(*this, options.buffers)),
      zero_copies_(std::make_unique<zero_copy_sends>(*this)),
      pipes_(std::make_unique<pipe_pool>(options.pipes)),
      choice_(std::move(choice)),
      inbox_(options.inbox_capacity),
      bell_completion_(bell_kind) {
    options_.turn_budget = std::max(options_.turn_budget, 1U);
    options_.wait.wait_count = std::max(options_.wait.wait_count, 1U);
    timers_.advance(clock_->now_ns());
    timers_.pair_passed = descriptor::limit_passed;
}

result<std::unique_ptr<core>> core::make(const core_options& options, std::string* why) {
    auto choice = choose_backend(options, why);
    if (!choice) return choice.error();
    return make(options, std::move(*choice), why);
}

result<std::unique_ptr<core>> core::make(const core_options& options, backend_choice choice,
                                         std::string* why) {
    RINGLET_CHECK(current_ == nullptr, "a second core on one thread");
    if (options.buffers.bundles && options.buffers.incremental) {
        if (why)
            *why = "buffer_options::bundles and buffer_options::incremental are both set; take one "
                   "of them";
        return std::make_error_code(std::errc::invalid_argument);
    }
    static const bool watches_forks = (sys::call_in_children(forget_in_child), true);
    static_cast<void>(watches_forks);
    std::unique_ptr<core> made(new core(options, std::move(choice)));
    current_ = made.get();
    frame::use_lists();
    int error = 0;
    std::string reason;
    const int bell = sys::event_fd();
    if (bell < 0) {
        error = -bell;
        reason = kernel::explain_failure("eventfd", error);
    } else if (made->bell_.attach(unique_fd(bell)); made->choice_.chosen == backend::uring) {
        kernel::ring::failure refused;
        made->ring_ = kernel::ring::make(ring_setup(options), refused);
        error = made->ring_ ? 0 : refused.error;
        reason = refused.explanation;
        if (made->ring_) {
            made->ring_->drain_subject = made.get();
            made->ring_->drain = [](void* c) noexcept { static_cast<core*>(c)->reap_ring(); };
            made->bell_completion_.answer = bell;
            arm_bell(*made, made->bell_completion_, bell);
            made->direct_ = made->ring_->direct_slots() > 0;
            // Now, so that describe() tells what the self-test found.
            if (options.buffers.bundles || options.buffers.incremental) {
                error = -made->buffers_->open();
                reason = "no memory for the buffers that chunks() receives into";
            }
        }
    } else {
        made->poller_ = kernel::poller::make(error);
        if (error == 0) error = -made->poller_->add(bell, nullptr, EPOLLIN | EPOLLET);
        if (error != 0)
            reason = kernel::explain_failure("epoll", error);
    }
    if (error != 0) {
        if (why) *why = reason;
        return std::error_code(error, std::system_category());
    }
    return made;
}

core::~core() {
    while (visitors_.load(std::memory_order_acquire) != 0) sys::pause_ns(10'000);
    blocking_.reset();
    bell_completion_.answer = -1;  // not armed again
    drain();
    RINGLET_CHECK(descriptors_->open() == 0,
                  "a stream, listener or file outlives its core: it must end before the core does");
    zero_copies_.reset();
    buffers_.reset();
    pipes_.reset();
    poller_.reset();
    ring_.reset();
    if (sigpipe_to_release_) sys::release_sigpipe();
    if (current_ == this) {
        current_ = nullptr;
        frame::drop_lists();
    }
}

/// What the kernel still has when the last task is gone (a listener's accept, being cancelled) is
/// waited for: it may write until its last answer.
void core::drain() {
    const std::uint64_t begin = sys::monotonic_ns();
    while (ring_ != nullptr && in_flight > 0) {
        if (sys::monotonic_ns() - begin > 5'000'000'000 || kernel::fault::injected("drain") != 0)
            give_up();
        ring_->enter(1, 100'000'000, 0);
        reap_ring();
    }
}

void core::give_up() const {
    std::string text = "the kernel did not end a cancelled operation within 5 s";
    // The bell is armed until the ring goes.
    const std::string what = ring_->unanswered(user_data(bell_completion_, kernel::tag::many));
    if (!what.empty()) text += ": " + what;
    detail::misuse(text.c_str(), __FILE__, __LINE__);
}

std::string core::describe() const {
    return (ring_ ? ring_->describe() : "edge-triggered") + buffers_->describe_registration() +
           buffers_->describe();
}

const registered_memory& core::register_buffers() noexcept {
    buffers_->register_now();
    return buffers_->registered();
}

core_stats core::stats() const noexcept {
    core_stats all = stats_;
    all.timers_fired = timers_.fired();
    all.starvations = buffers_->starvations;
    all.pipes_made = pipes_->made;
    all.pipe_shortages = pipes_->shortages;
    all.pipes_open = pipes_->open();
    all.buffers_leased = buffers_->leased();
    if (ring_) {
        all.enters = ring_->enters;
        all.submitted = ring_->submitted;
    } else {
        all.enters = poller_->waits;
    }
    return all;
}

std::uint64_t core::now_ns() noexcept { return clock_->now_ns(); }

namespace {
/// Keeps the core from ending until the visitor has left.
class visit {
public:
    explicit visit(std::atomic<std::uint32_t>& visitors) noexcept : visitors_(visitors) {
        visitors_.fetch_add(1, std::memory_order_relaxed);
    }
    ~visit() { visitors_.fetch_sub(1, std::memory_order_release); }
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

private:
    std::atomic<std::uint32_t>& visitors_;
};
}  // namespace

result<void> core::post(const message& m) noexcept {
    const visit until_rung(visitors_);
    if (!inbox_.push(m)) return errc::inbox_full;
    wake();
    return {};
}

void core::make_ready_from_anywhere(ready_node& node) noexcept {
    const visit until_rung(visitors_);
    link* last = returned_.load(std::memory_order_relaxed);
    do {
        node.next = last;
    } while (!returned_.compare_exchange_weak(last, &node, std::memory_order_seq_cst,
                                              std::memory_order_relaxed));
    wake();
}

void core::wake() noexcept { bell_.ring(); }

int core::start_blocking(blocking_job& job) noexcept {
    if (blocking_ == nullptr) {
        try {
            blocking_ = blocking_pool::of_process(options_.blocking);
        } catch (const std::bad_alloc&) {
            return -ENOMEM;
        }
    }
    job.home = this;
    ++away_;
    const int error = blocking_->submit(job);
    if (error != 0) --away_;
    return error;
}

bool core::withdraw_blocking(blocking_job& job) noexcept {
    if (!blocking_->withdraw(job)) return false;
    --away_;
    return true;
}

void core::end_blocking(blocking_job& job) noexcept {
    make_ready_from_anywhere(job);
}

void core::request_stop() noexcept {
    stop_requested_ = true;
    // Those that end at once leave the list when their task runs, so it is gone through as it is.
    link_list asked;
    asked.take(stop_waiters_);
    while (!asked.empty()) {
        auto& node = static_cast<stop_node&>(asked.pop_front());
        request_end(*node.target, errc::stopping);
    }
    // A walk at a stop is cheaper than a list in and out of which every wait goes.
    descriptors_->each([this](descriptor& d) {
        for (completion* seated : d.seats)
            if (seated != nullptr && (seated->extras & completion::ends_at_stop) != 0)
                request_end(*seated, errc::stopping);
    });
}

void core::run_until(const bool& done) {
    RINGLET_CHECK(!running_, "a core's loop was run from within one of its tasks: co_await instead");
    running_ = true;
    while (!done) turn(done);
    running_ = false;
}

void core::turn(const bool& done) {
    read_inbox();
    run_edges();
    if (buffers_->starving()) [[unlikely]] buffers_->new_turn();
    run_ready();
    const bool idle = !done && ready_head_ == nullptr && later_head_ == nullptr &&
                      edges_.size() == 0 && hopped_.empty() && !buffers_->can_feed();
    enter_kernel(idle);
    if (later_head_ != nullptr) {
        *ready_tail_ = std::exchange(later_head_, nullptr);
        ready_tail_ = std::exchange(later_tail_, &later_head_);
    }
    ++stats_.turns;
}

void core::read_inbox() {
    if (!bell_.take()) [[likely]] return;
    // First: what was posted before the program was seen to have ended is still run.
    if (on_stop != nullptr) on_stop(*this);
    message m;
    std::size_t left = inbox_.capacity();
    for (; left > 0 && inbox_.pop(m); --left) {
        ++stats_.messages;
        m.run(m.subject, m.word);
    }
    if (left == 0) bell_.ring();  // the rest in the next turn
    if (returned_.load(std::memory_order_relaxed) != nullptr) {
        link* last = returned_.exchange(nullptr, std::memory_order_acquire);
        link* first = nullptr;
        while (last != nullptr) {  // pushed last is on top: turn it round
            link* below = std::exchange(last->next, first);
            first = last;
            last = below;
        }
        while (first != nullptr) {
            link* next = first->next;
            make_ready(static_cast<ready_node&>(*first));
            first = next;
        }
    }
    if (on_signals != nullptr) on_signals(*this);
}

/// What the coroutine that has just suspended leaves to be done: buried, and the next one resumed.
void core::follow() {
    for (unsigned hops = 0;; ++hops) {
        if (ended_) std::exchange(ended_, nullptr).destroy();
        if (!next_) return;
        const std::coroutine_handle<> running = std::exchange(next_, nullptr);
        if (hops >= 4095) {
            // A chain of tasks that end at once would keep the kernel waiting for ever. Without
            // memory for its place it goes on until there is some.
            try {
                hopped_.push_back(running);
                return;
            } catch (const std::bad_alloc&) {
            }
        }
        running.resume();
    }
}

void core::run_ready() {
    if (!hopped_.empty()) [[unlikely]] {
        hopping_.swap(hopped_);
        for (std::coroutine_handle<> chain : hopping_) resume(chain);
        hopping_.clear();
    }
    for (unsigned left = options_.turn_budget; left > 0 && ready_head_ != nullptr; --left) {
        auto& node = static_cast<ready_node&>(*ready_head_);
        ready_head_ = node.next;
        if (ready_head_ == nullptr) ready_tail_ = &ready_head_;
        node.next = nullptr;
        resume(node.waiter);
    }
}

void core::run_edges() {
    for (std::size_t left = std::min<std::size_t>(edges_.size(), options_.turn_budget); left > 0;
         --left) {
        completion* const next = edges_.pop_front();
        if (next == nullptr) continue;
        completion& c = *next;
        c.at = completion::phase::parked;
        const int value = c.kind->attempt(c);
        if (value == -EAGAIN && c.ending == 0) {
            const bool queued_again = c.at == completion::phase::edge;
            if (ring_ != nullptr && !queued_again) c.kind->submit(*this, c);
            continue;
        }
        c.answer = value == -EAGAIN ? -ECANCELED : value;
        c.at = completion::phase::ready;
        c.unlink_if_linked();
        --in_flight;
        resume(c.waiter);
    }
}

void core::reap_ring() noexcept {
    stats_.completed += ring_->reap([this](std::uint64_t data, int res, std::uint32_t flags) {
        ring_target* const target = target_of(data);
        if (tag_of(data) == kernel::tag::completion)
            if (const int error = kernel::fault::injected("cqe")) res = -error;
        switch (tag_of(data)) {
            case kernel::tag::completion:
                --in_flight;
                answer(static_cast<completion&>(*target), res);
                break;
            case kernel::tag::many:
                // One that says F_MORE, or has a buffer, is not made an error: the kernel gives
                // none like that, and the request would go on.
                if ((flags & (IORING_CQE_F_MORE | IORING_CQE_F_BUFFER)) == 0)
                    if (const int error = kernel::fault::injected("cqe of several")) res = -error;
                target->kind->answered(*this, *target, res, flags);
                break;
            case kernel::tag::nobody: break;
            case kernel::tag::call: break;
        }
    });
    buffers_->refill_if_low();
}

void core::look() noexcept {
    ring_->enter(0, 0, 0);
    reap_ring();
}

void core::hold_sigpipe_once() noexcept {
    sigpipe_held_ = true;
    sigpipe_to_release_ = sys::hold_sigpipe();
}

bool core::spin_for_work() {
    auto limit = static_cast<std::uint64_t>(options_.wait.spin.count());
    if (const std::uint64_t next = timers_.next_ns(); next != timer_wheel::never) {
        const std::uint64_t now = clock_->now_ns();
        if (next <= now) return false;
        if (!clock_->is_virtual()) limit = std::min(limit, next - now);
    }
    const std::uint64_t begin = sys::monotonic_ns();
    if (ring_ != nullptr && ring_->unsubmitted() > 0) ring_->enter(0, 0, 0);
    while (!bell_.rung()) {
        if (ring_ != nullptr && (ring_->has_completions() || ring_->must_enter())) return true;
        if (ring_ == nullptr && poll_edges(0) > 0) return true;
        if (sys::monotonic_ns() - begin >= limit) return false;
    }
    return true;
}

int core::poll_edges(std::int64_t timeout_ns) noexcept {
    return poller_->wait(timeout_ns, [this](void* data, std::uint32_t events) noexcept {
        if (data == nullptr) {
            ++stats_.bells;
            return;
        }
        auto& d = *static_cast<descriptor*>(data);
        const bool known = d.readable;
        ++stats_.edges;
        if ((events & ~(EPOLLIN | EPOLLOUT)) == 0) [[likely]] {
            d.readable = d.readable || (events & EPOLLIN) != 0;
            d.writable = d.writable || (events & EPOLLOUT) != 0;
        } else {
            constexpr std::uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
            d.trust_short = false;
            if (events & (EPOLLIN | ended | EPOLLPRI)) d.readable = true;
            if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) d.writable = true;
        }
        using phase = completion::phase;
        completion* reader = d.seat(side::read);
        if (reader != nullptr && d.readable && reader->at == phase::parked) queue_attempt(*reader);
        completion* writer = d.seat(side::write);
        if (writer != nullptr && d.writable && writer->at == phase::parked) {
            queue_attempt(*writer);
        } else if (reader == nullptr && known) [[unlikely]] {
            mute(d);
        }
    });
}

/// What comes while nobody reads would wake the core for nothing, segment by segment: a peer that
/// floods, a proxy whose other side is slower (a quarter of its CPU). The next reader changes it back.
void core::mute(descriptor& d) noexcept {
    if (!d.registered || poller_->change(d.fd, &d, kernel::poller::writing_side) != 0) return;
    ++stats_.registrations;
    d.registered = false;
    d.muted = true;
}

std::int64_t core::time_to_sleep(bool may_sleep) {
    if (!may_sleep) return 0;
    const std::uint64_t next = timers_.next_ns();
    if (clock_->is_virtual()) {
        // What other threads do ends when it ends, and rings the bell.
        if (away_ > 0) return next <= clock_->now_ns() ? 0 : -1;
        return in_flight > 0 ? settle_ns : 0;
    }
    if (next == timer_wheel::never) return -1;
    const std::uint64_t now = clock_->now_ns();
    return next > now ? static_cast<std::int64_t>(next - now) : 0;
}

void core::skip_time(bool nothing_came) {
    if (!clock_->is_virtual() || !nothing_came || away_ > 0 || bell_.rung()) return;
    const std::uint64_t next = timers_.next_ns();
    RINGLET_CHECK(next != timer_wheel::never || in_flight > 0,
                  "with this virtual clock nothing can ever wake a task again: a deadlock");
    if (next != timer_wheel::never) clock_->skip_to(next);
}

void core::enter_kernel(bool may_sleep) {
    if (timers_.has_fresh()) timers_.place_fresh(clock_->now_ns());
    if (may_sleep && options_.wait.spin.count() > 0 && spin_for_work()) may_sleep = false;
    std::int64_t limit = time_to_sleep(may_sleep);
    if (limit != 0 && !bell_.about_to_sleep()) limit = 0;
    bool nothing_came = false;
    if (ring_ != nullptr) {
        const wait_policy& policy = options_.wait;
        const bool batch = limit != 0 && policy.wait_count > 1 && policy.min_wait.count() > 0 &&
                           ring_->may_wait_for_batch() &&
                           (!policy.adaptive || batch_wait_.due());
        const unsigned wanted = limit == 0 ? 0 : batch ? policy.wait_count : 1;
        ring_->enter(wanted, limit, policy.min_wait.count());
        if (ring_->overflown()) ++stats_.overflows;
        const std::uint64_t before = stats_.completed;
        reap_ring();
        const auto came = static_cast<unsigned>(stats_.completed - before);
        if (batch) batch_wait_.gathered(came);
        nothing_came = came == 0;
    } else {
        nothing_came = poll_edges(limit) <= 0;
    }
    bell_.awake();
    if (may_sleep) skip_time(nothing_came);
    if (timers_.next_ns() != timer_wheel::never) {
        timers_.advance(clock_->now_ns());
    }
}

bool core::make_room_for_edges() noexcept {
    try {
        // Beside those that are in it now, some of which have been taken back.
        edges_.reserve(edges_.size() + 2 * descriptors_->open());
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

int core::register_descriptor(descriptor& d, side waiting) noexcept {
    if (d.registered || (d.muted && waiting == side::write)) return 0;
    if (!make_room_for_edges()) return -ENOMEM;
    ++stats_.registrations;
    const bool muted = d.muted;
    const int error = muted ? poller_->change(d.fd, &d, kernel::poller::both_sides)
                            : poller_->add(d.fd, &d);
    if (error != 0) return error;
    d.registered = true;
    d.muted = false;
    if (muted) return 0;
    // A receive from a Unix-domain stream ends where descriptors were sent along (unix(7)): a short
    // one says nothing of what is behind, and its edge has been.
    int domain = 0;
    if (sys::get_option(d.fd, SOL_SOCKET, SO_DOMAIN, domain) == 0 && domain == AF_UNIX)
        d.trust_short = false;
    return 0;
}

void core::edge_queue::reserve(std::size_t count) {
    if (count <= capacity_) return;
    const std::size_t larger = std::bit_ceil(std::max<std::size_t>(count, 64));
    auto moved = std::make_unique<completion*[]>(larger);
    for (std::size_t i = head_; i != tail_; ++i) moved[i & (larger - 1)] = items_[i & mask_];
    items_ = std::move(moved);
    capacity_ = larger;
    mask_ = larger - 1;
}

}  // namespace ringlet
