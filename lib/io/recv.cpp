// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/recv.hpp>

#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

namespace ringlet {

void recv_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_recv(&sqe, descriptor_->fd, room_, capped(size_), 0);
}

int recv_op::attempt() noexcept {
    descriptor& d = *descriptor_;
    if (!d.readable) return -EAGAIN;
    const int got = sys::recv(d.fd, room_, capped(size_));
    // After a short read the socket was empty; what comes later makes an edge, so the call that
    // would only say EAGAIN is saved.
    if (got == -EAGAIN) {
        d.readable = false;
    } else if (got > 0 && static_cast<std::size_t>(got) < size_ && d.trust_short) {
        d.readable = false;
    }
    return got;
}

template class operation<recv_op>;

}  // namespace ringlet
