// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace ringlet {

/// One armed deadline. Lives in whatever waits; arming and disarming never allocate.
struct timer : link {
    using fire_function = void (*)(timer&) noexcept;
    explicit timer(fire_function f) noexcept : fire(f) {}

    std::uint64_t when = 0;  ///< nanoseconds: a duration while fresh, a point in time once placed
    fire_function fire;      ///< called by the loop, with the timer already disarmed; null: a pair

    void disarm() noexcept { unlink_if_linked(); }
};

/// Two deadlines that come and go far more often than they pass, such as the idle limit of a
/// connection: arming and disarming one is a store or two. The pair keeps its place in the wheel as
/// long as that is not too late, and moves to the earlier deadline when it is dealt with there.
struct deadline_pair : timer {
    static constexpr std::uint64_t never = UINT64_MAX;

    deadline_pair() noexcept : timer(nullptr) {}
    void disarm(unsigned which) noexcept { limits[which] = never; }
    [[nodiscard]] std::uint64_t earlier() const noexcept { return std::min(limits[0], limits[1]); }

    std::array<std::uint64_t, 2> limits{never, never};  ///< durations while fresh, then points in time
    deadline_pair* next_fresh = nullptr;
    std::uint8_t fresh = 0;  ///< a bit for each of the two
    bool listed = false;     ///< among the wheel's fresh ones, until it has looked at them
};

/// A hierarchical timing wheel: arm and disarm in O(1), next expiry in O(1), a tick of 65.5 us
/// (the order of the kernel's own timer slack). A timer never fires early.
///
/// arm_after() only notes the duration; the loop turns it into a point in time once per turn, right
/// before it spins or sleeps (place_fresh). So a deadline costs no clock reading of its own, one that is
/// disarmed within the turn never reaches the wheel, and a handler that ran long does not eat into
/// the deadlines it armed.
class timer_wheel {
public:
    void arm_after(timer& t, std::uint64_t duration_ns) noexcept {
        t.when = duration_ns;
        fresh_.push_back(t);
    }
    void arm_after(deadline_pair& p, unsigned which, std::uint64_t duration_ns) noexcept {
        p.limits[which] = duration_ns;
        p.fresh |= static_cast<std::uint8_t>(1U << which);
        if (p.listed) return;
        p.listed = true;
        p.next_fresh = std::exchange(fresh_pairs_, &p);
    }
    /// Called for each deadline of a pair that passes, with that one disarmed.
    void (*pair_passed)(deadline_pair&, unsigned which) noexcept = nullptr;
    [[nodiscard]] bool has_fresh() const noexcept {
        return !fresh_.empty() || fresh_pairs_ != nullptr;
    }
    void place_fresh(std::uint64_t now_ns) noexcept;

    static constexpr std::uint64_t never = UINT64_MAX;
    /// When the loop must look again, in nanoseconds: exact for timers within 4 ms, else the
    /// moment their wheel slot is dealt out again. `never` when nothing is placed.
    [[nodiscard]] std::uint64_t next_ns() noexcept;
    /// Fires everything due at `now_ns`, in order of time.
    void advance(std::uint64_t now_ns) noexcept;
    [[nodiscard]] std::uint64_t fired() const noexcept { return fired_; }

private:
    static constexpr unsigned tick_shift = 16;
    static constexpr unsigned slot_bits = 6;
    static constexpr unsigned slots = 1U << slot_bits;
    static constexpr unsigned levels = 8;  // 8 x 6 bits of ticks of 2^16 ns: all 64 bits

    [[nodiscard]] static std::uint64_t due_tick(const timer& t) noexcept;
    void place(timer& t) noexcept;
    void place_fresh_pairs(std::uint64_t now_ns) noexcept;
    void came_due(deadline_pair& p) noexcept;
    struct due {
        std::uint64_t tick;
        unsigned level;
        unsigned slot;
    };
    [[nodiscard]] bool next_due(due& out) noexcept;

    link_list fresh_;
    deadline_pair* fresh_pairs_ = nullptr;
    std::uint64_t fired_ = 0;
    std::uint64_t tick_ = 0;  // everything before and at this tick has been dealt with
    std::array<std::uint64_t, levels> occupied_{};
    std::array<std::array<link_list, slots>, levels> wheel_;
};

}  // namespace ringlet
