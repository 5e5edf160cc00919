// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Sends back what it receives. The whole server is session(), and serve_each() of
/// common/server.cpp; the rest is the command line.

#include "common/options.hpp"
#include "common/server.hpp"

#include <ringlet/ringlet.hpp>

#include <chrono>
#include <utility>

namespace {

using namespace std::chrono_literals;

struct settings {
    ringlet::address listen = ringlet::address::loopback_v4(7000);
    std::uint64_t max_connections = 0;  // 0: no limit
    ringlet::nanoseconds idle = 60s;
    std::size_t zero_copy = 0;  // 0: none
    ringlet::run_options run;
};

constexpr ringlet::nanoseconds for_ever = std::chrono::hours(24 * 365 * 100);

/// Ends when the peer has sent everything, when nothing moves for `idle`, when the connection
/// fails, or at a stop of the program once everything received has been sent back.
ringlet::task<> session(ringlet::tcp_stream peer, ringlet::nanoseconds idle,
                        ringlet::semaphore::permit /*given back with the frame*/) {
    while (auto chunk = co_await peer.chunks().next().within(idle).or_stop())
        if (!co_await peer.send_all(std::move(*chunk)).within(idle)) co_return;
}

ringlet::task<> serve(ringlet::tcp_listener door, const settings& set) {
    const samples::session_task start = [&](ringlet::tcp_stream peer,
                                            ringlet::semaphore::permit permit) {
        if (set.zero_copy > 0) peer.set_zero_copy(set.zero_copy);
        return session(std::move(peer), set.idle, std::move(permit));
    };
    co_await samples::serve_each(std::move(door), set.max_connections, start);
}

settings read_command_line(int argc, char** argv) {
    settings set;
    unsigned accept = 0;
    unsigned receive = 0;
    unsigned buffers = 0;
    samples::command_line line("echo_server",
                               "Sends back what it receives, until SIGINT or SIGTERM.");
    line.address("listen", set.listen,
                 "where to listen (default 127.0.0.1:7000); port 0 picks one");
    samples::add_server_options(line, set.run, set.max_connections);
    line.seconds("idle", set.idle, 0, 1e6,
                 "ends a session in which nothing moves; 0: never (default 60)");
    line.choice("accept", {"each", "one"}, accept,
                "each core accepts for itself (default), or core 0 deals out in turn");
    line.choice("receive", {"auto", "multishot", "readiness"}, receive,
                "how io_uring receives: each session by its message sizes (default), or pinned");
    line.choice("buffers", {"whole", "bundles", "incremental"}, buffers,
                "an answer of io_uring tells of one (default), of several, or of a slice of one");
    line.bytes("zero-copy", set.zero_copy, 1, 1 << 30,
               "sends of this size and more leave copying to the network card (io_uring)");
    line.number("direct-descriptors", set.run.core.direct_descriptors, 0, 10'000'000,
                "slots of io_uring's own table for connections; 0: plain descriptors (default)");
    line.parse(argc, argv);
    if (set.idle == 0s) set.idle = for_ever;
    samples::check_share(line, set.max_connections, set.run.cores);
    set.run.core.buffers.receive = static_cast<ringlet::receive_path>(receive);
    set.run.core.buffers.bundles = buffers == 1;
    set.run.core.buffers.incremental = buffers == 2;
    using mode = ringlet::run_options::accept_mode;
    set.run.accept = accept == 0 ? mode::each_core : mode::one_core;
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    return samples::run_server("echo_server", set.run, set.listen, set.max_connections,
                               [&](ringlet::tcp_listener door) {
                                   return serve(std::move(door), set);
                               });
}
