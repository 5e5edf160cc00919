// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "workloads.hpp"

namespace bench {

/// How a run's window is cut into turns. Short ones, so that a machine that becomes slower for half
/// a second does so to all servers of the cell; but each has several round trips of everything that
/// is on its way, and its warm-up one.
struct turn_plan {
    unsigned turns = 1;
    double seconds = 0;  ///< of each
    double warmup = 0;   ///< before each
};
/// `seconds` is the whole window.
[[nodiscard]] turn_plan plan_of(double seconds, const workload& w);

}  // namespace bench
