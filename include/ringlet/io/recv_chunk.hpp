// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/io/chunk.hpp>
#include <ringlet/io/operation.hpp>

#include <cstddef>
#include <cstdint>

namespace ringlet {

/// Receives what there is, at least one byte, into a buffer of the core's pool: result<chunk>. No
/// buffer is held while it waits. errc::end_of_stream when the peer has sent everything; ENOMEM when
/// the pool's memory cannot be had. An error of the stream is told once, as by recv(2): after
/// connection_reset comes errc::end_of_stream.
///
/// On io_uring a stream of small messages has one multishot receive that stays armed (Linux 6.0),
/// and one of large messages is told of data and takes it by recv(2); see receive_path.
class [[nodiscard]] recv_chunk_op : public operation<recv_chunk_op, side::read> {
public:
    static constexpr std::uint32_t no_limit = UINT32_MAX;
    explicit recv_chunk_op(descriptor& d, std::uint32_t most = no_limit) noexcept
        : descriptor_(&d), most_(most) {}

    static constexpr bool takes_buffers = true;
    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    [[nodiscard]] start_by usual_start(core& c) const noexcept;
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int ready) noexcept;
    [[nodiscard]] bool more(int ready, unsigned flags) noexcept;
    [[nodiscard]] result<chunk> finish(int answer) noexcept {
        if (answer > 0) [[likely]]
            return chunk(data_, static_cast<std::uint32_t>(answer), buffer_);
        if (answer == 0) return errc::end_of_stream;
        return answer::to_error(answer);
    }

    [[nodiscard]] bool limited() const noexcept { return most_ != no_limit; }
    /// What the ring has received goes to this waiting operation.
    void deliver(std::byte* data, std::uint32_t buffer) noexcept {
        data_ = data;
        buffer_ = buffer;
    }

private:
    [[nodiscard]] bool start_behind_others(core& c, cancel_scope& context) noexcept;
    [[nodiscard]] int attempt_by_hand(core& c) noexcept;
    // Out of line, so that the attempt of every edge needs no stack of its own.
    [[nodiscard, gnu::noinline]] int attempt_beside_multishot(core& c) noexcept;

    descriptor* descriptor_;
    std::byte* data_ = nullptr;
    std::uint32_t buffer_ = 0;
    std::uint32_t most_;
};

/// A stream's bytes as they come. A view: it may be made anew for each wait, and other receives of
/// the same stream may stand between.
class [[nodiscard]] chunk_sequence {
public:
    explicit chunk_sequence(descriptor& d) noexcept : descriptor_(&d) {}
    [[nodiscard]] recv_chunk_op next() const noexcept { return recv_chunk_op(*descriptor_); }

private:
    descriptor* descriptor_;
};

/// The same, by no more than so many bytes at a time.
class [[nodiscard]] limited_chunk_sequence {
public:
    limited_chunk_sequence(descriptor& d, std::uint32_t most) noexcept
        : descriptor_(&d), most_(most) {}
    [[nodiscard]] recv_chunk_op next() const noexcept { return recv_chunk_op(*descriptor_, most_); }

private:
    descriptor* descriptor_;
    std::uint32_t most_;
};

extern template class operation<recv_chunk_op, side::read>;

}  // namespace ringlet
