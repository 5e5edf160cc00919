// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <string>
#include <string_view>

namespace ringlet::kernel {

/// Why a ring was refused, and what to do about it, in one sentence: reads the sysctl, the seccomp
/// state and the limits to tell causes apart that share an errno.
[[nodiscard]] std::string explain_refusal(int error, unsigned sq_entries, unsigned cq_entries);

/// The same of another call: `eventfd: Operation not permitted; a seccomp filter refuses it`.
[[nodiscard]] std::string explain_failure(std::string_view call, int error);

/// Ends the program with one line: a core is refused the call that it waits by.
[[noreturn]] void end_refused(const char* call, int error) noexcept;

/// What to do when a process has no descriptor left; run() has raised the soft limit already.
inline constexpr std::string_view raise_open_files =
    "raise the hard limit of open files: `ulimit -Hn 1048576` as root before the start, "
    "`prlimit --pid PID --nofile=1048576:1048576` while it runs, LimitNOFILE= (systemd), "
    "--ulimit nofile= (docker)";

/// And when the whole system has none.
inline constexpr std::string_view raise_all_open_files = "raise the sysctl fs.file-max";

/// Text of the kernel's release, `6.18.44`: `uname -r`.
[[nodiscard]] std::string kernel_release();
/// What `uname -v` gives: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.115-1 (2024-11-01)`; may be empty.
[[nodiscard]] std::string kernel_build();

/// Why `automatic` does not use io_uring on this kernel although a ring can be had; empty when it
/// may. A short table of known-bad versions; RINGLET_BACKEND=uring overrides it. The release of a
/// Debian kernel names its ABI (`6.1.0-27-amd64`), and its build the version.
[[nodiscard]] std::string known_bad_kernel(const std::string& release, const std::string& build);

}  // namespace ringlet::kernel
