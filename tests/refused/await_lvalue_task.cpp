// refuses: no member named .await_ready|co_await|operator co_await
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<> misuse(ringlet::task<> work) { co_await work; }
