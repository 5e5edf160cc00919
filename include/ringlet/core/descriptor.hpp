// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/check.hpp>
#include <ringlet/base/link.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/core/completion.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace ringlet {

class core;

/// Which half of a descriptor an operation uses; each half seats one operation at a time.
enum class side : std::uint8_t { read, write };

/// An open file or socket of one core: who waits on it, and what epoll last said of it. Its address
/// stays the same while it is open, so that an edge finds the waiting operation through it.
struct descriptor {
    int fd = -1;
    bool registered : 1 = false;   ///< known to epoll
    /// epoll: a system call on this side may find something; false after EAGAIN or a short
    /// transfer, until the next edge.
    bool readable : 1 = true;
    bool writable : 1 = true;
    /// epoll: a short read does not mean empty any more (end of stream, error or urgent data seen).
    bool trust_short : 1 = true;
    bool closing : 1 = false;
    std::array<completion*, 2> seats{};
    ready_node* closer = nullptr;  ///< who waits for both seats to be free
    descriptor* next_free = nullptr;

    [[nodiscard]] completion*& seat(side s) noexcept { return seats[static_cast<std::size_t>(s)]; }
    [[nodiscard]] bool busy() const noexcept {
        return seats[0] != nullptr || seats[1] != nullptr;
    }
    void must_be_free(side s) noexcept {
        RINGLET_CHECK(seat(s) == nullptr,
                      s == side::read
                          ? "two operations read from one descriptor at once: await the first one"
                          : "two operations write to one descriptor at once: await the first one");
    }
    void sit(side s, completion& c) noexcept {
        must_be_free(s);
        seat(s) = &c;
    }
    void vacate(side s) noexcept {
        seat(s) = nullptr;
        if (closer != nullptr) [[unlikely]] wake_closer();
    }
    void wake_closer() noexcept;
};

/// A core's descriptors, in blocks that never move.
class descriptor_pool {
public:
    /// Null when there is no memory.
    [[nodiscard]] descriptor* take(int fd) noexcept;
    void give_back(descriptor& d) noexcept;
    [[nodiscard]] std::size_t open() const noexcept { return open_; }

private:
    [[nodiscard]] bool grow() noexcept;

    static constexpr std::size_t block = 64;
    std::vector<std::unique_ptr<std::array<descriptor, block>>> blocks_;
    descriptor* free_ = nullptr;
    std::size_t open_ = 0;
};

/// An owned descriptor. Closed with its owner; an operation in flight on it then is a bug that is
/// caught, since the kernel would go on with a closed socket's memory: await close() first.
class owned_descriptor {
public:
    owned_descriptor() noexcept = default;
    /// Takes ownership of an open `fd`, on the current core. Empty, with `fd` closed, when there is
    /// no memory for its record.
    explicit owned_descriptor(int fd) noexcept;
    owned_descriptor(owned_descriptor&& other) noexcept
        : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
    owned_descriptor& operator=(owned_descriptor&& other) noexcept {
        if (this != &other) {
            reset();
            descriptor_ = std::exchange(other.descriptor_, nullptr);
        }
        return *this;
    }
    ~owned_descriptor() { reset(); }

    [[nodiscard]] descriptor& operator*() const noexcept {
        RINGLET_CHECK(descriptor_, "a stream or listener was used that is empty: closed or moved");
        return *descriptor_;
    }
    explicit operator bool() const noexcept { return descriptor_ != nullptr; }
    [[nodiscard]] int fd() const noexcept { return descriptor_ ? descriptor_->fd : -1; }
    /// Closes at once.
    void reset() noexcept {
        if (descriptor_) close_now();
    }
    /// Gives up the file descriptor, unregistered and open.
    [[nodiscard]] int release() noexcept;

private:
    void close_now() noexcept;
    descriptor* descriptor_ = nullptr;
};

}  // namespace ringlet
