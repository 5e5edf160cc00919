// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"
#include "statistics.hpp"

#include <optional>
#include <string>
#include <vector>

namespace bench {

/// CPU per message relative to the best C server of the same backend (of any, where it has none,
/// and for proxies and files, where the technique is not the backend's), taken within each round;
/// the best is the one with the lowest median. Nothing for C servers.
[[nodiscard]] std::optional<spread> to_c(const cell& in, const row& of);
/// To the best peer; nothing for peers.
[[nodiscard]] std::optional<spread> to_peer(const cell& in, const row& of);
/// To ringlet on the same backend; nothing for ringlet.
[[nodiscard]] std::optional<spread> to_ours(const cell& in, const row& of);

/// A figure of every run of a row.
[[nodiscard]] std::optional<spread> over_rounds(const row& of, double run_result::*figure);
/// The median of one that not every run has.
[[nodiscard]] std::optional<double> median_of(const row& of,
                                              std::optional<double> run_result::*figure);
/// User time's share of the CPU time, over all rounds: one alone has too few ticks.
[[nodiscard]] std::optional<double> user_share(const row& of);

/// Beyond this a ratio counts as lost; closer than that, two servers are alike.
inline constexpr double losing = 1.03;

/// A comparison that ringlet lost.
struct loss {
    std::string cell;
    std::string server;
    std::string against;  ///< the rival's name
    spread ratio;
};
/// The worst first. `compared` gets how many comparisons there were.
[[nodiscard]] std::vector<loss> losses_of(const report& all, std::size_t& compared);

/// One server of ringlet's beside one rival over all the cells that both have: the rival is the
/// same in each, and so none that luck has chosen.
struct standing {
    std::string server;
    std::string against;
    double mean = 0;  ///< geometric mean of the cells' ratios of CPU per message
    unsigned ahead = 0;
    unsigned alike = 0;  ///< within `losing`, one way or the other
    unsigned behind = 0;
};
/// Of rivals that share at least three cells with it.
[[nodiscard]] std::vector<standing> standings_of(const report& all);

/// What has become of one server in one cell since a former report.
struct change {
    std::string cell;
    std::string server;
    double before = 0;
    double now = 0;
    double ratio = 0;
    bool relative = false;   ///< figures are relative to a C server in the same round, not us
    bool failed = false;     ///< rounds failed that did not before; `now` is 0 when all of them did
    bool regressed = false;  ///< failed, or beyond the threshold and three quarters of the rounds
                             ///< of now above the former median
};
/// For every row of ringlet's own that is in both reports and was measured in the former.
[[nodiscard]] std::vector<change> changes_since(const report& before, const report& now,
                                                double threshold);

}  // namespace bench
