// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/base/unique_fd.hpp>
#include <ringlet/io/close.hpp>
#include <ringlet/io/connect.hpp>
#include <ringlet/core/descriptor.hpp>
#include <ringlet/io/recv.hpp>
#include <ringlet/io/recv_chunk.hpp>
#include <ringlet/io/send.hpp>
#include <ringlet/io/send_file.hpp>
#include <ringlet/io/splice.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace ringlet {

/// One TCP connection, or one to a Unix-domain socket, of the core it was made on. One receive and one send may be in flight at the
/// same time, from two tasks if you like; a second one of either is a bug that is caught.
class tcp_stream {
public:
    /// An empty stream: test with operator bool.
    tcp_stream() noexcept = default;
    /// Takes a connected socket on the current core.
    explicit tcp_stream(owned_descriptor socket) noexcept : socket_(std::move(socket)) {}

    /// Connects to `peer`: result<tcp_stream>. Errors: connection_refused, network_unreachable,
    /// host_unreachable, EMFILE and their like; bound it with within().
    [[nodiscard]] static connect_op connect(const address& peer,
                                            const stream_options& options = stream_options()) {
        return connect_op(peer, options);
    }

    /// Receives at least one byte: result<size_t>; errc::end_of_stream at the peer's end. What is
    /// received into, or sent from, lives until the operation has ended: so too for all below.
    [[nodiscard]] recv_op recv(std::span<std::byte> room) noexcept {
        return recv_op(*socket_, room);
    }
    /// The bytes as they come, each time in a buffer of the core's pool:
    /// `while (auto chunk = co_await peer.chunks().next()) ...`. An idle stream holds no buffer.
    [[nodiscard]] chunk_sequence chunks() noexcept { return chunk_sequence(*socket_); }
    /// The same, at most `most` (1 or more) bytes at a time, each received when it is asked for. A
    /// larger chunk comes only where the stream was read by chunks() before and the ring had
    /// received it by then. Costs a system call for each chunk.
    [[nodiscard]] limited_chunk_sequence chunks(std::uint32_t most) noexcept {
        return {*socket_, most > 0 ? most : 1};
    }
    /// Sends at least one byte: result<size_t>.
    [[nodiscard]] send_op send(std::span<const std::byte> bytes) noexcept {
        return send_op(*socket_, bytes);
    }
    /// Sends every byte: result<void>.
    [[nodiscard]] send_all_op send_all(std::span<const std::byte> bytes) noexcept {
        return send_all_op(*socket_, bytes);
    }
    [[nodiscard]] send_all_op send_all(std::string_view text) noexcept {
        return send_all_op(*socket_, std::as_bytes(std::span(text)));
    }
    /// Sends every byte of a received chunk and gives its buffer back: result<void>.
    [[nodiscard]] send_all_op send_all(chunk&& received) noexcept {
        return send_all_op(*socket_, std::move(received));
    }
    /// Sends every byte of all parts, in order: result<void>. At most 16 parts; more are a misuse
    /// that aborts. The list itself is copied, what the parts refer to is not.
    [[nodiscard]] send_gathered_op send_all(std::span<const send_part> parts) noexcept {
        return send_gathered_op(*socket_, parts);
    }

