// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/core/descriptor.hpp>

#include <ringlet/core/core.hpp>

#include <kernel/poller.hpp>
#include <kernel/sys.hpp>

#include <new>

namespace ringlet {

void descriptor::wake_closer() noexcept {
    if (!busy()) here().make_ready(*std::exchange(closer, nullptr));
}

descriptor* descriptor_pool::take(int fd) noexcept {
    if (free_ == nullptr && !grow()) return nullptr;
    descriptor& taken = *free_;
    free_ = taken.next_free;
    taken = descriptor();
    taken.fd = fd;
    ++open_;
    return &taken;
}

bool descriptor_pool::grow() noexcept {
    try {
        auto& fresh = *blocks_.emplace_back(std::make_unique<std::array<descriptor, block>>());
        for (descriptor& d : fresh) d.next_free = std::exchange(free_, &d);
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void descriptor_pool::give_back(descriptor& d) noexcept {
    d.fd = -1;
    d.next_free = std::exchange(free_, &d);
    --open_;
}

owned_descriptor::owned_descriptor(int fd) noexcept : descriptor_(here().descriptors().take(fd)) {
    if (descriptor_ == nullptr) sys::close(fd);
}

int owned_descriptor::release() noexcept {
    if (descriptor_ == nullptr) return -1;
    core& c = here();
    RINGLET_CHECK(!descriptor_->busy(),
                  "a stream or listener was given up or destroyed while an operation on it was in "
                  "flight: co_await its close(), or join the other task first");
    const int fd = descriptor_->fd;
    // Before close(2), not by it: a forked child may hold the socket open, and epoll would go on
    // reporting a descriptor that is no more.
    if (descriptor_->registered) c.poller()->remove(fd);
    c.descriptors().give_back(*std::exchange(descriptor_, nullptr));
    return fd;
}

void owned_descriptor::close_now() noexcept { sys::close(release()); }

}  // namespace ringlet
