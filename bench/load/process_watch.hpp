// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace bench {

/// What a process has used and suffered so far, over all its threads. Differences of two are what
/// is of interest.
struct process_sample {
    /// CLOCK_PROCESS_CPUTIME_ID of it: exact while it sleeps, up to a tick old while it runs.
    std::uint64_t cpu_ns = 0;
    std::uint64_t user_ticks = 0;  ///< /proc/PID/stat: the kernel's split of the above
    std::uint64_t system_ticks = 0;
    std::uint64_t voluntary = 0;    ///< context switches: it slept
    std::uint64_t involuntary = 0;  ///< it was put aside for another
    std::uint64_t wait_ns = 0;      ///< it could run and did not: somebody else had its CPU
    std::uint64_t rss_bytes = 0;
};

/// What was used between two of them; the memory is the later one's.
[[nodiscard]] process_sample operator-(const process_sample& later, const process_sample& earlier);
/// Of two spans, one after the other.
process_sample& operator+=(process_sample& sum, const process_sample& next);

/// All zero when the process has gone.
[[nodiscard]] process_sample sample_process(pid_t pid);

/// True when none of its threads runs or could run.
[[nodiscard]] bool all_asleep(pid_t pid);

/// Time the hypervisor took from a CPU, in ticks of 10 ms.
[[nodiscard]] std::uint64_t stolen_ticks_of(int cpu);

/// Counts the system calls of a process by the kernel's tracepoint raw_syscalls:sys_enter. It slows
/// every call of the machine a little while it lives, so no time is measured meanwhile.
class syscall_counter {
public:
    /// `tracepoint` is the event's id, from tracefs.
    syscall_counter(pid_t pid, std::uint64_t tracepoint);
    ~syscall_counter();
    syscall_counter(const syscall_counter&) = delete;
    syscall_counter& operator=(const syscall_counter&) = delete;

    /// False when the kernel refuses (perf_event_paranoid, a container).
    [[nodiscard]] bool works() const noexcept { return !counters_.empty(); }
    [[nodiscard]] std::uint64_t count() const;

private:
    std::vector<int> counters_;  // one descriptor per thread
};

}  // namespace bench
