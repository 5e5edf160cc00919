// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <optional>
#include <string>

namespace bench {

/// What it read of the server's process.
struct server_counts {
    double cpu_ns = 0;
    double user_ticks = 0;
    double system_ticks = 0;
    double voluntary = 0;
    double involuntary = 0;
    double wait_ns = 0;
    double stolen_ticks = 0;
    double rss_fresh = 0;
    double rss = 0;
};

/// What load said in a line of JSON, of one window or of all.
struct load_answer {
    double seconds = 0;
    double messages = 0;
    double rate = 0;
    double mb_per_second = 0;
    double p50_us = 0;
    double p90_us = 0;
    double p99_us = 0;
    double p99_9_us = 0;
    double max_us = 0;
    double late_p99_us = 0;
    std::optional<double> fairness;
    double connected = 0;
    double client_cpu_ns = 0;
    double client_wait_ns = 0;
    double errors = 0;
    double mismatches = 0;
    std::string trouble;
    double counted_calls = 0;
    double counted_messages = 0;
    server_counts server;
};
/// Throws file_error when it is none.
[[nodiscard]] load_answer load_answer_of(const std::string& json);
/// The figures that are compared, from those that were counted.
[[nodiscard]] run_result result_of(const load_answer& a);

}  // namespace bench
