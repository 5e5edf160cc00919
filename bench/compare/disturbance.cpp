// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "disturbance.hpp"

#include <algorithm>

namespace bench {

namespace {

constexpr double disturbing_wait = 0.10;
constexpr double disturbing_steal = 0.05;

double client_waits(const run_result& of, role r) noexcept {
    return r == role::proxy ? 0 : of.client_waits;
}

}  // namespace

double disturbance(const run_result& of, role r) noexcept {
    return of.server_waits + client_waits(of, r) + of.stolen;
}

bool is_disturbed(const run_result& of, role r) noexcept {
    return std::max(of.server_waits, client_waits(of, r)) > disturbing_wait ||
           of.stolen > disturbing_steal;
}

}  // namespace bench
