// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <core/pipe_pool.hpp>

#include <ringlet/base/check.hpp>

#include <kernel/sys.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <new>

namespace ringlet {

namespace {
/// What a pipe has unless its user is over pipe-user-pages-soft: then it has one or two pages, which
/// cost more calls than a copy (pipe(7)).
constexpr int usual_size = 65536;
}  // namespace

pipe_pool::~pipe_pool() {
    RINGLET_CHECK(leased() == 0, "a pipe outlives its core: it must end before the core does");
    for (const ends& pipe : spare_) close(pipe);
}

int pipe_pool::make(ends& out) noexcept {
    const int error = make_one(out);
    if (error == 0) {
        ++open_;
        ++made;
        return 0;
    }
    ++shortages;
    return error;
}

int pipe_pool::make_one(ends& out) noexcept {
    if (open_ >= options_.limit) return -EMFILE;
    try {
        spare_.reserve(std::max<std::size_t>(open_ + 1, 16));
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    std::array<int, 2> fds{};
    if (const int error = sys::pipe(fds.data()); error < 0) return error;
    out = {.read = fds[0], .write = fds[1]};
    int size = sys::pipe_size(out.read, 0);
    if (options_.size > 0) {
        const int wanted = static_cast<int>(std::min<std::uint32_t>(options_.size, INT_MAX));
        // Refused (EPERM, EBUSY): it is as large as it was.
        size = std::max(size, sys::pipe_size(out.read, wanted));
    }
    if (size >= usual_size) return 0;
    sys::close(out.read);
    sys::close(out.write);
    return -EMFILE;
}

void pipe_pool::close(const ends& pipe) noexcept {
    sys::close(pipe.read);
    sys::close(pipe.write);
    --open_;
}

}  // namespace ringlet
