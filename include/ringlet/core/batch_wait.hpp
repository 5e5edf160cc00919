// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <algorithm>

namespace ringlet {

/// Whether the next wait of a loop shall be for a whole batch of answers (wait_policy::min_wait), by
/// what such waits have brought: one that gathered next to nothing has cost latency for no gain, and
/// is not tried again for 1, 3, 7 ... at most 63 waits. The first that pays ends that.
class batch_wait {
public:
    /// The answer to one's own send, and one message: what waiting for a single answer brings too.
    static constexpr unsigned too_few = 2;

    /// Asked once before each wait.
    [[nodiscard]] bool due() noexcept {
        if (left_ == 0) return true;
        --left_;
        return false;
    }
    /// After a wait for a batch: how many answers came.
    void gathered(unsigned answers) noexcept {
        pause_ = answers > too_few ? 0 : std::min(2 * pause_ + 1, longest);
        left_ = pause_;
    }

private:
    static constexpr unsigned longest = 63;
    unsigned pause_ = 0;
    unsigned left_ = 0;
};

}  // namespace ringlet
