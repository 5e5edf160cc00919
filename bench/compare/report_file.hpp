// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// A file that cannot be read or written, or is not what it should be; the text names it.
class file_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

void write_json(const report& all, const std::string& path);
[[nodiscard]] report read_json(const std::string& path);
[[nodiscard]] std::string json_of(const report& all);
[[nodiscard]] report report_of(const std::string& json);

/// One line for each run.
[[nodiscard]] std::string csv_of(const report& all);
void write_text(const std::string& text, const std::string& path);
[[nodiscard]] std::string read_text(const std::string& path);

/// Lines of a document, between which a report is put.
inline constexpr std::string_view begin_mark = "<!-- report: begin -->";
inline constexpr std::string_view end_mark = "<!-- report: end -->";
void put_into(const std::string& text, const std::string& path);

/// What load said in its one line of JSON.
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
    struct {
        double cpu_ns = 0;
        double user_ticks = 0;
        double system_ticks = 0;
        double voluntary = 0;
        double involuntary = 0;
        double wait_ns = 0;
        double stolen_ticks = 0;
        double rss_fresh = 0;
        double rss = 0;
    } server;
};
[[nodiscard]] load_answer load_answer_of(const std::string& json);
[[nodiscard]] std::vector<micro_result> micro_of(const std::string& json);
[[nodiscard]] std::vector<instruction_result> instructions_of(const std::string& json);

}  // namespace bench
