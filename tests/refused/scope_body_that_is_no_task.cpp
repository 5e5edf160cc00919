// refuses: with_scope\(\) takes a callable that returns a task
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

void misuse() {
    auto waits = ringlet::with_scope([](ringlet::scope&) { return 1; });
    (void)waits;
}
