// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// Where server and client run.
struct cpu_pair {
    int server = 0;
    int client = 0;
    std::string warning;  ///< why figures are worth less; empty when they are apart
};
/// Two CPUs this process may use, of different cores where there are any.
[[nodiscard]] cpu_pair choose_cpus();

/// Kernel, processor, mitigations, governor, limits and the like, as far as they can be read.
[[nodiscard]] std::vector<fact> machine_facts(const cpu_pair& cpus);

/// The id of raw_syscalls:sys_enter. Where tracefs is not mounted, it is mounted for a moment in a
/// name space of a child's own, which needs CAP_SYS_ADMIN. Nothing when it cannot be had.
[[nodiscard]] std::optional<std::uint64_t> syscall_tracepoint();

/// True when this process may take SCHED_FIFO.
[[nodiscard]] bool may_use_fifo();

}  // namespace bench
