// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/ringlet.hpp>

#include <vector>

namespace samples {

/// A connection to the first of them that takes it, before `until`. Each has an equal part of the
/// time that is left when its turn comes: one that never answers leaves the others theirs. The last
/// error when none takes it, host_unreachable when there is none.
[[nodiscard]] ringlet::task<ringlet::result<ringlet::tcp_stream>> connect_any(
    std::vector<ringlet::address> where, ringlet::time_point until);

}  // namespace samples
