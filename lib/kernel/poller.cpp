// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <kernel/poller.hpp>

#include <kernel/probe.hpp>
#include <kernel/sys.hpp>

#include <cerrno>

namespace ringlet::kernel {

poller::poller(int fd) : epoll_(fd), events_(new epoll_event[batch]) {}

std::unique_ptr<poller> poller::make(int& error) {
    const int fd = sys::epoll_create();
    error = fd < 0 ? -fd : 0;
    return fd < 0 ? nullptr : std::unique_ptr<poller>(new poller(fd));
}

int poller::add(int fd, void* data, std::uint32_t events) noexcept {
    if (!epoll_) end_refused("epoll_ctl", EBADF);  // in a forked child
    return sys::epoll_add(epoll_.get(), fd, events, data);
}

int poller::change(int fd, void* data, std::uint32_t events) noexcept {
    if (!epoll_) end_refused("epoll_ctl", EBADF);
    return sys::epoll_change(epoll_.get(), fd, events, data);
}

void poller::remove(int fd) noexcept {
    static_cast<void>(sys::epoll_remove(epoll_.get(), fd));
}

int poller::wait_events(std::int64_t timeout_ns) noexcept {
    ++waits;
    const int count = sys::epoll_wait(epoll_.get(), events_.get(), batch, timeout_ns);
    if (count < 0) [[unlikely]] end_refused("epoll_wait", -count);
    return count;
}

}  // namespace ringlet::kernel
