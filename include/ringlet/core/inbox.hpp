// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace ringlet {

/// Work for a core from any thread: a function and two words. Runs on the core between two turns.
struct message {
    void (*run)(void* subject, std::uintptr_t word) noexcept = nullptr;
    void* subject = nullptr;
    std::uintptr_t word = 0;
};

/// A bounded queue of messages, many writers and one reader, without locks (each cell carries the
/// lap it is free for, after Vyukov).
class inbox {
public:
    explicit inbox(unsigned capacity);

    /// Any thread. False when full: nothing was queued.
    [[nodiscard]] bool push(const message& m) noexcept;
    /// The core's thread only.
    [[nodiscard]] bool pop(message& out) noexcept;
    [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

private:
    struct cell {
        std::atomic<std::size_t> turn;
        message item;
    };
    std::unique_ptr<cell[]> cells_;
    std::size_t mask_;
    alignas(64) std::atomic<std::size_t> tail_{0};  // writers
    alignas(64) std::size_t head_ = 0;              // the reader
};

}  // namespace ringlet
