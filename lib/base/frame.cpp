// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/base/frame.hpp>

#include <array>
#include <cstdint>
#include <new>

namespace ringlet::frame {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool may_recycle = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool may_recycle = false;
#else
constexpr bool may_recycle = true;
#endif
#else
constexpr bool may_recycle = true;
#endif

// Class k holds 16 k + 8 bytes, since the heap's own blocks are 16 k bytes with 8 of its own.
constexpr std::size_t step = 16;
constexpr std::size_t classes = 4096 / step + 1;
constexpr std::size_t bytes_kept = 256 * 1024;

struct free_frame {
    free_frame* next;
};
struct free_list {
    free_frame* first;
    std::uint32_t count;
};
struct cache {
    std::array<free_list, classes> lists;
    std::size_t from_heap;
    bool on;
};
thread_local constinit cache frames{};

constexpr std::size_t class_of(std::size_t size) noexcept { return (size + 7) / step; }
constexpr std::size_t size_of(std::size_t index) noexcept { return index * step + 8; }

}  // namespace

void* allocate(std::size_t size) {
    const std::size_t index = class_of(size);
    if (index < classes) {
        free_list& list = frames.lists[index];
        if (list.first != nullptr) {
            free_frame* taken = list.first;
            list.first = taken->next;
            --list.count;
            return taken;
        }
        size = size_of(index);
    }
    ++frames.from_heap;
    return ::operator new(size);
}

void release(void* memory, std::size_t size) noexcept {
    const std::size_t index = class_of(size);
    if (may_recycle && frames.on && index < classes) {
        free_list& list = frames.lists[index];
        if (list.count < bytes_kept / size_of(index)) {
            list.first = new (memory) free_frame{list.first};
            ++list.count;
            return;
        }
    }
    ::operator delete(memory);
}

std::size_t heap_frames() noexcept { return frames.from_heap; }

void use_lists() noexcept { frames.on = true; }

void drop_lists() noexcept {
    frames.on = false;
    for (free_list& list : frames.lists) {
        while (list.first != nullptr) {
            free_frame* taken = list.first;
            list.first = taken->next;
            ::operator delete(static_cast<void*>(taken));
        }
        list.count = 0;
    }
}

}  // namespace ringlet::frame
