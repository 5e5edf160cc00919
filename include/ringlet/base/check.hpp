// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// What must never happen. A failed check is a bug in the calling program (or in ringlet): it
/// prints one line that names the rule and the place, then aborts, in every build type.

namespace ringlet::detail {

[[noreturn]] void misuse(const char* rule, const char* file, int line) noexcept;

}  // namespace ringlet::detail

#define RINGLET_CHECK(condition, rule)                                              \
    do {                                                                            \
        if (!(condition)) [[unlikely]]                                              \
            ::ringlet::detail::misuse(rule, __FILE__, __LINE__);                    \
    } while (false)

/// A check that costs too much, or sits too deep, for release builds.
#ifdef NDEBUG
#define RINGLET_DEBUG_CHECK(condition, rule) ((void)0)
#else
#define RINGLET_DEBUG_CHECK(condition, rule) RINGLET_CHECK(condition, rule)
#endif
