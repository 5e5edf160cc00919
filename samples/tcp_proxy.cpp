// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Passes connections on to one of several servers. A session is connect, an optional header, and
/// relay(); the rest is what to say on SIGUSR1, and the command line.

#include "common/options.hpp"
#include "common/report.hpp"
#include "common/server.hpp"
#include "proxy_header.hpp"
#include "upstreams.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct settings {
    ringlet::address listen = ringlet::address::loopback_v4(7001);
    std::vector<ringlet::address> servers;
    samples::upstreams::options upstreams;
    unsigned proxy_protocol = 0;  // its version; 0: none
    std::uint64_t max_connections = 0;
    ringlet::relay_options relay;
    ringlet::run_options run;
};

/// What one core has of the proxy.
struct proxy {
    explicit proxy(const settings& s) : set(s), upstreams(s.servers, s.upstreams) { here = this; }
    proxy(const proxy&) = delete;
    ~proxy() { here = nullptr; }

    const settings& set;
    samples::upstreams upstreams;
    static inline thread_local proxy* here = nullptr;  // for the core that reports
};

ringlet::task<bool> introduce(ringlet::tcp_stream& server, ringlet::tcp_stream& client,
                              const settings& set) {
    const auto from = client.peer_name();
    const auto to = client.local_name();
    if (!from || !to) co_return false;  // it has gone already
    const std::string header = samples::proxy_header(set.proxy_protocol, *from, *to);
    const auto sent = co_await server.send_all(header).within(set.upstreams.connect_timeout);
    co_return sent.has_value();
}

ringlet::task<> session(ringlet::tcp_stream client, proxy& p,
                        ringlet::semaphore::permit /*given back with the frame*/) {
    try {
        auto connected = co_await p.upstreams.connect();
        if (!connected) co_return;
        auto& [server, at] = *connected;
        if (p.set.proxy_protocol != 0)
            if (!co_await introduce(server, client, p.set)) co_return;
        ringlet::relay_options options = p.set.relay;
        options.totals = &at.server().moved;
        static_cast<void>(co_await ringlet::relay(client, server, options));
    } catch (const std::bad_alloc&) {
        samples::tell_no_memory();  // this session ends, and no other
    }
}

// ---- SIGUSR1 --------------------------------------------------------------------------------------

class proxy_report : public samples::report {
public:
    explicit proxy_report(const settings& set)
        : upstreams_(set.servers.begin(), set.servers.end()), ejected_(set.servers.size()) {}

    void add_this_core() noexcept override {
        report::add_this_core();
        if (proxy::here == nullptr) return;
        const samples::upstreams& mine = proxy::here->upstreams;
        for (std::size_t i = 0; i < upstreams_.size(); ++i) {
            const samples::upstream& u = mine.all()[i];
            upstreams_[i].active += u.active;
            upstreams_[i].total += u.total;
            upstreams_[i].failures += u.failures;
            upstreams_[i].shortages += u.shortages;
            upstreams_[i].ejections += u.ejections;
            upstreams_[i].moved.a_to_b += u.moved.a_to_b;
            upstreams_[i].moved.b_to_a += u.moved.b_to_a;
            upstreams_[i].moved.spliced += u.moved.spliced;
            ejected_[i] += mine.ejected(u) ? 1 : 0;
        }
    }

    [[nodiscard]] std::string text() const override {
        std::string text;
        std::uint64_t copied = 0;
        for (std::size_t i = 0; i < upstreams_.size(); ++i) {
            const samples::upstream& u = upstreams_[i];
            text += fmt::format("  upstream {} active={} total={} failures={} shortages={} "
                                "ejected={} ejections={} to={} from={}\n",
                                u.where.to_string(), u.active, u.total, u.failures, u.shortages,
                                ejected_[i], u.ejections, u.moved.a_to_b, u.moved.b_to_a);
            copied += u.moved.a_to_b + u.moved.b_to_a - u.moved.spliced;
        }
        return text + fmt::format("  copied_bytes={}\n", copied) + report::text();
    }

private:
    std::vector<samples::upstream> upstreams_;
    std::vector<unsigned> ejected_;  // by how many cores
};

