// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/file_data.hpp>

#include <io/file_access.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <algorithm>
#include <array>
#include <climits>

namespace ringlet {

bool read_at_op::start(core& c, cancel_scope& context) noexcept {
    answer = file_access::make_ready(*descriptor_);
    if (answer != 0 || offset_ >= file_access::last_end) [[unlikely]] return answered_at_once(c);
    size_ = std::min<std::size_t>(size_, file_access::last_end - offset_);
    return operation::start(c, context);
}
void read_at_op::prepare(io_uring_sqe& sqe) noexcept {
    file_access::prepare_read(sqe, descriptor_->fd, room_ + got_, capped(size_) - got_,
                              offset_ + got_);
}
int read_at_op::advance(int got) noexcept {
    got_ += static_cast<std::size_t>(got);
    const bool more = file_access::goes_on(*descriptor_, got, got_, capped(size_));
    return more ? -EAGAIN : static_cast<int>(got_);
}
int read_at_op::try_now() noexcept {
    return file_access::read_cached(descriptor_->fd, room_, size_, offset_, got_);
}
int read_at_op::attempt() noexcept {
    return file_access::read_all(*descriptor_, room_, size_, offset_, got_);
}

void fetch_op::prepare(io_uring_sqe& sqe) noexcept { io_uring_prep_nop(&sqe); }  // never asked
bool fetch_op::start(core& c, cancel_scope& context) noexcept {
    answer = 0;
    if (file_access::beyond_any(offset_)) return answered_at_once(c);
    left_ = std::min(left_, INT64_MAX - offset_);
    return operation::start(c, context);
}
int fetch_op::try_now() noexcept {
    constexpr unsigned at_once = 64;  // 8 MiB: a bound to what the loop does in one go
    return look(at_once);
}
/// -EAGAIN when not all of it is there, or more than so many samples would have to tell.
int fetch_op::look(unsigned samples) noexcept {
    // How far the kernel reads ahead at most and at least, unless it is told otherwise.
    constexpr std::uint64_t step = 128 * 1024;
    constexpr std::uint64_t least = 16 * 1024;
    char sample = 0;
    for (; left_ > 0; --samples) {
        if (samples == 0) return -EAGAIN;
        const int got = sys::try_read_at(descriptor_->fd, &sample, 1, offset_);
        if (got <= 0) return got;  // not there; or the file has ended, which is all there is of it
        if (left_ <= least) return 0;
        const std::uint64_t done = std::min(left_ - 1, step);
        offset_ += done;
        left_ -= done;
    }
    return 0;
}
int fetch_op::attempt() noexcept {
    if (const int answer = look(UINT_MAX); answer != -EAGAIN) return answer;
    std::array<std::byte, 64 * 1024> nowhere;
    while (left_ > 0) {
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, nowhere.size()));
        const int got = sys::read_at(descriptor_->fd, nowhere.data(), size, offset_);
        if (got <= 0) return got;
        offset_ += static_cast<std::uint64_t>(got);
        left_ -= static_cast<std::uint64_t>(got);
    }
    return 0;
}

bool write_at_op::start(core& c, cancel_scope& context) noexcept {
    answer = file_access::make_ready(*descriptor_);
    if (answer == 0 && file_access::beyond_any(offset_)) answer = -EINVAL;
    return answer == 0 ? operation::start(c, context) : answered_at_once(c);
}
void write_at_op::prepare(io_uring_sqe& sqe) noexcept {
    file_access::prepare_write(sqe, descriptor_->fd, data_, size_, offset_);
}
int write_at_op::attempt() noexcept {
    return sys::write_at(descriptor_->fd, data_, capped(size_), offset_);
}

bool write_all_at_op::start(core& c, cancel_scope& context) noexcept {
    answer = file_access::make_ready(*descriptor_);
    if (answer == 0 && file_access::beyond_any(offset_)) answer = -EINVAL;
    return answer == 0 ? operation::start(c, context) : answered_at_once(c);
}
void write_all_at_op::prepare(io_uring_sqe& sqe) noexcept {
    file_access::prepare_write(sqe, descriptor_->fd, data_, left_, offset_);
}
int write_all_at_op::attempt() noexcept {
    for (;;) {
        const int written = sys::write_at(descriptor_->fd, data_, capped(left_), offset_);
        if (written < 0) return written;
        if (const int answer = advance(written); answer != -EAGAIN) return answer;
    }
}
int write_all_at_op::advance(int written) noexcept {
    // Nothing written of something, without an error: there is no going on (a device's end).
    if (written == 0 && left_ > 0) return -ENOSPC;
    data_ += written;
    offset_ += static_cast<std::uint64_t>(written);
    left_ -= static_cast<std::size_t>(written);
    return left_ == 0 ? 0 : -EAGAIN;
}

void sync_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_fsync(&sqe, descriptor_->fd, data_only_ ? IORING_FSYNC_DATASYNC : 0);
}
int sync_op::attempt() noexcept { return sys::sync(descriptor_->fd, data_only_); }

void resize_op::prepare(io_uring_sqe& sqe) noexcept { io_uring_prep_nop(&sqe); }  // never asked
int resize_op::attempt() noexcept { return sys::resize(descriptor_->fd, size_); }

template class operation<read_at_op>;
template class operation<fetch_op>;
template class operation<write_at_op>;
template class operation<write_all_at_op>;
template class operation<sync_op>;
template class operation<resize_op>;

}  // namespace ringlet
