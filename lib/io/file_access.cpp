// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/file_access.hpp>

#include <core/buffer_pool.hpp>
#include <io/socket.hpp>
#include <kernel/sys.hpp>

#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>

#include <cerrno>

namespace ringlet::file_access {

namespace {

/// What is copied on the loop's thread at most, as long as a small message takes a thousand times;
/// more goes to a worker, in the ring as well, where the submission would copy it.
constexpr std::size_t copied_at_once = 1024 * 1024;

/// Which registered buffer the memory lies in; -1: none.
int fixed_index(const std::byte* data, std::size_t size) noexcept {
    core& c = here();
    const int index = c.buffers().fixed_index_of(data, size);
    if (index >= 0) ++c.counters().fixed_transfers;
    return index;
}

void prepare(io_uring_sqe& sqe, io_uring_op plain, io_uring_op fixed, int fd,
             const std::byte* data, std::size_t size, std::uint64_t offset) noexcept {
    const int index = fixed_index(data, size);
    io_uring_prep_rw(index < 0 ? plain : fixed, &sqe, fd, data,
                     static_cast<unsigned>(capped(size)), offset);
    if (index >= 0) sqe.buf_index = static_cast<std::uint16_t>(index);
    if (size > copied_at_once) io_uring_sqe_set_flags(&sqe, IOSQE_ASYNC);
}

}  // namespace

/// It has been opened O_NONBLOCK for the sake of FIFOs, which the ring takes as "fail rather than
/// wait for the disk" on file systems that cannot be asked without waiting. And what has no offsets
/// is refused as pread(2) does: the ring would read it as a stream, and wait. A regular file with a
/// size is read whole, so that a short read is its end; those of /proc have none (a kernel file that
/// tells a page, as those of /sys do, has no more). A device may give records: a read after one
/// would wait for the next, with that one in hand.
int make_ready(descriptor& d) noexcept {
    if (!d.nonblocking) [[likely]]
        return 0;
    struct statx told {};
    const int error = sys::status(d.fd, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &told);
    const bool regular = error == 0 && S_ISREG(told.stx_mode);
    const bool whole = regular && told.stx_size > 0;
    if (!whole)
        if (const int refused = sys::has_offsets(d.fd); refused < 0) return refused;
    d.trust_short = whole || (error == 0 && !regular);
    d.nonblocking = false;
    return sys::set_blocking(d.fd);
}

void prepare_read(io_uring_sqe& sqe, int fd, std::byte* room, std::size_t size,
                  std::uint64_t offset) noexcept {
    prepare(sqe, IORING_OP_READ, IORING_OP_READ_FIXED, fd, room, size, offset);
}

void prepare_write(io_uring_sqe& sqe, int fd, const std::byte* data, std::size_t size,
                   std::uint64_t offset) noexcept {
    prepare(sqe, IORING_OP_WRITE, IORING_OP_WRITE_FIXED, fd, data, size, offset);
}

/// No device is known that gives records and can be asked like this (/dev/kmsg: EOPNOTSUPP), so a
/// short read is a gap, or the end.
int read_cached(int fd, std::byte* room, std::size_t size, std::uint64_t offset,
                std::size_t& got) noexcept {
    if (size > copied_at_once) return -EAGAIN;
    for (;;) {
        const int now = sys::try_read_at(fd, room + got, size - got, offset + got);
        if (now > 0) got += static_cast<std::size_t>(now);
        if (now <= 0 || got == size) return now < 0 ? now : static_cast<int>(got);
    }
}

int read_all(const descriptor& d, std::byte* room, std::size_t size, std::uint64_t offset,
             std::size_t& got) noexcept {
    const std::size_t most = capped(size);
    for (;;) {
        const int now = sys::read_at(d.fd, room + got, most - got, offset + got);
        if (now < 0) return now;
        got += static_cast<std::size_t>(now);
        if (!goes_on(d, now, got, most)) return static_cast<int>(got);
    }
}

}  // namespace ringlet::file_access
