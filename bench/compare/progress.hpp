// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

namespace bench {

/// How far it is and how long it will take, on stderr: a bar on a terminal, else a line per cell.
class progress {
public:
    /// `guess` is how many seconds everything will take.
    explicit progress(double guess);
    /// Before something is measured.
    void show(const std::string& what);
    /// Before a cell: a line of its own where there is no terminal.
    void show_cell(const std::string& what);
    /// What was to take so many seconds is done.
    void step(double seconds) { done_ = std::min(done_ + seconds, guess_); }
    /// Away with the bar, before something else is printed.
    void clear() const;

private:
    [[nodiscard]] double part() const { return guess_ > 0 ? done_ / guess_ : 1; }
    [[nodiscard]] std::string left() const;

    using clock = std::chrono::steady_clock;
    double guess_;
    double done_ = 0;
    clock::time_point began_ = clock::now();
    bool tty_;
};

}  // namespace bench
