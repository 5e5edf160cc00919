// refuses: deleted|implicitly|rvalue reference|no matching
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

void misuse(ringlet::scope& s, ringlet::task<> work) { s.start(work); }
