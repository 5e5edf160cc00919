// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"
#include "workloads.hpp"

namespace bench {

/// True beyond a tenth of the window waiting for a CPU that another had, or a twentieth stolen, and
/// where a fifth of a rate's tail is the generator's own lateness. A proxy's upstream shares the
/// load's CPU by design, so there the client's waits say nothing of others.
[[nodiscard]] bool is_disturbed(const run_result& of, role r) noexcept;

}  // namespace bench
