// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstddef>

/// How two threads wake each other without the library: what a call to another core is measured
/// against. Each makes a thread of its own on CPU `far`, goes to it and back `count` times, both
/// asleep in between, and gives the ns of one round; 0 where the kernel refuses.
namespace bench {

/// Each waits in its ring for a completion that the other one's ring posts there
/// (IORING_OP_MSG_RING, Linux 5.18).
[[nodiscard]] double msg_ring_round_trips(int far, std::size_t count);

/// Each waits in its ring for a multishot poll of its eventfd, which the other one writes: the
/// library's bell.
[[nodiscard]] double eventfd_round_trips(int far, std::size_t count);

/// Each waits in epoll_wait for its eventfd.
[[nodiscard]] double epoll_round_trips(int far, std::size_t count);

}  // namespace bench
