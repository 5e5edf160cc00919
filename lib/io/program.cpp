// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/program.hpp>

namespace ringlet {

shared_port& program::port(const address& local) {
    const std::lock_guard lock(mutex_);
    std::string key = local.to_string();
    // The n-th bind to port 0 on one core belongs to the n-th on every other.
    if (local.port() == 0) {
        const unsigned nth = binds[this_core][key]++;
        key += '#';
        key += std::to_string(nth);
    }
    auto& entry = ports_[key];
    if (!entry) entry = std::make_unique<shared_port>(static_cast<unsigned>(cores.size()));
    return *entry;
}

}  // namespace ringlet
