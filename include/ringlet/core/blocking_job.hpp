// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>

namespace ringlet {

class core;

/// A call that may block, on its way to a worker thread of the blocking pool and back. Lives in
/// whatever waits for it, from core::start_blocking() until its waiter resumes.
struct blocking_job : ready_node {
    blocking_job() noexcept = default;
    blocking_job(blocking_job&& unstarted) noexcept : run(unstarted.run) {}

    /// Called by the worker: everything but the call itself is out of bounds.
    void (*run)(blocking_job&) noexcept = nullptr;
    completion* owner = nullptr;  ///< what waits for it
    core* home = nullptr;         ///< where the waiter resumes
};

}  // namespace ringlet
