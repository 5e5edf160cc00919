// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <kernel/ledger.hpp>

#ifndef NDEBUG

#include <ringlet/base/check.hpp>

#include <kernel/abi.hpp>
#include <kernel/ring.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace ringlet::kernel {

namespace {

constexpr std::size_t least_capacity = 4096;

/// As io_uring.h has them, without IORING_OP_.
constexpr std::array<const char*, IORING_OP_LAST> names_of_operations{
    "NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE",
    "SYNC_FILE_RANGE", "SENDMSG", "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL",
    "LINK_TIMEOUT", "CONNECT", "FALLOCATE", "OPENAT", "CLOSE", "FILES_UPDATE", "STATX", "READ",
    "WRITE", "FADVISE", "MADVISE", "SEND", "RECV", "OPENAT2", "EPOLL_CTL", "SPLICE",
    "PROVIDE_BUFFERS", "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT", "UNLINKAT", "MKDIRAT",
    "SYMLINKAT", "LINKAT", "MSG_RING", "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR", "SOCKET",
    "URING_CMD", "SEND_ZC", "SENDMSG_ZC"};

std::string operation_name(std::uint8_t number) {
    const bool known = number < names_of_operations.size() && names_of_operations[number] != nullptr;
    return known ? names_of_operations[number] : fmt::format("operation {}", number);
}

/// Whether somebody is told of the answer, by his address.
bool has_target(std::uint64_t user_data) noexcept {
    return (user_data & 3) <= static_cast<std::uint64_t>(tag::many);
}

}  // namespace

void ledger::submitted(const io_uring_sqe* queue, unsigned mask, unsigned tail) noexcept {
    for (; noted_ != tail; ++noted_) submitted(queue[noted_ & mask]);
}

void ledger::submitted(const io_uring_sqe& sqe) noexcept {
    if (!has_target(sqe.user_data)) return;
    if (blind_ || (2 * (used_ + 1) > capacity_ && !grow())) return;
    entry& e = *find(sqe.user_data);
    if (e.in_flight) {
        const std::string text =
            fmt::format("{} was submitted in place of {}, which is still in flight: user_data {:#x}",
                        name({.user_data = sqe.user_data, .file = sqe.fd, .operation = sqe.opcode,
                              .in_table = (sqe.flags & IOSQE_FIXED_FILE) != 0}),
                        name(e), sqe.user_data);
        detail::misuse(text.c_str(), __FILE__, __LINE__);
    }
    if (e.user_data == 0) ++used_;
    e = {.user_data = sqe.user_data,
         .file = sqe.fd,
         .operation = sqe.opcode,
         .in_table = (sqe.flags & IOSQE_FIXED_FILE) != 0,
         .in_flight = true};
}

/// Without F_MORE it is the last one: of a multishot operation, and of a zero-copy send, for which
/// that is the notification.
void ledger::answered(std::uint64_t user_data, std::int32_t result, std::uint32_t flags) noexcept {
    if (blind_ || !has_target(user_data)) return;
    entry* const e = capacity_ > 0 ? find(user_data) : nullptr;
    if (e == nullptr || !e->in_flight) {
        const bool known = e != nullptr && e->user_data != 0;
        const std::string text = fmt::format(
            "the ring answered for what is not in flight: user_data {:#x}, result {}, flags {:#x}; {}",
            user_data, result, flags,
            known ? name(*e) + " was there last, and has ended" : "nothing was submitted with that");
        detail::misuse(text.c_str(), __FILE__, __LINE__);
    }
    if ((flags & IORING_CQE_F_MORE) == 0) e->in_flight = false;
}

std::string ledger::names(std::uint64_t except) const {
    std::map<std::string, unsigned> counts;  // by operation alone: there may be thousands
    for (std::size_t i = 0; i < capacity_; ++i) {
        const entry& e = entries_[i];
        if (e.in_flight && e.user_data != except) ++counts[operation_name(e.operation)];
    }
    std::string text;
    for (const auto& [what, count] : counts) {
        if (!text.empty()) text += ", ";
        text += count > 1 ? fmt::format("{} {}", count, what) : what;
    }
    return text;
}

std::string ledger::name(const entry& e) {
    std::string text = operation_name(e.operation);
    if (e.file >= 0) text += fmt::format(" of {} {}", e.in_table ? "slot" : "descriptor", e.file);
    return text;
}

/// Where it is, or else where it would be.
ledger::entry* ledger::find(std::uint64_t user_data) const noexcept {
    std::size_t at = (user_data * 0x9e37'79b9'7f4a'7c15U) >> 32;
    for (;; ++at) {
        entry& e = entries_[at & (capacity_ - 1)];
        if (e.user_data == user_data || e.user_data == 0) return &e;
    }
}

bool ledger::grow() noexcept {
    const auto in_flight = [](const entry& e) { return e.in_flight; };
    const auto live = static_cast<std::size_t>(
        std::count_if(entries_.get(), entries_.get() + capacity_, in_flight));
    ledger larger;
    larger.noted_ = noted_;
    larger.capacity_ = std::max(least_capacity, capacity_);
    while (larger.capacity_ < 4 * live) larger.capacity_ *= 2;
    larger.entries_.reset(static_cast<entry*>(std::calloc(larger.capacity_, sizeof(entry))));
    if (larger.entries_ == nullptr) {
        blind_ = true;
        return false;
    }
    for (std::size_t i = 0; i < capacity_; ++i) {
        if (!entries_[i].in_flight) continue;
        *larger.find(entries_[i].user_data) = entries_[i];
        ++larger.used_;
    }
    *this = std::move(larger);
    return true;
}

}  // namespace ringlet::kernel

#endif
