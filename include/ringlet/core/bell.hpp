// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/unique_fd.hpp>

#include <atomic>

namespace ringlet {

/// How other threads and signal handlers end a core's sleep: at most one system call per burst,
/// made by the first who finds the core asleep.
class bell {
public:
    void attach(unique_fd eventfd) noexcept { eventfd_ = static_cast<unique_fd&&>(eventfd); }
    [[nodiscard]] int fd() const noexcept { return eventfd_.get(); }

    /// Any thread, after it has put something where the core will look.
    void ring() noexcept;

    /// The core: whether somebody has rung since the last call.
    [[nodiscard]] bool take() noexcept {
        return rung_.load(std::memory_order_relaxed) &&
               rung_.exchange(false, std::memory_order_seq_cst);
    }
    [[nodiscard]] bool rung() const noexcept { return rung_.load(std::memory_order_relaxed); }
    /// The core is about to sleep. False: do not, somebody has just rung.
    [[nodiscard]] bool about_to_sleep() noexcept;
    void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }

private:
    unique_fd eventfd_;
    alignas(64) std::atomic<bool> rung_{false};
    std::atomic<bool> asleep_{false};
};

}  // namespace ringlet
