// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "generator.hpp"

#include "../source_block.h"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace bench {

namespace {

constexpr std::size_t room_size = 256 * 1024;
constexpr std::size_t open_loop_depth = 1024;
constexpr std::uint64_t spin_below_ns = 100'000;  // a sleep's end is not known better than that
constexpr std::int64_t look_again_ns = 100'000;
constexpr unsigned asleep_for_good = 4;  // looks that find it so: between two pieces it sleeps too
constexpr std::uint64_t longest_fall_asleep_ns = 200'000'000;
constexpr std::uint64_t longest_sleep_ns = 50'000'000;
constexpr std::size_t longest_head = 1024;
constexpr unsigned sources = 250;  // addresses of 127/8: each has its own ports for TIME_WAIT

std::uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

generator::generator(const load_settings& set)
    : set_(set),
      kind_(static_cast<traffic>(set.kind)),
      request_(fmt::format("GET /{} HTTP/1.1\r\nHost: bench\r\n\r\n", set.size)),
      depth_(set.rate > 0 ? open_loop_depth : set.pipeline),
      since_(set.connections * depth_),
      connections_(set.connections),
      room_(static_cast<std::byte*>(std::aligned_alloc(4096, room_size)), std::free),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    const unsigned active = set_.active == 0 ? set_.connections : set_.active;
    const unsigned stride = set_.connections / active;
    for (std::size_t n = 0; n < connections_.size(); ++n) {
        connection& c = connections_[n];
        c.number = n;
        c.start = samples::pattern::start_of(n);
        c.active = n % stride == 0 && talking_.size() < active;
        if (c.active) talking_.push_back(&c);
    }
    if (kind_ == traffic::source) {
        block_.resize(std::size_t{2} * source_block_size);
        fill_source_block(block_.data());
        std::memcpy(block_.data() + source_block_size, block_.data(), source_block_size);
    }
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

generator::~generator() {
    for (connection& c : connections_)
        if (c.fd >= 0) ::close(c.fd);
    ::close(epoll_);
}

load_window& load_window::operator+=(const load_window& next) {
    latency.merge(next.latency);
    lateness.merge(next.lateness);
    messages += next.messages;
    ns += next.ns;
    own_cpu_ns += next.own_cpu_ns;
    own_wait_ns += next.own_wait_ns;
    server += next.server;
    stolen_ticks += next.stolen_ticks;
    return *this;
}

load_result generator::run(const std::function<load_order(const load_window&)>& next) {
    result_.rss_fresh = sample_process(static_cast<pid_t>(set_.watched)).rss_bytes;
    if (!connect_all()) return std::move(result_);
    greet();
    while (!failed_) {
        const load_order order = next(turn_);
        if (!order.drops_last) keep_turn();
        if (order.ends) break;
        take_turn(order);
    }
    result_.fairness = fairness();
    if (!failed_ && set_.count_ns > 0 && set_.tracepoint != 0) count_calls();
    drain_all();
    return std::move(result_);
}

// --- windows
// --------------------------------------------------------------------------------------

/// Who stays idle later says one word first, and at a rate everybody does: only then has the server
/// seen them.
void generator::greet() {
    if (kind_ != traffic::echo) return;
    last_progress_ = now_ns();
    for (connection& c : connections_) {
        if (c.active && set_.rate == 0) continue;
        begin(c, last_progress_);
        flush(c);
    }
    pause();
}

void generator::take_turn(const load_order& order) {
    turn_ = load_window{};
    for (connection* c : talking_) c->turn_share = 0;
    send_for(order.warmup_ns);
    if (!failed_) measure(order.window_ns);
}

void generator::keep_turn() {
    result_.all += turn_;
    for (connection* c : talking_) c->share += c->turn_share;
}

void generator::measure(std::uint64_t window_ns) {
    const auto server = static_cast<pid_t>(set_.watched);
    const std::uint64_t stolen = stolen_ticks();
    const process_sample before = sample_process(server);
    const process_sample own_before = sample_process(getpid());
    const std::uint64_t begin = now_ns();
    purpose_ = purpose::window;
    send_for(window_ns);
    purpose_ = purpose::nothing;
    turn_.ns = quiet_since_ - begin;
    turn_.server = sample_process(server) - before;
    const process_sample own = sample_process(getpid()) - own_before;
    turn_.own_cpu_ns = own.cpu_ns;
    turn_.own_wait_ns = own.wait_ns;
    turn_.stolen_ticks = stolen_ticks() - stolen;
}

/// The worse of the two CPUs.
std::uint64_t generator::stolen_ticks() const {
    const int own = sched_getcpu();
    return std::max(stolen_ticks_of(static_cast<int>(set_.watched_cpu)), stolen_ticks_of(own));
}

void generator::count_calls() {
    const syscall_counter counter(static_cast<pid_t>(set_.watched), set_.tracepoint);
    const std::uint64_t before = counter.count();
    purpose_ = purpose::system_calls;
    send_for(set_.count_ns);
    purpose_ = purpose::nothing;
    if (counter.works()) result_.counted_calls = counter.count() - before;
}

/// From nothing on its way to nothing on its way.
void generator::send_for(std::uint64_t ns) {
    last_progress_ = rate_begin_ = now_ns();
    rate_next_ = 0;
    phase_ = phase::sending;
    sending_ends_ = last_progress_ + ns;
    begin_all();
    while (!failed_ && now_ns() < sending_ends_) turn();
    pause();
}

void generator::begin_all() {
    const std::uint64_t now = now_ns();
    for (connection& c : connections_) {
        if (failed_) return;
        switch (kind_) {
            case traffic::echo:
                if (!c.active || set_.rate > 0) continue;
                refill(c, now);
                flush(c);
                break;
            case traffic::churn:
                if (c.fd < 0 && !reopen(c)) return;
                begin(c, now);
                flush(c);
                break;
            case traffic::sink: stream(c); break;
            case traffic::source: break;
            case traffic::file:
                if (c.active) ask(c, now);
                break;
        }
    }
}

void generator::pause() {
    phase_ = phase::paused;
    if (kind_ == traffic::sink)
        for (connection& c : connections_) await_room(c, false);
    while (!failed_ && !is_quiet()) turn();
    quiet_since_ = now_ns();
    if (set_.watched != 0 && !failed_) let_server_sleep();
}

/// A source, which cannot be told to be quiet, has then filled every buffer on the way.
void generator::let_server_sleep() const {
    const std::uint64_t limit = now_ns() + longest_fall_asleep_ns;
    for (unsigned asleep = 0; asleep < asleep_for_good && now_ns() < limit;) {
        const timespec nap{.tv_sec = 0, .tv_nsec = look_again_ns};
        nanosleep(&nap, nullptr);
        asleep = all_asleep(static_cast<pid_t>(set_.watched)) ? asleep + 1 : 0;
    }
}

bool generator::is_quiet() const {
    if (kind_ != traffic::sink) return on_their_way_ == 0;
    return std::all_of(connections_.begin(), connections_.end(), [](const connection& c) {
        int unsent = 0;
        return ioctl(c.fd, SIOCOUTQ, &unsent) != 0 || unsent == 0;
    });
}

void generator::drain_all() {
    phase_ = phase::draining;
    for (connection& c : connections_)
        if (c.fd >= 0) drain(c);
    while (open_ > 0 && !failed_) turn();
}

// --- connections
// ----------------------------------------------------------------------------------

bool generator::connect_all() {
    for (connection& c : connections_) {
        if (!open(c, true)) return false;
        ++result_.connected;
    }
    return true;
}

/// With `wait` the connection is there at the end; without, what is sent first may have to wait.
bool generator::open(connection& c, bool wait) {
    const int one = 1;
    c.fd = socket(set_.server.family(), SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    if (c.fd < 0) return fail(c, "socket", errno), false;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (kind_ == traffic::churn && set_.server.is_v4()) {
        sockaddr_in from{};
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + sources_++ % sources);
        setsockopt(c.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c.fd, reinterpret_cast<sockaddr*>(&from), sizeof from) != 0)
            return fail(c, "bind", errno), false;
    }
    const auto* address = static_cast<const sockaddr*>(set_.server.data());
    if (connect(c.fd, address, set_.server.size()) != 0 && errno != EINPROGRESS)
        return fail(c, "connect", errno), false;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &c;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, c.fd, &event) != 0)
        return fail(c, "epoll_ctl", errno), false;
    c.awaits_room = false;
    ++open_;
    return true;
}

