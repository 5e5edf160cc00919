// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "measure.hpp"

#include "disturbance.hpp"
#include "report_file.hpp"
#include "scene.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <vector>

namespace bench {

namespace {

constexpr seconds stop_limit{10};
constexpr double load_limit = 30;  // beyond the window: to connect and to drain
constexpr double counting_seconds = 0.05;
constexpr double tick_seconds = 0.01;

std::vector<std::string> load_command(const method& how, const workload& w,
                                      const std::string& address, pid_t server) {
    std::vector<std::string> command{sibling("load"),
                                     "--connect",
                                     address,
                                     "--traffic",
                                     w.traffic,
                                     "--connections",
                                     std::to_string(w.connections),
                                     "--size",
                                     std::to_string(w.size),
                                     "--pipeline",
                                     std::to_string(w.pipeline),
                                     "--warmup",
                                     fmt::format("{:g}", how.warmup),
                                     "--seconds",
                                     fmt::format("{:g}", how.seconds),
                                     "--watch",
                                     std::to_string(server),
                                     "--watch-cpu",
                                     std::to_string(how.cpus.server)};
    const auto add = [&command](const char* name, std::string value) {
        command.emplace_back(name);
        command.push_back(std::move(value));
    };
    if (w.active > 0) add("--active", std::to_string(w.active));
    if (w.rate > 0) add("--rate", std::to_string(w.rate));
    if (how.tracepoint) {
        add("--tracepoint", std::to_string(*how.tracepoint));
        add("--count", fmt::format("{:g}", counting_seconds));
    }
    return command;
}

run_result result_of(const load_answer& a, const method& how, role served) {
    if (a.mismatches > 0) throw run_failure("wrong bytes: " + a.trouble);
    if (a.errors > 0) throw run_failure(a.trouble);
    if (a.messages == 0) throw run_failure("not one message was answered");
    run_result r;
    const double window_ns = a.seconds * 1e9;
    r.messages = a.messages;
    r.seconds = a.seconds;
    r.rate = a.rate;
    r.mb_per_second = a.mb_per_second;
    r.cpu_us = a.server.cpu_ns / 1e3 / a.messages;
    r.user_ticks = a.server.user_ticks;
    r.system_ticks = a.server.system_ticks;
    r.sleeps = a.server.voluntary / a.messages;
    r.preemptions = a.server.involuntary / a.messages;
    if (a.counted_messages > 0) r.calls = a.counted_calls / a.counted_messages;
    r.p50_us = a.p50_us;
    r.p90_us = a.p90_us;
    r.p99_us = a.p99_us;
    r.p99_9_us = a.p99_9_us;
    r.max_us = a.max_us;
    r.late_p99_us = a.late_p99_us;
    r.fairness = a.fairness;
    r.memory = (a.server.rss - a.server.rss_fresh) / a.connected;
    r.server_busy = a.server.cpu_ns / window_ns;
    r.client_busy = a.client_cpu_ns / window_ns;
    r.server_waits = a.server.wait_ns / window_ns;
    r.client_waits = a.client_wait_ns / window_ns;
    r.stolen = a.server.stolen_ticks * tick_seconds / a.seconds;
    r.disturbed = how.alone && is_disturbed(r, served);
    return r;
}

}  // namespace

run_result measure(const method& how, const server& s, const workload& w, std::string& start_line) {
    const place beside{how.cpus.client, how.fifo};
    const scene around(s, w, how.folder, beside);
    child subject(around.command(), place{how.cpus.server, how.fifo, around.folder()});
    const std::string address = around.address_of(subject, start_line);
    run_result result;
    try {
        child client(load_command(how, w, address, subject.pid()), beside);
        const std::string said = client.read_all(seconds(how.warmup + how.seconds + load_limit));
        result = result_of(load_answer_of(said), how, w.role);
    } catch (const std::runtime_error& why) {
        // A server that has died is the cause of whatever its client saw.
        if (const auto death = subject.death())
            throw run_failure(fmt::format("{}; the client saw: {}", *death, why.what()));
        throw run_failure(why.what());
    }
    subject.end(SIGTERM, stop_limit);
    return result;
}

}  // namespace bench
