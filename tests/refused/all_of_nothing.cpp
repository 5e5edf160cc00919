// refuses: no matching function
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

void misuse() {
    auto none = ringlet::all_of();
    (void)none;
}