/// For a churn, whose connections begin anew.
bool generator::reopen(connection& c) {
    c.begun = c.echoed = c.due = c.sent = c.received = 0;
    return open(c, false);
}

void generator::close(connection& c) {
    ::close(c.fd);  // and out of the epoll set with it
    c.fd = -1;
    --open_;
}

// --- the loop
// -------------------------------------------------------------------------------------

void generator::turn() {
    static std::array<epoll_event, 1024> events;
    const std::uint64_t before = now_ns();
    const std::int64_t sleep = time_to_sleep(before);
    const timespec limit{.tv_sec = 0, .tv_nsec = sleep};
    const int count =
        epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &limit, nullptr);
    for (int i = 0; i < count && !failed_; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        on_event(*static_cast<connection*>(event.data.ptr), event.events);
    }
    const std::uint64_t now = now_ns();
    if (count > 0) last_progress_ = now;
    if (now - last_progress_ > set_.patience_ns) {
        result_.trouble = fmt::format("nothing came for {} s with {} connections open",
                                      set_.patience_ns / 1'000'000'000, open_);
        ++result_.errors;
        failed_ = true;
    }
    if (set_.rate > 0 && sending()) send_due(now);
}

std::int64_t generator::time_to_sleep(std::uint64_t now) const {
    // Of a sink that is taking the last of it nothing is heard.
    if (phase_ == phase::paused && kind_ == traffic::sink) return look_again_ns;
    std::uint64_t until = now + longest_sleep_ns;
    if (sending()) until = std::min(until, sending_ends_);
    if (set_.rate > 0 && sending()) until = std::min(until, intended(rate_next_));
    if (!set_.spins) return static_cast<std::int64_t>(std::max(until, now) - now);
    if (until <= now + spin_below_ns) return 0;
    return static_cast<std::int64_t>(until - now - spin_below_ns / 2);
}

