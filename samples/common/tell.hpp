// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/time.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace samples {

/// Writes to stderr what somebody may want to know. Where that cannot be written (a full disk, a
/// terminal that is gone) the program goes on: fmt::print() would throw.
inline void tell(const std::string& text) noexcept {
    static_cast<void>(std::fputs(text.c_str(), stderr));
}

/// For what may happen a thousand times a second: is it time to tell of it again? Once a second.
class seldom {
public:
    [[nodiscard]] bool is_due(ringlet::time_point now) noexcept {
        if (now < again_at_) return false;
        again_at_ = now + std::chrono::seconds(1);
        return true;
    }

private:
    ringlet::time_point again_at_;
};

}  // namespace samples
