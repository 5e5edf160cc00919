// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/splice_pipe.hpp>

#include <ringlet/core/core.hpp>

#include <core/pipe_pool.hpp>
#include <kernel/sys.hpp>

namespace ringlet {

int splice_pipe::take() noexcept {
    pipe_pool::ends taken;
    pipe_pool& pool = here().pipes();
    const int error = pool.take(taken);
    if (error == 0) {
        home_ = &pool;
        read_ = taken.read;
        write_ = taken.write;
    }
    return error;
}

void splice_pipe::give_back() noexcept {
    pipe_pool& pool = here().pipes();
    RINGLET_CHECK(&pool == home_, "a pipe was given back on another core than its own");
    pool.give_back({.read = read_, .write = write_}, size_ == 0);
    read_ = write_ = -1;
    size_ = 0;
}

result<std::size_t> splice_pipe::try_read(std::span<std::byte> room) noexcept {
    RINGLET_CHECK(!empty(), "a pipe was read that has nothing in it");
    const int got = sys::read(read_, room.data(), room.size());
    if (got < 0) return answer::to_error(got);
    size_ -= static_cast<std::size_t>(got);
    return static_cast<std::size_t>(got);
}

result<std::size_t> splice_pipe::try_tee(splice_pipe& copy, std::size_t most) const noexcept {
    RINGLET_CHECK(!empty(), "try_tee() from a pipe that has nothing in it");
    RINGLET_CHECK(copy.empty(), "try_tee() into a pipe that is not empty: use up its bytes first");
    if (!copy)
        if (const int error = copy.take(); error < 0) return answer::to_error(error);
    const int copied = sys::tee(read_, copy.write_, most);
    if (copied < 0) return answer::to_error(copied);
    copy.size_ = static_cast<std::size_t>(copied);
    return copy.size_;
}

}  // namespace ringlet
