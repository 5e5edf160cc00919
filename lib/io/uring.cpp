// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/uring.hpp>

#include <ringlet/base/check.hpp>

#include <io/start.hpp>
#include <kernel/abi.hpp>

#include <cstring>

namespace ringlet {

namespace {

/// What would hang the operation, or take what belongs to others; io/uring.hpp tells users.
constexpr struct {
    unsigned flag;
    const char* why;
} refused_flags[] = {
    {IOSQE_CQE_SKIP_SUCCESS,
     "uring(): IOSQE_CQE_SKIP_SUCCESS: a success would never be told, and the task wait for ever"},
    {IOSQE_IO_LINK,
     "uring(): IOSQE_IO_LINK: the next entry is whatever task's: await one operation after the other"},
    {IOSQE_IO_HARDLINK,
     "uring(): IOSQE_IO_HARDLINK: the next entry is whatever task's: await one operation after the "
     "other"},
    {IOSQE_IO_DRAIN,
     "uring(): IOSQE_IO_DRAIN: it waits for all that is in the ring, and the core's own poll there "
     "never ends"},
    {IOSQE_BUFFER_SELECT,
     "uring(): IOSQE_BUFFER_SELECT: the buffer would be lost to the core's pool: name memory, or "
     "receive by chunks()"},
};

bool multishot(const io_uring_sqe& sqe) noexcept {
    switch (sqe.opcode) {
        case IORING_OP_ACCEPT: return (sqe.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG: return (sqe.ioprio & IORING_RECV_MULTISHOT) != 0;
        case IORING_OP_POLL_ADD: return (sqe.len & IORING_POLL_ADD_MULTI) != 0;
        case IORING_OP_TIMEOUT: return (sqe.timeout_flags & abi::timeout_multishot) != 0;
        case abi::op_read_multishot: return true;
        default: return false;
    }
}

}  // namespace

bool uring_op::start(core& c, cancel_scope& context) noexcept {
    if (c.ring() == nullptr) {
        answer = answer::own_base - static_cast<int>(errc::unsupported);
        return answered_at_once(c);
    }
    return operation::start(c, context);
}

void uring_op::prepare(io_uring_sqe& sqe) noexcept {
    std::memset(&sqe, 0, sizeof sqe);  // `fill` may set no more than it needs
    fill_(room_.data(), sqe);
    for (const auto& refused : refused_flags)
        RINGLET_CHECK((sqe.flags & refused.flag) == 0, refused.why);
    RINGLET_CHECK(!multishot(sqe),
                  "uring(): a multishot operation: only its first answer would be told, and what "
                  "the others bring be lost");
}

bool uring_op::more(int& result, std::uint32_t cqe_flags) noexcept {
    if (!has_first_) {
        has_first_ = true;
        first_ = result;
        if (flags_ != nullptr) *flags_ = cqe_flags;
    }
    result = first_;
    return (cqe_flags & IORING_CQE_F_MORE) != 0;
}

template class operation<uring_op>;

}  // namespace ringlet
