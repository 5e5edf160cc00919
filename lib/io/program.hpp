// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>
#include <ringlet/base/unique_fd.hpp>
#include <ringlet/core/core.hpp>

#include <io/deal.hpp>

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace ringlet {

/// One address that the cores of a program listen on together. Lives as long as the program; one by
/// port 0, once all cores have had it, as long as any of them listens on it.
struct shared_port {
    explicit shared_port(unsigned cores) : deal(cores) {}

    std::mutex binding;          ///< held by the core that binds; the others then take `local`
    bool bound = false;
    unsigned users = 0;          ///< listeners that are not closed
    unsigned had = 0;            ///< cores that have listened on it, by port 0
    bool waited = false;         ///< one core has tried for listen_options::retry: enough for all
    address local;
    bool named = false;          ///< `local` is known, and stays
    unique_fd socket;            ///< a Unix-domain listener's, which all cores have a copy of
    dealing deal;                ///< where one core accepts for all
};

/// What the cores started by one run() share. Set up before the first core, gone after the last.
struct program {
    explicit program(unsigned count, bool one) : cores(count), one_acceptor(one), binds_(count) {}

    /// What is known of the address `local`; made by the first core that asks.
    [[nodiscard]] std::shared_ptr<shared_port> port(const address& local);
    /// This core has got it. Until then it is given the same one by port 0, however often it fails.
    void bound(const address& local, shared_port& port);

    std::vector<core*> cores;  ///< null until made; fixed while any of them runs
    const bool one_acceptor;

    static inline std::atomic<program*> running{nullptr};
    static inline thread_local unsigned this_core = 0;

private:
    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<shared_port>> ports_;
    std::vector<std::map<std::string, unsigned>> binds_;  // per core: binds to port 0 so far
};

}  // namespace ringlet
