// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/io/chunk.hpp>
#include <ringlet/io/operation.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <utility>

namespace ringlet {

/// Sends what the socket takes of the bytes now, at least one, and gives their number. The bytes
/// must live until the operation has ended.
class [[nodiscard]] send_op : public operation<send_op, side::write> {
public:
    send_op(descriptor& d, std::span<const std::byte> bytes) noexcept
        : descriptor_(&d), data_(bytes.data()), size_(bytes.size()) {}

    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<std::size_t> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return static_cast<std::size_t>(answer);
    }

private:
    descriptor* descriptor_;
    const std::byte* data_;
    std::size_t size_;
};

/// Sends all of the bytes. An error means that some of them may have gone; the stream is then of no
/// use for a protocol.
class [[nodiscard]] send_all_op : public operation<send_all_op, side::write> {
public:
    send_all_op(descriptor& d, std::span<const std::byte> bytes) noexcept
        : descriptor_(&d), data_(bytes.data()), left_(bytes.size()) {}
    /// Holds the lease until every byte has gone.
    send_all_op(descriptor& d, chunk&& received) noexcept
        : descriptor_(&d), data_(received.bytes().data()), left_(received.size()),
          lease_(std::move(received)) {}

    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    [[nodiscard]] start_by usual_start(core& c) const noexcept;
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int answer) noexcept;
    /// Where the ring's answer goes, other than to the operation itself.
    [[nodiscard]] ring_target* stand_in() const noexcept {
        return (extras & by_stand_in) != 0 ? record() : nullptr;
    }
    [[nodiscard]] result<void> finish(int answer) noexcept {
        if ((extras & has_record) != 0) [[unlikely]] end_zero_copy();
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    static constexpr std::uint8_t has_record = 8;  ///< in extras: it began as a zero-copy send
    [[nodiscard]] ring_target* record() const noexcept;
    void end_zero_copy() noexcept;

    descriptor* descriptor_;
    const std::byte* data_;
    std::size_t left_;
    chunk lease_;
};

/// One part of a gathered send; laid out as struct iovec.
struct send_part {
    send_part() noexcept = default;
    send_part(std::span<const std::byte> bytes) noexcept  // NOLINT: implicit by design
        : data(bytes.data()), size(bytes.size()) {}
    const void* data = nullptr;
    std::size_t size = 0;
};

/// Sends all of several parts, in order, as if they were one.
class [[nodiscard]] send_gathered_op : public operation<send_gathered_op, side::write> {
public:
    /// Parts one call may have; more is a misuse that aborts.
    static constexpr std::size_t max_parts = 16;

    send_gathered_op(descriptor& d, std::span<const send_part> parts) noexcept;
    send_gathered_op(send_gathered_op&& unstarted) noexcept;

    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int answer) noexcept;
    [[nodiscard]] result<void> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    void* message() noexcept;

    descriptor* descriptor_;
    std::size_t first_ = 0;
    std::size_t count_;
    std::array<send_part, max_parts> parts_;
    alignas(8) std::array<std::byte, 56> message_{};  // struct msghdr
};

extern template class operation<send_op, side::write>;
extern template class operation<send_all_op, side::write>;
extern template class operation<send_gathered_op, side::write>;

}  // namespace ringlet
