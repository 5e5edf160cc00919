// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/connect.hpp>

#include <ringlet/io/tcp_stream.hpp>

#include <io/plain.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/sys.hpp>

namespace ringlet {

connect_op::connect_op(const address& peer, const stream_options& options) noexcept
    : peer_(peer), options_(options) {}

int connect_op::open() noexcept {
    core& c = here();
    const bool nonblocks = peer_.is_unix() || nonblocking(c);
    const bool direct = !nonblocks && c.direct() && c.ring()->direct_left() > 0;
    const int file = direct ? direct_socket(c, peer_.family())
                            : sys::socket(peer_.family(), nonblocks);
    if (file < 0) return file;
    socket_ = owned_descriptor(file);
    if (!socket_) return -ENOMEM;
    (*socket_).nonblocking = nonblocks;
    return plain(*socket_).then([this](int fd) { return apply(options_, peer_.family(), fd); });
}

/// A Unix-domain socket is connected at once or not at all: with a full backlog connect(2) says
/// EAGAIN, and no poll ever tells when to try again.
int connect_op::connect_now() noexcept {
    return sys::connect((*socket_).fd, peer_.data(), peer_.size());
}

void connect_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_connect(&sqe, (*socket_).fd, static_cast<const sockaddr*>(peer_.data()),
                          peer_.size());
}

int connect_op::attempt() noexcept {
    descriptor& d = *socket_;
    if (!asked_) {
        asked_ = true;
        const int answer = sys::connect(d.fd, peer_.data(), peer_.size());
        return answer == -EINPROGRESS || answer == -EINTR ? -EAGAIN : answer;
    }
    int error = 0;
    if (const int failed = sys::get_option(d.fd, SOL_SOCKET, SO_ERROR, error); failed < 0)
        return failed;
    if (error != 0) return -error;
    unsigned size = sizeof(sockaddr_storage);
    sockaddr_storage room{};
    const int named = sys::peer_name(d.fd, &room, size);
    return named == -ENOTCONN ? -EAGAIN : named;  // not connected: the edge was for something else
}

result<tcp_stream> connect_op::await_resume() noexcept {
    if (!socket_) return finish(answer);  // refused before it sat anywhere
    return operation::await_resume();
}

result<tcp_stream> connect_op::finish(int answer) noexcept {
    if (answer < 0) {
        socket_.reset();
        return answer::to_error(answer);
    }
    return tcp_stream(std::move(socket_));
}

template class operation<connect_op, side::write>;

}  // namespace ringlet
