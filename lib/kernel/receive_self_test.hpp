// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

namespace ringlet::kernel {

/// What came of receiving through loopback connections of one's own, on a small ring of its own.
struct receive_verdict {
    bool good = false;
    int error = 0;             ///< errno, where the kernel refused something
    const char* fault = "";    ///< what went wrong where it did not
    [[nodiscard]] const char* why() const noexcept;
};

/// How such a ring is set up: as the one that shall receive.
struct receive_setup {
    unsigned ring_flags = 0;
    bool limits = false;  ///< a multishot receive takes a limit (ring::takes_receive_limit)
};

/// Whether bundles (one answer for several buffers, Linux 6.10) keep order and lose nothing on this
/// kernel. Linux 6.13.11 to 6.14 returns their buffers out of order (liburing issue 1409).
[[nodiscard]] receive_verdict prove_bundles(const receive_setup& how) noexcept;

/// Whether a buffer that the kernel fills bit by bit (IOU_PBUF_RING_INC, Linux 6.12) is filled in
/// the order of its answers: an answer does not say where in the buffer its bytes are. Never without
/// IORING_SETUP_DEFER_TASKRUN: buffers are taken back from the kernel when slices are scarce, which
/// is safe only where nothing is received between two calls.
[[nodiscard]] receive_verdict prove_incremental(const receive_setup& how) noexcept;

}  // namespace ringlet::kernel
