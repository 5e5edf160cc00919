// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/close.hpp>

#include <ringlet/core/core.hpp>

namespace ringlet {

bool close_op::await_ready() noexcept {
    if (!descriptor_ || !(*descriptor_).busy()) return true;
    for (completion* seated : (*descriptor_).seats)
        if (seated != nullptr) here().request_end(*seated, errc::cancelled);
    return false;
}

}  // namespace ringlet
