// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "machine.hpp"
#include "model.hpp"
#include "process.hpp"
#include "servers.hpp"
#include "workloads.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace bench {

/// What holds for every run.
struct method {
    cpu_pair cpus;
    double seconds = 0.3;
    double warmup = 0.1;
    bool fifo = false;
    std::string folder;  ///< for files to serve and configurations
    bool alone = true;  ///< no neighbour: then others' time on the CPUs is a disturbance
    std::optional<std::uint64_t> tracepoint;
};

/// Starts the server and what it needs, loads it, ends it. Throws run_failure with what went wrong,
/// or interrupted. `start_line` gets what the server said first.
[[nodiscard]] run_result measure(const method& how, const server& s, const workload& w,
                                 std::string& start_line);

}  // namespace bench
