// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/options.hpp>

#include <cstdint>
#include <vector>

namespace ringlet {

/// A core's pipes. One that comes back empty is the next to be given out; one with something in it
/// is closed, since whoever got it next would read another stream's bytes.
class pipe_pool {
public:
    struct ends {
        int read = -1;
        int write = -1;
    };

    explicit pipe_pool(const pipe_options& options) noexcept : options_(options) {}
    ~pipe_pool();
    pipe_pool(const pipe_pool&) = delete;
    pipe_pool& operator=(const pipe_pool&) = delete;

    /// 0, or -errno: -EMFILE when the limit is reached, the file table is full, or the kernel has
    /// only small pipes left for this user.
    [[nodiscard]] int take(ends& out) noexcept {
        if (spare_.empty()) [[unlikely]] return make(out);
        out = spare_.back();
        spare_.pop_back();
        return 0;
    }
    void give_back(const ends& pipe, bool empty) noexcept {
        if (!empty) [[unlikely]] return close(pipe);
        spare_.push_back(pipe);  // there is room: make() has seen to it
    }

    [[nodiscard]] const pipe_options& options() const noexcept { return options_; }
    [[nodiscard]] std::uint32_t open() const noexcept { return open_; }
    [[nodiscard]] std::uint32_t leased() const noexcept {
        return open_ - static_cast<std::uint32_t>(spare_.size());
    }
    std::uint64_t made = 0;
    std::uint64_t shortages = 0;

private:
    [[nodiscard]] int make(ends& out) noexcept;
    [[nodiscard]] int make_one(ends& out) noexcept;
    void close(const ends& pipe) noexcept;

    pipe_options options_;
    std::uint32_t open_ = 0;
    std::vector<ends> spare_;
};

}  // namespace ringlet
