// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "disturbance.hpp"

#include <algorithm>

namespace bench {

namespace {

constexpr double disturbing_wait = 0.10;
constexpr double disturbing_steal = 0.05;

/// A generator that is late by so much, and by such a part of the tail, is the tail.
constexpr double disturbing_lateness_us = 200;
constexpr double disturbing_part = 0.2;

bool is_late(const run_result& of) noexcept {
    return of.late_p99_us > disturbing_lateness_us &&
           of.late_p99_us > disturbing_part * of.p99_us;
}

double client_waits(const run_result& of, role r) noexcept {
    return r == role::proxy ? 0 : of.client_waits;
}

}  // namespace

bool is_disturbed(const run_result& of, role r) noexcept {
    return std::max(of.server_waits, client_waits(of, r)) > disturbing_wait ||
           of.stolen > disturbing_steal || is_late(of);
}

}  // namespace bench
