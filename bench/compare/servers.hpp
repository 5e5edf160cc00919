// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "workloads.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace bench {

struct server {
    std::string name;
    std::string backend;               ///< io_uring or epoll
    std::string kind;                  ///< ours, ablation, C or peer
    std::vector<std::string> command;  ///< the program's name first; --listen is added
    level least;
    bool streams = true;  ///< it knows --mode sink and source
};

/// Every server there is, installed or not.
[[nodiscard]] std::vector<server> all_servers();
/// The command for one workload, with the program's path.
[[nodiscard]] std::vector<std::string> command_of(const server& s, const workload& w);
/// False for what a server cannot do, and for the ablations where they are not asked for.
[[nodiscard]] bool takes_part(const server& s, const workload& w, level l);

}  // namespace bench
