// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "load_answer.hpp"

#include "report_file.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace bench {

// The members' names are load's. What it has not said is 0.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(server_counts, cpu_ns, user_ticks, system_ticks,
                                                voluntary, involuntary, wait_ns, stolen_ticks,
                                                rss_fresh, rss)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(load_answer, seconds, messages, rate, mb_per_second,
                                                p50_us, p90_us, p99_us, p99_9_us, max_us,
                                                late_p99_us, connected, client_cpu_ns,
                                                client_wait_ns, errors, mismatches, trouble,
                                                counted_calls, counted_messages, server)

namespace {
constexpr double tick_seconds = 0.01;
}

load_answer load_answer_of(const std::string& json) {
    try {
        const auto parsed = nlohmann::json::parse(json);
        auto a = parsed.get<load_answer>();
        if (parsed.contains("fairness")) a.fairness = parsed["fairness"].get<double>();
        return a;
    } catch (const nlohmann::json::exception&) {
        throw file_error("its answer is not JSON");
    }
}

run_result result_of(const load_answer& a) {
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
    // Threads of its own that wait for each other are no others.
    r.server_waits =
        std::clamp(a.server.wait_ns / window_ns, 0.0, std::max(0.0, 1 - r.server_busy));
    r.client_waits = a.client_wait_ns / window_ns;
    r.stolen = a.server.stolen_ticks * tick_seconds / a.seconds;
    return r;
}

}  // namespace bench
