// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/base/check.hpp>

#include <cstdio>
#include <cstdlib>

void ringlet::detail::misuse(const char* rule, const char* file, int line) noexcept {
    std::fprintf(stderr, "ringlet: %s (%s:%d)\n", rule, file, line);
    std::abort();
}
