// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/read_chunk.hpp>

#include <core/buffer_pool.hpp>
#include <io/file_access.hpp>
#include <io/start.hpp>

#include <algorithm>
#include <cerrno>

namespace ringlet {

bool read_chunk_op::start(core& c, cancel_scope& context) noexcept {
    answer = file_access::make_ready(*descriptor_);
    if (answer == 0) answer = c.buffers().open();
    if (answer != 0 || offset_ >= file_access::last_end) [[unlikely]] return answered_at_once(c);
    most_ = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(most_, file_access::last_end - offset_));
    if (take_buffer(c)) [[likely]] return operation::start(c, context);
    wait(c, context, phase::parked);
    wait_.owner = this;
    wait_.served = served;
    c.buffers().wait(wait_);
    return true;
}

bool read_chunk_op::take_buffer(core& c) noexcept {
    buffer_pool& pool = c.buffers();
    const bool large = most_ != one_buffer && most_ > pool.options().size;
    const buffer_pool::room room = pool.take(large);
    if (room.data == nullptr) [[unlikely]] return false;
    lease_ = chunk(room.data, std::min(room.size, most_), room.id);
    return true;
}

void read_chunk_op::served(core& c, completion& waiting) noexcept {
    auto& op = static_cast<read_chunk_op&>(waiting);
    if (op.take_buffer(c)) detail::kind_of<read_chunk_op>::start_late(c, op);
}

void read_chunk_op::prepare(io_uring_sqe& sqe) noexcept {
    file_access::prepare_read(sqe, descriptor_->fd, lease_.data_ + got_, lease_.size_ - got_,
                              offset_ + got_);
}
int read_chunk_op::advance(int got) noexcept {
    got_ += static_cast<std::size_t>(got);
    const bool more = file_access::goes_on(*descriptor_, got, got_, lease_.size_);
    return more ? -EAGAIN : static_cast<int>(got_);
}
int read_chunk_op::try_now() noexcept {
    return file_access::read_cached(descriptor_->fd, lease_.data_, lease_.size_, offset_, got_);
}
int read_chunk_op::attempt() noexcept {
    return file_access::read_all(*descriptor_, lease_.data_, lease_.size_, offset_, got_);
}

template class operation<read_chunk_op>;

}  // namespace ringlet
