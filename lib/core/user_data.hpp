// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>

#include <kernel/ring.hpp>

#include <cstdint>

namespace ringlet {

[[nodiscard]] inline std::uint64_t user_data(const completion& c, kernel::tag t) noexcept {
    return reinterpret_cast<std::uint64_t>(&c) | static_cast<std::uint64_t>(t);
}
[[nodiscard]] inline completion* completion_of(std::uint64_t user_data) noexcept {
    return reinterpret_cast<completion*>(user_data & ~std::uint64_t{3});
}
[[nodiscard]] inline kernel::tag tag_of(std::uint64_t user_data) noexcept {
    return static_cast<kernel::tag>(user_data & 3);
}

}  // namespace ringlet
