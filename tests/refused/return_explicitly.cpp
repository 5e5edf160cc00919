// refuses: return_value|constraint|no matching
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<bool> misuse(ringlet::result<int> r) { co_return r; }
