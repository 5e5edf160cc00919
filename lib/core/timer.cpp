// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/timer.hpp>

#include <bit>

namespace ringlet {

void timer_wheel::place_fresh(std::uint64_t now_ns) noexcept {
    while (!fresh_.empty()) {
        auto& t = static_cast<timer&>(fresh_.pop_front());
        t.when = t.when > UINT64_MAX - now_ns ? UINT64_MAX : t.when + now_ns;
        place(t);
    }
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
            if (next.level == 0 || due_tick(t) <= tick_) {
                ++fired_;
                t.fire(t);
            } else {
                place(t);
            }
        }
    }
    if (now > tick_) tick_ = now;
}

}  // namespace ringlet
