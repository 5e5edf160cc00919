// refuses: deleted|no matching|use of deleted
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

void misuse(ringlet::scope& s) {
    auto all = ringlet::all_of(s.join(), ringlet::yield());
    (void)all;
}
