// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "workloads.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <utility>

namespace bench {

namespace {

constexpr std::uint64_t most_in_flight = 256 << 20;  // bytes; beyond it the machine only swaps

std::string size_name(std::uint64_t bytes) {
    if (bytes < 1024) return std::to_string(bytes);
    return bytes < 1 << 20 ? fmt::format("{}K", bytes / 1024) : fmt::format("{}M", bytes >> 20);
}

/// The matrix of echoes; the cells that the shorter levels take are named below.
void add_echoes(std::vector<workload>& all) {
    for (const unsigned pipeline : {1U, 16U})
        for (const unsigned connections : {1U, 8U, 16U, 64U, 512U, 4096U})
            for (const std::uint64_t size : {64U, 1024U, 16384U, 65536U}) {
                if (connections * size * pipeline > most_in_flight) continue;
                workload w{.name = fmt::format("{}/{}x{}", pipeline == 1 ? "echo" : "pipe16",
                                               connections, size_name(size)),
                           .traffic = "echo",
                           .connections = connections,
                           .size = size};
                w.pipeline = pipeline;
                all.push_back(w);
            }
}

struct choice {
    std::string_view name;
    level least;
    bool ablates;
};

constexpr std::array chosen{
    choice{"echo/1x64", level::quick, false},
    choice{"echo/64x64", level::quick, true},
    choice{"echo/64x16K", level::quick, true},
    choice{"pipe16/64x64", level::quick, true},
    choice{"churn/64x64", level::quick, false},
    choice{"open20k/64x64", level::quick, false},
    choice{"echo/8x64", level::standard, false},
    choice{"echo/512x64", level::standard, false},
    choice{"echo/4096x64", level::standard, false},
    choice{"echo/64x1K", level::standard, false},
    choice{"echo/64x64K", level::standard, false},
    choice{"pipe16/64x16K", level::standard, false},
    choice{"sink/8x64K", level::standard, false},
    choice{"source/8x64K", level::standard, false},
    choice{"idle4096/64x64", level::standard, false},
    choice{"proxy/1x64", level::standard, false},
    choice{"proxy/64x64", level::standard, false},
    choice{"proxy-bulk/1x64K", level::standard, false},
    choice{"proxy-bulk/8x64K", level::standard, false},
    choice{"file/64x4K", level::standard, false},
    choice{"file/16x1M", level::standard, false},
};

void add_proxies(std::vector<workload>& all) {
    const auto add = [&all](std::string name, std::string traffic, unsigned connections,
                            std::uint64_t size) {
        workload w{.name = std::move(name),
                   .traffic = std::move(traffic),
                   .connections = connections,
                   .size = size};
        w.role = role::proxy;
        all.push_back(std::move(w));
    };
    for (const unsigned connections : {1U, 8U, 64U})
        add(fmt::format("proxy/{}x64", connections), "echo", connections, 64);
    add("proxy/64x16K", "echo", 64, 16384);
    for (const unsigned connections : {1U, 8U})
        add(fmt::format("proxy-bulk/{}x64K", connections), "source", connections, 65536);
}

void add_files(std::vector<workload>& all) {
    for (const auto& [connections, size] :
         {std::pair{1U, 4096U}, {64U, 4096U}, {64U, 65536U}, {1U, 1048576U}, {16U, 1048576U}}) {
        workload w{.name = fmt::format("file/{}x{}", connections, size_name(size)),
                   .traffic = "file",
                   .connections = connections,
                   .size = size};
        w.role = role::files;
        all.push_back(std::move(w));
    }
}

}  // namespace

std::string_view to_string(level l) noexcept {
    constexpr std::array<std::string_view, 3> names{"quick", "default", "full"};
    return names[static_cast<unsigned>(l)];
}

std::vector<workload> all_workloads() {
    std::vector<workload> all;
    add_echoes(all);
    all.push_back({.name = "churn/64x64", .traffic = "churn", .connections = 64, .size = 64});
    all.push_back({.name = "churn/8x64", .traffic = "churn", .connections = 8, .size = 64});
    for (const unsigned connections : {1U, 8U, 64U})
        for (const std::string traffic : {"sink", "source"})
            all.push_back({.name = fmt::format("{}/{}x64K", traffic, connections),
                           .traffic = traffic,
                           .connections = connections,
                           .size = 65536});
    for (const std::uint64_t thousands : {5U, 20U, 50U}) {
        workload w{.name = fmt::format("open{}k/64x64", thousands),
                   .traffic = "echo",
                   .connections = 64,
                   .size = 64};
        w.rate = thousands * 1000;
        all.push_back(w);
    }
    workload idle{.name = "idle4096/64x64", .traffic = "echo", .connections = 4096, .size = 64};
    idle.active = 64;
    all.push_back(idle);
    add_proxies(all);
    add_files(all);
    for (workload& w : all)
        for (const choice& c : chosen)
            if (c.name == w.name) {
                w.least = c.least;
                w.ablates = c.ablates;
            }
    return all;
}

std::string traffic_of(const workload& w) {
    return w.role == role::proxy ? w.traffic + " through a proxy" : w.traffic;
}

bool matches(std::string_view patterns, std::string_view name) {
    if (patterns.empty()) return true;
    const std::string wanted(name);
    while (!patterns.empty()) {
        const std::size_t comma = std::min(patterns.find(','), patterns.size());
        const std::string pattern(patterns.substr(0, comma));
        if (fnmatch(pattern.c_str(), wanted.c_str(), 0) == 0) return true;
        patterns.remove_prefix(std::min(comma + 1, patterns.size()));
    }
    return false;
}

}  // namespace bench
