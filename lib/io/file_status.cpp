// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/file_status.hpp>

#include <ringlet/io/file.hpp>

#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

namespace ringlet {

namespace {

constexpr unsigned wanted = STATX_TYPE | STATX_MODE | STATX_SIZE | STATX_MTIME | STATX_INO;

file_kind kind_of_mode(unsigned mode) noexcept {
    switch (mode & S_IFMT) {
        case S_IFREG: return file_kind::regular;
        case S_IFDIR: return file_kind::folder;
        case S_IFLNK: return file_kind::link;
        case S_IFIFO: return file_kind::fifo;
        case S_IFSOCK: return file_kind::socket;
        case S_IFCHR: return file_kind::character_device;
        case S_IFBLK: return file_kind::block_device;
        default: return file_kind::other;
    }
}

file_status status_of(const struct statx& s) noexcept {
    file_status status;
    status.kind = kind_of_mode(s.stx_mode);
    status.permissions = s.stx_mode & 07777;
    status.size = s.stx_size;
    status.modified += std::chrono::seconds(s.stx_mtime.tv_sec);
    status.modified += nanoseconds(s.stx_mtime.tv_nsec);
    status.inode = s.stx_ino;
    status.device = static_cast<std::uint64_t>(s.stx_dev_major) << 32 | s.stx_dev_minor;
    return status;
}

}  // namespace

static_assert(sizeof(struct statx) == 256);

void stat_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_statx(&sqe, descriptor_->fd, "", AT_EMPTY_PATH, wanted,
                        reinterpret_cast<struct statx*>(room_.data()));
}
int stat_op::attempt() noexcept {
    return sys::status(descriptor_->fd, 0, wanted, reinterpret_cast<struct statx*>(room_.data()));
}
result<file_status> stat_op::finish(int answer) const noexcept {
    if (answer < 0) return answer::to_error(answer);
    struct statx told {};
    std::memcpy(&told, room_.data(), sizeof told);
    return status_of(told);
}

result<file_status> file::try_stat() const noexcept {
    struct statx told {};
    const int error = sys::status((*descriptor_).fd, AT_STATX_DONT_SYNC, wanted, &told);
    if (error < 0) return answer::to_error(error);
    return status_of(told);
}

int close_file_op::give_up() noexcept { return descriptor_.release(); }

void close_file_op::prepare(io_uring_sqe& sqe) noexcept { io_uring_prep_close(&sqe, open_); }
int close_file_op::attempt() noexcept {
    closed_ = sys::close_file(std::exchange(open_, -1));
    return closed_;
}
/// An error does not mean that the number is still ours: another file may have it by now (close(2)).
bool close_file_op::more(int value, unsigned) noexcept {
    if (value == -ECANCELED) return false;
    open_ = -1;
    closed_ = value;
    return false;
}

result<void> close_file_op::finish(int) noexcept {
    // Cancelled, or refused by the pool, before anybody had begun: it is closed all the same.
    const int closed = open_ >= 0 ? attempt() : closed_;
    if (closed < 0) return answer::to_error(closed);
    return {};
}

template class operation<stat_op>;
template class operation<close_file_op>;

}  // namespace ringlet
