// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/descriptor.hpp>
#include <ringlet/io/file_data.hpp>
#include <ringlet/io/file_open.hpp>
#include <ringlet/io/file_status.hpp>
#include <ringlet/io/read_chunk.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace ringlet {

/// An open file or folder, of the core it was opened on. Many operations may go on at once (65535;
/// one more is a misuse that aborts), each at an offset of its own; the file outlives them. Nothing
/// here blocks the loop: io_uring has workers in the kernel for what must wait for a disk; fetch()
/// and resize(), and without a ring all that is not in the page cache, are done by the threads of
/// the blocking pool (see blocking(): errc::pool_full).
///
/// What a cancelled operation had done all the same is given, not lost. One that a worker has begun
/// is waited for; `within()` and cancelling end only what waits for its turn.
class file {
public:
    /// An empty one: test with operator bool.
    file() noexcept = default;
    /// Takes an open descriptor on the current core. O_NONBLOCK, which it shares with its duplicates,
    /// is taken off it at the first read or write. What has no offsets (FIFOs, sockets, terminals,
    /// eventfds) cannot be read or written: invalid_seek.
    explicit file(owned_descriptor opened) noexcept : descriptor_(std::move(opened)) {
        if (descriptor_) (*descriptor_).nonblocking = true;  // as far as is known
    }

    /// Opens `path`: result<file>. Never waits for the other end of a FIFO. Errors: those of
    /// open(2); invalid_argument for a path with a NUL in it; no_such_file_or_directory for an
    /// empty one.
    [[nodiscard]] static open_op open(const file_path& path,
                                      const open_options& options = open_options()) noexcept {
        return open_op(nullptr, path, options);
    }
    /// Opens `path` relative to this folder: result<file>.
    [[nodiscard]] open_op open_at(const file_path& path,
                                  const open_options& options = open_options()) const noexcept {
        return open_op(&*descriptor_, path, options);
    }

    /// Reads from `offset` until `room` is full or the file ends (or 1 GiB is read: pread(2)):
    /// result<size_t>; errc::end_of_stream when `offset` is at the end or beyond. A regular file
    /// that gives what it has in pieces (those of /proc) is read piece by piece; /proc/kmsg, one of
    /// those, waits with what it has for more. A device is read once, for at least one byte: the
    /// next record of one that gives records (/dev/kmsg) may be long in coming.
    [[nodiscard]] read_at_op read_at(std::span<std::byte> room,
                                     std::uint64_t offset) const noexcept {
        return read_at_op(*descriptor_, room, offset);
    }
    /// The same into a buffer of the core's pool, as much as it holds (buffer_options::size) or
    /// `most` bytes: result<chunk>. More than `size` are given where there is a large buffer left.
    /// On io_uring it is a fixed read where the buffer is registered. Waits for a buffer when none
    /// is free: do not hold chunks meanwhile that others wait for.
    [[nodiscard]] read_chunk_op read_chunk(
        std::uint64_t offset, std::uint32_t most = read_chunk_op::one_buffer) const noexcept {
        return read_chunk_op(*descriptor_, offset, most);
    }
    /// Brings a range into the page cache, so that sending it soon after does not hold the loop up:
    /// result<void>. Goes on at once where samples of it (its first byte, one every 128 KiB, which
    /// is how far the kernel reads ahead, and the last of more than 16 KiB) are there already; else
    /// a worker thread reads it, and what is left after 64 samples.
    [[nodiscard]] fetch_op fetch(std::uint64_t offset, std::uint64_t length) const noexcept {
        return fetch_op(*descriptor_, offset, length);
    }
    /// Writes at `offset` (at the end, if opened to append: pwrite(2)): result<size_t>, at least
    /// one byte. Errors: invalid_argument for an offset beyond INT64_MAX.
    [[nodiscard]] write_at_op write_at(std::span<const std::byte> bytes,
                                       std::uint64_t offset) const noexcept {
        return write_at_op(*descriptor_, bytes, offset);
    }
    /// Writes every byte: result<void>.
    [[nodiscard]] write_all_at_op write_all_at(std::span<const std::byte> bytes,
                                               std::uint64_t offset) const noexcept {
        return write_all_at_op(*descriptor_, bytes, offset);
    }
    /// The same of a chunk, whose lease is held until then.
    [[nodiscard]] write_all_at_op write_all_at(chunk&& bytes, std::uint64_t offset) const noexcept {
        return write_all_at_op(*descriptor_, std::move(bytes), offset);
    }
    /// Waits until what has been written is on the disk: result<void>.
    [[nodiscard]] sync_op sync() const noexcept { return sync_op(*descriptor_, false); }
    /// The same without what is not needed to read the data again (times): fdatasync(2).
    [[nodiscard]] sync_op sync_data() const noexcept { return sync_op(*descriptor_, true); }
    /// Cuts the file, or lengthens it with zeros: result<void>.
    [[nodiscard]] resize_op resize(std::uint64_t size) const noexcept {
        return resize_op(*descriptor_, size);
    }

    /// Kind, size and time: result<file_status>. Asks the server of a remote file system.
    [[nodiscard]] stat_op stat() const noexcept { return stat_op(*descriptor_); }
    /// The same as this machine knows it now, without asking anybody: right for a local file
    /// system, and after open() for a remote one. A plain system call, which a stat() in the ring
    /// is not: that one takes a worker each time.
    [[nodiscard]] result<file_status> try_stat() const noexcept;

    /// Closes, and says what was left to say (a remote file system's writes): result<void>. Not
    /// cancelled half-way. Nothing else may be in flight. The destructor closes too, and at once:
    /// enough for what was only read.
    [[nodiscard]] close_file_op close() noexcept { return close_file_op(std::move(descriptor_)); }

    explicit operator bool() const noexcept { return static_cast<bool>(descriptor_); }
    [[nodiscard]] int native_handle() const noexcept { return descriptor_.fd(); }
    /// Gives up the descriptor, open.
    [[nodiscard]] int release() noexcept { return descriptor_.release(); }

private:
    friend class send_file_op;
    owned_descriptor descriptor_;
};

inline result<file> open_op::finish(int answer) noexcept {
    if (answer < 0) return answer::to_error(answer);
    owned_descriptor opened(answer);
    if (!opened) return std::make_error_code(std::errc::not_enough_memory);
    return file(std::move(opened));
}

}  // namespace ringlet
