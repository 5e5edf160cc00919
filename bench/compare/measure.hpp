// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "load_answer.hpp"
#include "machine.hpp"
#include "model.hpp"
#include "process.hpp"
#include "scene.hpp"
#include "servers.hpp"
#include "turns.hpp"
#include "workloads.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace bench {

/// What holds for every run.
struct method {
    cpu_pair cpus;
    double seconds = 0.3;  ///< of each run's window
    bool fifo = false;
    std::string folder;  ///< for files to serve and configurations
    bool alone = true;   ///< no neighbour: then others' time on the CPUs is a disturbance
    std::optional<std::uint64_t> tracepoint;
};

/// One run: a server and its load, from their start to their end. Between its turns both sleep.
/// What goes wrong is thrown as a run_failure, or as `interrupted`.
class subject {
public:
    /// Starts the server and what it needs, connects, and warms everything up.
    subject(const method& how, const server& s, const workload& w);
    subject(const subject&) = delete;
    subject& operator=(const subject&) = delete;

    /// One turn. With `again` in place of the last one.
    void take_turn(bool again);
    /// Others had the CPUs during the last one.
    [[nodiscard]] bool was_disturbed() const noexcept { return disturbed_; }
    [[nodiscard]] bool has_result() const noexcept { return turns_ > 0; }
    /// Ends the load, then the server.
    [[nodiscard]] run_result end();
    /// What the server said first, if it speaks: its ring's flags are there.
    [[nodiscard]] const std::string& start_line() const noexcept { return start_line_; }

private:
    [[nodiscard]] load_answer answer_to(const std::string& order);

    const method& how_;
    const role role_;
    const turn_plan plan_;
    const scene around_;
    child server_;
    std::string start_line_;
    std::optional<child> load_;
    unsigned turns_ = 0;
    unsigned repeated_ = 0;
    bool disturbed_ = false;
};

}  // namespace bench
