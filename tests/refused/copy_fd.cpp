// refuses: deleted|implicitly
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::unique_fd misuse(const ringlet::unique_fd& fd) { return fd; }
