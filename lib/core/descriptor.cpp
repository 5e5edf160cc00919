// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/descriptor.hpp>

#include <ringlet/core/core.hpp>

#include <core/direct.hpp>
#include <core/zero_copy.hpp>
#include <kernel/poller.hpp>
#include <kernel/sys.hpp>

#include <algorithm>
#include <atomic>
#include <new>

namespace ringlet {

namespace {
/// The kind of a multishot receive that was never armed.
constexpr completion_kind at_rest{};
}  // namespace

void descriptor::wake_closer() noexcept {
    if (!busy()) here().make_ready(*std::exchange(closer, nullptr));
}

void descriptor::limit_passed(deadline_pair& d, unsigned seat) noexcept {
    completion* const seated = static_cast<descriptor&>(d).seats[seat];
    if (seated != nullptr) here().request_end(*seated, errc::timed_out);
}

multishot_recv::multishot_recv() noexcept : ring_target(at_rest) {}

void close_file(core& c, int file) noexcept {
    if ((file & direct_bit) == 0) {
        sys::close(file);
    } else {
        c.ring()->close_direct(static_cast<unsigned>(file & ~direct_bit));
    }
}

void descriptor::open(int opened) noexcept {
    fd = opened & ~direct_bit;
    sqe_flags = (opened & direct_bit) != 0;
    registered = muted = closing = bulk = nonblocking = false;
    shares = 0;
    readable = writable = trust_short = true;
    bulk_score = zero_copy = 0;
    seats = {};
    closer = nullptr;
    many.owner = this;
    many.end = multishot_recv::open;
    many.first = many.last = multishot_recv::none;
    many.queued = 0;
    many.used = many.armed = many.pausing = many.retired = false;
}

descriptor* descriptor_pool::take(int fd) noexcept {
    if (free_ == nullptr && !grow()) return nullptr;
    descriptor& taken = *free_;
    free_ = taken.next_free;
    taken.open(fd);
    ++open_;
    return &taken;
}

namespace {
constinit std::atomic<std::uint16_t> pools_made{0};
}  // namespace

descriptor_pool::descriptor_pool() noexcept
    : number_(pools_made.fetch_add(1, std::memory_order_relaxed)) {}

bool descriptor_pool::grow() noexcept {
    try {
        auto& fresh = *blocks_.emplace_back(std::make_unique<std::array<descriptor, block>>());
        for (descriptor& d : fresh) {
            d.pool = number_;
            d.next_free = std::exchange(free_, &d);
        }
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

owned_descriptor::owned_descriptor(int fd) noexcept : descriptor_(here().descriptors().take(fd)) {
    if (descriptor_ == nullptr) close_file(here(), fd);
}

/// Out of the loop's sight; true when the record is still the ring's.
static bool withdraw(core& c, descriptor& d) noexcept {
    RINGLET_CHECK(c.descriptors().owns(d),
                  "a stream, listener or file was given up or destroyed on another core than its "
                  "own: a stream goes there by move_stream()");
    RINGLET_CHECK(!d.busy(),
                  "a stream, listener or file was given up or destroyed while an operation on it "
                  "was in flight: co_await a stream's close(), or join the other task first");
    d.starved().unlink_if_linked();
    d.timer::disarm();
    if (c.zero_copies().held() > 0) c.zero_copies().forget(d);
    // Before close(2), not by it: a forked child may hold the socket open, and epoll would go on
    // reporting a descriptor that is no more.
    if (d.known_to_epoll()) c.poller()->remove(d.fd);
    if (d.many.armed || d.many.queued > 0) d.many.kind->retire(c, d.many);
    return d.many.armed;
}

int owned_descriptor::release() noexcept {
    if (descriptor_ == nullptr) return -1;
    RINGLET_CHECK(!descriptor_->many.armed && descriptor_->many.queued == 0,
                  "a stream that is being read by chunks() was given up: what the ring receives "
                  "meanwhile would be lost; read it with recv() until then");
    core& c = here();
    descriptor& d = *std::exchange(descriptor_, nullptr);
    static_cast<void>(withdraw(c, d));
    int fd = d.fd;
    if (d.direct()) {
        fd = std::max(installed(c, d), -1);
        c.ring()->close_direct(static_cast<unsigned>(d.fd));
    }
    c.descriptors().give_back(d);
    return fd;
}

void owned_descriptor::close_now() noexcept {
    core& c = here();
    descriptor& d = *std::exchange(descriptor_, nullptr);
    const bool still_armed = withdraw(c, d);
    if (d.direct()) {
        c.ring()->close_direct(static_cast<unsigned>(d.fd));
    } else {
        if (still_armed) c.ring()->submit_before_close();
        sys::close(d.fd);
    }
    c.descriptors().closed();
    if (!still_armed) c.descriptors().recycle(d);
}

}  // namespace ringlet
