// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace ringlet {

/// Bytes received, or read from a file, in a buffer of the core's pool, on lease: the buffer goes
/// back when the chunk is destroyed, on the core it came from (on another: a misuse that aborts).
/// While a task holds chunks others may have to wait for a buffer: hold few, and not for long. Send
/// it on with send_all(std::move(chunk)), or write it with write_all_at(std::move(chunk), offset),
/// which hold it until the last byte has gone.
class [[nodiscard]] chunk {
public:
    /// An empty one, of no buffer.
    chunk() noexcept = default;
    chunk(chunk&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)),
          buffer_(other.buffer_) {}
    chunk& operator=(chunk&& other) noexcept {
        if (this != &other) {
            reset();
            data_ = std::exchange(other.data_, nullptr);
            size_ = std::exchange(other.size_, 0);
            buffer_ = other.buffer_;
        }
        return *this;
    }
    ~chunk() { reset(); }

    [[nodiscard]] std::span<std::byte> bytes() noexcept { return {data_, size_}; }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
    [[nodiscard]] std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(data_), size_};
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    /// Forgets the first `count` bytes (at most all of them), which have been dealt with.
    void drop_front(std::size_t count) noexcept {
        const auto gone = static_cast<std::uint32_t>(count < size_ ? count : size_);
        data_ += gone;
        size_ -= gone;
    }
    /// Gives the buffer back now.
    void reset() noexcept {
        if (data_ != nullptr) give_back();
    }

private:
    friend class read_chunk_op;
    friend class recv_chunk_op;
    friend class send_all_op;
    chunk(std::byte* data, std::uint32_t size, std::uint32_t buffer) noexcept
        : data_(data), size_(size), buffer_(buffer) {}
    void give_back() noexcept;
    /// The lease is somebody else's from now on.
    void let_go() noexcept {
        data_ = nullptr;
        size_ = 0;
    }

    std::byte* data_ = nullptr;
    std::uint32_t size_ = 0;
    std::uint32_t buffer_ = 0;
};

}  // namespace ringlet
