// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// A seam for tests: fails chosen system calls and chosen answers of the ring, which no tracer can
/// reach. Compiled into builds with assertions only.

namespace ringlet::kernel::fault {

#ifdef NDEBUG
inline int injected(const char*) noexcept { return 0; }
#else
/// Asked before each system call, by its name, and for each answer of an operation in the ring
/// ("cqe"; "cqe of several", the last one, where one operation may get several): 0 to let it pass,
/// or the errno it shall fail with.
inline thread_local int (*hook)(const char* call) noexcept = nullptr;

inline int injected(const char* call) noexcept { return hook != nullptr ? hook(call) : 0; }
#endif

}  // namespace ringlet::kernel::fault
