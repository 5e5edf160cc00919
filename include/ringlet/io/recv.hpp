// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/io/operation.hpp>

#include <cstddef>
#include <span>

namespace ringlet {

/// Receives at least one byte into the caller's room and gives their number. `room` must live until
/// the operation has ended. errc::end_of_stream when the peer has sent everything.
class [[nodiscard]] recv_op : public operation<recv_op, side::read> {
public:
    recv_op(descriptor& d, std::span<std::byte> room) noexcept
        : descriptor_(&d), room_(room.data()), size_(room.size()) {}

    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    [[nodiscard]] start_by usual_start(core& c) const noexcept;
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] std::span<std::byte> room() const noexcept { return {room_, size_}; }
    [[nodiscard]] result<std::size_t> finish(int answer) const noexcept {
        if (answer > 0) [[likely]]
            return static_cast<std::size_t>(answer);
        if (answer == 0 && size_ > 0) return errc::end_of_stream;
        if (answer == 0) return std::size_t{0};
        return answer::to_error(answer);
    }

private:
    [[nodiscard]] int attempt_beside_chunks(core& c) noexcept;

    descriptor* descriptor_;
    std::byte* room_;
    std::size_t size_;
};

extern template class operation<recv_op, side::read>;

}  // namespace ringlet
