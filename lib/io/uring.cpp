// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/uring.hpp>

#include <io/start.hpp>

#include <cstring>

namespace ringlet {

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