std::uint64_t generator::intended(std::uint64_t message) const noexcept {
    return rate_begin_ + static_cast<std::uint64_t>(static_cast<double>(message) * 1e9 /
                                                    static_cast<double>(set_.rate));
}

/// Every message whose time has come goes out, whether or not earlier ones have been answered.
void generator::send_due(std::uint64_t now) {
    for (; intended(rate_next_) <= now && !failed_; ++rate_next_) {
        connection& c = *talking_[rate_next_ % talking_.size()];
        if (c.begun - c.echoed == depth_) return;  // its time does not change, so it counts as late
        const std::uint64_t time = intended(rate_next_);
        if (purpose_ == purpose::window) turn_.lateness.record(now - time);
        begin(c, time);
        flush(c);
        now = now_ns();
    }
}

std::optional<double> generator::fairness() const {
    if (talking_.size() < 2 || set_.rate > 0) return std::nullopt;
    const auto [least, most] = std::minmax_element(
        talking_.begin(), talking_.end(),
        [](const connection* a, const connection* b) { return a->share < b->share; });
    if ((*most)->share == 0) return std::nullopt;
    return static_cast<double>((*least)->share) / static_cast<double>((*most)->share);
}

/// Nothing is on its way: the connection ends, or its server has to say that it got everything.
void generator::drain(connection& c) {
    if (kind_ != traffic::echo && kind_ != traffic::sink) return close(c);
    c.closing = true;
    if (kind_ == traffic::sink) c.received = 0;
    shutdown(c.fd, SHUT_WR);
}

// --- events
// ---------------------------------------------------------------------------------------

