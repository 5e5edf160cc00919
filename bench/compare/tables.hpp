// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"
#include "ratios.hpp"

#include <string>
#include <vector>

/// A report as a person reads it.
namespace bench {

/// Lines of cells, aligned: the first column to the left, the last one too.
[[nodiscard]] std::string text_table(const std::vector<std::vector<std::string>>& lines);
[[nodiscard]] std::string markdown_table(const std::vector<std::vector<std::string>>& lines);

/// What was measured, on what, and how.
[[nodiscard]] std::string head_text(const report& all);
/// One cell, with a line for each server and for each failure.
[[nodiscard]] std::string cell_text(const cell& c);
/// Micro benches, instructions, what was lost, how far to trust it.
[[nodiscard]] std::string tail_text(const report& all);
[[nodiscard]] std::string changes_text(const std::vector<change>& changes, double threshold);

/// Everything, for docs/benchmarks.md.
[[nodiscard]] std::string markdown_of(const report& all);

}  // namespace bench
