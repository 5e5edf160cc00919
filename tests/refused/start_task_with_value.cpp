// refuses: no matching (member )?function for call to|no matching function
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<int> seven() { co_return 7; }

void misuse(ringlet::scope& s) { s.start(seven()); }
