// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <liburing.h>

#include <cstdint>
#include <cstring>

/// What newer kernels offer and liburing 2.3's header does not name. Values from the kernel's
/// include/uapi/linux/io_uring.h; our own names, since whichever header comes first would win.

namespace ringlet::abi {

inline constexpr unsigned send_zc_report_usage = 1U << 3;  // Linux 6.2, and later 6.1s
inline constexpr unsigned timeout_multishot = 1U << 6;     // Linux 6.4
inline constexpr unsigned receive_bundle = 1U << 4;        // Linux 6.10
inline constexpr unsigned cqe_buffer_more = 1U << 4;       // Linux 6.12
inline constexpr unsigned cqe_notification = 1U << 3;      // Linux 6.0
inline constexpr unsigned zero_copy_copied = 1U << 31;     // the same
inline constexpr unsigned enter_no_iowait = 1U << 7;      // Linux 6.15
inline constexpr unsigned op_read_multishot = 49;          // Linux 6.7
inline constexpr unsigned op_futex_wait = 51;              // Linux 6.7
inline constexpr unsigned op_fixed_fd_install = 54;        // Linux 6.8
inline constexpr unsigned op_bind = 56;                    // Linux 6.11
inline constexpr unsigned feature_min_timeout = 1U << 15; // Linux 6.12
inline constexpr unsigned feature_no_iowait = 1U << 17;   // Linux 6.15

/// Buffers of this group are filled bit by bit (IOU_PBUF_RING_INC, Linux 6.12). The flags have the
/// place of liburing 2.3's `pad`.
inline void make_incremental(io_uring_buf_reg& group) noexcept {
    constexpr std::uint16_t incremental = 2;
    std::memcpy(reinterpret_cast<char*>(&group) + 14, &incremental, sizeof incremental);
}

}  // namespace ringlet::abi
