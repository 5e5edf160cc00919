// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

namespace bench {

/// A figure over rounds. There is one only where something was measured.
struct spread {
    double median = 0;
    double least = 0;
    double most = 0;
    double quarter = 0;  ///< a quarter of the values is below it
};

[[nodiscard]] inline std::optional<spread> spread_of(std::vector<double> values) {
    if (values.empty()) return std::nullopt;
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double middle =
        values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    return spread{middle, values.front(), values.back(), values[(values.size() - 1) / 4]};
}

}  // namespace bench
