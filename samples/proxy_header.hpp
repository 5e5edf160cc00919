// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>

#include <string>

namespace samples {

/// What a proxy says to its upstream of the client it speaks for: haproxy's PROXY protocol, version 1
/// (a line of text) or 2 (binary). An IPv4 client of a listener for both families is told as IPv4; of
/// Unix-domain clients nothing is told but that there is one.
[[nodiscard]] std::string proxy_header(unsigned version, const ringlet::address& client,
                                       const ringlet::address& listener);

}  // namespace samples
