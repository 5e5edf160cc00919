// refuses: no matching (member )?function for call to|no matching function
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

void misuse(ringlet::scope& s) {
    s.start([]() -> ringlet::task<int> { co_return 1; });
}
