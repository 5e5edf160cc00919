// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <string>

namespace bench {

/// The script that draws rate, CPU per message and latency against the number of connections, for
/// every message size of the echo that was measured at two numbers or more; empty when none was.
[[nodiscard]] std::string plot_script(const report& all, const std::string& path);
/// Draws it with gnuplot into PATH.svg or PATH.png; what is in the way, or nothing.
[[nodiscard]] std::string draw(const report& all, const std::string& path);

}  // namespace bench
