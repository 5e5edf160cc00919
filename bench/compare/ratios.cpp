// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "ratios.hpp"

#include <algorithm>
#include <string_view>

namespace bench {

namespace {

constexpr std::string_view yardstick = "C epoll";

const run_result* in_round(const row& of, unsigned round) {
    const auto found = std::find_if(of.runs.begin(), of.runs.end(),
                                    [&](const run_result& r) { return r.round == round; });
    return found == of.runs.end() ? nullptr : &*found;
}

/// Within each round over the best of the rivals in that round.
template <class Rival>
std::optional<spread> ratio(const cell& in, const row& of, Rival is_rival) {
    std::vector<double> ratios;
    for (const run_result& run : of.runs) {
        double best = 0;
        for (const row& other : in.rows) {
            if (&other == &of || !is_rival(other)) continue;
            const run_result* same = in_round(other, run.round);
            if (same != nullptr && same->cpu_us > 0 && (best == 0 || same->cpu_us < best))
                best = same->cpu_us;
        }
        if (best > 0) ratios.push_back(run.cpu_us / best);
    }
    return spread_of(std::move(ratios));
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

/// CPU per message relative to the yardstick's, so that a slower machine is not a slower server.
std::optional<spread> to_yardstick(const cell& in, const row& of) {
    return ratio(in, of, [](const row& other) { return other.server == yardstick; });
}

std::optional<change> change_of(const cell& was, const cell& is, const row& now, double threshold) {
    const row* before = find_row(was, now.server);
    if (before == nullptr) return std::nullopt;
    auto a = to_yardstick(was, *before);
    auto b = to_yardstick(is, now);
    const bool relative = a && b;
    if (!relative) {
        a = over_rounds(*before, &run_result::cpu_us);
        b = over_rounds(now, &run_result::cpu_us);
    }
    if (!a || !b || a->median <= 0) return std::nullopt;
    const double grown = b->median / a->median;
    return change{is.name,
                  now.server,
                  a->median,
                  b->median,
                  grown,
                  relative,
                  grown > threshold && b->least > a->median};
}

}  // namespace

std::optional<spread> to_c(const cell& in, const row& of) {
    if (of.kind == "C") return std::nullopt;
    const auto twin = ratio(
        in, of, [&](const row& other) { return other.kind == "C" && other.backend == of.backend; });
    return twin ? twin : ratio(in, of, [](const row& other) { return other.kind == "C"; });
}

std::optional<spread> to_peer(const cell& in, const row& of) {
    if (of.kind == "peer") return std::nullopt;
    return ratio(in, of, [](const row& other) { return other.kind == "peer"; });
}

std::optional<spread> to_ours(const cell& in, const row& of) {
    if (of.kind == "ours") return std::nullopt;
    return ratio(in, of, [&](const row& other) {
        return other.kind == "ours" && other.backend == of.backend;
    });
}

std::optional<spread> over_rounds(const row& of, double run_result::*figure) {
    std::vector<double> values;
    for (const run_result& run : of.runs) values.push_back(run.*figure);
    return spread_of(std::move(values));
}

std::optional<double> calls_of(const row& of) {
    std::vector<double> values;
    for (const run_result& run : of.runs)
        if (run.calls) values.push_back(*run.calls);
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
            const auto take = [&](const char* against, const std::optional<spread>& ratio) {
                if (!ratio) return;
                ++compared;
                if (ratio->median > losing) lost.push_back({c.name, r.server, against, *ratio});
            };
            take("C", to_c(c, r));
            take("peer", to_peer(c, r));
        }
    std::stable_sort(lost.begin(), lost.end(),
                     [](const loss& a, const loss& b) { return a.ratio.median > b.ratio.median; });
    return lost;
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