    /// Receives what there is, at most `most` bytes, into an empty pipe, without copying it:
    /// result<size_t>.
    [[nodiscard]] splice_to_op splice_to(splice_pipe& into,
                                         std::size_t most = std::size_t{1} << 20) noexcept {
        return splice_to_op(*socket_, into, most);
    }
    /// Sends at least one of the bytes in a pipe, without copying them: result<size_t>.
    [[nodiscard]] splice_from_op splice_from(splice_pipe& from) noexcept {
        return splice_from_op(*socket_, from);
    }
    /// Sends `head`, then `length` bytes of a file from `offset` on, by sendfile(2): result<uint64_t>,
    /// how many of the file. Fewer than `length` only when the file ended first: it was shorter, or
    /// has been cut meanwhile; nothing takes the place of what is missing. `from` and `head` must
    /// live until the operation has ended. The system call waits for the disk where the file is not
    /// in the page cache, and the loop with it: see file::fetch().
    /// With an error an unknown part has gone, as with send_all().
    [[nodiscard]] send_file_op send_file(const file& from, std::uint64_t offset,
                                         std::uint64_t length,
                                         std::span<const std::byte> head = {}) noexcept {
        return send_file_op(*socket_, from, offset, length, head);
    }
    /// The same for up to 16 KiB, head and all, without waiting for the disk or the peer: how many
    /// bytes went, those of the head first. Fewer than all of them, or 0, when there is more, when
    /// it is not in the page cache, or when the peer is slow: fetch() and send_file() the rest.
    [[nodiscard]] result<std::uint64_t> try_send_file(
        const file& from, std::uint64_t offset, std::uint64_t length,
        std::span<const std::byte> head = {}) noexcept;
    /// From now on chunks of `least` bytes and more (rounded up to a power of two from 1 KiB to
    /// 16 MiB) are sent without
    /// the kernel copying them, on io_uring (Linux 6.2, and 6.1 with its fixes); 0: none. A chunk's
    /// buffer then goes back when the peer has acknowledged it, and no task waits for that. Turns
    /// itself off where the kernel reports that it copied all the same (loopback, many virtual
    /// network cards) or refuses. It costs a second completion and pinning: 16 KiB is a sensible
    /// least, and core_stats::zero_copies_copied tells whether it was of use.
    void set_zero_copy(std::size_t least) noexcept;
    /// No more will be sent (the peer sees the end of the stream) / received. Never waits.
    [[nodiscard]] result<void> try_shutdown_send() noexcept;
    [[nodiscard]] result<void> try_shutdown_receive() noexcept;
    /// Ends what is in flight on this stream, then closes it; the stream is empty afterwards.
    [[nodiscard]] close_op close() noexcept { return close_op(std::move(socket_)); }
    /// Closes at once with a reset instead of an orderly end. Nothing may be in flight. A direct
    /// descriptor needs a number of the process's for that: with none left it closes in order.
    void abort() noexcept;

    /// getpeername(2); not_connected once the peer has reset the connection.
    [[nodiscard]] result<address> peer_name() const noexcept;
    /// getsockname(2).
    [[nodiscard]] result<address> local_name() const noexcept;
    /// TCP_NODELAY, which is on from the start unless stream_options::nodelay says otherwise. Not
    /// for a Unix-domain socket: operation_not_supported.
    [[nodiscard]] result<void> set_nodelay(bool on) noexcept;
    /// getsockopt(2) and setsockopt(2) of an int, also where there is no native_handle().
    [[nodiscard]] result<int> option(int level, int name) const noexcept;
    [[nodiscard]] result<void> set_option(int level, int name, int value) noexcept;

    explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    /// A second descriptor of the process for the same socket, close-on-exec: for other libraries,
    /// and for calls that have no method here. EMFILE.
    [[nodiscard]] result<unique_fd> duplicate() const noexcept;
    /// Makes a prepared SQE one on this stream; see uring(). Right for direct descriptors too.
    void aim(io_uring_sqe& prepared) const noexcept;
    /// -1 for a direct descriptor; see core_options::direct_descriptors.
    [[nodiscard]] int native_handle() const noexcept { return socket_.fd(); }
    /// Gives up the socket, open; for handing it to another library (to another core:
    /// move_stream()). A misuse that aborts while chunks() receives for it or holds what has come
    /// for it: read with recv() before. -1 for an empty stream, and for a direct descriptor that
    /// finds no place among the process's (EMFILE), which is closed.
    [[nodiscard]] int release() noexcept { return socket_.release(); }
    /// What stands behind it, for operations of the library's own.
    [[nodiscard]] owned_descriptor& socket() noexcept { return socket_; }

private:
    owned_descriptor socket_;
};

}  // namespace ringlet
