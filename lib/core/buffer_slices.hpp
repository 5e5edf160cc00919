// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <core/poison.hpp>

#include <cstdint>
#include <memory>

namespace ringlet {

/// Slices of buffers that the kernel fills bit by bit: the bytes of each answer are leased by
/// themselves. A buffer is free again when the kernel has done with it and its last slice has been
/// given back. The ids of slices follow those of buffers.
class buffer_slices {
public:
    static constexpr std::uint32_t none = UINT32_MAX;

    /// Room for `count` slices, with ids from `first` on, of buffers with smaller ids. Throws
    /// bad_alloc. None of it is touched before it is used.
    void open(std::uint32_t first, std::uint32_t count) {
        first_ = first;
        count_ = count;
        uses_ = std::make_unique_for_overwrite<use[]>(first);
        buffer_of_ = std::make_unique_for_overwrite<std::uint16_t[]>(count);
#ifdef RINGLET_POISONS
        places_ = std::make_unique_for_overwrite<place[]>(count);
#endif
    }
    [[nodiscard]] bool holds(std::uint32_t id) const noexcept { return id >= first_; }
    [[nodiscard]] std::uint32_t buffer_of(std::uint32_t id) const noexcept {
        return buffer_of_[id - first_];
    }
    /// Fewer than half are left: the rest is for answers that are under way.
    [[nodiscard]] bool scarce() const noexcept { return out_ > count_ / 2; }

    /// The kernel has this buffer from now on.
    void begin(std::uint32_t buffer) noexcept { uses_[buffer] = {.filled = 0, .holders = 1}; }
    struct slice {
        std::uint32_t id;
        std::uint32_t offset;  ///< in the buffer
    };
    /// The next bytes the kernel has filled; id none when there is no room for a slice (the bytes
    /// are skipped).
    [[nodiscard]] slice cut(std::uint32_t buffer, std::uint32_t size) noexcept {
        use& u = uses_[buffer];
        const std::uint32_t offset = u.filled;
        u.filled += size;
        if (out_ == count_) return {.id = none, .offset = offset};
        std::uint32_t index = free_;
        if (index != none) {
            free_ = buffer_of_[index] == last_free ? none : buffer_of_[index];
        } else {
            index = fresh_++;
        }
        ++out_;
        ++u.holders;
        buffer_of_[index] = static_cast<std::uint16_t>(buffer);
#ifdef RINGLET_POISONS
        places_[index] = {.offset = offset, .size = size};
#endif
        return {.id = first_ + index, .offset = offset};
    }
#ifdef RINGLET_POISONS
    struct place {
        std::uint32_t offset;  // in the buffer
        std::uint32_t size;
    };
    /// Of a slice that has not been given back; nobody else needs to know.
    [[nodiscard]] const place& place_of(std::uint32_t id) const noexcept {
        return places_[id - first_];
    }
#endif
    /// The slice is free. True when its buffer is so, too.
    [[nodiscard]] bool give_back(std::uint32_t id) noexcept {
        const std::uint32_t buffer = buffer_of(id);
        const std::uint32_t index = id - first_;
        buffer_of_[index] = free_ == none ? last_free : static_cast<std::uint16_t>(free_);
        free_ = index;
        --out_;
        return let_go(buffer);
    }
    /// The kernel has done with the buffer. True when it is free.
    [[nodiscard]] bool let_go(std::uint32_t buffer) noexcept {
        return --uses_[buffer].holders == 0;
    }

private:
    static constexpr std::uint16_t last_free = 0xffff;
    struct use {
        std::uint32_t filled;
        std::uint32_t holders;  // its slices, and the kernel
    };
    std::uint32_t first_ = none;
    std::uint32_t count_ = 0;
    std::uint32_t out_ = 0;
    std::uint32_t fresh_ = 0;  // indices from here on have never been used
    std::uint32_t free_ = none;
    std::unique_ptr<use[]> uses_;
    std::unique_ptr<std::uint16_t[]> buffer_of_;  // of a free slice: the next free one
#ifdef RINGLET_POISONS
    std::unique_ptr<place[]> places_;
#endif
};

}  // namespace ringlet
