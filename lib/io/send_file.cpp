// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/send_file.hpp>

#include <ringlet/io/file.hpp>
#include <ringlet/io/tcp_stream.hpp>

#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace ringlet {

namespace {

/// What one connection may send of a file before the others have their turn: about 200 us of the
/// core's time.
constexpr std::uint64_t share = 1024 * 1024;
/// Up to here, head and all, a copy is cheaper than sendfile(2).
constexpr std::size_t small = 16 * 1024;
/// What sendfile(2) moves at a time: sixteen pages, as many as one buffer of the socket takes. A
/// head in front of more than that would leave every one of those buffers with an odd number of
/// bytes. A rest of a file that is no longer goes with the share before it: a turn and a packet of
/// their own for a few bytes cost more than they give the others.
constexpr std::uint64_t pipeful = 64 * 1024;
/// No file has more.
constexpr std::uint64_t largest = INT64_MAX;

}  // namespace

send_file_op::send_file_op(descriptor& socket, const file& from, std::uint64_t offset,
                           std::uint64_t length, std::span<const std::byte> head) noexcept
    : socket_(&socket), file_(&*from.descriptor_), offset_(offset),
      left_(offset < largest ? std::min(length, largest - offset) : 0), head_(head) {}

bool send_file_op::start(core& c, cancel_scope& context) noexcept {
    c.hold_sigpipe();
    if (answer = open_to_calls(c, *socket_); answer < 0) return answered_at_once(c);
    return operation::start(c, context);
}

void send_file_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_poll_add(&sqe, socket_->fd, POLLOUT);
}

int send_file_op::attempt() noexcept {
    std::uint64_t budget = left_ <= share + pipeful ? share + pipeful : share;
    while (socket_->writable && (left_ > 0 || !head_.empty())) {
        if (budget == 0) return -EAGAIN;
        const std::uint64_t before = sent_;
        int answer = -EAGAIN;
        if (left_ + head_.size() <= small) answer = send_copy();
        if (answer == -EAGAIN && socket_->writable)
            answer = head_.empty() ? send_pages(std::min(left_, budget)) : send_head();
        if (answer <= 0 && answer != -EAGAIN) return answer == 0 ? ended() : answer;
        budget -= sent_ - before;
    }
    return left_ == 0 && head_.empty() ? 0 : -EAGAIN;
}

int send_file_op::at_once() noexcept {
    socket_->must_be_free(side::write);
    if (left_ + head_.size() > small || !socket_->writable) return 0;
    const int sent = send_copy();
    return sent == -EAGAIN ? 0 : sent;
}

/// A copy of a few kilobytes costs less than what sendfile(2) does around it, and goes out with the
/// head in one call. -EAGAIN also for what is not in the page cache.
int send_file_op::send_copy() noexcept {
    std::array<std::byte, small> room;
    const std::size_t head = head_.size();
    if (head > 0) std::memcpy(room.data(), head_.data(), head);
    const auto wanted = static_cast<std::size_t>(left_);
    int got = 0;
    if (wanted > 0) got = sys::try_read_at(file_->fd, room.data() + head, wanted, offset_);
    if (got < 0) return got;
    const std::size_t size = head + static_cast<std::size_t>(got);
    if (size == 0) return 0;
    const int sent = send_now(*socket_, room.data(), size);
    if (sent < 0 || static_cast<std::size_t>(sent) < size) socket_->writable = sent > 0;
    if (sent <= 0) return sent;
    const std::size_t of_head = std::min(head, static_cast<std::size_t>(sent));
    head_ = head_.subspan(of_head);
    gone(static_cast<std::size_t>(sent) - of_head);
    return sent;
}

int send_file_op::send_head() noexcept {
    const bool shares_packet = left_ > 0 && left_ <= pipeful;
    const int sent = shares_packet ? sys::send_more(socket_->fd, head_.data(), head_.size())
                                   : sys::send(socket_->fd, head_.data(), head_.size());
    if (sent < 0 || static_cast<std::size_t>(sent) < head_.size()) socket_->writable = false;
    if (sent > 0) head_ = head_.subspan(static_cast<std::size_t>(sent));
    return sent;
}

int send_file_op::send_pages(std::uint64_t size) noexcept {
    const int sent =
        sys::send_file(socket_->fd, file_->fd, offset_, static_cast<std::size_t>(size));
    if (sent == -EAGAIN) socket_->writable = false;
    if (sent > 0) {
        offset_ -= static_cast<std::uint64_t>(sent);  // gone() counts it
        gone(static_cast<std::size_t>(sent));
    }
    return sent;
}

void send_file_op::gone(std::size_t size) noexcept {
    offset_ += size;
    sent_ += size;
    left_ -= size;
}

/// The file has ended before its time. What was sent last said that more would follow, and so may
/// be waiting in the socket for it (before Linux 6.5): setting TCP_NODELAY sends it (tcp(7)).
int send_file_op::ended() noexcept {
    int nodelay = 1;
    static_cast<void>(sys::get_option(socket_->fd, IPPROTO_TCP, TCP_NODELAY, nodelay));
    static_cast<void>(sys::set_option(socket_->fd, IPPROTO_TCP, TCP_NODELAY, 1));
    if (nodelay == 0) static_cast<void>(sys::set_option(socket_->fd, IPPROTO_TCP, TCP_NODELAY, 0));
    return 0;
}

result<std::uint64_t> tcp_stream::try_send_file(const file& from, std::uint64_t offset,
                                                std::uint64_t length,
                                                std::span<const std::byte> head) noexcept {
    const int sent = send_file_op(*socket_, from, offset, length, head).at_once();
    if (sent < 0) return answer::to_error(sent);
    return static_cast<std::uint64_t>(sent);
}

template class operation<send_file_op, side::write>;

}  // namespace ringlet
