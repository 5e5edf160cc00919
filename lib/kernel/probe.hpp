// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <string>

namespace ringlet::kernel {

/// Why a ring was refused, and what to do about it, in one sentence: reads the sysctl, the seccomp
/// state and the limits to tell causes apart that share an errno.
[[nodiscard]] std::string explain_refusal(int error, unsigned sq_entries, unsigned cq_entries);

/// Text of the kernel's release, `6.18.44`.
[[nodiscard]] std::string kernel_release();

/// Why `automatic` does not use io_uring on this kernel although a ring can be had; empty when it
/// may. A short table of known-bad versions; RINGLET_BACKEND=uring overrides it.
[[nodiscard]] std::string known_bad_kernel(const std::string& release);

}  // namespace ringlet::kernel
