// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/program.hpp>

namespace ringlet {

std::shared_ptr<shared_port> program::port(const address& local) {
    const std::lock_guard lock(mutex_);
    std::string key = local.to_string();
    // The n-th bind to port 0 on one core belongs to the n-th on every other.
    if (local.port() == 0) {
        const unsigned nth = binds[this_core][key]++;
        key += '#';
        key += std::to_string(nth);
    }
    const auto entry = ports_.try_emplace(std::move(key)).first;
    if (!entry->second)
        entry->second = std::make_shared<shared_port>(static_cast<unsigned>(cores.size()));
    std::shared_ptr<shared_port> found = entry->second;
    // Nobody will ask for it again. (Messages between cores may name one that is dealt out.)
    if (local.port() == 0 && ++found->asked == cores.size() && !one_acceptor)
        ports_.erase(entry);
    return found;
}

}  // namespace ringlet
