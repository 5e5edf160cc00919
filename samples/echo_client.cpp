// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Loads an echo server and checks every byte that comes back. A closed loop: each connection keeps
/// --pipeline messages on their way and sends the next when one has come back whole.

#include "common/histogram.hpp"
#include "common/options.hpp"
#include "common/pattern.hpp"
#include "common/tell.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct settings {
    ringlet::address server = ringlet::address::loopback_v4(7000);
    unsigned connections = 64;
    std::size_t size = 64;
    unsigned pipeline = 1;
    ringlet::nanoseconds duration = 5s;
    std::uint64_t messages = 0;  // per connection; 0: as many as the duration allows
    ringlet::nanoseconds patience = 10s;
    bool json = false;
    bool percentiles = false;
    ringlet::run_options run;
};

/// What one core has counted. Read by core 0 for the progress line while it runs.
struct tally {
    samples::histogram latency;  // nanoseconds
    std::atomic<std::uint64_t> messages{0};
    std::uint64_t connected = 0;
    std::uint64_t errors = 0;
    std::uint64_t mismatches = 0;
    std::uint64_t first_start = UINT64_MAX;
    std::uint64_t last_end = 0;
    std::string backend;

    void add(std::uint64_t n) noexcept {
        messages.store(messages.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
};

/// What all cores share.
struct load {
    explicit load(const settings& s) : set(s), cores(s.run.cores) {}

    const settings& set;
    const samples::pattern bytes;
    std::vector<tally> cores;

    /// Keeps the first trouble's text; thousands would say the same.
    void note(std::string text) {
        const std::lock_guard hold(mutex_);
        if (trouble_.empty()) trouble_ = std::move(text);
    }
    [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }

private:
    std::mutex mutex_;
    std::string trouble_;
};

/// One connection and how far it has come.
struct connection {
    explicit connection(std::size_t n) noexcept : number(n), start(samples::pattern::start_of(n)) {}

    std::size_t number;
    std::size_t start;          ///< where in the pattern its stream begins
    ringlet::tcp_stream peer;
    std::uint64_t sent = 0;     ///< messages begun
    std::uint64_t echoed = 0;   ///< messages that came back whole
    std::uint64_t received = 0; ///< bytes that came back
    bool failed = false;
};

/// One core's load: all its connections, on one histogram.
class worker {
public:
    worker(load& all, unsigned index)
        : all_(all), set_(all.set), mine_(all.cores[index]) {
        mine_.backend = to_string(ringlet::here().backend());
        for (std::size_t n = index; n < set_.connections; n += set_.run.cores)
            connections_.emplace_back(n);
    }

    ringlet::task<> run() {
        co_await connect_all();
        mine_.first_start = ringlet::here().now_ns();
        if (set_.messages == 0)
            deadline_ = mine_.first_start + static_cast<std::uint64_t>(set_.duration.count());
        co_await ringlet::with_scope([this](ringlet::scope& sessions) -> ringlet::task<> {
            for (connection& c : connections_)
                if (c.peer) sessions.start(session(c));
            co_return;
        });
    }

private:
    static constexpr std::size_t connects_at_once = 128;
    static constexpr std::size_t largest_room = 64 * 1024;
    /// Up to here a message fits the sockets' buffers however small they are, so that it may be
    /// sent whole before the answer is read: one task a connection does.
    static constexpr std::size_t fits_a_socket = 4096;

    ringlet::task<> connect_all() {
        ringlet::semaphore slots(std::max<std::size_t>(1, connects_at_once / set_.run.cores));
        co_await ringlet::with_scope([&](ringlet::scope& connects) -> ringlet::task<> {
            for (connection& c : connections_) {
                auto slot = co_await slots.acquire();
                if (!slot || ringlet::stop_requested()) co_return;
                connects.start(connect(c, std::move(*slot)));
            }
        });
    }

    ringlet::task<> connect(connection& c, ringlet::semaphore::permit) {
        auto made = co_await ringlet::tcp_stream::connect(set_.server).within(set_.patience);
        if (!made) {
            fail(c, "connect to " + set_.server.to_string(), made.error());
            co_return;
        }
        c.peer = std::move(*made);
        ++mine_.connected;
    }

    ringlet::task<> session(connection& c) {
        if (set_.pipeline == 1 && set_.size <= fits_a_socket) {
            co_await ping_pong(c);
        } else {
            co_await pipelined(c);
        }
        if (!c.failed && !interrupted()) co_await expect_end(c);
        c.peer = ringlet::tcp_stream();
    }

    /// One message at a time: the moment its answer is whole is the moment the next one is sent.
    ringlet::task<> ping_pong(connection& c) {
        const auto room = std::make_unique<std::byte[]>(set_.size);
        std::uint64_t since = ringlet::here().now_ns();
        while (may_send(c, since)) {
            const auto message = all_.bytes.at(c.start + c.received, set_.size);
            ++c.sent;
            if (auto sent = co_await c.peer.send_all(message).within(set_.patience); !sent) {
                fail(c, "send", sent.error());
                co_return;
            }
            for (std::size_t got = 0; got < set_.size;) {
                const std::span rest(room.get() + got, set_.size - got);
                auto more = co_await c.peer.recv(rest).within(set_.patience);
                if (!more) {
                    fail(c, "receive", more.error());
                    co_return;
                }
                if (!same(c, rest.first(*more))) co_return;
                got += *more;
            }
            const std::uint64_t now = ringlet::here().now_ns();
            mine_.latency.record(now - since);
            ++c.echoed;
            mine_.add(1);
            since = now;
        }
        mine_.last_end = std::max(mine_.last_end, since);
    }

    /// A message on its way: since when, and its place among --pipeline.
    struct flight {
        std::uint64_t since = 0;
        ringlet::semaphore::permit place;
    };
    struct pipe {
        explicit pipe(unsigned depth) : places(depth), flights(depth) {}
        ringlet::semaphore places;
        std::vector<flight> flights;  // message n is in flights[n mod depth]
        bool all_sent = false;
    };

    /// A writer and a reader, since both ends' buffers may be full at the same time.
    ringlet::task<> pipelined(connection& c) {
        pipe p(set_.pipeline);
        co_await ringlet::with_scope([&](ringlet::scope& both) -> ringlet::task<> {
            both.start(write(c, p, both));
            co_await read(c, p);
            if (c.failed) both.cancel();
        });
    }

    ringlet::task<> write(connection& c, pipe& p, ringlet::scope& both) {
        std::uint64_t position = c.start;
        for (;;) {
            auto place = co_await p.places.acquire();
            const std::uint64_t now = ringlet::here().now_ns();
            if (!place || !may_send(c, now)) break;
            std::uint64_t left = begin(c, p, now, std::move(*place));
            // All that have a place go out in one call: they follow each other in the pattern.
            while (p.places.available() > 0 && may_send(c, now)) {
                auto next = co_await p.places.acquire();
                if (next) left += begin(c, p, now, std::move(*next));
            }
            while (left > 0) {
                const auto piece = all_.bytes.at(position, left);
                auto sent = co_await c.peer.send_all(piece).within(set_.patience);
                if (!sent) {
                    fail(c, "send", sent.error());
                    both.cancel();
                    co_return;
                }
                position += piece.size();
                left -= piece.size();
            }
        }
        p.all_sent = true;
        if (c.echoed == c.sent) both.cancel();  // the reader waits for what will not come
    }

    /// Notes the next message as sent; its size.
    std::size_t begin(connection& c, pipe& p, std::uint64_t now, ringlet::semaphore::permit place) {
        flight& f = p.flights[c.sent % set_.pipeline];
        f.since = now;
        f.place = std::move(place);
        ++c.sent;
        return set_.size;
    }

    ringlet::task<> read(connection& c, pipe& p) {
        const std::size_t size = std::min(largest_room, set_.size * set_.pipeline);
        const auto room = std::make_unique<std::byte[]>(size);
        while (!p.all_sent || c.echoed < c.sent) {
            auto more = co_await c.peer.recv(std::span(room.get(), size)).within(set_.patience);
            if (!more) {
                if (p.all_sent && c.echoed == c.sent) break;
                fail(c, "receive", more.error());
                co_return;
            }
            if (!same(c, std::span(room.get(), *more))) co_return;
            take_whole(c, p);
        }
        mine_.last_end = std::max(mine_.last_end, ringlet::here().now_ns());
    }

    /// Counts the messages that are whole now and gives their places back.
    void take_whole(connection& c, pipe& p) {
        const std::uint64_t whole = c.received / set_.size;
        if (whole == c.echoed) return;
        const std::uint64_t now = ringlet::here().now_ns();
        mine_.add(whole - c.echoed);
        for (; c.echoed < whole; ++c.echoed) {
            flight& f = p.flights[c.echoed % set_.pipeline];
            mine_.latency.record(now - f.since);
            f.place.give_back();
        }
    }

    /// After our end of the stream the server's must come, and nothing before it.
    ringlet::task<> expect_end(connection& c) {
        std::byte one{};
        static_cast<void>(c.peer.try_shutdown_send());
        auto more = co_await c.peer.recv(std::span(&one, 1)).within(set_.patience);
        if (more) {
            mismatch(c, fmt::format("connection {}: more came back than was sent", c.number));
        } else if (more.error() != ringlet::errc::end_of_stream) {
            fail(c, "end", more.error());
        }
    }

    [[nodiscard]] bool interrupted() const noexcept { return ringlet::stop_requested(); }
    [[nodiscard]] bool may_send(const connection& c, std::uint64_t now) const noexcept {
        if (interrupted()) return false;
        return set_.messages != 0 ? c.sent < set_.messages : now < deadline_;
    }

    /// Compares what came with what was sent, and moves on.
    [[nodiscard]] bool same(connection& c, std::span<const std::byte> got) {
        const auto want = all_.bytes.at(c.start + c.received, got.size());
        const bool expected = c.received + got.size() <= c.sent * set_.size;
        if (!expected || std::memcmp(got.data(), want.data(), got.size()) != 0) [[unlikely]] {
            const auto wrong = std::mismatch(got.begin(), got.end(), want.begin()).first;
            mismatch(c, fmt::format("connection {}: byte {} is not what was sent", c.number,
                                    c.received + static_cast<std::size_t>(wrong - got.begin())));
            return false;
        }
        c.received += got.size();
        return true;
    }

    void mismatch(connection& c, std::string text) {
        c.failed = true;
        ++mine_.mismatches;
        all_.note(std::move(text));
    }
    void fail(connection& c, const std::string& what, const std::error_code& error) {
        if (c.failed || interrupted()) return;
        c.failed = true;
        ++mine_.errors;
        std::string_view remedy;
        if (error == std::errc::too_many_files_open) remedy = samples::raise_open_files;
        if (error == std::errc::address_not_available)
            remedy = "the local ports are used up: sysctl net.ipv4.ip_local_port_range";
        if (error == std::errc::connection_refused)
            remedy = "nobody listens there: start `echo_server --listen` with this address first";
        all_.note(fmt::format("{}: {}{}{}", what, error.message(), remedy.empty() ? "" : "; ",
                              remedy));
    }

    load& all_;
    const settings& set_;
    tally& mine_;
    std::vector<connection> connections_;
    std::uint64_t deadline_ = UINT64_MAX;
};

std::uint64_t messages_of(const load& all) noexcept {
    std::uint64_t sum = 0;
    for (const tally& t : all.cores) sum += t.messages.load(std::memory_order_relaxed);
    return sum;
}

/// A line that is written over every half second, for whoever looks at a terminal.
ringlet::task<> show_progress(const load& all) {
    constexpr auto step = 500ms;
    std::uint64_t before = 0;
    for (double elapsed = 0.5; co_await ringlet::sleep_for(step); elapsed += 0.5) {
        const std::uint64_t sum = messages_of(all);
        samples::tell(fmt::format("\r\033[K{:.1f} s: {} messages, {} a second", elapsed, sum,
                                  2 * (sum - before)));
        before = sum;
    }
    samples::tell("\r\033[K");
}

ringlet::task<> load_from_this_core(load& all) {
    const bool watched = ringlet::core_index() == 0 && ::isatty(STDERR_FILENO) == 1;
    worker mine(all, ringlet::core_index());
    co_await ringlet::with_scope([&](ringlet::scope& helpers) -> ringlet::task<> {
        if (watched) helpers.start(show_progress(all));
        co_await mine.run();
        helpers.cancel();
    });
}

/// All cores' tallies as one.
struct totals {
    explicit totals(const load& all) {
        std::uint64_t start = UINT64_MAX;
        std::uint64_t end = 0;
        for (const tally& t : all.cores) {
            latency.merge(t.latency);
            connected += t.connected;
            errors += t.errors;
            mismatches += t.mismatches;
            start = std::min(start, t.first_start);
            end = std::max(end, t.last_end);
        }
        messages = messages_of(all);
        seconds = end > start ? static_cast<double>(end - start) / 1e9 : 0;
        rate = seconds > 0 ? static_cast<double>(messages) / seconds : 0;
        megabytes = rate * static_cast<double>(all.set.size) / 1e6;
    }
    [[nodiscard]] double us(double percent) const noexcept {
        return static_cast<double>(latency.percentile(percent)) / 1e3;
    }

    samples::histogram latency;
    std::uint64_t connected = 0;
    std::uint64_t messages = 0;
    std::uint64_t errors = 0;
    std::uint64_t mismatches = 0;
    double seconds = 0;
    double rate = 0;
    double megabytes = 0;
};

std::string json_of(const load& all, const totals& sum) {
    return fmt::format(
        "{{\"backend\": \"{}\", \"cores\": {}, \"connections\": {}, \"size\": {}, "
        "\"pipeline\": {}, \"connected\": {}, \"seconds\": {:.6f}, \"messages\": {}, "
        "\"rate\": {:.1f}, \"mb_per_second\": {:.3f}, \"mean_us\": {:.3f}, "
        "\"p50_us\": {:.3f}, \"p90_us\": {:.3f}, \"p99_us\": {:.3f}, \"p99_9_us\": {:.3f}, "
        "\"max_us\": {:.3f}, \"errors\": {}, \"mismatches\": {}}}\n",
        all.cores[0].backend, all.set.run.cores, all.set.connections, all.set.size,
        all.set.pipeline, sum.connected, sum.seconds, sum.messages, sum.rate, sum.megabytes,
        sum.latency.mean() / 1e3, sum.us(50), sum.us(90), sum.us(99), sum.us(99.9), sum.us(100),
        sum.errors, sum.mismatches);
}

std::string text_of(const load& all, const totals& sum) {
    std::string text = fmt::format(
        "{} connections to {} x {} bytes x pipeline {}, client on {} with {} core{}\n"
        "{} messages in {:.2f} s: {:.0f} messages/s, {:.1f} MB/s each way\n"
        "latency us: p50 {:.1f}  p90 {:.1f}  p99 {:.1f}  p99.9 {:.1f}  max {:.1f}\n"
        "errors {}  mismatches {}\n",
        sum.connected, all.set.server.to_string(), all.set.size, all.set.pipeline,
        all.cores[0].backend, all.set.run.cores, all.set.run.cores == 1 ? "" : "s", sum.messages,
        sum.seconds, sum.rate, sum.megabytes, sum.us(50), sum.us(90), sum.us(99), sum.us(99.9),
        sum.us(100), sum.errors, sum.mismatches);
    if (all.set.percentiles) text += "\nmicroseconds\n" + sum.latency.percentile_table(1e3);
    return text;
}

/// Refuses what cannot work here, with the command that makes it work.
void check_limits(const samples::command_line& line, const settings& set) {
    rlimit files{};
    const std::uint64_t needed = std::uint64_t{set.connections} + 32 + 8 * set.run.cores;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < needed)
        line.refuse(fmt::format("--connections `{}`: the limit of open files is {}; raise it with "
                                "`ulimit -Hn {}`, as root",
                                set.connections, files.rlim_max, needed));
}

settings read_command_line(int argc, char** argv) {
    settings set;
    samples::command_line line("echo_client",
                               "Loads an echo server, checks every byte, says how fast it was.");
    line.address("connect", set.server,
                 "the server, or unix:/PATH (default 127.0.0.1:7000)");
    line.number("connections", set.connections, 1, 1'000'000,
                "connections, over all cores (default 64)");
    line.bytes("size", set.size, 1, 64 << 20, "bytes of a message, up to 64M (default 64)");
    line.number("pipeline", set.pipeline, 1, 65536,
                "messages on their way per connection (default 1)");
    line.seconds("duration", set.duration, 0.01, 1e6, "how long (default 5)");
    line.number("messages", set.messages, 1, UINT64_C(1) << 40,
                "instead of a duration: messages per connection");
    line.seconds("timeout", set.patience, 0.01, 1e6,
                 "for each connect, send and receive (default 10)");
    line.number("cores", set.run.cores, 1, 1024, "loops, each on a thread of its own (default 1)");
    line.backend(set.run.core.backend);
    line.flag("json", set.json, "the result as one line of JSON");
    line.flag("percentiles", set.percentiles, "add the whole latency distribution");
    line.parse(argc, argv);
    if (!set.server.is_unix() && set.server.port() == 0)
        line.refuse(fmt::format("--connect `{}`: the port is 0; give the server's",
                                set.server.to_string()));
    if (set.run.cores > set.connections)
        line.refuse(fmt::format("--cores `{}`: more than the {} connections there are to share out",
                                set.run.cores, set.connections));
    check_limits(line, set);
    set.run.grace = 1s;
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    load all(set);
    const int code = ringlet::run(set.run, [&all]() -> ringlet::task<> {
        return load_from_this_core(all);
    });
    if (code != 0) return code;
    const totals sum(all);
    samples::print(set.json ? json_of(all, sum) : text_of(all, sum));
    const bool written = samples::wrote_all("echo_client");
    if (!all.trouble().empty()) samples::tell(fmt::format("echo_client: {}\n", all.trouble()));
    if (sum.errors + sum.mismatches > 0) return 1;
    const std::uint64_t wanted = set.messages * set.connections;
    if (sum.messages >= wanted) return written ? 0 : 1;
    samples::tell(fmt::format("echo_client: interrupted: {} of {} messages came back\n",
                              sum.messages, wanted));
    return 1;
}
