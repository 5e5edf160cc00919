// refuses: deleted|implicitly
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<> misuse(const ringlet::task<>& work) { return work; }
