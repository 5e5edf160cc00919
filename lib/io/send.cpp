// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/send.hpp>

#include <core/buffer_pool.hpp>
#include <core/zero_copy.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/abi.hpp>

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

namespace ringlet {

namespace {

/// One try; a short one has filled the socket's buffer, and an edge will say when it has room.
int try_send(descriptor& d, const std::byte* data, std::size_t size) noexcept {
    if (!d.writable) return -EAGAIN;
    const int sent = send_now(d, data, capped(size));
    if (sent == -EAGAIN || (sent >= 0 && static_cast<std::size_t>(sent) < size)) d.writable = false;
    return sent;
}

void prepare_zero_copy(core& c, io_uring_sqe& sqe, int fd, const std::byte* data, std::size_t size,
                       zero_copy_sends::record& r) noexcept {
    constexpr int flags = MSG_NOSIGNAL | MSG_WAITALL;
    const int fixed = c.buffers().fixed_index(r.buffer);
    if (fixed < 0) {
        io_uring_prep_send_zc(&sqe, fd, data, size, flags, abi::send_zc_report_usage);
    } else {
        io_uring_prep_send_zc_fixed(&sqe, fd, data, size, flags, abi::send_zc_report_usage,
                                    static_cast<unsigned>(fixed));
        r.fixed = true;
    }
}

}  // namespace

void send_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_send(&sqe, descriptor_->fd, data_, capped(size_), MSG_NOSIGNAL);
}
int send_op::attempt() noexcept { return try_send(*descriptor_, data_, size_); }

inline send_all_op::start_by send_all_op::usual_start(core& c) const noexcept {
    const descriptor& d = *descriptor_;
    if (c.ring() == nullptr) return start_by::attempt;
    if (d.zero_copy != 0) return start_by::other;
    if (d.bulk) return start_by::attempt;
    return !c.ring()->full() ? start_by::submission : start_by::other;
}

bool send_all_op::start(core& c, cancel_scope& context) noexcept {
    descriptor& d = *descriptor_;
    if (d.zero_copy == 0 || c.ring() == nullptr || lease_.empty() || left_ >> (d.zero_copy + 9) == 0)
        [[likely]] return operation::start(c, context);
    c.buffers().must_be_ours(data_);
    auto* const r = c.zero_copies().begin(d, *this, lease_.buffer_);
    if (r == nullptr) return operation::start(c, context);
    lease_.let_go();
    extras |= has_record | by_stand_in;
    wait(c, context, phase::ring);
    d.writable = true;
    io_uring_sqe& sqe = c.ring()->take();
    prepare_zero_copy(c, sqe, d.fd, data_, left_, *r);
    sqe.flags |= d.sqe_flags;
    io_uring_sqe_set_data64(&sqe, user_data(*r, kernel::tag::many));
    return true;
}

ring_target* send_all_op::record() const noexcept {
    return &here().zero_copies().of(lease_.buffer_);
}

void send_all_op::end_zero_copy() noexcept {
    zero_copy_sends& all = here().zero_copies();
    all.ended(all.of(lease_.buffer_));
}

void send_all_op::prepare(io_uring_sqe& sqe) noexcept {
    // With MSG_WAITALL the kernel goes on after a short send by itself (Linux 5.19).
    io_uring_prep_send(&sqe, descriptor_->fd, data_, capped(left_), MSG_NOSIGNAL | MSG_WAITALL);
}
int send_all_op::attempt() noexcept {
    const int sent = try_send(*descriptor_, data_, left_);
    return sent < 0 ? sent : advance(sent);
}
int send_all_op::advance(int answer) noexcept {
    data_ += answer;
    left_ -= static_cast<std::size_t>(answer);
    return left_ == 0 ? 0 : -EAGAIN;
}

static_assert(sizeof(send_part) == sizeof(iovec) && sizeof(msghdr) == 56 &&
              offsetof(send_part, data) == offsetof(iovec, iov_base) &&
              offsetof(send_part, size) == offsetof(iovec, iov_len));

send_gathered_op::send_gathered_op(descriptor& d, std::span<const send_part> parts) noexcept
    : descriptor_(&d), count_(parts.size()) {
    RINGLET_CHECK(parts.size() <= max_parts, "a gathered send has more than 16 parts");
    std::copy(parts.begin(), parts.end(), parts_.begin());
}
send_gathered_op::send_gathered_op(send_gathered_op&& unstarted) noexcept
    : send_gathered_op(*unstarted.descriptor_,
                       std::span(unstarted.parts_).first(unstarted.count_)) {}

void* send_gathered_op::message() noexcept {
    auto* m = new (message_.data()) msghdr{};
    m->msg_iov = reinterpret_cast<iovec*>(parts_.data() + first_);
    m->msg_iovlen = count_ - first_;
    return m;
}
void send_gathered_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_sendmsg(&sqe, descriptor_->fd, static_cast<msghdr*>(message()),
                          MSG_NOSIGNAL | MSG_WAITALL);
}
int send_gathered_op::attempt() noexcept {
    descriptor& d = *descriptor_;
    if (!d.writable) return -EAGAIN;
    int sent = sendmsg_now(d, static_cast<msghdr*>(message()));
    if (sent >= 0) sent = advance(sent);
    if (sent == -EAGAIN) d.writable = false;
    return sent;
}
int send_gathered_op::advance(int answer) noexcept {
    auto gone = static_cast<std::size_t>(answer);
    while (first_ < count_ && gone >= parts_[first_].size) gone -= parts_[first_++].size;
    if (first_ == count_) return 0;
    parts_[first_].data = static_cast<const std::byte*>(parts_[first_].data) + gone;
    parts_[first_].size -= gone;
    return -EAGAIN;
}

template class operation<send_op, side::write>;
template class operation<send_all_op, side::write>;
template class operation<send_gathered_op, side::write>;

}  // namespace ringlet