ringlet::task<> serve(ringlet::tcp_listener door, const settings& set) {
    proxy p(set);
    co_await samples::serve_each(std::move(door), set.max_connections, session, p);
}

// ---- the command line -----------------------------------------------------------------------------

/// Whether what goes to `server` comes in at `listen`.
bool is_this_proxy(ringlet::address server, const ringlet::address& listen) {
    using ringlet::address;
    if (server.is_any()) {  // connect(2) takes it for this machine
        const std::uint16_t port = server.port();
        server = server.is_v4() ? address::loopback_v4(port) : address::loopback_v6(port);
    }
    if (server == listen) return true;
    const bool is_v4_here = server.is_v4() && server.to_string().starts_with("127.");
    const bool is_v6_here = server == address::loopback_v6(server.port());
    return listen.is_any() && server.port() == listen.port() &&
           (is_v4_here || (is_v6_here && listen.is_v6()));
}

settings read_command_line(int argc, char** argv) {
    settings set;
    unsigned balance = 0;
    unsigned mode = 0;
    unsigned splice = 0;
    std::size_t pipe_size = set.run.core.pipes.size;
    set.relay.idle = 300s;
    samples::command_line line("tcp_proxy",
                               "Passes connections on to servers, until SIGINT or SIGTERM; SIGUSR1 "
                               "shows what it has done.");
    line.address("listen", set.listen,
                 "where to listen, or unix:/PATH (default 127.0.0.1:7001); port 0 picks one");
    line.addresses("upstream", set.servers,
                   "a server, HOST:PORT or unix:/PATH; at least one, may be repeated");
    line.choice("balance", {"round-robin", "least"}, balance,
                "servers in turn (default), or the one with the fewest connections");
    line.seconds("connect-timeout", set.upstreams.connect_timeout, 0.001, 1e6,
                 "for one server, before the next one is tried (default 5)");
    line.number("eject-after", set.upstreams.eject_after, 0, 1'000'000,
                "failed connects in a row before a server is left alone; 0: never (default 3)");
    line.seconds("eject-for", set.upstreams.eject_for, 0.001, 1e6,
                 "time until a connection tries it again (default 10)");
    line.number("proxy-protocol", set.proxy_protocol, 1, 2,
                "tells servers of the client, by PROXY protocol version 1 or 2");
    line.choice("mode", {"auto", "copy", "splice"}, mode,
                "copy, splice, or each direction by what it moves (default auto)");
    line.choice("splice", {"readiness", "ring"}, splice,
                "on io_uring by splice(2) when a socket is ready (default), or by the ring's workers");
    line.bytes("pipe-size", pipe_size, 65536, 1U << 30, "of a pipe for splicing (default 1M)");
    line.seconds("idle", set.relay.idle, 0, 1e6,
                 "ends a session in which nothing moves, or who receives takes nothing; 0: never "
                 "(default 300)");
    samples::add_server_options(line, set.run, set.max_connections);
    line.parse(argc, argv);
    if (set.servers.empty())
        line.refuse("--upstream is missing: give the server that connections shall go to, as in "
                    "`--upstream 127.0.0.1:7000`");
    for (const ringlet::address& server : set.servers)
        if (!server.is_unix() && server.port() == 0)
            line.refuse(fmt::format("--upstream `{}`: the port is 0; give the server's",
                                    server.to_string()));
    for (const ringlet::address& server : set.servers)
        if (is_this_proxy(server, set.listen))
            line.refuse(fmt::format("--upstream `{}`: that is this proxy (--listen {}): it would "
                                    "connect to itself without end; give the server's",
                                    server.to_string(), set.listen.to_string()));
    samples::check_share(line, set.max_connections, set.run.cores);
    set.upstreams.by = static_cast<samples::upstreams::balance>(balance);
    set.relay.mode = static_cast<ringlet::relay_mode>(mode);
    set.run.core.pipes.path = static_cast<ringlet::splice_path>(splice);
    set.run.core.pipes.size = static_cast<std::uint32_t>(pipe_size);
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    const auto serve_here = [&](ringlet::tcp_listener door) { return serve(std::move(door), set); };
    return samples::run_server("tcp_proxy", set.run, set.listen, set.max_connections, serve_here,
                               [&] { return std::make_unique<proxy_report>(set); });
}
