// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace bench {

/// How far it is and how long it will take, on stderr: a bar on a terminal, else a line per cell.
class progress {
public:
    progress(std::size_t runs, double guess_seconds);
    /// Before a run.
    void show(const std::string& what);
    /// Before a cell: a line of its own where there is no terminal.
    void show_cell(const std::string& what);
    /// After a run.
    void step() { ++done_; }
    /// Away with the bar, before something else is printed.
    void clear() const;

private:
    [[nodiscard]] std::string left() const;

    using clock = std::chrono::steady_clock;
    std::size_t total_;
    std::size_t done_ = 0;
    double guess_;
    clock::time_point began_ = clock::now();
    bool tty_;
};

}  // namespace bench
