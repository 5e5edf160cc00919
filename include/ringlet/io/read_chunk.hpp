// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/core/buffer_wait.hpp>
#include <ringlet/io/chunk.hpp>
#include <ringlet/io/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace ringlet {

/// Reads bytes of a file from an offset into a buffer of the core's pool: result<chunk>. It holds
/// the buffer from its start to its end, whatever ends it; while none is free it waits for one, in
/// turn with the core's streams.
class [[nodiscard]] read_chunk_op : public operation<read_chunk_op> {
public:
    static constexpr std::uint32_t one_buffer = UINT32_MAX;
    read_chunk_op(descriptor& d, std::uint64_t offset, std::uint32_t most) noexcept
        : descriptor_(&d), offset_(offset), most_(most) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int try_now() noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int got) noexcept;
    /// False: it does not wait for a buffer.
    [[nodiscard]] bool stop_waiting_for_buffer() noexcept {
        if (!wait_.linked()) return false;
        wait_.unlink();
        return true;
    }
    [[nodiscard]] result<chunk> finish(int answer) noexcept {
        if (answer < 0 && got_ > 0) answer = static_cast<int>(got_);
        lease_.size_ = answer > 0 ? static_cast<std::uint32_t>(answer) : 0;
        if (answer > 0) return std::move(lease_);
        lease_.reset();
        if (answer < 0) return answer::to_error(answer);
        if (most_ > 0) return errc::end_of_stream;
        return chunk();
    }

private:
    [[nodiscard]] bool take_buffer(core& c) noexcept;
    static void served(core& c, completion& waiting) noexcept;

    descriptor* descriptor_;
    std::uint64_t offset_;
    std::uint32_t most_;
    std::size_t got_ = 0;  ///< so far
    chunk lease_;          ///< of as many bytes as are wanted
    buffer_wait wait_;
    blocking_job job_;
};

extern template class operation<read_chunk_op>;

}  // namespace ringlet
