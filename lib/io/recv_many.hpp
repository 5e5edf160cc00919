// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/core.hpp>
#include <ringlet/core/descriptor.hpp>

#include <core/buffer_pool.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>

/// The multishot receive behind recv_chunk_op and, once a stream has been read by chunks, behind
/// recv_op: arming, what has been received unasked, the end, and the change of path.
namespace ringlet::many {

/// True when a plain receive may go to the socket: nothing armed, nothing queued, not at the end.
[[nodiscard]] inline bool at_rest(const multishot_recv& m) noexcept {
    return !m.used || (!m.armed && m.first == multishot_recv::none && m.end == multishot_recv::open);
}
[[nodiscard]] inline bool has_answer(const multishot_recv& m) noexcept {
    return m.first != multishot_recv::none || m.end != multishot_recv::open;
}
/// What the last answer was; there must be one. An error is told once, as by recv(2), and the next
/// receive asks the kernel again. The end of the stream is for good, and of one that lost bytes.
[[nodiscard]] inline int take_end(multishot_recv& m) noexcept {
    const int end = m.end;
    if (end != 0 && end != -ENOBUFS) m.end = multishot_recv::open;
    return end;
}
/// True when this stream's chunks come by multishot now.
[[nodiscard]] inline bool wanted(core& c, const descriptor& d) noexcept {
    return !d.bulk && c.buffers().provides();
}

void arm(core& c, descriptor& d) noexcept;
/// Ends the multishot receive; what it has received stays. Its last answer lets a waiting operation
/// go on by system calls.
void pause(core& c, descriptor& d) noexcept;

struct piece {
    std::byte* data;
    std::uint32_t size;
    std::uint32_t buffer;
};
/// The oldest queued bytes, out of the queue; there must be some.
[[nodiscard]] piece take_first(core& c, multishot_recv& m) noexcept;
/// Copies from the oldest queued buffer, as much as there is room; there must be some.
[[nodiscard]] int copy_first(core& c, multishot_recv& m, std::byte* room, std::size_t size) noexcept;

/// Gives back what is queued.
void drop_queue(core& c, multishot_recv& m) noexcept;
/// Queues for `to`, a stream just made on core `c`, what another core's `from` has received and not
/// given to anybody, and its end if that has come; 0, or -ENOBUFS with nothing queued. Nothing may be
/// armed for `from`.
[[nodiscard]] int copy_queue(core& c, descriptor& to, core& other, descriptor& from) noexcept;

/// From this size on a message is large: below it the ring's batch wins, above it the hot buffer
/// and the copy decide (docs/design/receiving.md has the figures).
inline constexpr std::uint32_t large_message = 8 * 1024;

void learn_of_large_ones(core& c, descriptor& d, std::uint32_t size) noexcept;
/// Learns from what one receive brought which path the stream takes next.
[[nodiscard]] inline bool teaches(const descriptor& d, std::uint32_t size) noexcept {
    return size >= large_message || d.bulk_score > 0;
}
inline void learn(core& c, descriptor& d, std::uint32_t size) noexcept {
    if (teaches(d, size)) [[unlikely]] learn_of_large_ones(c, d, size);
}
/// A stream that waited for a buffer may go on.
[[nodiscard]] bool again(core& c, descriptor& d) noexcept;

}  // namespace ringlet::many
