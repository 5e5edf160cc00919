// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace samples {

/// The bytes of every stream, as one endless pattern that is never copied: position p of connection
/// c is byte (start of c + p) mod `period`. The period is prime, so that bytes that are lost,
/// doubled or shifted by any buffer's size do not match, and so are another connection's.
class pattern {
public:
    static constexpr std::size_t period = 65521;
    /// The most that one call gives, since this much is laid out behind every position.
    static constexpr std::size_t longest = 256 * 1024;

    pattern() : bytes_(period + longest) {
        std::uint64_t state = 0x9e3779b97f4a7c15;
        for (std::size_t i = 0; i < period; ++i) {
            state = state * 6364136223846793005 + 1442695040888963407;
            bytes_[i] = static_cast<std::byte>(state >> 56);
        }
        for (std::size_t i = period; i < bytes_.size(); ++i) bytes_[i] = bytes_[i - period];
    }
    [[nodiscard]] std::span<const std::byte> at(std::size_t position, std::size_t size) const {
        return std::span(bytes_).subspan(position % period, std::min(size, longest));
    }
    [[nodiscard]] static std::size_t start_of(std::size_t connection) noexcept {
        return connection * 7919 % period;
    }

private:
    std::vector<std::byte> bytes_;
};

}  // namespace samples
