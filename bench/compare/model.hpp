// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// What a comparison measures, as it stands in the JSON file: nothing but data, so that tables,
/// plots and verdicts can be made anew from a file.
namespace bench {

/// One run of one server under one load: a process of its own, whose window is the sum of several
/// turns that it took with the other servers of the cell.
struct run_result {
    unsigned round = 0;
    double messages = 0;  ///< in the window
    double seconds = 0;
    double rate = 0;  ///< messages a second
    double mb_per_second = 0;
    double cpu_us = 0;      ///< the server's CPU time per message: user and system
    double user_ticks = 0;  ///< of 10 ms; the kernel's split of it, to be summed over rounds
    double system_ticks = 0;
    double sleeps = 0;            ///< voluntary context switches per message
    double preemptions = 0;       ///< involuntary ones
    std::optional<double> calls;  ///< system calls per message
    double p50_us = 0;
    double p90_us = 0;
    double p99_us = 0;
    double p99_9_us = 0;
    double max_us = 0;
    /// The slowest connection's messages over the fastest's, in a closed loop of several.
    std::optional<double> fairness;
    double late_p99_us = 0;  ///< with a rate: how late the generator itself was
    double memory = 0;       ///< bytes of the server's RSS per connection
    double server_busy = 0;  ///< share of the window
    double client_busy = 0;
    double server_waits = 0;  ///< share of the window in which another had its CPU
    double client_waits = 0;
    double stolen = 0;       ///< share of the window the hypervisor took
    bool disturbed = false;  ///< by the three above; see disturbance.hpp
    unsigned turns = 1;      ///< that the window consists of
    unsigned repeated = 0;   ///< turns that were disturbed, and do not count
};

struct failure {
    unsigned round = 0;
    std::string why;
};

struct row {
    std::string server;
    std::string backend;  ///< io_uring or epoll
    std::string kind;     ///< ours, ablation, C or peer
    std::string start;    ///< what it said first: for ours with the flags of its ring
    std::vector<run_result> runs;
    std::vector<failure> failures;
};

struct cell {
    std::string name;
    std::string traffic;
    unsigned connections = 0;
    unsigned active = 0;
    std::uint64_t size = 0;
    unsigned pipeline = 0;
    std::uint64_t rate = 0;
    std::vector<row> rows;
};

/// A line of the report's head.
struct fact {
    std::string name;
    std::string value;
};

struct micro_result {
    std::string name;
    std::string unit;
    double median = 0;
    double least = 0;
    double most = 0;
    std::string neighbour;  ///< the nearest known figure of another
};

struct instruction_result {
    std::string server;
    double instructions = 0;
};

struct report {
    std::vector<fact> facts;
    std::string level;
    std::string regime;
    unsigned rounds = 0;
    double seconds = 0;
    bool interrupted = false;
    std::vector<cell> cells;
    std::vector<micro_result> micro;
    std::vector<instruction_result> instructions;
};

}  // namespace bench
