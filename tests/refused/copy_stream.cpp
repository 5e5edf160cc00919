// refuses: deleted|implicitly
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::tcp_stream misuse(const ringlet::tcp_stream& peer) { return peer; }
