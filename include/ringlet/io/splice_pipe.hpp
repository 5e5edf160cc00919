// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace ringlet {

class pipe_pool;

/// A pipe of the core's pool, on lease: bytes go into it from one socket and out of it to another
/// without being copied (tcp_stream::splice_to, splice_from). A new one is of no pipe and gets its
/// pipe when there is something to put into it. Destroyed, or reset, it goes back to the pool; with
/// bytes left in it it is closed, and they are gone. Of the core it was used on first, where it
/// must end.
class [[nodiscard]] splice_pipe {
public:
    splice_pipe() noexcept = default;
    splice_pipe(splice_pipe&& other) noexcept
        : read_(std::exchange(other.read_, -1)), write_(std::exchange(other.write_, -1)),
          size_(std::exchange(other.size_, 0)), home_(other.home_) {}
    splice_pipe& operator=(splice_pipe&& other) noexcept {
        if (this != &other) {
            reset();
            read_ = std::exchange(other.read_, -1);
            write_ = std::exchange(other.write_, -1);
            size_ = std::exchange(other.size_, 0);
            home_ = other.home_;
        }
        return *this;
    }
    ~splice_pipe() { reset(); }

    /// Bytes in it.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    /// True while it holds a pipe of the pool.
    explicit operator bool() const noexcept { return read_ >= 0; }
    /// Gives the pipe back now.
    void reset() noexcept {
        if (read_ >= 0) give_back();
    }

    /// Takes bytes out by copying them: their number. Of an empty pipe a misuse that aborts.
    [[nodiscard]] result<std::size_t> try_read(std::span<std::byte> room) noexcept;
    /// Puts the first `most` bytes of this pipe into `copy` as well, which must be empty, and without
    /// copying them (tee(2)): their number. `copy` may hold fewer. Of an empty pipe, or into one that is
    /// not, a misuse that aborts.
    /// Errors: too_many_files_open when the core has no pipe for it.
    [[nodiscard]] result<std::size_t> try_tee(splice_pipe& copy, std::size_t most) const noexcept;

private:
    friend class splice_to_op;
    friend class splice_from_op;
    [[nodiscard]] int take() noexcept;
    void give_back() noexcept;

    int read_ = -1;
    int write_ = -1;
    std::size_t size_ = 0;
    pipe_pool* home_ = nullptr;
};

}  // namespace ringlet
