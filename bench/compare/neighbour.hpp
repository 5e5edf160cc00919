// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "machine.hpp"
#include "process.hpp"

#include <string>
#include <vector>

namespace bench {

/// Somebody else on the server's CPU, for as long as this lives: a `hog` that only computes, a
/// `compiler` that compiles one file after the other, or another `server` under a steady load.
class neighbour {
public:
    neighbour(const std::string& kind, const cpu_pair& cpus);
    ~neighbour();
    neighbour(const neighbour&) = delete;
    neighbour& operator=(const neighbour&) = delete;
    /// Throws run_failure when it has ended: what was measured then was measured beside nobody.
    void check_alive();

private:
    pid_t worker_ = -1;
    std::vector<child> servers_;
};

}  // namespace bench
