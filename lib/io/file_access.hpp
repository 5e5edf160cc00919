// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/descriptor.hpp>

#include <cstddef>
#include <cstdint>

struct io_uring_sqe;

/// What reads and writes of files have in common, whoever owns the memory.
namespace ringlet::file_access {

/// Before a file's first read or write: 0 or -errno.
[[nodiscard]] int make_ready(descriptor& d) noexcept;

/// Where the largest file ends. A read that reaches behind it is refused (EINVAL), whatever there
/// is before it.
inline constexpr std::uint64_t last_end = INT64_MAX;

/// An offset that no file has: the kernel would take the highest for "where the file stands", and the
/// ring does.
[[nodiscard]] constexpr bool beyond_any(std::uint64_t offset) noexcept {
    return offset > last_end;
}

/// After a read of `got` more bytes, `all` of `wanted` by now: true when more is to be asked for.
[[nodiscard]] inline bool goes_on(const descriptor& d, int got, std::size_t all,
                                  std::size_t wanted) noexcept {
    return got > 0 && all < wanted && !d.trust_short;
}

/// How the ring is asked. Memory of the core's registered buffers goes by the fixed operation.
void prepare_read(io_uring_sqe& sqe, int fd, std::byte* room, std::size_t size,
                  std::uint64_t offset) noexcept;
void prepare_write(io_uring_sqe& sqe, int fd, const std::byte* data, std::size_t size,
                   std::uint64_t offset) noexcept;

/// Without a ring: what is at hand, added to `got`; all of it, or -errno, -EAGAIN among them.
[[nodiscard]] int read_cached(int fd, std::byte* room, std::size_t size, std::uint64_t offset,
                              std::size_t& got) noexcept;
/// The rest, waiting for it: on a worker thread.
[[nodiscard]] int read_all(const descriptor& d, std::byte* room, std::size_t size,
                           std::uint64_t offset, std::size_t& got) noexcept;

}  // namespace ringlet::file_access