void generator::on_event(connection& c, std::uint32_t events) {
    if (c.fd < 0) return;
    if ((events & EPOLLOUT) != 0) {
        if (kind_ == traffic::sink)
            stream(c);
        else
            flush(c);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !failed_) on_readable(c);
}

void generator::on_readable(connection& c) {
    const ssize_t got = recv(c.fd, room_.get(), room_size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) return fail(c, "receive", errno);
    if (got == 0) return on_end(c);
    const auto size = static_cast<std::size_t>(got);
    switch (kind_) {
        case traffic::echo:
        case traffic::churn: take_echo(c, size); break;
        case traffic::sink: take_count(c, size); break;
        case traffic::source: take_source(c, size); break;
        case traffic::file: take_file(c, size); break;
    }
}

void generator::on_end(connection& c) {
    const std::uint64_t count_size = kind_ == traffic::sink ? sizeof c.sent : c.received;
    if (!c.closing || c.received != count_size) return fail(c, "the server ended it early", 0);
    close(c);
}

void generator::take_echo(connection& c, std::size_t got) {
    const auto want = bytes_.at(c.start + c.received, got);
    if (c.received + got > c.sent || std::memcmp(room_.get(), want.data(), got) != 0) {
        const auto wrong = std::mismatch(want.begin(), want.end(), room_.get()).first;
        return mismatch(c, c.received + static_cast<std::uint64_t>(wrong - want.begin()));
    }
    c.received += got;
    const std::uint64_t whole = c.received / set_.size;
    if (whole == c.echoed) return;
    const std::uint64_t now = now_ns();
    while (c.echoed < whole) complete(c, now);
    if (kind_ == traffic::churn) {
        close(c);
        if (!sending()) return;
        const std::uint64_t opened = now_ns();
        if (!reopen(c)) return;
        begin(c, opened);
        flush(c);
    } else if (sending() && c.active && set_.rate == 0) {
        refill(c, now);
        flush(c);
    }
}

void generator::complete(connection& c, std::uint64_t now) {
    const std::uint64_t began = since(c, c.echoed);
    ++c.echoed;
    --on_their_way_;
    if (purpose_ == purpose::window) {
        ++turn_.messages;
        ++c.turn_share;
        turn_.latency.record(now - began);
    }
    if (purpose_ == purpose::system_calls) ++result_.counted_messages;
}

void generator::take_source(connection& c, std::size_t got) {
    for (std::size_t done = 0; done < got;) {
        const std::size_t at = c.received % source_block_size;
        const std::size_t piece = std::min<std::size_t>(got - done, source_block_size);
        if (std::memcmp(room_.get() + done, block_.data() + at, piece) != 0)
            return mismatch(c, c.received);
        c.received += piece;
        done += piece;
    }
    count_bytes(c, got);
}

void generator::take_file(connection& c, std::size_t got) {
    const std::size_t of_head = c.in_body ? 0 : take_head(c, got);
    if (failed_) return;
    const std::size_t body = got - of_head;
    if (body > set_.size - c.received) return fail(c, "more came than was promised", 0);
    const auto want = bytes_.at(c.received, body);
    const std::byte* const came = room_.get() + of_head;
    if (std::memcmp(came, want.data(), body) != 0) {
        const auto wrong = std::mismatch(want.begin(), want.end(), came).first;
        return mismatch(c, c.received + static_cast<std::uint64_t>(wrong - want.begin()));
    }
    c.received += body;
    if (!c.in_body || c.received < set_.size) return;
    const std::uint64_t now = now_ns();
    complete(c, now);
    if (sending()) ask(c, now);
}

