// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>

#include <kernel/ring.hpp>

#include <cstdint>

namespace ringlet {

[[nodiscard]] inline std::uint64_t user_data(const ring_target& r, kernel::tag t) noexcept {
    return reinterpret_cast<std::uint64_t>(&r) | static_cast<std::uint64_t>(t);
}
[[nodiscard]] inline ring_target* target_of(std::uint64_t user_data) noexcept {
    return reinterpret_cast<ring_target*>(user_data & ~std::uint64_t{3});
}
[[nodiscard]] inline kernel::tag tag_of(std::uint64_t user_data) noexcept {
    return static_cast<kernel::tag>(user_data & 3);
}

}  // namespace ringlet
