// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <core/zero_copy.hpp>

#include <core/buffer_pool.hpp>
#include <kernel/abi.hpp>
#include <kernel/ring.hpp>

#include <cerrno>
#include <new>
#include <utility>

namespace ringlet {

namespace {

/// Not for this stream (a Unix socket), this kernel (before 6.2), or not with what locked memory is
/// left.
bool refused(int answer) noexcept {
    return answer == -EOPNOTSUPP || answer == -EINVAL || answer == -ENOMEM || answer == -ENOBUFS;
}

}  // namespace

const completion_kind zero_copy_sends::kind_{.answered = answered};

zero_copy_sends::record::record() noexcept : ring_target(kind_) {}

/// The kernel holds the pages of what it still reads, and the pool's memory is only unmapped.
zero_copy_sends::~zero_copy_sends() {
    for (auto& records : blocks_)
        for (std::uint32_t i = 0; i < block; ++i)
            if (records[i].in_use) release(records[i]);
}

zero_copy_sends::record* zero_copy_sends::begin(descriptor& stream, completion& sender,
                                                std::uint32_t buffer) noexcept {
    if (held_ >= home_.buffers().options().limit / 4) return nullptr;
    if (free_ == nullptr && !grow()) return nullptr;
    record& r = *std::exchange(free_, free_->next_free);
    r.stream = &stream;
    r.sender = &sender;
    r.buffer = buffer;
    r.notified = r.sent = r.fixed = false;
    home_.buffers().of(buffer).size = r.index;  // no segment of a stream meanwhile
    r.in_use = true;
    ++held_;
    return &r;
}

void zero_copy_sends::answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept {
    auto& r = static_cast<record&>(self);
    if ((flags & abi::cqe_notification) != 0) {
        r.notified = true;
        // Of a send that moved nothing (refused, cancelled) it says "copied" too.
        if (r.sent && (static_cast<std::uint32_t>(result) & abi::zero_copy_copied) != 0) {
            ++c.counters().zero_copies_copied;
            if (r.stream != nullptr) r.stream->zero_copy = 0;
        }
        if (r.sender == nullptr) c.zero_copies().release(r);
        return;
    }
    // After an error there may be a notification all the same: F_MORE says so.
    if ((flags & IORING_CQE_F_MORE) == 0) r.notified = true;
    r.sent = result > 0;
    completion& sender = *r.sender;
    sender.extras &= static_cast<std::uint8_t>(~completion::by_stand_in);
    if (refused(result)) {
        if (r.stream != nullptr) r.stream->zero_copy = 0;
        result = -EAGAIN;  // once more, the other way
    } else {
        ++c.counters().zero_copies;
        if (r.fixed) ++c.counters().fixed_transfers;
    }
    sender.kind->answered(c, sender, result, 0);
}

zero_copy_sends::record& zero_copy_sends::of(std::uint32_t buffer) noexcept {
    const std::uint32_t index = home_.buffers().of(buffer).size;
    return blocks_[index / block][index % block];
}

void zero_copy_sends::ended(record& r) noexcept {
    r.sender = nullptr;
    if (r.notified) release(r);
}

void zero_copy_sends::forget(descriptor& stream) noexcept {
    for (auto& records : blocks_)
        for (std::uint32_t i = 0; i < block; ++i)
            if (records[i].stream == &stream) records[i].stream = nullptr;
}

void zero_copy_sends::release(record& r) noexcept {
    home_.buffers().give_back(r.buffer);
    r.in_use = false;
    r.stream = nullptr;
    r.next_free = std::exchange(free_, &r);
    --held_;
}

bool zero_copy_sends::grow() noexcept {
    try {
        auto& fresh = blocks_.emplace_back(std::make_unique<record[]>(block));
        const auto first = static_cast<std::uint32_t>(blocks_.size() - 1) * block;
        for (std::uint32_t i = 0; i < block; ++i) {
            fresh[i].index = first + i;
            fresh[i].next_free = std::exchange(free_, &fresh[i]);
        }
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace ringlet
