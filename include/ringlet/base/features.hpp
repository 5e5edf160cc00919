// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <string_view>
#include <vector>

namespace ringlet {

/// Something io_uring may offer, and what it is good for.
struct kernel_feature {
    std::string_view name;
    bool present;
    std::string_view purpose;
};

/// What this kernel's io_uring offers, found by asking it (a small ring is made for that and
/// closed), never from its version. Empty when no ring can be had.
[[nodiscard]] std::vector<kernel_feature> kernel_features();

}  // namespace ringlet
