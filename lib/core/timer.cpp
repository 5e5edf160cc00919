// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/timer.hpp>

#include <bit>
#include <utility>

namespace ringlet {

namespace {
std::uint64_t later(std::uint64_t now_ns, std::uint64_t duration_ns) noexcept {
    return duration_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + duration_ns;
}
}  // namespace

void timer_wheel::place_fresh(std::uint64_t now_ns) noexcept {
    while (!fresh_.empty()) {
        auto& t = static_cast<timer&>(fresh_.pop_front());
        t.when = later(now_ns, t.when);
        place(t);
    }
    if (fresh_pairs_ != nullptr) place_fresh_pairs(now_ns);
}

void timer_wheel::place_fresh_pairs(std::uint64_t now_ns) noexcept {
    for (deadline_pair* p = std::exchange(fresh_pairs_, nullptr); p != nullptr; p = p->next_fresh) {
        if ((p->fresh & 1) != 0) p->limits[0] = later(now_ns, p->limits[0]);
        if ((p->fresh & 2) != 0) p->limits[1] = later(now_ns, p->limits[1]);
        p->fresh = 0;
        p->listed = false;
        const std::uint64_t due = p->earlier();
        if (p->linked() ? p->when <= due : due == never) [[likely]]
            continue;
        p->unlink_if_linked();
        p->when = due;
        place(*p);
    }
}

/// Its place has come: what has passed is told, and it moves to what is still to come.
void timer_wheel::came_due(deadline_pair& p) noexcept {
    for (unsigned which : {0U, 1U}) {
        const bool is_duration = (p.fresh >> which & 1) != 0;
        if (is_duration || p.limits[which] > p.when) continue;
        p.disarm(which);
        ++fired_;
        pair_passed(p, which);
    }
    if (p.listed || p.earlier() == never) return;
    p.when = p.earlier();
    place(p);
}

std::uint64_t timer_wheel::due_tick(const timer& t) noexcept {
    // The last tick has none behind it to round up to: the wheel's levels end there.
    constexpr std::uint64_t last = UINT64_MAX >> tick_shift;
    constexpr std::uint64_t rest = (1ULL << tick_shift) - 1;
    const std::uint64_t tick = t.when >> tick_shift;
    return (t.when & rest) != 0 && tick < last ? tick + 1 : tick;
}

void timer_wheel::place(timer& t) noexcept {
    // Rounded up, so that no timer fires early; and at the next tick at the soonest, since the
    // present one has been dealt with.
    std::uint64_t due = due_tick(t);
    if (due <= tick_) due = tick_ + 1;
    // The level is the highest group of bits in which the two ticks differ: all slots of a level lie
    // ahead of the present, and lower levels are due before higher ones.
    const unsigned highest = 63 - static_cast<unsigned>(std::countl_zero(due ^ tick_));
    const unsigned level = highest / slot_bits;
    const unsigned slot = (due >> (level * slot_bits)) & (slots - 1);
    wheel_[level][slot].push_back(t);
    occupied_[level] |= 1ULL << slot;
}

bool timer_wheel::next_due(due& out) noexcept {
    for (unsigned level = 0; level < levels; ++level) {
        while (occupied_[level] != 0) {
            const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
            if (wheel_[level][slot].empty()) {  // its timers were disarmed
                occupied_[level] &= occupied_[level] - 1;
                continue;
            }
            const unsigned shift = level * slot_bits;
            const std::uint64_t above = tick_ >> (shift + slot_bits) << (shift + slot_bits);
            out = {above | (static_cast<std::uint64_t>(slot) << shift), level, slot};
            return true;
        }
    }
    return false;
}

std::uint64_t timer_wheel::next_ns() noexcept {
    due next{};
    return next_due(next) ? next.tick << tick_shift : never;
}

void timer_wheel::advance(std::uint64_t now_ns) noexcept {
    const std::uint64_t now = now_ns >> tick_shift;
    due next{};
    while (next_due(next) && next.tick <= now) {
        tick_ = next.tick;
        occupied_[next.level] &= ~(1ULL << next.slot);
        link_list dealt;
        dealt.take(wheel_[next.level][next.slot]);
        while (!dealt.empty()) {
            auto& t = static_cast<timer&>(dealt.pop_front());
            if (next.level != 0 && due_tick(t) > tick_) {
                place(t);
            } else if (t.fire == nullptr) {
                came_due(static_cast<deadline_pair&>(t));
            } else {
                ++fired_;
                t.fire(t);
            }
        }
    }
    if (now > tick_) tick_ = now;
}

}  // namespace ringlet
