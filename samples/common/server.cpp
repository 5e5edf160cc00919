// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "server.hpp"

#include "tell.hpp"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace samples {

namespace {

void say_listening(const ringlet::tcp_listener& door) {
    const ringlet::core& here = ringlet::here();
    std::string line = fmt::format("ringlet: listening on {} backend={} cores={}",
                                   door.local_name().to_string(), to_string(here.backend()),
                                   ringlet::core_count());
    if (!here.fallback_reason().empty())
        line += fmt::format(" reason=\"{}\"", here.fallback_reason());
    line += fmt::format(" loop=\"{}\"", here.describe());
    std::puts(line.c_str());
    std::fflush(stdout);
}

/// What to do about an address that cannot be had.
std::string remedy(const std::error_code& error, const ringlet::address& wanted) {
    std::error_code unknown;
    if (error == std::errc::address_in_use && !wanted.file().empty() &&
        !std::filesystem::is_socket(wanted.file(), unknown))
        return "this file is not a socket; give --listen another path";
    if (error == std::errc::address_in_use && !wanted.file().empty())
        return fmt::format("see who listens there with `ss -xlp`; if nobody does, a server that was "
                           "killed has left it: remove it with `rm {}`", wanted.file());
    if (error == std::errc::address_in_use && wanted.is_unix())
        return "see who listens there with `ss -xlp`, or give --listen another name";
    if (error == std::errc::address_in_use)
        return fmt::format("see who holds it with `ss -ltnp 'sport = :{}'`, or give --listen "
                           "another port", wanted.port());
    if (error == std::errc::permission_denied && !wanted.is_unix())
        return "ports below 1024 need CAP_NET_BIND_SERVICE; give --listen a higher one";
    if (error == std::errc::address_not_available)
        return "no interface of this machine has this address: `ip addr` lists those there are";
    if (error == std::errc::too_many_files_open)
        return std::string(raise_open_files);
    return "give --listen another address";
}

/// This core's part of a limit for all of them; 0 stands for none.
std::size_t share_of(std::uint64_t limit) {
    if (limit == 0) return SIZE_MAX;
    const std::size_t cores = ringlet::core_count();
    return limit / cores + (ringlet::core_index() < limit % cores ? 1 : 0);
}

}  // namespace

int run_server(std::string_view program, const ringlet::run_options& options,
               const ringlet::address& listen, std::uint64_t max_connections,
               const server_task& serve, const make_report& make) {
    static_cast<void>(std::signal(SIGUSR1, SIG_IGN));  // until, and once no more, it is waited for
    static_cast<void>(std::signal(SIGPIPE, SIG_IGN));  // who read stderr may have gone
    std::atomic<bool> unusable{false};
    ringlet::listen_options how;
    if (max_connections != 0) how.ready_limit = 1;
    const int code = ringlet::run(options, [&]() -> ringlet::task<> {
        auto door = ringlet::tcp_listener::bind(listen, how);
        if (!door) {
            if (!unusable.exchange(true))
                tell(fmt::format("{}: cannot listen on {}: {}; {}\n", program, listen.to_string(),
                                 door.error().message(), remedy(door.error(), listen)));
            ringlet::stop();  // a server on some of its cores is none
            co_return;
        }
        if (ringlet::core_index() == 0) say_listening(*door);
        co_await ringlet::with_scope([&](ringlet::scope& all) -> ringlet::task<> {
            if (ringlet::core_index() == 0) all.start(report_when_asked(program, make));
            co_await serve(std::move(*door));
            all.cancel();
        });
    });
    return unusable ? exit_bad_input : code;
}

ringlet::task<> serve_each(ringlet::tcp_listener door, std::uint64_t max_connections,
                           const session_task& session) {
    ringlet::semaphore room(share_of(max_connections));
    co_await ringlet::with_scope([&](ringlet::scope& sessions) -> ringlet::task<> {
        const auto start = [&](ringlet::tcp_stream& peer, ringlet::semaphore::permit& permit) {
            try {
                sessions.start(session(std::move(peer), std::move(permit)));
            } catch (const std::bad_alloc&) {
                tell_no_memory();
            }
        };
        // The permit first: who finds no room waits in the backlog. (But for one: io_uring accepts
        // ahead of next(), no more than listen_options::ready_limit.)
        while (auto permit = co_await room.acquire().or_stop()) {
            auto peer = co_await door.next();
            if (!peer) break;
            start(*peer, *permit);
        }
        // A stop: who is in the backlog is taken out of it, since closing would reset him. Closed
        // before sessions end, so that new clients go elsewhere and another server may start.
        std::vector<ringlet::tcp_stream> waiting;
        while (auto peer = co_await door.next()) {
            try {
                waiting.push_back(std::move(*peer));
            } catch (const std::bad_alloc&) {
                tell_no_memory();
            }
        }
        door.close();
        for (ringlet::tcp_stream& peer : waiting) {
            auto permit = co_await room.acquire();
            if (!permit) break;
            start(peer, *permit);
        }
    });
}

void tell_no_memory() noexcept {
    static thread_local seldom told;
    if (told.is_due(ringlet::now()))
        tell("ringlet: no memory: a connection was dropped\n");
}

void add_server_options(command_line& line, ringlet::run_options& run,
                        std::uint64_t& max_connections) {
    line.number("cores", run.cores, 1, 1024, "loops, each on a thread of its own (default 1)");
    line.backend(run.core.backend);
    line.number("max-connections", max_connections, 1, 100'000'000,
                "clients at once, shared out over the cores; more wait (default: no limit)");
    line.seconds("grace", run.grace, 0, 1e6,
                 "time for sessions to finish at a stop (default 5)");
}

void check_share(const command_line& line, std::uint64_t limit, unsigned cores) {
    if (limit == 0 || limit >= cores) return;
    line.refuse(fmt::format("--max-connections `{}`: there are {} cores and each needs one; raise it "
                            "or lower --cores", limit, cores));
}

}  // namespace samples
