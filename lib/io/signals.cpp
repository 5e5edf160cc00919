// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/signals.hpp>

#include <ringlet/core/core.hpp>

#include <signal.h>

#include <array>
#include <atomic>
#include <bit>
#include <mutex>

namespace ringlet {

/// A core that takes signals, and those that have come for it.
struct signal_seat {
    std::atomic<core*> who{nullptr};
    std::atomic<std::uint64_t> arrived{0};
};

/// Between the handler, which may run on any thread at any moment, and the cores. A handler does two
/// things only: it sets bits, and it wakes the cores that take the signal.
struct signal_hub {
    static constexpr unsigned max_cores = 256;
    static constexpr int max_signal = 63;

    static inline std::array<signal_seat, max_cores> seats;
    static inline std::mutex mutex;  // guards what follows
    static inline std::array<unsigned, max_signal + 1> takers{};
    static inline std::array<struct sigaction, max_signal + 1> before{};

    static inline thread_local signal_seat* mine = nullptr;
    static inline thread_local link_list sets;

    static inline std::atomic<unsigned> handlers_running{0};

    static void handle(int number) noexcept {
        handlers_running.fetch_add(1);
        for (signal_seat& s : seats) {
            // In one order with remove(), which empties the seat and then looks for handlers.
            core* c = s.who.load(std::memory_order_seq_cst);
            if (c == nullptr) continue;
            s.arrived.fetch_or(1ULL << number, std::memory_order_seq_cst);
            c->wake();
        }
        handlers_running.fetch_sub(1);
    }

    static void add(signal_set& set) {
        core& c = here();
        if (mine == nullptr) {
            for (signal_seat& s : seats) {
                core* nobody = nullptr;
                if (!s.who.compare_exchange_strong(nobody, &c)) continue;
                mine = &s;
                s.arrived.store(0);
                break;
            }
            RINGLET_CHECK(mine != nullptr, "more than 256 cores take signals");
            c.on_signals = deliver;
        }
        sets.push_back(set);
        const std::lock_guard lock(mutex);
        for (int number = 1; number <= max_signal; ++number) {
            if ((set.wanted_ >> number & 1) == 0 || takers[number]++ > 0) continue;
            struct sigaction action {};
            action.sa_handler = handle;
            sigfillset(&action.sa_mask);
            action.sa_flags = SA_RESTART;
            ::sigaction(number, &action, &before[number]);
        }
    }

    static void remove(signal_set& set) noexcept {
        set.unlink();
        {
            const std::lock_guard lock(mutex);
            for (int number = 1; number <= max_signal; ++number)
                if ((set.wanted_ >> number & 1) != 0 && --takers[number] == 0)
                    ::sigaction(number, &before[number], nullptr);
        }
        if (!sets.empty()) return;
        mine->who.store(nullptr);
        // A handler on another thread may have found this core just before: let it finish.
        while (handlers_running.load() != 0) {}
        mine = nullptr;
        here().on_signals = nullptr;
    }

    /// On the core, between two turns.
    static void deliver(core& c) noexcept {
        const std::uint64_t arrived = mine->arrived.exchange(0, std::memory_order_seq_cst);
        if (arrived == 0) return;
        for (link* at = sets.front(); at != sets.end(); at = at->next) {
            auto& set = static_cast<signal_set&>(*at);
            set.arrived_ |= arrived & set.wanted_;
            if (set.waiting_ != nullptr && set.waiting_->at == completion::phase::parked)
                if (const int number = set.take(); number != 0) c.answer(*set.waiting_, number);
        }
    }
};

signal_set::signal_set(std::initializer_list<int> signals) {
    for (const int number : signals) {
        RINGLET_CHECK(number > 0 && number <= signal_hub::max_signal,
                      "a signal_set takes signals from 1 to 63");
        wanted_ |= 1ULL << number;
    }
    signal_hub::add(*this);
}

signal_set::~signal_set() {
    RINGLET_CHECK(waiting_ == nullptr, "a signal_set ended while a task waited for it");
    signal_hub::remove(*this);
}

int signal_set::take() noexcept {
    if (arrived_ == 0) return 0;
    const int number = std::countr_zero(arrived_);
    arrived_ &= arrived_ - 1;
    return number;
}

}  // namespace ringlet
