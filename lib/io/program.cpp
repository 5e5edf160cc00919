// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/program.hpp>

namespace ringlet {

std::shared_ptr<shared_port> program::port(const address& local) {
    const std::lock_guard lock(mutex_);
    std::string key = local.to_string();
    // The n-th bind to port 0 on one core belongs to the n-th on every other.
    if (local.port() == 0) {
        const unsigned nth = binds_[this_core][key];
        key += '#';
        key += std::to_string(nth);
    }
    std::shared_ptr<shared_port>& found = ports_[std::move(key)];
    if (!found) found = std::make_shared<shared_port>(static_cast<unsigned>(cores.size()));
    return found;
}

void program::bound(const address& local, shared_port& port) {
    if (local.port() != 0) return;
    const std::lock_guard lock(mutex_);
    ++binds_[this_core][local.to_string()];
    // Nobody will ask for it again. (Messages between cores may name one that is dealt out.)
    if (++port.had == cores.size() && !one_acceptor)
        std::erase_if(ports_, [&](const auto& known) { return known.second.get() == &port; });
}

}  // namespace ringlet
