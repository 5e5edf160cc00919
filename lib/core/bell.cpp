// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/bell.hpp>

#include <kernel/sys.hpp>

namespace ringlet {

// Two sides of a Dekker handshake, both sequentially consistent: who rings says so and then looks
// whether the core sleeps; the core says that it sleeps and then looks whether somebody has rung.
// At least one of them sees the other.
void bell::ring() noexcept {
    rung_.store(true, std::memory_order_seq_cst);
    bool expected = true;
    if (asleep_.compare_exchange_strong(expected, false, std::memory_order_seq_cst))
        sys::ring_bell(eventfd_.get());
}

bool bell::about_to_sleep() noexcept {
    asleep_.store(true, std::memory_order_seq_cst);
    if (!rung_.load(std::memory_order_seq_cst)) return true;
    awake();
    return false;
}

}  // namespace ringlet
