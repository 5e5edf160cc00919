// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/relay.hpp>

#include <ringlet/coro/scope.hpp>
#include <ringlet/coro/sleep.hpp>
#include <ringlet/coro/stop.hpp>
#include <ringlet/io/uring.hpp>

#include <kernel/ring.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <span>

namespace ringlet {

namespace {

// A direction is spliced once this much has come in full reads, and copied again after so many small
// ones: splicing halves the cost of the former and adds a tenth to that of the latter
// (docs/design/relay.md).
constexpr std::uint64_t splice_from = 256 * 1024;
constexpr std::size_t full_read = 16 * 1024;
constexpr std::size_t small_read = 8 * 1024;
constexpr unsigned small_in_a_row = 8;

/// Of one splice(2): far more than a pipe holds.
constexpr std::size_t most_spliced = 1 << 20;

/// What says that the kernel, or a filter before it, does not splice these sockets; the bytes are
/// where they were.
bool cannot_splice(const std::error_code& e) noexcept {
    return e == std::errc::invalid_argument || e == std::errc::function_not_supported ||
           e == std::errc::operation_not_supported || e == std::errc::operation_not_permitted ||
           e == std::errc::not_enough_memory;
}
bool has_no_descriptor(const std::error_code& e) noexcept {
    return e == std::errc::too_many_files_open || e == std::errc::too_many_files_open_in_system;
}

/// Asked for from outside, no failure of a side.
bool asked_for(const std::error_code& e) noexcept {
    return e == errc::cancelled || e == errc::timed_out || e == errc::stopping;
}

/// For how many looks in a row something that waits to be moved has not moved.
class quiet_count {
public:
    explicit quiet_count(bool waits) noexcept : waited_(waits) {}
    /// `waits`: whether there is something to be moved now, from one look to the next.
    [[nodiscard]] unsigned look(std::uint64_t moved, bool waits) noexcept {
        looks_ = waited_ && moved == moved_ ? looks_ + 1 : 0;
        moved_ = moved;
        waited_ = waits;
        return looks_;
    }
    void restart() noexcept { looks_ = 0; }

private:
    std::uint64_t moved_ = 0;
    unsigned looks_ = 0;
    bool waited_;
};

/// One relay: what its two directions share, and what may end it from outside.
class relaying {
public:
    relaying(cancel_scope& parent, const relay_options& o) noexcept
        : options(o), directions(parent), quiet_(*this), stop_(*this) {
        set_limit(o.idle, errc::timed_out);
        if (here().stop_requested()) {
            stopping();
        } else {
            here().stop_waiters().push_back(stop_.node);
        }
    }
    ~relaying() {
        quiet_.disarm();
        stop_.node.unlink_if_linked();
    }

    /// Notes whose doing the end is, if it is the first.
    void ended_by(relay_result::side who, const std::error_code& how) noexcept {
        if (result.how) return;
        result.first = asked_for(how) ? relay_result::side::neither : who;
        result.how = how;
    }

    const relay_options options;
    scope directions;
    relay_result result;

private:
    /// Looks four times within the limit whether anything has moved, and whether what one direction
    /// has in hand has, so that a message costs no timer of its own.
    struct quiet_timer : timer {
        explicit quiet_timer(relaying& r) noexcept : timer(over), owner(&r) {}
        static void over(timer& t) noexcept { static_cast<quiet_timer&>(t).owner->look(); }
        relaying* owner;
    };
    struct stop_watch : completion {
        explicit stop_watch(relaying& r) noexcept : completion(kind), owner(&r), node(*this) {
            at = phase::parked;
        }
        static void asked(core&, completion& c) noexcept {
            static_cast<stop_watch&>(c).owner->stopping();
        }
        static constexpr completion_kind kind{.cancel = asked};
        relaying* owner;
        stop_node node;
    };
    static constexpr unsigned looks = 4;

    void stopping() noexcept {
        const nanoseconds idle = options.idle_at_stop;
        if (options.idle.count() > 0 && options.idle < idle) return;
        if (idle.count() <= 0) {
            directions.context().cancel(errc::stopping);
        } else {
            set_limit(idle, errc::stopping);
        }
    }
    void set_limit(nanoseconds limit, errc reason) noexcept {
        quiet_.disarm();
        if (limit.count() <= 0) return;
        each_ns_ = std::max<std::uint64_t>(static_cast<std::uint64_t>(limit.count()) / looks, 1);
        reason_ = reason;
        for (quiet_count* count : {&both_, &forth_, &back_}) count->restart();
        here().timers().arm_after(quiet_, each_ns_);
    }
    void look() noexcept {
        const relayed& forth = result.a_to_b;
        const relayed& back = result.b_to_a;
        const unsigned quiet = std::max({both_.look(forth.bytes + back.bytes, true),
                                         forth_.look(forth.bytes, forth.unsent > 0),
                                         back_.look(back.bytes, back.unsent > 0)});
        if (quiet < looks) {
            here().timers().arm_after(quiet_, each_ns_);
        } else {
            directions.context().cancel(reason_);
        }
    }

