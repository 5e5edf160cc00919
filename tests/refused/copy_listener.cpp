// refuses: deleted|implicitly
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::tcp_listener misuse(const ringlet::tcp_listener& door) { return door; }
