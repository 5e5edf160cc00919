// refuses: a function for another core is noexcept
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<> misuse() {
    auto asked = co_await ringlet::on_core(0, [] { return 1; });
    (void)asked;
}