    quiet_timer quiet_;
    stop_watch stop_;
    std::uint64_t each_ns_ = 0;
    quiet_count both_{true};
    quiet_count forth_{false};
    quiet_count back_{false};
    errc reason_ = errc::timed_out;
};

/// One of its two directions.
class direction {
public:
    direction(relaying& all, tcp_stream& sender, tcp_stream& receiver,
              relay_result::side side) noexcept
        : from(sender), to(receiver), all_(all), sender_(side) {
        const relay_options& o = all.options;
        const bool forth = side == relay_result::side::a;
        out_ = forth ? &all.result.a_to_b : &all.result.b_to_a;
        if (o.totals != nullptr) total_ = forth ? &o.totals->a_to_b : &o.totals->b_to_a;
        rate_ = forth ? o.rate_a_to_b : o.rate_b_to_a;
        if (o.in_flight > 0) most_ = std::min<std::uint64_t>(most_, o.in_flight);
        if (rate_ > 0) most_ = std::clamp<std::uint64_t>(rate_ / 16, 1, most_);
    }

    tcp_stream& from;
    tcp_stream& to;

    [[nodiscard]] bool over() const noexcept { return static_cast<bool>(out_->end); }
    [[nodiscard]] std::size_t most() const noexcept { return most_; }
    [[nodiscard]] recv_chunk_op next_chunk() noexcept {
        const bool by_hand = std::exchange(at_mark_, false) || most_ < most_spliced;
        return by_hand ? from.chunks(static_cast<std::uint32_t>(most_)).next()
                       : from.chunks().next();
    }

    // ---- copy or splice ------------------------------------------------------------------------
    [[nodiscard]] bool splices() const noexcept {
        return all_.options.mode == relay_mode::splice ? !unfit_ : streak_ >= splice_from;
    }
    void copied(std::size_t bytes) noexcept {
        if (all_.options.mode != relay_mode::automatic || unfit_) return;
        streak_ = bytes >= std::min(full_read, most_) ? streak_ + bytes : streak_ / 2;
    }
    /// False: too little at a time.
    [[nodiscard]] bool spliced(std::size_t bytes) noexcept {
        small_ = bytes < std::min(small_read, most_) ? small_ + 1 : 0;
        if (small_ < small_in_a_row || all_.options.mode == relay_mode::splice) return true;
        streak_ = small_ = 0;
        return false;
    }
    void copy_for_now() noexcept { streak_ = 0; }
    /// What is behind an urgent mark is received by a system call of ours: a multishot receive in the
    /// ring that comes there while a signal is pending (a new worker of the ring's is one) finds
    /// nothing and waits for an edge that has been.
    void copy_behind_mark() noexcept {
        at_mark_ = true;
        copy_for_now();
    }
    void never_splice() noexcept {
        streak_ = 0;
        unfit_ = true;
    }

    // ---- the rate limit ------------------------------------------------------------------------
    /// How long the next bytes must wait; 0: not at all.
    [[nodiscard]] std::uint64_t wait_ns() noexcept {
        if (rate_ == 0) return 0;
        const std::uint64_t now = here().now_ns();
        return due_ns_ > now ? due_ns_ - now : 0;
    }

    // ---- what has happened ---------------------------------------------------------------------
    void received(std::size_t bytes) noexcept { out_->unsent += bytes; }
    void sent(std::size_t bytes) noexcept {
        out_->bytes += bytes;
        out_->unsent -= bytes;
        if (total_ != nullptr) *total_ += bytes;
        if (rate_ > 0)
            due_ns_ = std::max(due_ns_, here().now_ns()) + bytes * 1'000'000'000 / rate_;
    }
    void sent_spliced(std::size_t bytes) noexcept {
        sent(bytes);
        if (all_.options.totals != nullptr) all_.options.totals->spliced += bytes;
    }
    void receiving_ended(const std::error_code& how) noexcept {
        out_->end = how;
        all_.ended_by(sender_, how);
        if (how == errc::end_of_stream) {
            note(SHUT_WR, to.try_shutdown_send());
        } else {
            give_up();  // nothing reaches this side any more
        }
    }
    void sending_failed(const std::error_code& how) noexcept {
        out_->end = how;
        const bool a = sender_ == relay_result::side::a;
        all_.ended_by(a ? relay_result::side::b : relay_result::side::a, how);
        // What the failed side had sent is still to be had; then its stream ends.
        if (!asked_for(how)) note(SHUT_RD, to.try_shutdown_receive());
    }
    void give_up() noexcept { all_.directions.cancel(); }
    /// The half of `to` that should be shut down and is not.
    [[nodiscard]] const std::optional<int>& half_left() const noexcept { return half_left_; }

private:
    /// What else may fail says that the connection is gone, and its receive will say so too.
    void note(int half, const result<void>& shut) noexcept {
        if (!shut && has_no_descriptor(shut.error())) half_left_ = half;
    }

