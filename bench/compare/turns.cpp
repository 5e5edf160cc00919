// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "turns.hpp"

#include <algorithm>
#include <cmath>

namespace bench {

namespace {

constexpr double shortest_turn = 0.02;
constexpr double shortest_warmup = 0.004;
constexpr double stream_seconds = 0.1;  // until as much is on its way as there was without a pause
// A server that stalls is charged for what was due until its turn's end.
constexpr double rate_turn = 0.1;

/// About what everything that is on its way needs to go there and back once, in seconds: what limit
/// servers cost on a slow machine.
double round_trip(const workload& w) {
    constexpr double message = 6e-6;
    constexpr double byte = 0.5e-9;
    const unsigned talking = w.active > 0 ? w.active : w.connections;
    return talking * w.pipeline * (message + static_cast<double>(w.size) * byte);
}

}  // namespace

turn_plan plan_of(double seconds, const workload& w) {
    const bool streams = w.traffic == "sink" || w.traffic == "source";
    const double once = w.rate > 0 ? 0 : round_trip(w);
    const double shortest = streams      ? stream_seconds
                            : w.rate > 0 ? rate_turn
                                         : std::max(shortest_turn, 4 * once);
    turn_plan plan;
    plan.turns = static_cast<unsigned>(std::max(1.0, std::round(seconds / shortest)));
    plan.seconds = seconds / plan.turns;
    plan.warmup = streams ? stream_seconds : std::max(shortest_warmup, once);
    return plan;
}

}  // namespace bench
