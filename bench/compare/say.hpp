// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstdio>
#include <string_view>

namespace bench {

/// Prints, or does not: a terminal that has hung up and a pipe that nobody reads must not cost what
/// was measured. ferror(3) tells.
inline void say(std::FILE* to, std::string_view text) noexcept {
    static_cast<void>(std::fwrite(text.data(), 1, text.size(), to));
}

}  // namespace bench
