// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/unique_fd.hpp>

#include <sys/epoll.h>

#include <cstdint>
#include <memory>

namespace ringlet::kernel {

/// One epoll instance. Edge-triggered, each descriptor registered once for both sides, so that no
/// epoll_ctl is needed per operation; only a stream that nobody reads is changed to its writing
/// side, and back by its next reader (core::mute()).
class poller {
public:
    /// Null on failure, with errno in `error`.
    [[nodiscard]] static std::unique_ptr<poller> make(int& error);

    /// EPOLLPRI is asked for because urgent data ends a recv early: a short read then does not mean
    /// that the socket is empty.
    static constexpr std::uint32_t both_sides =
        EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    static constexpr std::uint32_t writing_side = EPOLLOUT | EPOLLET;
    [[nodiscard]] int add(int fd, void* data, std::uint32_t events = both_sides) noexcept;
    /// The same from now on; tells of what is there already, as add() does.
    [[nodiscard]] int change(int fd, void* data, std::uint32_t events) noexcept;
    void remove(int fd) noexcept;

    /// Waits for at most `timeout_ns` (< 0: no limit, 0: only looks) and calls
    /// `take(data, events)` for each descriptor with an edge.
    template <class Take>
    int wait(std::int64_t timeout_ns, Take&& take) noexcept {
        const int count = wait_events(timeout_ns);
        for (int i = 0; i < count; ++i) take(events_[i].data.ptr, events_[i].events);
        return count;
    }
    /// In a forked child: the parent's registrations stay as they are, and what needs this one ends
    /// the child with a sentence.
    void forget_in_child() noexcept { epoll_.reset(); }
    std::uint64_t waits = 0;

private:
    explicit poller(int fd);
    [[nodiscard]] int wait_events(std::int64_t timeout_ns) noexcept;

    // Small batches make the tail long with thousands of connections (p99 of 120 ms and more
    // against 44 at 4096), so one call takes what may have come for all of them.
    static constexpr int batch = 4096;
    unique_fd epoll_;
    std::unique_ptr<epoll_event[]> events_;
};

}  // namespace ringlet::kernel
