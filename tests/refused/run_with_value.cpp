// refuses: no matching function
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

int main() {
    return ringlet::run([]() -> ringlet::task<int> { co_return 1; });
}
