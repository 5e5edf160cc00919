// refuses: deleted|implicitly
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::semaphore::permit misuse(const ringlet::semaphore::permit& p) { return p; }
