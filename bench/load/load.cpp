// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// The load of every comparison: one thread, plain epoll, every byte verified, and the server's
/// use of the machine read at both ends of a measured window. One line of JSON on stdout; with
/// --orders one after each window, and the sum at the end.

#include "../../samples/common/options.hpp"
#include "generator.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;
using bench::load_order;
using bench::load_result;
using bench::load_settings;
using bench::load_window;
using bench::process_sample;

constexpr std::uint64_t spare_files = 32;
constexpr std::array kinds{"echo", "churn", "sink", "source", "file"};  // as enum traffic

std::string json_of(const samples::histogram& h) {
    const auto us = [&h](double percent) {
        return static_cast<double>(h.percentile(percent)) / 1e3;
    };
    return fmt::format("\"p50_us\": {:.3f}, \"p90_us\": {:.3f}, \"p99_us\": {:.3f}, "
                       "\"p99_9_us\": {:.3f}, \"max_us\": {:.3f}",
                       us(50), us(90), us(99), us(99.9), us(100));
}

/// Text as a JSON string: what may be in a trouble is ASCII without control characters.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char letter : text) {
        if (letter == '"' || letter == '\\') out += '\\';
        out += letter;
    }
    return out + '"';
}

std::string server_json(const load_window& w, std::uint64_t rss_fresh) {
    const process_sample& used = w.server;
    return fmt::format("{{\"cpu_ns\": {}, \"user_ticks\": {}, \"system_ticks\": {}, "
                       "\"voluntary\": {}, \"involuntary\": {}, \"wait_ns\": {}, "
                       "\"stolen_ticks\": {}, \"rss_fresh\": {}, \"rss\": {}}}",
                       used.cpu_ns, used.user_ticks, used.system_ticks, used.voluntary,
                       used.involuntary, used.wait_ns, w.stolen_ticks, rss_fresh, used.rss_bytes);
}

std::string window_json(const load_settings& set, const load_window& w) {
    const double seconds = static_cast<double>(w.ns) / 1e9;
    const double rate = seconds > 0 ? static_cast<double>(w.messages) / seconds : 0;
    std::string text = fmt::format(
        "\"seconds\": {:.6f}, \"messages\": {}, \"rate\": {:.1f}, \"mb_per_second\": {:.3f}, {}, "
        "\"client_cpu_ns\": {}, \"client_wait_ns\": {}",
        seconds, w.messages, rate, rate * static_cast<double>(set.size) / 1e6, json_of(w.latency),
        w.own_cpu_ns, w.own_wait_ns);
    if (set.rate > 0)
        text += fmt::format(", \"late_p99_us\": {:.3f}",
                            static_cast<double>(w.lateness.percentile(99)) / 1e3);
    return text;
}

void print_window(const load_settings& set, const load_window& w) {
    fmt::print("{{{}, \"server\": {}}}\n", window_json(set, w), server_json(w, 0));
    std::fflush(stdout);
}

void print_result(const load_settings& set, const load_result& r) {
    std::string text = fmt::format("{{\"connected\": {}, {}", r.connected, window_json(set, r.all));
    if (r.fairness) text += fmt::format(", \"fairness\": {:.4f}", *r.fairness);
    if (set.watched != 0) text += fmt::format(", \"server\": {}", server_json(r.all, r.rss_fresh));
    if (r.counted_calls)
        text += fmt::format(", \"counted_calls\": {}, \"counted_messages\": {}", *r.counted_calls,
                            r.counted_messages);
    fmt::print("{}, \"errors\": {}, \"mismatches\": {}, \"trouble\": {}}}\n", text, r.errors,
               r.mismatches, quoted(r.trouble));
}

// --- what is measured
// -----------------------------------------------------------------------------

struct command_line_options {
    load_settings load;
    bool orders = false;
    load_order only;  ///< the one window without --orders
};

std::uint64_t nanoseconds_of(double seconds) {
    return static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 1e6) * 1e9);
}

/// `go WARMUP SECONDS`: a window. `again WARMUP SECONDS`: the same, and the one before does not
/// count. Anything else, or the end of stdin: that was all.
load_order read_order() {
    std::string line;
    std::getline(std::cin, line);
    std::istringstream words(line);
    std::string verb;
    double warmup = 0;
    double window = 0;
    words >> verb >> warmup >> window;
    const bool again = verb == "again";
    return {.ends = !again && verb != "go",
            .drops_last = again,
            .warmup_ns = nanoseconds_of(warmup),
            .window_ns = nanoseconds_of(window)};
}