    relaying& all_;
    relay_result::side sender_;
    bool unfit_ = false;
    bool at_mark_ = false;
    unsigned small_ = 0;
    relayed* out_;
    std::uint64_t* total_ = nullptr;
    std::uint64_t streak_ = 0;
    std::size_t most_ = most_spliced;
    std::uint64_t rate_ = 0;
    std::uint64_t due_ns_ = 0;
    std::optional<int> half_left_;
};

/// Waits until the rate allows more; false: it was cancelled, and is over.
task<bool> paced(direction& d, std::uint64_t ns) {
    const auto slept = co_await sleep_for(nanoseconds(static_cast<std::int64_t>(ns)));
    if (!slept) d.receiving_ended(slept.error());
    co_return slept.has_value();
}

/// Until the direction is over, or should be spliced.
task<> copy(direction& d) {
    do {
        if (const std::uint64_t ns = d.wait_ns(); ns > 0)
            if (!co_await paced(d, ns)) co_return;
        auto got = co_await d.next_chunk();
        if (!got) {
            d.receiving_ended(got.error());
            co_return;
        }
        const std::size_t size = got->size();
        d.received(size);
        while (!got->empty()) {
            const auto sent = co_await d.to.send(got->bytes());
            if (!sent) {
                d.sending_failed(sent.error());
                co_return;
            }
            d.sent(*sent);
            got->drop_front(*sent);
        }
        d.copied(size);
    } while (!d.splices());
}

/// The bytes of a pipe that this socket cannot be given by splicing.
task<> send_by_copy(direction& d, splice_pipe& from) {
    std::array<std::byte, 4096> room;
    while (!from.empty()) {
        const auto got = from.try_read(room);
        if (!got) {
            d.sending_failed(got.error());
            co_return;
        }
        for (auto left = std::span(room).first(*got); !left.empty();) {
            const auto sent = co_await d.to.send(left);
            if (!sent) {
                d.sending_failed(sent.error());
                co_return;
            }
            d.sent(*sent);
            left = left.subspan(*sent);
        }
    }
}

/// Until the direction is over, or should be copied.
task<> splice(direction& d) {
    splice_pipe through;  // has one of the core's only while there is something in it
    for (std::size_t size = 0;;) {
        if (const std::uint64_t ns = d.wait_ns(); ns > 0)
            if (!co_await paced(d, ns)) co_return;
        const auto got = co_await d.from.splice_to(through, d.most());
        if (!got) {
            const std::error_code& e = got.error();
            if (has_no_descriptor(e)) {
                d.copy_for_now();
            } else if (cannot_splice(e)) {
                d.never_splice();
            } else if (e == std::errc::device_or_resource_busy) {
                d.copy_behind_mark();
            } else {
                d.receiving_ended(e);
            }
            co_return;
        }
        size = *got;
        d.received(size);
        while (!through.empty()) {
            const auto sent = co_await d.to.splice_from(through);
            if (sent) {
                d.sent_spliced(*sent);
            } else if (cannot_splice(sent.error())) {
                d.never_splice();
                co_await send_by_copy(d, through);
                co_return;
            } else {
                d.sending_failed(sent.error());
                co_return;
            }
        }
        if (!d.spliced(size)) co_return;
    }
}

/// shutdown(2) needs a number, and for a direct descriptor there is none when the process has none
/// left. The ring needs none, but does it on a worker thread of the kernel.
task<> shut_by_ring(direction& d) {
    const auto fill = [&d](io_uring_sqe& sqe) {
        io_uring_prep_shutdown(&sqe, -1, *d.half_left());
        d.to.aim(sqe);
    };
    const auto done = co_await uring(fill);
    if (!done && done.error() != std::errc::not_connected) d.give_up();
}

task<> move_bytes(direction& d) {
    if (d.splices()) co_await splice(d);
    while (!d.over()) {
        co_await copy(d);
        if (!d.over()) co_await splice(d);
    }
    if (d.half_left()) co_await shut_by_ring(d);
}

}  // namespace

task<relay_result> relay(tcp_stream& a, tcp_stream& b, relay_options options) {
    relaying all(co_await detail::context_awaiter(), options);
    direction forth(all, a, b, relay_result::side::a);
    direction back(all, b, a, relay_result::side::b);
    all.directions.start_all([&] {
        all.directions.start(move_bytes(forth));
        all.directions.start(move_bytes(back));
    });
    co_await all.directions.join();
    if (auto failure = all.directions.take_failure()) std::rethrow_exception(std::move(failure));
    co_return all.result;
}

}  // namespace ringlet
