// refuses: deleted
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::scope misuse(ringlet::scope& s) { return std::move(s); }
