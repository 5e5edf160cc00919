// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstddef>

namespace ringlet::frame {

/// Memory for coroutine frames: on a core's thread from free lists by size (steps of 16 bytes up to
/// 4 KiB), elsewhere and under AddressSanitizer from the heap, so that a use after the end is seen.
/// A list keeps at most 256 KiB; what is beyond goes back to the heap.
[[nodiscard]] void* allocate(std::size_t size);
void release(void* memory, std::size_t size) noexcept;

/// Frames taken from the heap on this thread so far, for tests that count allocations.
[[nodiscard]] std::size_t heap_frames() noexcept;
/// Turns this thread's free lists on; a core does so when it is made.
void use_lists() noexcept;
/// Gives this thread's free lists back to the heap and turns them off; a core does so when it ends.
void drop_lists() noexcept;

}  // namespace ringlet::frame
