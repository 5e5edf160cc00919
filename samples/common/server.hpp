// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// What the servers among the samples share: listening on every core, the start line, what to say
/// when the address cannot be had, the report on SIGUSR1, accepting, and a limit on connections
/// shared out over the cores.

#include "options.hpp"
#include "report.hpp"

#include <ringlet/ringlet.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

namespace samples {

/// Serves what the listener gives until it ends.
using server_task = std::function<ringlet::task<>(ringlet::tcp_listener)>;

/// Listens on each core and calls `serve` there; the program's exit code. An address that cannot be
/// had is one line on stderr and exit code 2. SIGUSR1 writes what `make` makes to stderr. With
/// `max_connections` (0: no limit) at most one connection for each core is accepted
/// that `serve` has not taken.
[[nodiscard]] int run_server(
    std::string_view program, const ringlet::run_options& options, const ringlet::address& listen,
    std::uint64_t max_connections, const server_task& serve,
    const make_report& make = [] { return std::make_unique<report>(); });

/// Serves one connection; its permit is to be given back with its frame.
using session_task = std::function<ringlet::task<>(ringlet::tcp_stream, ringlet::semaphore::permit)>;

/// Starts `session` for each connection, no more at once than this core's part of `max_connections`
/// (0: no limit), until the program stops. Who had connected by then is still served, who comes
/// later is refused at once. A connection for which there is no memory is dropped, and no other.
[[nodiscard]] ringlet::task<> serve_each(ringlet::tcp_listener door, std::uint64_t max_connections,
                                         const session_task& session);

/// The same for a session of a core that has something for all of its sessions, `mine`.
template <class Mine>
ringlet::task<> serve_each(ringlet::tcp_listener door, std::uint64_t max_connections,
                           ringlet::task<> (*session)(ringlet::tcp_stream, Mine&,
                                                      ringlet::semaphore::permit),
                           Mine& mine) {
    const session_task start = [&](ringlet::tcp_stream peer, ringlet::semaphore::permit permit) {
        return session(std::move(peer), mine, std::move(permit));
    };
    co_await serve_each(std::move(door), max_connections, start);
}

/// Says, once a second and core at most, that a connection was dropped since memory ran out.
void tell_no_memory() noexcept;

/// What every server takes: --cores, --backend, --max-connections and --grace.
void add_server_options(command_line& line, ringlet::run_options& run,
                        std::uint64_t& max_connections);
/// Refuses a --max-connections that leaves a core without any.
void check_share(const command_line& line, std::uint64_t limit, unsigned cores);

}  // namespace samples
