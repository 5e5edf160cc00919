// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/check.hpp>
#include <ringlet/base/link.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/core/completion.hpp>
#include <ringlet/core/timer.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace ringlet {

class core;
struct descriptor;

/// Which half of a descriptor an operation uses; each half seats one operation at a time. Those that
/// need no descriptor, or share it, have none.
enum class side : std::uint8_t { read, write, none };

/// A place in the queue of streams that wait for a buffer of the core's pool.
struct starved_link : link {};

/// A receive that the ring answers many times. It is part of the descriptor, not of a task: it stays
/// armed between two waits, and the kernel may answer after the task has gone on. What nobody has
/// asked for yet is queued as segments of the core's buffer pool.
struct multishot_recv : ring_target {
    static constexpr std::uint16_t none = 0xffff;
    static constexpr int open = 1;

    multishot_recv() noexcept;
    descriptor* owner = nullptr;
    int end = open;             ///< the last answer once it came: 0 (end of stream) or -errno
    std::uint16_t first = none;  ///< segments, oldest first
    std::uint16_t last = none;
    std::uint16_t queued = 0;
    bool used : 1 = false;     ///< armed at some time: what else is here may mean something
    bool armed : 1 = false;
    bool pausing : 1 = false;  ///< a cancel has been asked for
    bool retired : 1 = false;  ///< the descriptor is closed and goes with the last answer
};

/// Where a descriptor number is handed about, this bit marks a direct descriptor: a slot of the
/// ring's own file table. No descriptor number has it (fs.nr_open is at most 2^30 - 64).
constexpr int direct_bit = 1 << 30;

/// An open file or socket of one core: who waits on it, and what epoll last said of it. Its address
/// stays the same while it is open, so that an edge finds the waiting operation through it. Its
/// deadlines are those of the two seats.
struct descriptor : starved_link, deadline_pair {
    int fd = -1;                   ///< or the slot, of a direct descriptor
    /// A system call on this side may find something; false after EAGAIN or a short transfer, until
    /// the next edge (epoll) or until the ring has been asked.
    bool readable = true;
    bool writable = true;
    bool registered : 1 = false;   ///< each edge is told by epoll
    bool muted : 1 = false;        ///< known to epoll, which tells of the writing side only
    /// epoll: a short read does not mean empty any more (end of stream, error or urgent data seen).
    bool trust_short : 1 = true;
    bool closing : 1 = false;
    /// Much comes at a time: large buffers, and system calls before the ring is asked.
    bool bulk : 1 = false;
    bool nonblocking : 1 = false;  ///< known to have O_NONBLOCK
    /// What every SQE on it has: IOSQE_FIXED_FILE, which is bit 0, for a direct descriptor.
    std::uint8_t sqe_flags : 1 = 0;
    /// How much lately; see many::learn().
    std::uint8_t bulk_score : 4 = 0;
    /// Chunks of 2^(this + 9) bytes and more are sent without a copy; 0: none.
    std::uint8_t zero_copy : 4 = 0;
    std::uint16_t shares = 0;  ///< operations in flight that need no seat: a file's
    std::uint16_t pool = 0;    ///< the number of the descriptor_pool that it is of
    std::array<completion*, 2> seats{};
    union {
        ready_node* closer = nullptr;  ///< open: who waits for both seats to be free
        descriptor* next_free;         ///< not in use
    };
    multishot_recv many;

    descriptor() noexcept = default;
    /// As made, for a newly opened `fd`, which may have the direct_bit.
    void open(int fd) noexcept;
    [[nodiscard]] bool known_to_epoll() const noexcept { return registered || muted; }
    [[nodiscard]] bool direct() const noexcept { return sqe_flags != 0; }
    [[nodiscard]] starved_link& starved() noexcept { return *this; }

    [[nodiscard]] completion*& seat(side s) noexcept { return seats[static_cast<std::size_t>(s)]; }
    [[nodiscard]] bool busy() const noexcept {
        return seats[0] != nullptr || seats[1] != nullptr || shares != 0;
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
        disarm(static_cast<unsigned>(s));
        if (closer != nullptr) [[unlikely]] wake_closer();
    }
    void share() noexcept {
        RINGLET_CHECK(shares < 0xffff, "more than 65535 operations on one file at once");
        ++shares;
    }
    void unshare() noexcept { --shares; }
    void wake_closer() noexcept;
    /// One of the seats' deadlines has passed.
    static void limit_passed(deadline_pair& d, unsigned seat) noexcept;
};

/// A core's descriptors, in blocks that never move.
class descriptor_pool {
public:
    descriptor_pool() noexcept;
    [[nodiscard]] bool owns(const descriptor& d) const noexcept { return d.pool == number_; }
    /// Null when there is no memory.
    [[nodiscard]] descriptor* take(int fd) noexcept;
    void give_back(descriptor& d) noexcept {
        closed();
        recycle(d);
    }
    /// In two steps for a descriptor that is closed while the ring still has its record.
    void closed() noexcept { --open_; }
    void recycle(descriptor& d) noexcept {
        d.fd = -1;
        d.next_free = std::exchange(free_, &d);
    }
    [[nodiscard]] std::size_t open() const noexcept { return open_; }
    /// Every record there is, also those that are not in use: their seats are empty.
    template <class Function>
    void each(Function function) const {
        for (const auto& some : blocks_)
            for (descriptor& d : *some) function(d);
    }

private:
    [[nodiscard]] bool grow() noexcept;

    static constexpr std::size_t block = 64;
    std::vector<std::unique_ptr<std::array<descriptor, block>>> blocks_;
    descriptor* free_ = nullptr;
    std::size_t open_ = 0;
    const std::uint16_t number_;  // none of the 65535 pools made before or after has it
};

/// An owned descriptor. Closed with its owner, on the core it was opened on; an operation in flight
/// on it then is a bug that is caught, since the kernel would go on with a closed socket's memory:
/// await close() first.
class owned_descriptor {
public:
    owned_descriptor() noexcept = default;
    /// Takes ownership of an open `fd` (or slot, with the direct_bit), on the current core. Empty, with `fd` closed, when there is
    /// no memory for its record.
    explicit owned_descriptor(int fd) noexcept;
    /// Takes a record of the current core's that is open.
    explicit owned_descriptor(descriptor& taken) noexcept : descriptor_(&taken) {}
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
        RINGLET_CHECK(descriptor_, "a stream, listener or file was used that is empty: closed or moved");
        return *descriptor_;
    }
    explicit operator bool() const noexcept { return descriptor_ != nullptr; }
    /// -1 for an empty one and for a direct descriptor, which has no number in the process.
    [[nodiscard]] int fd() const noexcept {
        return descriptor_ && !descriptor_->direct() ? descriptor_->fd : -1;
    }
    /// Closes at once.
    void reset() noexcept {
        if (descriptor_) close_now();
    }
    /// Gives up the file descriptor, unregistered and open; -1, with the stream closed, where a
    /// direct descriptor cannot get a number because the process has too many. A stream that has been read by chunks()
    /// must be at rest: the ring would go on receiving what is its new owner's.
    [[nodiscard]] int release() noexcept;

private:
    void close_now() noexcept;
    descriptor* descriptor_ = nullptr;
};

}  // namespace ringlet
