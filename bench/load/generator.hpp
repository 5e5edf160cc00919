// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "../../samples/common/histogram.hpp"
#include "../../samples/common/pattern.hpp"
#include "process_watch.hpp"

#include <ringlet/base/address.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace bench {

enum class traffic : unsigned {
    echo,    ///< messages go out, and come back
    churn,   ///< connect, one message there and back, close
    sink,    ///< bytes go out as fast as they are taken; at the end the server says how many
    source,  ///< the server's bytes come in as fast as they can
    file,    ///< GET /SIZE over HTTP, again and again: a file with the pattern's first bytes
};

struct load_settings {
    ringlet::address server = ringlet::address::loopback_v4(7000);
    unsigned kind = 0;  ///< a `traffic`
    unsigned connections = 64;
    unsigned active = 0;  ///< of them, how many talk; 0: all
    std::size_t size = 64;
    unsigned pipeline = 1;   ///< messages on their way per connection; 1 but for echo
    std::uint64_t rate = 0;  ///< messages a second over all, whatever comes back; 0: closed loop
    std::uint64_t count_ns = 0;  ///< behind the last window, to count system calls; 0: not
    std::uint64_t patience_ns = 10'000'000'000;
    unsigned watched = 0;  ///< the server's pid; 0: nobody is watched
    unsigned watched_cpu = 0;
    bool spins = true;  ///< until a message of a rate is due, where a sleep would end too late
    std::uint64_t tracepoint = 0;  ///< of raw_syscalls:sys_enter
};

/// What was seen in one window, or in several together.
struct load_window {
    samples::histogram latency;   ///< ns; from the intended time when there is a rate
    samples::histogram lateness;  ///< ns; how late the generator itself was, when there is a rate
    std::uint64_t messages = 0;   ///< of `size` bytes, or connections of a churn
    std::uint64_t ns = 0;
    std::uint64_t own_cpu_ns = 0;
    std::uint64_t own_wait_ns = 0;  ///< it could run and did not
    process_sample server;          ///< what it used
    std::uint64_t stolen_ticks = 0;

    load_window& operator+=(const load_window& next);
};

struct load_result {
    load_window all;  ///< windows that were kept
    std::uint64_t connected = 0;
    std::uint64_t rss_fresh = 0;  ///< the server's, before the first connection
    std::optional<std::uint64_t> counted_calls;
    std::uint64_t counted_messages = 0;
    /// The slowest talking connection's part of what came through over the fastest's; in a closed
    /// loop of several.
    std::optional<double> fairness;
    std::uint64_t errors = 0;
    std::uint64_t mismatches = 0;
    std::string trouble;  ///< the first of them
};

/// What comes next: another window, or the end.
struct load_order {
    bool ends = false;
    bool drops_last = false;  ///< the window before does not count
    std::uint64_t warmup_ns = 0;
    std::uint64_t window_ns = 0;
};

/// One thread on plain epoll: it stands on no library, ours among them, so that a server under
/// measurement is not loaded by itself. A window begins and
/// ends with nothing on its way and the server asleep: only then is its CPU time known exactly (of
/// a running process of somebody else the kernel tells what it was at the last tick), what was done
/// is what was counted, and other servers can be measured between two windows. Ends with its first
/// error.
class generator {
public:
    explicit generator(const load_settings& set);
    ~generator();
    generator(const generator&) = delete;
    generator& operator=(const generator&) = delete;

    /// Asks `next` before each window; it gets the window before (the first time an empty one).
    [[nodiscard]] load_result run(const std::function<load_order(const load_window&)>& next);

private:
    struct connection {
        std::size_t start = 0;  ///< where in the pattern its stream begins
        std::size_t number = 0;
        int fd = -1;
        bool active = true;
        bool awaits_room = false;  ///< EPOLLOUT is asked for
        bool closing = false;
        std::uint64_t begun = 0;  ///< messages
        std::uint64_t echoed = 0;
        std::uint64_t due = 0;  ///< bytes to be sent, over all time
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        std::uint64_t turn_share = 0;  ///< messages or bytes of this window
        std::uint64_t share = 0;       ///< of all that count
        std::string head;              ///< of an HTTP answer, as far as it has come
        bool in_body = false;
    };
    enum class phase {
        paused,  ///< what is on its way comes back, and nothing is sent
        sending,
        draining,  ///< and connections end
    };
    /// What a message that comes back counts for.
    enum class purpose { nothing, window, system_calls };

    [[nodiscard]] bool connect_all();
    [[nodiscard]] bool open(connection& c, bool wait);
    [[nodiscard]] bool reopen(connection& c);
    void close(connection& c);
    void greet();
    void take_turn(const load_order& order);
    void keep_turn();
    void measure(std::uint64_t window_ns);
    void count_calls();
    void send_for(std::uint64_t ns);
    void begin_all();
    void pause();
    [[nodiscard]] bool is_quiet() const;
    void let_server_sleep() const;
    [[nodiscard]] std::uint64_t stolen_ticks() const;
    void drain_all();
    void turn();
    void on_event(connection& c, std::uint32_t events);
    void on_readable(connection& c);
    void on_end(connection& c);
    void begin(connection& c, std::uint64_t since);
    void refill(connection& c, std::uint64_t now);
    void ask(connection& c, std::uint64_t now);
    void flush(connection& c);
    void stream(connection& c);
    void await_room(connection& c, bool wanted);
    void take_echo(connection& c, std::size_t got);
    void take_source(connection& c, std::size_t got);
    void take_count(connection& c, std::size_t got);
    void take_file(connection& c, std::size_t got);
    [[nodiscard]] std::size_t take_head(connection& c, std::size_t got);
    void complete(connection& c, std::uint64_t now);
    void send_due(std::uint64_t now);
    void drain(connection& c);
    void count_bytes(connection& c, std::uint64_t bytes);
    [[nodiscard]] std::optional<double> fairness() const;
    void fail(connection& c, const char* what, int error);
    void mismatch(connection& c, std::uint64_t at);
    [[nodiscard]] std::int64_t time_to_sleep(std::uint64_t now) const;
    [[nodiscard]] bool sending() const noexcept { return phase_ == phase::sending; }
    [[nodiscard]] std::uint64_t intended(std::uint64_t message) const noexcept;
    [[nodiscard]] std::uint64_t& since(connection& c, std::uint64_t message) noexcept {
        return since_[c.number * depth_ + message % depth_];
    }

    const load_settings set_;
    const traffic kind_;
    const samples::pattern bytes_;
    std::vector<unsigned char> block_;  // two of the source's blocks
    const std::string request_;         // for a file
    load_result result_;
    std::size_t depth_;
    std::vector<std::uint64_t> since_;
    std::vector<connection> connections_;
    std::vector<connection*> talking_;
    std::unique_ptr<std::byte, void (*)(void*)> room_;
    int epoll_ = -1;
    std::size_t open_ = 0;
    load_window turn_;
    phase phase_ = phase::paused;
    purpose purpose_ = purpose::nothing;
    std::uint64_t sending_ends_ = 0;
    std::uint64_t quiet_since_ = 0;
    std::uint64_t on_their_way_ = 0;  // messages
    std::uint64_t rate_begin_ = 0;
    std::uint64_t rate_next_ = 0;
    std::uint64_t last_progress_ = 0;
    std::uint64_t partial_ = 0;  // bytes of a stream that are no whole message yet
    std::uint32_t sources_ = 0;
    bool failed_ = false;
};

}  // namespace bench
