// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstdio>
#include <string>

namespace samples {

/// Writes to stderr what somebody may want to know. Where that cannot be written (a full disk, a
/// terminal that is gone) the program goes on: fmt::print() would throw.
inline void tell(const std::string& text) noexcept {
    static_cast<void>(std::fputs(text.c_str(), stderr));
}

}  // namespace samples