load_result measure(const command_line_options& set) {
    bench::generator load(set.load);
    bool first = true;
    return load.run([&](const load_window& last) {
        if (!set.orders) return std::exchange(first, false) ? set.only : load_order{.ends = true};
        if (!std::exchange(first, false)) print_window(set.load, last);
        return read_order();
    });
}

/// As many descriptors as there may be; refuses what cannot work.
void raise_file_limit(const samples::command_line& line, const load_settings& set) {
    rlimit files{};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < set.connections + spare_files)
        line.refuse(fmt::format("--connections `{}`: the limit of open files is {}; raise it with "
                                "`ulimit -Hn {}`, as root",
                                set.connections, files.rlim_max, set.connections + spare_files));
}

/// An option without effect would be a figure under a false name.
void refuse_what_is_not_done(const samples::command_line& line, const load_settings& set) {
    const auto kind = static_cast<bench::traffic>(set.kind);
    const auto refuse = [&](const char* option, const char* why) {
        line.refuse(fmt::format("--traffic {}: no {}, {}", kinds[set.kind], option, why));
    };
    const bool echo = kind == bench::traffic::echo;
    const char* one_by_one = "only echo has messages that may go out before an answer came";
    if (!echo && set.pipeline > 1) refuse("--pipeline", one_by_one);
    if (!echo && set.rate > 0) refuse("--rate", one_by_one);
    if (set.rate > 0 && set.pipeline > 1)
        refuse("--pipeline beside --rate", "which sends at its time whatever is on its way");
    if (!echo && kind != bench::traffic::file && set.active > 0)
        refuse("--active", "every connection moves bytes");
}

command_line_options read_command_line(int argc, char** argv) {
    command_line_options all;
    load_settings& set = all.load;
    ringlet::nanoseconds warmup = 100ms;
    ringlet::nanoseconds window = 1s;
    ringlet::nanoseconds count = 0s;
    ringlet::nanoseconds patience = 10s;
    bool sleepy = false;
    samples::command_line line("load", "Loads a server, verifies every byte, and watches it.");
    line.address("connect", set.server, "the server (default 127.0.0.1:7000)");
    line.choice("traffic", {kinds.begin(), kinds.end()}, set.kind,
                "what goes over the connections (default echo)");
    line.number("connections", set.connections, 1, 1'000'000, "how many (default 64)");
    line.number("active", set.active, 1, 1'000'000,
                "of them those that talk, the rest is idle (default: all)");
    line.bytes("size", set.size, 1, 64 << 20, "bytes of a message, up to 64M (default 64)");
    line.number("pipeline", set.pipeline, 1, 65536,
                "messages on their way per connection (default 1)");
    line.number("rate", set.rate, 1, 100'000'000,
                "messages a second over all connections, sent at their time whatever comes back; "
                "latency counts from that time (default: a closed loop)");
    line.flag("sleepy", sleepy, "with --rate: a sleep's end is exact enough, no CPU is burnt");
    line.seconds("warmup", warmup, 0, 1e6, "before the window (default 0.1)");
    line.seconds("seconds", window, 0.001, 1e6, "the measured window (default 1)");
    line.flag("orders", all.orders,
              "windows as stdin asks for them, a line for each: `go WARMUP SECONDS`, or `again "
              "WARMUP SECONDS` when the last one does not count; its end is the end");
    line.seconds("timeout", patience, 0.01, 1e6, "without any progress (default 10)");
    line.number("watch", set.watched, 1, 1U << 30, "the server's pid, to read what it uses");
    line.number("watch-cpu", set.watched_cpu, 0, 1U << 20, "its CPU, to read what is stolen");
    line.seconds("count", count, 0, 1e6,
                 "after the window, to count the server's system calls (default 0: not)");
    line.number("tracepoint", set.tracepoint, 1, 1U << 30,
                "for --count: the id of raw_syscalls/sys_enter, from tracefs");
    line.parse(argc, argv);
    all.only.warmup_ns = static_cast<std::uint64_t>(warmup.count());
    all.only.window_ns = static_cast<std::uint64_t>(window.count());
    set.spins = !sleepy;
    set.count_ns = static_cast<std::uint64_t>(count.count());
    set.patience_ns = static_cast<std::uint64_t>(patience.count());
    refuse_what_is_not_done(line, set);
    if (set.active > set.connections)
        line.refuse(fmt::format("--active `{}`: there are only {} connections", set.active,
                                set.connections));
    raise_file_limit(line, set);
    return all;
}

}  // namespace

int main(int argc, char** argv) {
    const command_line_options set = read_command_line(argc, argv);
    const load_result result = measure(set);
    print_result(set.load, result);
    return result.errors + result.mismatches == 0 ? 0 : 1;
}
