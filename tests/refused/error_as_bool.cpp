// refuses: cannot convert|no viable conversion
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

bool misuse(const ringlet::result<int>& r) {
    bool ok = r;
    return ok;
}
