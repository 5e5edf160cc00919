// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define RINGLET_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RINGLET_POISONS 1
#endif
#endif

#ifdef RINGLET_POISONS
#include <sanitizer/asan_interface.h>
#endif

namespace ringlet {

/// Memory that nobody may touch for now: the kernel's, or no one's. Only AddressSanitizer listens.
inline void poison([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) noexcept {
#ifdef RINGLET_POISONS
    __asan_poison_memory_region(data, size);
#endif
}
inline void unpoison([[maybe_unused]] const void* data, [[maybe_unused]] std::size_t size) noexcept {
#ifdef RINGLET_POISONS
    __asan_unpoison_memory_region(data, size);
#endif
}

}  // namespace ringlet
