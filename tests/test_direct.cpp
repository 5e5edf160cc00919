// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Direct descriptors: what differs from plain ones. (What does not is tested by all the others, on
// the flavour "io_uring direct".)

#include "net_helpers.hpp"

#include <kernel/fault.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

core_options direct(unsigned slots) {
    core_options options;
    options.backend = backend::uring;
    options.direct_descriptors = slots;
    return options;
}

/// A core with a table; nothing, and said so, where there is none.
std::unique_ptr<core> with_table(const core_options& options) {
    auto c = flavours::made(options);
    if (!c || c->direct()) return c;
    flavours::left_out("direct descriptors", c->describe(), {6, 8});
    return nullptr;
}

/// `body(core&)`, a task, on a core with a table of `slots`.
template <class Body>
void on_table(unsigned slots, Body body) {
    const auto c = with_table(direct(slots));
    if (!c) return;
    block_on(*c, body(*c));
    CHECK(c->descriptors().open() == 0);
}

}  // namespace

TEST_CASE("a direct descriptor has no number in the process, and gets one when it is given up") {
    on_table(16, [](core&) -> task<> {
        auto both = co_await flavours::connected();
        CHECK(both.client.native_handle() == -1);
        CHECK(both.server.native_handle() == -1);
        CHECK(both.client.peer_name().value() == both.server.local_name().value());
        CHECK(both.client.local_name().value() == both.server.peer_name().value());
        {
            const unique_fd second = both.client.duplicate().value();
            CHECK(::fcntl(second.get(), F_GETFD) == FD_CLOEXEC);
            CHECK(::send(second.get(), "one", 3, 0) == 3);
        }
        const unique_fd given(both.client.release());
        REQUIRE(given.get() >= 0);
        CHECK(!both.client);
        CHECK(::send(given.get(), " two", 4, 0) == 4);
        CHECK(::shutdown(given.get(), SHUT_WR) == 0);
        const auto received = co_await net::receive(both.server, 100);
        CHECK(net::text_of(received) == "one two");
        // And back: a plain one beside direct ones.
        tcp_stream again{owned_descriptor(::fcntl(given.get(), F_DUPFD_CLOEXEC, 0))};
        CHECK(again.native_handle() >= 0);
        CHECK(co_await both.server.send_all("back"));
        std::array<std::byte, 8> room{};
        CHECK((co_await again.recv(room)).value() == 4);
    });
}

TEST_CASE("a full table: plain descriptors are taken until slots are free again") {
    on_table(4, [](core&) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::vector<net::plain_client> clients;
        std::vector<tcp_stream> served;
        const auto one_more = [&]() -> task<bool> {
            clients.emplace_back(door.local_name());
            served.push_back((co_await door.next()).value());
            CHECK(clients.back().send("hello"));
            std::array<std::byte, 16> room{};
            CHECK((co_await served.back().recv(room)).value() == 5);
            co_return served.back().native_handle() < 0;
        };
        // An accept is armed beforehand and has a slot set aside, so the fourth may be either.
        for (int i = 0; i < 3; ++i) CHECK(co_await one_more());
        co_await one_more();
        for (int i = 0; i < 20; ++i) CHECK(!co_await one_more());
        auto connected = (co_await tcp_stream::connect(door.local_name())).value();
        CHECK(connected.native_handle() >= 0);
        served.push_back((co_await door.next()).value());
        served.erase(served.begin(), served.begin() + 3);
        CHECK((co_await tcp_stream::connect(door.local_name())).value().native_handle() < 0);
    });
}

TEST_CASE("more connections at once than slots: none of them is lost") {
    on_table(64, [](core&) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::vector<net::plain_client> clients;
        for (int i = 0; i < 200; ++i) clients.emplace_back(door.local_name());
        std::vector<tcp_stream> served;
        for (int i = 0; i < 200; ++i) served.push_back((co_await door.next()).value());
        for (const auto& client : clients) CHECK(client.send("hello"));
        std::array<std::byte, 16> room{};
        int answered = 0;
        for (auto& stream : served) answered += (co_await stream.recv(room)).value_or(0) == 5;
        CHECK(answered == 200);
        CHECK(std::any_of(served.begin(), served.end(),
                          [](const auto& s) { return s.native_handle() < 0; }));
    });
}

TEST_CASE("a multishot accept that runs out of slots goes on with plain descriptors") {
    on_table(40, [](core&) -> task<> {
        listen_options options;
        options.backlog = 8;
        options.ready_limit = 8;
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<tcp_stream> both;
        for (int i = 0; i < 60; ++i) {
            auto [client, server] = co_await all_of(tcp_stream::connect(door.local_name()),
                                                    door.next());
            both.push_back(std::move(client).value());
            both.push_back(std::move(server).value());
            CHECK(co_await both.rbegin()[1].send_all("x"));
            std::array<std::byte, 1> room{};
            CHECK(co_await both.back().recv(room));
        }
        CHECK(both.front().native_handle() < 0);
        CHECK(both.back().native_handle() >= 0);
    });
}

TEST_CASE("the table is cut to the limit of open files, and a refused one leaves plain descriptors") {
    if (const auto c = with_table(direct(1U << 30))) {
        rlimit limit{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(c->describe().find(" direct=" + std::to_string(limit.rlim_cur)) != std::string::npos);
    }
#ifndef NDEBUG
    kernel::fault::hook = [](const char* call) noexcept {
        return std::strcmp(call, "register_files") == 0 ? EPERM : 0;
    };
    const auto c = flavours::made(direct(64));
    kernel::fault::hook = nullptr;
    if (!c) return;
    CHECK(!c->direct());
    CHECK(c->describe().find("no-direct(Operation not permitted)") != std::string::npos);
    block_on(*c, []() -> task<> {
        auto both = co_await flavours::connected();
        CHECK(both.client.native_handle() >= 0);
        CHECK(co_await both.client.send_all("plain"));
    }());
#endif
}

TEST_CASE("calls through the ring while it is full of other answers lose none of them") {
    auto options = direct(512);
    options.ring_entries = 4;
    options.completion_entries = 8;
    options.buffers.receive = receive_path::readiness;  // each receive is such a call
    const auto c = with_table(options);
    if (!c) return;
    block_on(*c, []() -> task<> {
        constexpr std::size_t pairs = 100;
        std::vector<flavours::pair> all;
        for (std::size_t i = 0; i < pairs; ++i) all.push_back(co_await flavours::connected());
        const auto echo = [](tcp_stream& peer) -> task<> {
            while (auto got = co_await peer.chunks().next())
                if (!co_await peer.send_all(std::move(*got))) co_return;
        };
        std::size_t exact = 0;
        const auto ask = [&exact](tcp_stream& peer, unsigned seed) -> task<> {
            for (unsigned round = 0; round < 20; ++round) {
                const auto bytes = net::pattern(3000, seed + round);
                CHECK(co_await peer.send_all(bytes));
                const auto back = co_await net::receive(peer, bytes.size());
                exact += back == bytes;
            }
            CHECK(peer.try_shutdown_send());
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (auto& both : all) {
                s.start(echo(both.server));
                s.start(ask(both.client, static_cast<unsigned>(exact) + 7));
            }
            co_return;
        });
        CHECK(exact == pairs * 20);
    }());
}
