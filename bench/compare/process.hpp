// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

using seconds = std::chrono::duration<double>;

/// SIGINT, SIGTERM or SIGHUP came: end, and show what there is.
class interrupted : public std::exception {};

/// Something about one run went wrong; the text is for whoever reads the table.
class run_failure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Blocks the three signals for this process; waits look at them instead.
void take_over_signals();
/// Throws `interrupted` when one has come.
void check_signals();

/// How a child is scheduled.
struct place {
    int cpu = -1;       ///< -1: wherever
    bool fifo = false;  ///< SCHED_FIFO 1: the regime `realtime`
    std::string folder = {};  ///< to start in; empty: here
    bool listens = false;     ///< to its stdin: for child::write_line()
};

/// A process of ours: in a group of its own, so that Ctrl-C reaches only us and we end it; and it
/// dies with us (PR_SET_PDEATHSIG) whatever we die of. Killed, with its group, when not ended.
class child {
public:
    child(const std::vector<std::string>& command, const place& where);
    child(child&& other) noexcept;
    child& operator=(child&&) = delete;
    ~child();

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// The next line of its stdout; throws run_failure when it ends or says nothing in time.
    [[nodiscard]] std::string read_line(seconds limit);
    /// To its stdin. One that has ended does not hear it, and says nothing in answer.
    void write_line(const std::string& line);
    /// All of its stdout, until it ends. Throws run_failure after `limit`.
    [[nodiscard]] std::string read_all(seconds limit);
    /// Asks it to end and waits; throws run_failure unless it ends in time, with 0 or by `signal`.
    void end(int signal, seconds limit);
    /// What a process that ended by itself left behind; nothing while it runs.
    [[nodiscard]] std::optional<std::string> death();
    [[nodiscard]] bool has_ended() { return wait_for_end(seconds(0)); }

private:
    [[nodiscard]] bool wait_for_output(std::chrono::steady_clock::time_point deadline);
    [[nodiscard]] bool wait_for_end(seconds limit);
    [[nodiscard]] std::string last_words();

    std::string name_;
    pid_t pid_ = -1;
    int in_ = -1;
    int out_ = -1;
    int err_ = -1;  // a file in memory: a pipe could fill up
    std::optional<int> status_;
};

/// Forks a child of ours that runs `body`, under the same rules.
[[nodiscard]] pid_t fork_bound(const place& where, void (*body)(const void*), const void* subject);
/// Kills a process group of ours and waits for its leader.
void kill_group(pid_t leader) noexcept;

/// The programs that are built beside this one; throws run_failure when `name` is not there.
[[nodiscard]] std::string sibling(const std::string& name);
[[nodiscard]] bool has_sibling(const std::string& name);

}  // namespace bench
