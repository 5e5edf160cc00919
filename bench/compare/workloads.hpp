// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// How much time is to be spent.
enum class level : unsigned { quick, standard, full };
[[nodiscard]] std::string_view to_string(level l) noexcept;

/// What a server does.
enum class role : unsigned {
    echo,
    proxy,  ///< between the load and an echo server, or one that sends without end
    files,  ///< serves them over HTTP
};

struct workload {
    std::string name;     ///< `echo/64x16K`: connections by size
    std::string traffic;  ///< what load is told
    unsigned connections;
    std::uint64_t size;
    unsigned pipeline = 1;
    unsigned active = 0;     ///< 0: all
    std::uint64_t rate = 0;  ///< 0: a closed loop
    level least = level::full;
    bool ablates = false;  ///< the techniques are switched off here, in the standard level too
    bench::role role = bench::role::echo;
};

/// What goes over the connections, in words.
[[nodiscard]] std::string traffic_of(const workload& w);

/// Every cell there is.
[[nodiscard]] std::vector<workload> all_workloads();

/// True when one of the patterns (shell's, separated by commas) matches; none matches all.
[[nodiscard]] bool matches(std::string_view patterns, std::string_view name);

}  // namespace bench
