// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/inbox.hpp>
#include <ringlet/core/timer.hpp>

#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ringlet {

class acceptor;
class dealer;

/// Where one core accepts for all: what the cores know of each other. Lives with the shared_port.
struct dealing {
    explicit dealing(unsigned cores) : places(cores) {}

    struct place {
        dealer* listener = nullptr;         ///< that core's, its own thread's to read and write
        std::atomic<bool> open = false;     ///< whether it has one that wants some, for the others
        std::atomic<unsigned> waiting = 0;  ///< connections it was dealt and has not taken yet
    };
    std::vector<place> places;             ///< one for each core
    std::atomic<unsigned> accepts_on = 0;  ///< the core that has the socket
    /// No core has room, or none has wanted any yet: the accepting one waits to be told otherwise.
    std::atomic<bool> full = false;
};

/// One core's part in it. The accepting core gives connections away until nobody has room for more;
/// then whichever core has room again tells it so. The timer is for telling, or looking, once more.
class dealer final : timer {
public:
    /// This core listens from now on, and has room for `limit` connections. `accepts`: for all.
    dealer(acceptor& owner, dealing& all, unsigned limit, bool accepts) noexcept;
    ~dealer() { disarm(); }
    /// This core listens no more; `left` connections have not been taken.
    void leave(std::size_t left) noexcept;

    /// To the next core in turn that has room; false: this one shall keep it. Counted either way.
    [[nodiscard]] bool give(int fd) noexcept;
    /// This core's program has taken one.
    void took_one() noexcept;
    /// If the accepting core has stopped and this one has room, it shall go on.
    void tell_of_room() noexcept;
    /// The program stops: this core is dealt no more.
    void want_none() noexcept { mine_.open.store(false); }
    /// Whether one that it was dealt before has not come yet; the owner is asked to look again.
    [[nodiscard]] bool under_way() noexcept;

    // ---- on the accepting core --------------------------------------------------------------
    [[nodiscard]] bool accepting() const noexcept { return accepting_; }
    /// It stops; false when a core has room all the same, and would not tell: then it goes on.
    [[nodiscard]] bool say_full() noexcept;
    void say_open() noexcept;
    [[nodiscard]] bool someone_has_room() const noexcept { return anyone_has(0, limit_ - 1); }
    [[nodiscard]] bool someone_is_full() const noexcept { return anyone_has(limit_, UINT_MAX); }

private:
    void once_more() noexcept;
    [[nodiscard]] bool anyone_has(unsigned least, unsigned most) const noexcept;
    [[nodiscard]] bool post(unsigned to, decltype(message::run) run,
                            std::uintptr_t word = 0) noexcept;
    static void dealt(void* all, std::uintptr_t fd) noexcept;
    static void told(void* all, std::uintptr_t) noexcept;

    acceptor& owner_;
    dealing& all_;
    dealing::place& mine_;
    unsigned limit_;
    unsigned next_ = 0;
    bool accepting_;  // what `full` denies, but for the time that telling takes
};

}  // namespace ringlet
