// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Connects clients to where they ask to be connected (SOCKS5, RFC 1928 and 1929): CONNECT, with or
/// without a password, to an address or to a name, which is looked up off the loop.

#include "client_share.hpp"
#include "common/options.hpp"
#include "common/server.hpp"
#include "socks5.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
namespace socks5 = samples::socks5;

struct settings {
    ringlet::address listen = ringlet::address::loopback_v4(1080);
    socks5::login login;
    std::uint64_t max_connections = 0;
    ringlet::nanoseconds handshake = 10s;
    ringlet::nanoseconds connect = 10s;
    ringlet::relay_options relay;
    ringlet::run_options run;
};

/// Of each client at once: shared out over the cores, rounded down, but at least one on each, and
/// no core lends another its share. Four times as many can be done, so that slow names of one
/// client do not hold up the others.
constexpr unsigned look_ups_of_a_client = 4;
constexpr unsigned clients_looked_up_for = 4;

/// Blocks.
std::vector<ringlet::address> look_up(const std::string& name, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    std::vector<ringlet::address> found;
    if (::getaddrinfo(name.c_str(), nullptr, &hints, &list) != 0) return found;
    for (const addrinfo* at = list; at != nullptr; at = at->ai_next)
        if (auto a = ringlet::address::from_sockaddr(at->ai_addr, at->ai_addrlen)) {
            a->set_port(port);
            found.push_back(*a);
        }
    ::freeaddrinfo(list);
    return found;
}

ringlet::task<ringlet::result<std::vector<ringlet::address>>> addresses_of(
    socks5::target wanted, const ringlet::address& client, samples::client_share& look_ups) {
    if (wanted.name.empty()) co_return std::vector<ringlet::address>{wanted.where};
    samples::client_share::guest asking(look_ups, client);
    const auto turn = co_await asking.turns().acquire();
    if (!turn) co_return turn.error();
    auto call = [&] { return look_up(wanted.name, wanted.port); };
    co_return co_await ringlet::blocking(call);
}

/// To the first of them that takes it, within the time for all.
ringlet::task<ringlet::result<ringlet::tcp_stream>> connect(socks5::target wanted,
                                                            const ringlet::address& client,
                                                            samples::client_share& look_ups) {
    auto found = co_await addresses_of(std::move(wanted), client, look_ups);
    if (!found) co_return found.error();
    std::error_code last = std::make_error_code(std::errc::host_unreachable);
    for (const ringlet::address& where : *found) {
        auto stream = co_await ringlet::tcp_stream::connect(where);
        if (stream) co_return std::move(*stream);
        last = stream.error();
    }
    co_return last;
}

ringlet::task<> session(ringlet::tcp_stream client, const settings& set,
                        samples::client_share& look_ups,
                        ringlet::semaphore::permit /*given back with the frame*/) {
    try {
        auto request = socks5::take_request(client, set.login);
        auto wanted = co_await ringlet::with_deadline(set.handshake, std::move(request));
        if (!wanted) co_return;
        const ringlet::address from = client.peer_name().value_or(ringlet::address());
        auto connecting = connect(std::move(*wanted), from, look_ups);
        auto server = co_await ringlet::with_deadline(set.connect, std::move(connecting));
        if (!server) {
            auto refusal = socks5::refuse(client, socks5::reply_for(server.error()));
            static_cast<void>(co_await ringlet::with_deadline(set.handshake, std::move(refusal)));
            co_return;
        }
        const auto bound = server->local_name().value_or(ringlet::address());
        const std::string granted = socks5::answer(socks5::reply::granted, bound);
        if (!co_await client.send_all(granted).within(set.handshake)) co_return;
        static_cast<void>(co_await ringlet::relay(client, *server, set.relay));
    } catch (const std::bad_alloc&) {
        samples::tell_no_memory();  // this session ends, and no other
    }
}

ringlet::task<> serve(ringlet::tcp_listener door, const settings& set) {
    samples::client_share look_ups(std::max(1U, look_ups_of_a_client / set.run.cores));
    const samples::session_task start = [&](ringlet::tcp_stream client,
                                            ringlet::semaphore::permit permit) {
        return session(std::move(client), set, look_ups, std::move(permit));
    };
    co_await samples::serve_each(std::move(door), set.max_connections, start);
}

settings read_command_line(int argc, char** argv) {
    settings set;
    unsigned mode = 0;
    std::string login;
    set.relay.idle = 300s;
    samples::command_line line("socks5_proxy",
                               "Connects clients to where they ask (SOCKS5), until SIGINT or "
                               "SIGTERM.");
    line.address("listen", set.listen,
                 "where to listen (default 127.0.0.1:1080); port 0 picks one");
    line.text("login", login, "USER:PASSWORD",
              "what clients must say (default: nobody is asked)");
    line.seconds("handshake-timeout", set.handshake, 0.001, 1e6,
                 "for a client's request (default 10)");
    line.seconds("connect-timeout", set.connect, 0.001, 1e6,
                 "for looking a name up and connecting (default 10)");
    line.choice("mode", {"auto", "copy", "splice"}, mode,
                "copy, splice, or each direction by what it moves (default auto)");
    line.number("cores", set.run.cores, 1, 1024, "loops, each on a thread of its own (default 1)");
    line.backend(set.run.core.backend);
    line.number("max-connections", set.max_connections, 1, 100'000'000,
                "clients at once, shared out over the cores; more wait (default: no limit)");
    line.seconds("idle", set.relay.idle, 0, 1e6,
                 "ends a session in which nothing moves, or who receives takes nothing; 0: never "
                 "(default 300)");
    line.seconds("grace", set.run.grace, 0, 1e6,
                 "time for sessions to finish at a stop (default 5)");
    line.parse(argc, argv);
    samples::check_share(line, set.max_connections, set.run.cores);
    set.run.core.blocking.threads =
        std::min(1024U, clients_looked_up_for * std::max(look_ups_of_a_client, set.run.cores));
    if (!login.empty()) {
        const auto colon = login.find(':');
        const auto user = colon == std::string::npos ? 0 : colon;
        const auto password = login.size() - user - 1;
        if (user == 0 || user > 255 || password == 0 || password > 255)
            line.refuse("--login: it must be USER:PASSWORD, of 1 to 255 bytes each (RFC 1929)");
        set.login = {login.substr(0, colon), login.substr(colon + 1)};
    }
    set.relay.mode = static_cast<ringlet::relay_mode>(mode);
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    return samples::run_server("socks5_proxy", set.run, set.listen, set.max_connections,
                               [&](ringlet::tcp_listener door) {
                                   return serve(std::move(door), set);
                               });
}
