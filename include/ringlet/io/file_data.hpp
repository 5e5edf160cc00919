// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/io/chunk.hpp>
#include <ringlet/io/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace ringlet {

/// Reads bytes of a file from an offset. `room` must live until the operation has ended.
class [[nodiscard]] read_at_op : public operation<read_at_op> {
public:
    read_at_op(descriptor& d, std::span<std::byte> room, std::uint64_t offset) noexcept
        : descriptor_(&d), room_(room.data()), size_(room.size()), offset_(offset) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int try_now() noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int got) noexcept;
    [[nodiscard]] result<std::size_t> finish(int answer) const noexcept {
        if (answer < 0 && got_ > 0) return got_;
        if (answer < 0) return answer::to_error(answer);
        if (answer == 0 && size_ > 0) return errc::end_of_stream;
        return static_cast<std::size_t>(answer);
    }

private:
    descriptor* descriptor_;
    std::byte* room_;
    std::size_t size_;
    std::uint64_t offset_;
    std::size_t got_ = 0;  ///< so far
    blocking_job job_;
};

/// Brings a range of a file into the page cache.
class [[nodiscard]] fetch_op : public operation<fetch_op> {
public:
    fetch_op(descriptor& d, std::uint64_t offset, std::uint64_t length) noexcept
        : descriptor_(&d), offset_(offset), left_(length) {}

    static constexpr bool never_at_once = true;
    static constexpr bool never_in_ring = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int try_now() noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<void> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    [[nodiscard]] int look(unsigned samples) noexcept;

    descriptor* descriptor_;
    std::uint64_t offset_;
    std::uint64_t left_;
    blocking_job job_;
};

/// Writes bytes of a file at an offset, at least one, and gives their number. The bytes must live
/// until the operation has ended.
class [[nodiscard]] write_at_op : public operation<write_at_op> {
public:
    write_at_op(descriptor& d, std::span<const std::byte> bytes, std::uint64_t offset) noexcept
        : descriptor_(&d), data_(bytes.data()), size_(bytes.size()), offset_(offset) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
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
    std::uint64_t offset_;
    blocking_job job_;
};

/// Writes all of the bytes. An error means that some of them may have been written.
class [[nodiscard]] write_all_at_op : public operation<write_all_at_op> {
public:
    write_all_at_op(descriptor& d, std::span<const std::byte> bytes, std::uint64_t offset) noexcept
        : descriptor_(&d), data_(bytes.data()), left_(bytes.size()), offset_(offset) {}
    /// Holds the lease until every byte has been written.
    write_all_at_op(descriptor& d, chunk&& bytes, std::uint64_t offset) noexcept
        : descriptor_(&d), data_(bytes.bytes().data()), left_(bytes.size()), offset_(offset),
          lease_(std::move(bytes)) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int written) noexcept;
    [[nodiscard]] result<void> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    descriptor* descriptor_;
    const std::byte* data_;
    std::size_t left_;
    std::uint64_t offset_;
    chunk lease_;
    blocking_job job_;
};

/// Waits until a file's writes are on the disk.
class [[nodiscard]] sync_op : public operation<sync_op> {
public:
    sync_op(descriptor& d, bool data_only) noexcept : descriptor_(&d), data_only_(data_only) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<void> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    descriptor* descriptor_;
    bool data_only_;
    blocking_job job_;
};

/// Sets a file's size; on a worker thread on either backend (the ring can from Linux 6.9 on, and
/// always by a worker too).
class [[nodiscard]] resize_op : public operation<resize_op> {
public:
    resize_op(descriptor& d, std::uint64_t size) noexcept : descriptor_(&d), size_(size) {}

    static constexpr bool never_at_once = true;
    static constexpr bool never_in_ring = true;
    [[nodiscard]] descriptor* shared() const noexcept { return descriptor_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<void> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return {};
    }

private:
    descriptor* descriptor_;
    std::uint64_t size_;
    blocking_job job_;
};

extern template class operation<read_at_op>;
extern template class operation<fetch_op>;
extern template class operation<write_at_op>;
extern template class operation<write_all_at_op>;
extern template class operation<sync_op>;
extern template class operation<resize_op>;

}  // namespace ringlet
