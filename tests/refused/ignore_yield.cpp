// refuses: nodiscard|unused-result|unused-value
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

void misuse() { ringlet::yield(); }
