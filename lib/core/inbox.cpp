// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/inbox.hpp>

#include <algorithm>
#include <bit>

namespace ringlet {

inbox::inbox(unsigned capacity) {
    const std::size_t size = std::bit_ceil(static_cast<std::size_t>(std::max(capacity, 2U)));
    cells_ = std::make_unique<cell[]>(size);
    mask_ = size - 1;
    for (std::size_t i = 0; i < size; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
}

bool inbox::push(const message& m) noexcept {
    std::size_t at = tail_.load(std::memory_order_relaxed);
    for (;;) {
        cell& c = cells_[at & mask_];
        const std::size_t turn = c.turn.load(std::memory_order_acquire);
        if (turn == at) {  // free in this lap; claim it before other writers do
            if (tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
                c.item = m;
                c.turn.store(at + 1, std::memory_order_release);
                return true;
            }
        } else if (turn < at) {  // still holds the message of the lap before
            return false;
        } else {  // another writer was faster
            at = tail_.load(std::memory_order_relaxed);
        }
    }
}

bool inbox::pop(message& out) noexcept {
    cell& c = cells_[head_ & mask_];
    if (c.turn.load(std::memory_order_acquire) != head_ + 1) return false;
    out = c.item;
    c.turn.store(head_ + mask_ + 1, std::memory_order_release);
    ++head_;
    return true;
}

}  // namespace ringlet
