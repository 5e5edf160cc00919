// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "ratios.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>
#include <utility>

namespace bench {

namespace {

const run_result* in_round(const row& of, unsigned round) {
    const auto found = std::find_if(of.runs.begin(), of.runs.end(),
                                    [&](const run_result& r) { return r.round == round; });
    return found == of.runs.end() ? nullptr : &*found;
}

/// The rival with the lowest median. The lowest of each round would be a figure of luck: the more
/// rivals and the more noise, the lower it is.
template <class Rival>
const row* best_of(const cell& in, const row& of, Rival is_rival) {
    const row* best = nullptr;
    double lowest = 0;
    for (const row& other : in.rows) {
        const auto cpu = over_rounds(other, &run_result::cpu_us);
        if (&other == &of || !is_rival(other) || !cpu || cpu->median <= 0) continue;
        if (best != nullptr && cpu->median >= lowest) continue;
        best = &other;
        lowest = cpu->median;
    }
    return best;
}

/// Within each round over that rival.
std::optional<spread> ratio_of(const row& of, const row* rival) {
    std::vector<double> ratios;
    if (rival == nullptr) return std::nullopt;
    for (const run_result& run : of.runs)
        if (const run_result* same = in_round(*rival, run.round); same && same->cpu_us > 0)
            ratios.push_back(run.cpu_us / same->cpu_us);
    return spread_of(std::move(ratios));
}

/// Proxies and servers of files by hand are on epoll or a ring as their technique wants it.
bool any_backend(const cell& in) {
    return in.traffic == "file" || in.traffic.ends_with("through a proxy");
}

const row* best_c(const cell& in, const row& of) {
    const auto by_hand = [](const row& other) { return other.kind == "C"; };
    const auto twin = [&](const row& other) {
        return by_hand(other) && other.backend == of.backend;
    };
    if (!any_backend(in))
        if (const row* best = best_of(in, of, twin); best != nullptr) return best;
    return best_of(in, of, by_hand);
}

const row* best_peer(const cell& in, const row& of) {
    return best_of(in, of, [](const row& other) { return other.kind == "peer"; });
}

const row* find_row(const cell& in, std::string_view server) {
    const auto found = std::find_if(in.rows.begin(), in.rows.end(),
                                    [&](const row& r) { return r.server == server; });
    return found == in.rows.end() ? nullptr : &*found;
}

const cell* find_cell(const report& all, std::string_view name) {
    const auto found = std::find_if(all.cells.begin(), all.cells.end(),
                                    [&](const cell& c) { return c.name == name; });
    return found == all.cells.end() ? nullptr : &*found;
}

/// CPU per message relative to that of a C server that is always the same one, so that a slower
/// machine is not a slower server.
std::optional<spread> to_yardstick(const cell& in, const row& of) {
    for (const std::string_view name : {"C epoll", "C proxy copy", "C file"})
        if (const row* yardstick = find_row(in, name)) return ratio_of(of, yardstick);
    return std::nullopt;
}

std::optional<change> change_of(const cell& was, const cell& is, const row& now, double threshold) {
    const row* before = find_row(was, now.server);
    if (before == nullptr) return std::nullopt;
    const bool failed = now.runs.empty() || (!now.failures.empty() && before->failures.empty());
    auto a = to_yardstick(was, *before);
    auto b = to_yardstick(is, now);
    const bool relative = a && b;
    if (!relative) {
        a = over_rounds(*before, &run_result::cpu_us);
        b = over_rounds(now, &run_result::cpu_us);
    }
    if (!a || a->median <= 0) return std::nullopt;
    if (!b) b = spread{};  // it has no run
    const double grown = b->median / a->median;
    return change{
        is.name, now.server, a->median, b->median,
        grown,   relative,   failed,    failed || (grown > threshold && b->quarter > a->median)};
}

}  // namespace

std::optional<spread> to_c(const cell& in, const row& of) {
    if (of.kind == "C") return std::nullopt;
    return ratio_of(of, best_c(in, of));
}

std::optional<spread> to_peer(const cell& in, const row& of) {
    if (of.kind == "peer") return std::nullopt;
    return ratio_of(of, best_peer(in, of));
}

std::optional<spread> to_ours(const cell& in, const row& of) {
    if (of.kind == "ours") return std::nullopt;
    return ratio_of(of, best_of(in, of, [&](const row& other) {
                        return other.kind == "ours" && other.backend == of.backend;
                    }));
}

std::optional<spread> over_rounds(const row& of, double run_result::*figure) {
    std::vector<double> values;
    for (const run_result& run : of.runs) values.push_back(run.*figure);
    return spread_of(std::move(values));
}

std::optional<double> median_of(const row& of, std::optional<double> run_result::*figure) {
    std::vector<double> values;
    for (const run_result& run : of.runs)
        if (run.*figure) values.push_back(*(run.*figure));
    const auto all = spread_of(std::move(values));
    if (!all) return std::nullopt;
    return all->median;
}

std::optional<double> user_share(const row& of) {
    double user = 0;
    double both = 0;
    for (const run_result& run : of.runs) {
        user += run.user_ticks;
        both += run.user_ticks + run.system_ticks;
    }
    if (both <= 0) return std::nullopt;
    return user / both;
}

std::vector<loss> losses_of(const report& all, std::size_t& compared) {
    std::vector<loss> lost;
    compared = 0;
    for (const cell& c : all.cells)
        for (const row& r : c.rows) {
            if (r.kind != "ours") continue;
            for (const row* rival : {best_c(c, r), best_peer(c, r)}) {
                const auto ratio = ratio_of(r, rival);
                if (!ratio) continue;
                ++compared;
                if (ratio->median > losing)
                    lost.push_back({c.name, r.server, rival->server, *ratio});
            }
        }
    std::sort(lost.begin(), lost.end(), [](const loss& a, const loss& b) {
        return std::tie(b.ratio.median, a.cell) < std::tie(a.ratio.median, b.cell);
    });
    return lost;
}

std::vector<standing> standings_of(const report& all) {
    struct sum {
        standing so_far;
        double logarithms = 0;
    };
    std::map<std::pair<std::string, std::string>, sum> sums;
    for (const cell& c : all.cells)
        for (const row& r : c.rows)
            for (const row& rival : c.rows) {
                if (r.kind != "ours" || &rival == &r) continue;
                const auto ratio = ratio_of(r, &rival);
                if (!ratio || ratio->median <= 0) continue;
                sum& s = sums[{r.server, rival.server}];
                s.logarithms += std::log(ratio->median);
                ++(ratio->median > losing       ? s.so_far.behind
                   : ratio->median < 1 / losing ? s.so_far.ahead
                                                : s.so_far.alike);
            }
    std::vector<standing> standings;
    for (auto& [names, s] : sums) {
        const unsigned cells = s.so_far.ahead + s.so_far.alike + s.so_far.behind;
        if (cells < 3) continue;
        s.so_far.server = names.first;
        s.so_far.against = names.second;
        s.so_far.mean = std::exp(s.logarithms / cells);
        standings.push_back(std::move(s.so_far));
    }
    return standings;
}

std::vector<change> changes_since(const report& before, const report& now, double threshold) {
    std::vector<change> changes;
    for (const cell& is : now.cells) {
        const cell* was = find_cell(before, is.name);
        if (was == nullptr) continue;
        for (const row& r : is.rows) {
            if (r.kind != "ours") continue;
            if (auto made = change_of(*was, is, r, threshold)) changes.push_back(std::move(*made));
        }
    }
    return changes;
}

}  // namespace bench
