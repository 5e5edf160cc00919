// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "workloads.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// What configures a server that takes no options of ours.
enum class config : unsigned { none, haproxy, nginx_proxy, nginx_files };

struct server {
    std::string name;
    std::string backend;               ///< io_uring or epoll
    std::string kind;                  ///< ours, ablation, C or peer
    std::vector<std::string> command;  ///< the program's name first; what is needed is added
    level least;
    bool streams = true;  ///< it knows --mode sink and source
    bench::role role = bench::role::echo;
    config form = config::none;
    std::string option = {};  ///< a line of the configuration
    std::string needs = {};   ///< a file without which it cannot run
    std::string cells = {};   ///< of an ablation: patterns of the cells it is for
    std::string says =
        {};  ///< what its first line must hold: it has the technique, and not another
};

/// Every server there is, installed or not.
[[nodiscard]] std::vector<server> all_servers();
/// True when its program is there, and what it needs.
[[nodiscard]] bool is_installed(const server& s);
/// The command for one workload, with the program's path; a configuration's name is to follow.
[[nodiscard]] std::vector<std::string> command_of(const server& s, const workload& w);
/// What stands behind a proxy.
[[nodiscard]] std::vector<std::string> upstream_command(const workload& w);
/// False for what a server cannot do, and for the ablations where they are not asked for.
[[nodiscard]] bool takes_part(const server& s, const workload& w, level l);

}  // namespace bench
