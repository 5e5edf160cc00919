// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/core/time.hpp>
#include <ringlet/io/operation.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace ringlet {

enum class file_kind : std::uint8_t {
    regular,
    folder,
    link,
    fifo,
    socket,
    character_device,
    block_device,
    other,
};

/// What is known of a file without reading it.
struct file_status {
    file_kind kind = file_kind::other;
    unsigned permissions = 0;  ///< the low twelve bits of the mode
    std::uint64_t size = 0;    ///< bytes
    std::chrono::time_point<std::chrono::system_clock, nanoseconds> modified;
    std::uint64_t inode = 0;  ///< with `device`: the same file under another name has the same
    std::uint64_t device = 0;
};

/// Asks for a file's status.
class [[nodiscard]] stat_op : public operation<stat_op> {
public:
    explicit stat_op(descriptor& d) noexcept : descriptor_(&d) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<file_status> finish(int answer) const noexcept;

private:
    descriptor* descriptor_;
    alignas(8) std::array<std::byte, 256> room_;  // struct statx
    blocking_job job_;
};

/// Closes a file whatever cancels it, and gives the error that close(2) has.
class [[nodiscard]] close_file_op : public operation<close_file_op> {
public:
    explicit close_file_op(owned_descriptor&& d) noexcept : descriptor_(std::move(d)) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    template <class Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        open_ = give_up();
        if (open_ < 0) return false;
        return operation::await_suspend(handle);
    }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] bool more(int value, unsigned flags) noexcept;
    [[nodiscard]] result<void> finish(int answer) noexcept;

private:
    [[nodiscard]] int give_up() noexcept;

    owned_descriptor descriptor_;
    int open_ = -1;   ///< the number, until it is closed
    int closed_ = 0;  ///< close(2)'s answer
    blocking_job job_;
};

extern template class operation<stat_op>;
extern template class operation<close_file_op>;

}  // namespace ringlet
