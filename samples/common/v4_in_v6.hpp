// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <string_view>

namespace samples {

/// What an IPv6 address begins with that stands for an IPv4 one, its last four bytes.
inline constexpr std::string_view v4_in_v6("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);

}  // namespace samples
