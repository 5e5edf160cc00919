// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Connects clients to where they ask to be connected (SOCKS5, RFC 1928 and 1929): CONNECT, with or
/// without a password, to an address or to a name, which is looked up off the loop.

#include "client_share.hpp"
#include "common/options.hpp"
#include "common/report.hpp"
#include "common/server.hpp"
#include "common/tell.hpp"
#include "connect_any.hpp"
#include "socks5.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
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

/// What one core has of the proxy.
struct proxy {
    explicit proxy(const settings& s)
        : set(s), share(std::max(1U, look_ups_of_a_client / s.run.cores)) {
        here = this;
    }
    proxy(const proxy&) = delete;
    ~proxy() { here = nullptr; }

    const settings& set;
    samples::client_share share;  // of the look-ups
    std::uint64_t waiting = 0;    // look-ups that have no answer yet
    std::uint64_t unknown = 0;    // names that there are not
    std::uint64_t failed = 0;     // look-ups that failed otherwise: no resolver answers, say
    samples::seldom told_of_look_ups;
    samples::seldom told_of_shortage;
    static inline thread_local proxy* here = nullptr;  // for the core that reports
};

/// Counts as a look-up that waits, while it lives.
class waiting_look_up {
public:
    explicit waiting_look_up(proxy& of) noexcept : of_(of) { ++of_.waiting; }
    waiting_look_up(const waiting_look_up&) = delete;
    ~waiting_look_up() { --of_.waiting; }

private:
    proxy& of_;
};

/// What getaddrinfo(3) says, and what it has found.
struct looked_up {
    int error = 0;
    int number = 0;  // errno, of EAI_SYSTEM
    std::vector<ringlet::address> found;
};

/// Blocks.
looked_up look_up(const std::string& name, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    looked_up answer;
    answer.error = ::getaddrinfo(name.c_str(), nullptr, &hints, &list);
    answer.number = errno;
    if (answer.error != 0) return answer;
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);
    for (const addrinfo* at = list; at != nullptr; at = at->ai_next)
        if (auto a = ringlet::address::from_sockaddr(at->ai_addr, at->ai_addrlen)) {
            a->set_port(port);
            answer.found.push_back(*a);
        }
    return answer;
}

/// Not the name: it is the client's, and may hold whatever a terminal must not be shown.
void tell_of_look_up(proxy& p, std::string_view why) {
    ++p.failed;
    if (p.told_of_look_ups.is_due(ringlet::now()))
        samples::tell(fmt::format("socks5_proxy: looking a name up failed: {}\n", why));
}

ringlet::task<ringlet::result<std::vector<ringlet::address>>> addresses_of(
    socks5::target wanted, const ringlet::address& client, proxy& p) {
    if (wanted.name.empty()) co_return std::vector<ringlet::address>{wanted.where};
    const waiting_look_up counted(p);
    samples::client_share::guest asking(p.share, client);
    const auto turn = co_await asking.turns().acquire();
    if (!turn) co_return turn.error();
    auto call = [&] { return look_up(wanted.name, wanted.port); };
    auto answer = co_await ringlet::blocking(call);
    if (!answer) {
        if (answer.error() == ringlet::errc::pool_full)
            tell_of_look_up(p, answer.error().message());
        co_return answer.error();
    }
    if (answer->error == EAI_NONAME || answer->error == EAI_NODATA) {
        ++p.unknown;
    } else if (answer->error != 0) {
        tell_of_look_up(p, answer->error == EAI_SYSTEM
                               ? std::generic_category().message(answer->number)
                               : std::string(::gai_strerror(answer->error)));
    }
    co_return std::move(answer->found);
}

/// To the first address that takes it, within --connect-timeout for all of this.
ringlet::task<ringlet::result<ringlet::tcp_stream>> connect(socks5::target wanted,
                                                            const ringlet::address& client,
                                                            proxy& p) {
    const ringlet::time_point until = ringlet::now() + p.set.connect;
    auto found = co_await addresses_of(std::move(wanted), client, p);
    if (!found) co_return found.error();
    auto stream = co_await samples::connect_any(std::move(*found), until);
    if (!stream && samples::is_shortage(stream.error()) &&
        p.told_of_shortage.is_due(ringlet::now()))
        samples::tell(fmt::format("socks5_proxy: no connection for a client: {}. It is this machine "
                                  "that lacks it: `doctor` shows its limits\n",
                                  stream.error().message()));
    co_return stream;
}

ringlet::task<> session(ringlet::tcp_stream client, proxy& p,
                        ringlet::semaphore::permit /*given back with the frame*/) {
    const settings& set = p.set;
    try {
        auto request = socks5::take_request(client, set.login);
        auto wanted = co_await ringlet::with_deadline(set.handshake, std::move(request));
        if (!wanted) co_return;
        const ringlet::address from = client.peer_name().value_or(ringlet::address());
        auto connecting = connect(std::move(*wanted), from, p);
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

class socks_report : public samples::report {
public:
    void add_this_core() noexcept override {
        report::add_this_core();
        if (proxy::here == nullptr) return;
        waiting_ += proxy::here->waiting;
        unknown_ += proxy::here->unknown;
        failed_ += proxy::here->failed;
    }
    [[nodiscard]] std::string text() const override {
        return fmt::format("  look_ups waiting={} unknown={} failed={}\n", waiting_, unknown_,
                           failed_) +
               report::text();
    }

private:
    std::uint64_t waiting_ = 0;
    std::uint64_t unknown_ = 0;
    std::uint64_t failed_ = 0;
};

ringlet::task<> serve(ringlet::tcp_listener door, const settings& set) {
    proxy p(set);
    co_await samples::serve_each(std::move(door), set.max_connections, session, p);
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
    line.seconds("idle", set.relay.idle, 0, 1e6,
                 "ends a session in which nothing moves, or who receives takes nothing; 0: never "
                 "(default 300)");
    samples::add_server_options(line, set.run, set.max_connections);
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
    const auto serve_here = [&](ringlet::tcp_listener door) { return serve(std::move(door), set); };
    return samples::run_server("socks5_proxy", set.run, set.listen, set.max_connections, serve_here,
                               [] { return std::make_unique<socks_report>(); });
}
