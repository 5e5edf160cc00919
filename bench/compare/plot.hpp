// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <string>
#include <string_view>

namespace bench {

inline constexpr std::string_view nothing_to_draw =
    "nothing to draw: curves need cells at two numbers of connections or more";

/// The script that draws rate, CPU per message and latency against the number of connections, for
/// every message size of the echo that was measured at two numbers or more; empty when none was.
[[nodiscard]] std::string plot_script(const report& all, const std::string& path);
/// Whether there is a gnuplot to draw it with.
[[nodiscard]] bool can_draw();
/// Draws it into PATH.svg or PATH.png; throws file_error.
void draw(const report& all, const std::string& path);

}  // namespace bench
