// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/tcp_listener.hpp>

#include <io/acceptor.hpp>
#include <io/program.hpp>
#include <io/socket.hpp>
#include <kernel/sys.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <utility>

namespace ringlet {

namespace {

/// A bound, listening socket; -errno in `error` when there is none.
unique_fd open_listener(const address& local, const listen_options& o, bool reuse_port,
                        bool nonblocking, int& error) noexcept {
    unique_fd fd;
    if (local.is_unix()) reuse_port = false;
    error = sys::socket(local.family(), nonblocking);
    if (error < 0) return fd;
    fd.reset(error);
    error = 0;
    const auto must = [&error](int answer) { error = error != 0 ? error : answer; };
    must(sys::set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1));
    if (reuse_port) must(sys::set_option(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1));
    if (local.is_v6())
        must(sys::set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, o.dual_stack ? 0 : 1));
    if (o.defer_accept.count() > 0 && !local.is_unix())
        must(sys::set_option(fd.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT,
                             static_cast<int>(o.defer_accept.count())));
    if (error == 0) error = apply(o.stream, local.family(), fd.get());
    if (error == 0) error = sys::bind(fd.get(), local.data(), local.size());
    if (error == 0) error = sys::listen(fd.get(), o.backlog);
    if (error != 0) fd.reset();
    return fd;
}

/// The same, again and again for a while: a ring that was killed holds its port for some ms. Only
/// while the loop has not begun, since this blocks the thread.
unique_fd open_patiently(core& c, const address& local, const listen_options& o, bool reuse_port,
                         int& error) noexcept {
    constexpr std::uint64_t step_ns = 5'000'000;
    const std::uint64_t begin = sys::monotonic_ns();
    // A socket's file is in the way until somebody removes it.
    const bool may_wait = c.starting() && o.retry.count() > 0 && !local.is_unix();
    const std::uint64_t limit = may_wait ? static_cast<std::uint64_t>(o.retry.count()) : 0;
    if (local.is_unix()) reuse_port = false;
    for (;;) {
        // SO_REUSEPORT would let a second program share the port unnoticed, so first see that the
        // address can be had without it.
        if (reuse_port) static_cast<void>(open_listener(local, o, false, nonblocking(c), error));
        if (!reuse_port || error == 0) {
            unique_fd fd = open_listener(local, o, reuse_port, nonblocking(c), error);
            if (fd) return fd;
        }
        if (error != -EADDRINUSE || sys::monotonic_ns() - begin >= limit) return {};
        sys::pause_ns(step_ns);
    }
}

address name_of(int fd, const address& otherwise) {
    sockaddr_storage room{};
    unsigned size = sizeof room;
    if (sys::local_name(fd, &room, size) < 0) return otherwise;
    return address::from_sockaddr(&room, size).value_or(otherwise);
}

}  // namespace

result<tcp_listener> tcp_listener::bind(const address& local, const listen_options& options) {
    core& c = core::here();
    program* running = program::running.load(std::memory_order_acquire);
    const bool together = running != nullptr && running->cores.size() > 1;
    const bool fed = together && running->one_acceptor;
    if (!together) {
        int error = 0;
        unique_fd fd = open_patiently(c, local, options, options.reuse_port, error);
        if (!fd) return answer::to_error(error);
        const address name = name_of(fd.get(), local);
        return tcp_listener(new acceptor(c, owned_descriptor(fd.release()), name, options,
                                         socket_file(local)));
    }
    const std::shared_ptr<shared_port> shared = running->port(local);
    shared_port& port = *shared;
    const std::lock_guard lock(port.binding);
    owned_descriptor socket;
    socket_file file;
    if (!fed && port.bound && local.is_unix()) {
        // There is no SO_REUSEPORT for these: all cores take from one queue.
        const int fd = sys::duplicate(port.socket.get());
        if (fd < 0) return answer::to_error(fd);
        socket = owned_descriptor(fd);
    } else if (!fed || !port.bound) {
        int error = 0;
        listen_options patience = options;
        if (std::exchange(port.waited, true)) patience.retry = nanoseconds(0);
        unique_fd fd = port.bound
                           ? open_listener(port.local, options, true, nonblocking(c), error)
                           : open_patiently(c, port.named ? port.local : local, patience, !fed,
                                            error);
        if (!fd) return answer::to_error(error);
        if (!port.bound) {
            port.local = name_of(fd.get(), local);
            port.named = true;
            file = socket_file(local);
        }
        if (!fed && local.is_unix()) port.socket.reset(sys::duplicate(fd.get()));
        port.bound = true;
        socket = owned_descriptor(fd.release());
    }
    running->bound(local, port);
    return tcp_listener(
        new acceptor(c, std::move(socket), shared, fed, options, std::move(file)));
}

result<tcp_listener> tcp_listener::bind(std::string_view local, const listen_options& options) {
    const auto parsed = address::parse(local);
    if (!parsed) return parsed.error();
    return bind(*parsed, options);
}

void tcp_listener::retire::operator()(acceptor* a) const noexcept { a->close(); }
tcp_listener& tcp_listener::operator=(tcp_listener&&) noexcept = default;
tcp_listener::~tcp_listener() = default;

accept_op tcp_listener::accept() noexcept {
    RINGLET_CHECK(acceptor_, "a listener was used that is empty: closed or moved");
    return accept_op(*acceptor_);
}
void tcp_listener::close() noexcept { acceptor_.reset(); }
address tcp_listener::local_name() const noexcept {
    return acceptor_ ? acceptor_->local() : address();
}

}  // namespace ringlet