/// How many of the bytes in the room belong to the head of the answer.
std::size_t generator::take_head(connection& c, std::size_t got) {
    const std::size_t before = c.head.size();
    const std::size_t taken = std::min(got, longest_head - before);
    c.head.append(reinterpret_cast<const char*>(room_.get()), taken);
    const std::size_t end = c.head.find("\r\n\r\n");
    if (end == std::string::npos) {
        if (c.head.size() == longest_head) fail(c, "the head of an answer is too long", 0);
        return taken;
    }
    const std::string length = fmt::format("\r\nContent-Length: {}\r\n", set_.size);
    if (!c.head.starts_with("HTTP/1.1 200 ") ||
        strcasestr(c.head.c_str(), length.c_str()) == nullptr)
        fail(c, "the answer is not the file", 0);
    c.in_body = true;
    return end + 4 - before;
}

void generator::take_count(connection& c, std::size_t got) {
    std::uint64_t said = 0;
    if (!c.closing || got != sizeof said) return fail(c, "the server sent what is no count", 0);
    std::memcpy(&said, room_.get(), sizeof said);
    c.received = got;
    if (said != c.sent) mismatch(c, said);
}

void generator::count_bytes(connection& c, std::uint64_t bytes) {
    if (purpose_ == purpose::window) c.turn_share += bytes;
    partial_ += bytes;
    const std::uint64_t whole = partial_ / set_.size;
    partial_ -= whole * set_.size;
    if (purpose_ == purpose::window) turn_.messages += whole;
    if (purpose_ == purpose::system_calls) result_.counted_messages += whole;
}

// --- sending
// --------------------------------------------------------------------------------------

void generator::begin(connection& c, std::uint64_t time) {
    since(c, c.begun) = time;
    ++c.begun;
    ++on_their_way_;
    c.due += set_.size;
}

void generator::refill(connection& c, std::uint64_t now) {
    while (c.begun - c.echoed < depth_) begin(c, now);
}

void generator::ask(connection& c, std::uint64_t now) {
    since(c, c.begun) = now;
    ++c.begun;
    ++on_their_way_;
    c.received = 0;
    c.head.clear();
    c.in_body = false;
    const ssize_t sent = send(c.fd, request_.data(), request_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != static_cast<ssize_t>(request_.size())) fail(c, "send", sent < 0 ? errno : EMSGSIZE);
}

void generator::flush(connection& c) {
    while (c.sent < c.due) {
        const auto piece = bytes_.at(c.start + c.sent, c.due - c.sent);
        const ssize_t sent = send(c.fd, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN && errno != EINTR) return fail(c, "send", errno);
            break;
        }
        c.sent += static_cast<std::uint64_t>(sent);
        if (static_cast<std::size_t>(sent) < piece.size()) break;
    }
    await_room(c, c.sent < c.due);
}

/// One piece an event, so that all connections move at the same pace.
void generator::stream(connection& c) {
    const auto piece = bytes_.at(c.start + c.sent, std::max<std::size_t>(set_.size, 65536));
    const ssize_t sent = send(c.fd, piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return fail(c, "send", errno);
    if (sent > 0) {
        c.sent += static_cast<std::uint64_t>(sent);
        c.due = c.sent;
        count_bytes(c, static_cast<std::uint64_t>(sent));
    }
    await_room(c, true);
}

void generator::await_room(connection& c, bool wanted) {
    if (c.awaits_room == wanted) return;
    c.awaits_room = wanted;
    epoll_event event{};
    event.events = EPOLLIN | (wanted ? static_cast<std::uint32_t>(EPOLLOUT) : 0U);
    event.data.ptr = &c;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, c.fd, &event);
}

// --- troubles
// -------------------------------------------------------------------------------------

void generator::fail(connection& c, const char* what, int error) {
    failed_ = true;
    ++result_.errors;
    result_.trouble =
        error == 0 ? fmt::format("connection {}: {}", c.number, what)
                   : fmt::format("connection {}: {}: {}", c.number, what, std::strerror(error));
}

void generator::mismatch(connection& c, std::uint64_t at) {
    failed_ = true;
    ++result_.mismatches;
    result_.trouble =
        kind_ == traffic::sink
            ? fmt::format("connection {}: {} bytes were sent, the server counted {}", c.number,
                          c.sent, at)
            : fmt::format("connection {}: byte {} is not what was sent", c.number, at);
}

}  // namespace bench
