// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

/// A piece of a file, whatever name it was opened by.
struct file_piece {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t first = 0;
    std::uint64_t length = 0;

    friend bool operator==(const file_piece&, const file_piece&) = default;
};

/// What was in the page cache a moment ago: it is taken to be there still, so that a file in demand
/// is not looked at again for every request. The kernel takes away first what was not used for
/// long; where it takes what has just been sent, everything waits for the disk.
class warm_pieces {
public:
    static constexpr ringlet::nanoseconds moment = std::chrono::milliseconds(100);

    [[nodiscard]] bool holds(const file_piece& piece, ringlet::time_point now) const noexcept {
        const entry& one = entries_[place_of(piece)];
        return one.piece == piece && now < one.until;
    }
    /// Another piece may have to make way for it.
    void add(const file_piece& piece, ringlet::time_point now) noexcept {
        entries_[place_of(piece)] = {piece, now + moment};
    }

private:
    static constexpr std::size_t places = 256;
    struct entry {
        file_piece piece;
        ringlet::time_point until{};
    };

    static std::size_t place_of(const file_piece& piece) noexcept {
        const std::uint64_t mixed = (piece.inode * 31 + piece.first / 4096) * 0x9e3779b97f4a7c15;
        return static_cast<std::size_t>(mixed >> 56) % places;
    }

    std::vector<entry> entries_ = std::vector<entry>(places);
};
