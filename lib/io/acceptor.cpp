// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/acceptor.hpp>

#include <core/direct.hpp>
#include <io/socket.hpp>
#include <io/start.hpp>
#include <kernel/probe.hpp>
#include <kernel/sys.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <string_view>

namespace ringlet {

namespace {

constexpr std::uint64_t first_pause_ns = 10'000'000;
constexpr std::uint64_t longest_pause_ns = 320'000'000;
constexpr std::uint64_t told_every_ns = 1'000'000'000;

void prepare_accept(io_uring_sqe& sqe, int fd, bool direct) noexcept {
    // SOCK_CLOEXEC is refused for a slot. (io_uring_prep_accept_direct() of liburing 2.3 turns
    // IORING_FILE_INDEX_ALLOC into 0, which means no slot.)
    io_uring_prep_accept(&sqe, fd, nullptr, nullptr, direct ? 0 : SOCK_CLOEXEC);
    if (direct) sqe.file_index = IORING_FILE_INDEX_ALLOC;
}

/// A connection that failed before it was ours: the next one may be fine (accept(2)).
bool concerns_one_connection(int error) noexcept {
    switch (-error) {
        case ECONNABORTED: case EPROTO: case ENETDOWN: case ENOPROTOOPT: case EHOSTDOWN:
        case ENONET: case EHOSTUNREACH: case ENETUNREACH: case EPERM: case EINTR:
            return true;
        default: return false;
    }
}

/// The connection's record; empty, and it is closed, when there is no memory for one.
owned_descriptor recorded(int file) noexcept {
    owned_descriptor connection(file);
    if (connection) (*connection).nonblocking = nonblocking(here());
    return connection;
}

}  // namespace

const completion_kind acceptor::kind_{.attempt = edge, .answered = ring_answered};
const completion_kind acceptor::stop_kind_{.cancel = stopped};

acceptor::acceptor(core& home, owned_descriptor socket, const address& local,
                   const listen_options& options, socket_file file)
    : completion(kind_),
      home_(home),
      socket_(std::move(socket)),
      local_(local),
      options_(options),
      file_(std::move(file)) {
    options_.ready_limit = std::max(options_.ready_limit, 1U);
    if (home_.stop_requested()) {
        stop();
    } else {
        home_.stop_waiters().push_back(stop_node_);
    }
}

acceptor::acceptor(core& home, owned_descriptor socket, std::shared_ptr<shared_port> port, bool fed,
                   const listen_options& options, socket_file file)
    : acceptor(home, std::move(socket), port->local, options, std::move(file)) {
    port_ = std::move(port);
    ++port_->users;
    if (!fed) return;
    dealer_.emplace(*this, port_->deal, options_.ready_limit, static_cast<bool>(socket_));
    if (ended_) dealer_->want_none();
    if (dealer_->accepting()) go_on();
}

acceptor::~acceptor() {
    stop_node_.unlink_if_linked();
    for (const int file : ready_) close_file(home_, file);
    leave_seat();
}

/// epoll: takes the reading side, so that edges come here.
void acceptor::take_seat() noexcept {
    descriptor& d = *socket_;
    if (d.seat(side::read) == this) return;
    d.sit(side::read, *this);
    at = phase::parked;
    ++home_.in_flight;
}
/// epoll: lets edge() look in the next turn. Registered first: that makes the room in the queue.
void acceptor::look_next_turn() noexcept {
    take_seat();
    if (const int error = home_.register_descriptor(*socket_, side::read); error != 0) {
        absorb(error);
    } else if (at != phase::edge) {
        home_.queue_attempt(*this);
    }
}
void acceptor::leave_seat() noexcept {
    if (!socket_ || (*socket_).seat(side::read) != this) return;
    if (at == phase::edge) home_.forget_attempt(*this);
    (*socket_).seat(side::read) = nullptr;
    at = phase::idle;
    --home_.in_flight;
}

/// False when nobody waits (who was cancelled has its answer, but may not have run yet).
bool acceptor::give_to_waiter(int value) noexcept {
    if (!somebody_waits()) return false;
    if (value >= 0 && !adopt(value, waiting_->socket_)) return true;
    next_op& waiter = *std::exchange(waiting_, nullptr);
    waiter.acceptor_ = nullptr;
    home_.answer(waiter, std::min(value, 0));
    return true;
}

bool acceptor::adopt(int file, owned_descriptor& into) noexcept {
    into = recorded(file);
    if (!into) absorb(-ENOMEM);
    return static_cast<bool>(into);
}

int acceptor::take_or_arm() noexcept {
    if (!ready_.empty()) {
        const int fd = ready_.front();
        ready_.pop_front();
        took_one();
        return fd;
    }
    if (ended_) {
        // What is accepted already, or being dealt to this core, is on its way here.
        if (armed() || (dealer_ && dealer_->under_way())) return -EAGAIN;
        if (blocking_) return answer::stopping;
        const int fd = try_accept();
        return fd >= 0 ? fd : answer::stopping;
    }
    if (!socket_ || pause_.linked()) return -EAGAIN;
    if (home_.ring() != nullptr) {
        arm();
        return -EAGAIN;
    }
    if (dealer_) return -EAGAIN;  // all are accepted as they come
    const int fd = try_accept();
    return fd >= 0 ? fd : -EAGAIN;
}

void acceptor::wait(next_op& waiter) noexcept {
    RINGLET_CHECK(waiting_ == nullptr, "two tasks wait for the next connection of one listener");
    waiting_ = &waiter;
    if (dealer_) dealer_->tell_of_room();
    if (home_.ring() != nullptr || !socket_ || pause_.linked()) return;
    take_seat();
    if (const int error = home_.register_descriptor(*socket_, side::read); error != 0) absorb(error);
}

/// epoll: one connection, past those that failed on their own.
int acceptor::try_accept() noexcept {
    if (!socket_) return -EAGAIN;
    for (;;) {
        const int fd = sys::accept((*socket_).fd, nonblocking(home_));
        if (fd >= 0) pause_ns_ = failed_in_a_row_ = 0;
        if (fd >= 0 || fd == -EAGAIN) return fd;
        if (!is_passed_over(fd)) {
            absorb(fd);
            return fd;
        }
    }
}

/// The next connection may be fine; where none is, again and again, a pause is due.
bool acceptor::is_passed_over(int error) noexcept {
    constexpr unsigned most_in_a_row = 16;
    return concerns_one_connection(error) && ++failed_in_a_row_ < most_in_a_row;
}

int acceptor::edge(completion& self) noexcept {
    auto& a = static_cast<acceptor&>(self);
    // One at a time, and only for somebody: the rest waits in the backlog. With several cores to
    // deal out to, each turn takes a handful.
    const auto wanted = [&a] {
        return a.dealer_ ? a.dealer_->accepting() && !a.ended_ : a.somebody_waits();
    };
    for (int n = 0; n < 64 && wanted(); ++n) {
        const int fd = a.try_accept();
        if (fd < 0) return -EAGAIN;
        a.arrived(fd);
    }
    if (!a.dealer_ || !wanted()) {
        a.leave_seat();
    } else if (a.at != phase::edge) {
        a.home_.queue_attempt(a);
    }
    return -EAGAIN;
}

void acceptor::arm() noexcept {
    if (armed()) return;
    // One at a time where there may be no room for all that is in the backlog: a multishot accept
    // takes that before it can end.
    const bool many = !multishot_refused_ && options_.ready_limit > 1 &&
                      !(dealer_ && dealer_->someone_is_full());
    set_slots_aside(many);
    io_uring_sqe& sqe = home_.ring()->take();
    prepare_accept(sqe, (*socket_).fd, set_aside_ > 0);
    // No room for the peer's address: the next connection of a multishot accept would overwrite it.
    if (many && set_aside_ != 1) sqe.ioprio |= IORING_ACCEPT_MULTISHOT;
    io_uring_sqe_set_data64(&sqe, user_data(*this, kernel::tag::many));
    disarming_ = false;
    at = phase::ring;
    ++home_.in_flight;
}

/// A connection that finds no slot is closed by the kernel, and a multishot accept takes all that is
/// in the backlog: it needs as many slots, or else one is accepted at a time. With none left plain
/// descriptors are accepted, and always where it deals out: other cores have no use for its slots.
void acceptor::set_slots_aside(bool many) noexcept {
    kernel::ring& ring = *home_.ring();
    if (dealer_ || !home_.direct() || ring.direct_left() == 0) return;
    const auto burst = static_cast<unsigned>(std::max(options_.backlog, 1)) + options_.ready_limit;
    set_aside_ = many && ring.direct_left() > burst ? burst : 1;
    ring.take_direct(set_aside_);
}

void acceptor::disarm() noexcept {
    if (!armed() || disarming_) return;
    disarming_ = true;
    home_.ring()->cancel(user_data(*this, kernel::tag::many));
}

void acceptor::ring_answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept {
    auto& a = static_cast<acceptor&>(self);
    if (a.closed_) return answered_closed(c, a, result, flags);
    if (result >= 0) {
        a.pause_ns_ = a.failed_in_a_row_ = 0;
        const bool direct = a.set_aside_ > 0;
        if (direct) c.ring()->take_direct(1);
        a.arrived(direct ? result | direct_bit : result);
    }
    if ((flags & IORING_CQE_F_MORE) != 0) {
        if (a.set_aside_ > 0 && c.ring()->direct_left() == 0) a.disarm();
        return;
    }
    c.ring()->untake_direct(std::exchange(a.set_aside_, 0));
    a.at = phase::idle;
    --c.in_flight;
    // Another core has stopped, and its socket, which must not block, is the same (stop()).
    const bool found_none = result == -EAGAIN && a.port_ != nullptr && a.local_.is_unix();
    const bool failed = result < 0 && result != -ECANCELED && !found_none;
    if (result == -EINVAL || result == -ENOTSOCK) a.multishot_refused_ = true;
    if (failed && !a.is_passed_over(result)) a.absorb(result);
    if (a.ended_) return a.give_the_rest();
    if (found_none) return;
    if (a.waiting_ != nullptr || a.has_room()) {
        a.go_on();
    } else {
        a.pause_until_room();  // the last room may have gone to others since it was asked to end
    }
}

/// Nobody is there for it any more. Closing into a full queue reaps, so it comes last.
void acceptor::answered_closed(core& c, acceptor& a, int result, std::uint32_t flags) noexcept {
    const bool direct = a.set_aside_ > 0;
    if (direct && result >= 0) c.ring()->take_direct(1);
    if ((flags & IORING_CQE_F_MORE) == 0) {
        c.ring()->untake_direct(a.set_aside_);
        --c.in_flight;
        delete &a;
    }
    if (result >= 0) close_file(c, direct ? result | direct_bit : result);
}

void acceptor::arrived(int fd) noexcept {
    if (!dealer_ || !dealer_->give(fd)) deliver(fd);
    if (!has_room()) pause_until_room();
}

void acceptor::deliver(int fd) noexcept {
    if (!give_to_waiter(fd)) {
        try {
            return ready_.push_back(fd);
        } catch (const std::bad_alloc&) {
            close_file(home_, fd);
            absorb(-ENOMEM);
        }
    }
    if (dealer_) dealer_->took_one();
    give_the_rest();
}

/// Whether this core, or one that it accepts for, may have one more that its program has not taken.
bool acceptor::has_room() const noexcept {
    return dealer_ ? dealer_->someone_has_room() : ready_.size() < options_.ready_limit;
}

/// What else comes waits in the backlog.
void acceptor::pause_until_room() noexcept {
    if (home_.ring() != nullptr) disarm();
    if (dealer_ && !dealer_->say_full()) go_on();
}

void acceptor::go_on() noexcept {
    if (dealer_) dealer_->say_open();
    accept_more();
}

/// Arms the ring or looks in the next turn; while a pause after an error goes on, at its end.
void acceptor::accept_more() noexcept {
    if (ended_ || !socket_ || pause_.linked()) return;
    if (home_.ring() != nullptr) {
        arm();
    } else if (waiting_ != nullptr || dealer_) {
        look_next_turn();
    }
}

/// This core's program has taken one: goes on when half of the room is free again.
void acceptor::took_one() noexcept {
    if (dealer_) {
        dealer_->took_one();
    } else if (ready_.size() < options_.ready_limit / 2) {
        accept_more();
    }
}

void acceptor::absorb(int error) noexcept {
    ++home_.counters().accept_backoffs;
    pause_ns_ = pause_ns_ == 0 ? first_pause_ns : std::min(pause_ns_ * 2, longest_pause_ns);
    pause_.disarm();
    home_.timers().arm_after(pause_, pause_ns_);
    const std::uint64_t now = home_.now_ns();
    if (told_at_ != 0 && now - told_at_ < told_every_ns) return;
    told_at_ = now;
    if (options_.on_absorbed != nullptr) {
        options_.on_absorbed(answer::to_error(error));
        return;
    }
    const std::string_view remedy = error == -EMFILE   ? kernel::raise_open_files
                                    : error == -ENFILE ? kernel::raise_all_open_files
                                                       : std::string_view();
    sys::tell("ringlet: accept on %s: %s; new connections wait in the backlog%s%.*s\n",
              local_.to_string().c_str(), std::strerror(-error), remedy.empty() ? "" : "; ",
              static_cast<int>(remedy.size()), remedy.data());
}

void acceptor::pause::over(timer& t) noexcept {
    acceptor& a = *static_cast<pause&>(t).owner;
    a.failed_in_a_row_ = 0;
    a.accept_more();
}

void acceptor::stopped(core&, completion& watch) noexcept {
    static_cast<stop_watch&>(watch).owner->stop();
}

void acceptor::stop() noexcept {
    ended_ = true;
    pause_.disarm();
    disarm();
    if (dealer_) dealer_->want_none();
    if (socket_ && home_.ring() != nullptr) blocking_ = sys::set_nonblocking((*socket_).fd) != 0;
    give_the_rest();
}

/// After a stop: who had connected before it is still served, if there is memory for it. Called
/// again by whatever take_or_arm() then waits for.
void acceptor::give_the_rest() noexcept {
    while (ended_ && somebody_waits()) {
        const int next = take_or_arm();
        if (next == -EAGAIN) return;
        static_cast<void>(give_to_waiter(next));
    }
}

void acceptor::close() noexcept {
    ended_ = true;
    if (!give_to_waiter(answer::cancelled) && waiting_ != nullptr) waiting_->acceptor_ = nullptr;
    waiting_ = nullptr;
    // While whatever is told is still dealt with: cancelling may reap, and so tell the last.
    disarm();
    // Nobody binds this address before all of this one is gone.
    const std::shared_ptr<shared_port> port = port_;  // longer than this
    std::unique_lock<std::mutex> binding;
    if (port_ != nullptr) {
        binding = std::unique_lock(port_->binding);
        leave_port();
    }
    closed_ = true;
    file_.remove();
    pause_.disarm();
    stop_node_.unlink_if_linked();
    if (armed()) {
        // The ring holds the socket until it has answered; shutdown(2) gives the port back now. Of a
        // Unix-domain socket it would end the other cores' duplicates.
        home_.ring()->submit_before_close();
        if (!local_.is_unix()) static_cast<void>(sys::shutdown((*socket_).fd, SHUT_RDWR));
        socket_.reset();
        return;
    }
    delete this;
}

/// Who listens on this address next opens a socket of his own if this one was the last, or the one
/// that had the socket, or the file by which it is found.
void acceptor::leave_port() noexcept {
    const bool had_it = dealer_ ? static_cast<bool>(socket_) : file_.exists();
    if (dealer_) dealer_->leave(ready_.size());
    if (--port_->users > 0 && !had_it) return;
    port_->bound = false;
    port_->socket.reset();
}

// ---- the operations -----------------------------------------------------------------------------

bool next_op::start(cancel_scope& context) noexcept {
    core& c = here();
    if (acceptor_ == nullptr) {  // the listener has been closed, by another task for example
        answer = answer::cancelled;
        return detail::answered_at_once(*this, waiter);
    }
    do answer = acceptor_->take_or_arm();
    while (answer >= 0 && !acceptor_->adopt(answer, socket_));
    if (answer != -EAGAIN) {
        answer = std::min(answer, 0);
        acceptor_ = nullptr;
        if (c.spend()) return false;
        at = phase::ready;
        c.make_ready_later(*this);
        return true;
    }
    at = phase::parked;
    context.link(*this);
    acceptor_->wait(*this);
    return true;
}

result<tcp_stream> next_op::await_resume() noexcept {
    if (answer < 0) {
        if (at == phase::ready && acceptor_ != nullptr) acceptor_->waiter_left();
        return answer::to_error(answer);
    }
    return tcp_stream(std::move(socket_));
}

descriptor& accept_op::target() const noexcept { return acceptor_->socket(); }
void accept_op::prepare(io_uring_sqe& sqe) noexcept {
    RINGLET_CHECK(!acceptor_->in_use(), "accept() was used on a listener that next() is used on");
    core& c = here();
    into_table_ = c.direct() && c.ring()->direct_left() > 0;
    if (into_table_) c.ring()->take_direct(1);
    prepare_accept(sqe, acceptor_->socket().fd, into_table_);
}
int accept_op::attempt() noexcept {
    if (std::exchange(into_table_, false)) here().ring()->untake_direct(1);
    return sys::accept(acceptor_->socket().fd, nonblocking(here()));
}
result<tcp_stream> accept_op::finish(int answer) noexcept {
    if (answer < 0 && into_table_) here().ring()->untake_direct(1);
    if (answer < 0) return answer::to_error(answer);
    owned_descriptor socket = recorded(into_table_ ? answer | direct_bit : answer);
    if (!socket) return std::make_error_code(std::errc::not_enough_memory);
    return tcp_stream(std::move(socket));
}

template class operation<accept_op, side::read>;

}  // namespace ringlet
