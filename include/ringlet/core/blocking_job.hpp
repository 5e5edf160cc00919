// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>

namespace ringlet {

class core;

/// A call that may block, on its way to a worker thread of the blocking pool and back. Lives in
/// whatever waits for it, from core::start_blocking() until its waiter resumes.
struct blocking_job : ready_node {
    using run_function = void (*)(blocking_job&) noexcept;
    explicit blocking_job(run_function f) noexcept : run(f) {}

    run_function run;      ///< called by the worker: everything but the call itself is out of bounds
    core* home = nullptr;  ///< where the waiter resumes
};

}  // namespace ringlet
