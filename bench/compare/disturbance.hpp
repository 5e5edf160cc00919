// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"
#include "workloads.hpp"

namespace bench {

/// How much of a run's window others took, as a sum of shares; for the choice among tries. A
/// proxy's upstream shares the load's CPU by design, so there the client's waits say nothing of
/// others.
[[nodiscard]] double disturbance(const run_result& of, role r) noexcept;
/// True beyond a tenth of the window waiting for a CPU that another had, or a twentieth stolen.
[[nodiscard]] bool is_disturbed(const run_result& of, role r) noexcept;

}  // namespace bench
