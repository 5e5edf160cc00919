// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Zero-copy sends of chunks, and the registered buffers they are made from. Over loopback the kernel
// always copies and says so; what is tested is that every byte goes once and every buffer comes back.

#include "net_helpers.hpp"

#include <core/buffer_pool.hpp>
#include <core/zero_copy.hpp>
#include <kernel/fault.hpp>

#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t least = 4096;

/// Echoes chunk by chunk, without copies as often as the kernel lets it.
task<> echo(tcp_stream& peer, bool keep_on) {
    peer.set_zero_copy(least);
    while (auto got = co_await peer.chunks().next()) {
        if (keep_on) peer.set_zero_copy(least);
        if (!co_await peer.send_all(std::move(*got))) co_return;
    }
}

/// Sends `bytes` and receives as many.
task<std::vector<std::byte>> ask(tcp_stream& peer, const std::vector<std::byte>& bytes) {
    auto send = [&]() -> task<> {
        CHECK(co_await peer.send_all(bytes));
        CHECK(peer.try_shutdown_send());
    };
    auto receive = [&]() -> task<std::vector<std::byte>> {
        co_return co_await net::receive(peer, bytes.size());
    };
    auto [sent, received] = co_await all_of(send(), receive());
    static_cast<void>(sent);
    co_return std::move(received);
}

task<> all_given_back(core& c) {
    for (int i = 0; i < 1000 && c.buffers().leased() > 0; ++i) std::ignore = co_await sleep_for(1ms);
    CHECK(c.buffers().leased() == 0);
    CHECK(c.zero_copies().held() == 0);
}

template <class Body>
void each_with(Body body, buffer_options buffers) {
    flavours::each([&](core& c) { block_on(c, body(c)); },
                   [&](core_options& o) { o.buffers = buffers; });
}

}  // namespace

TEST_CASE("zero-copy echoes are exact, and every buffer comes back when the peer has the bytes") {
    for (const std::uint32_t registered : {0U, 2U << 20}) {
        buffer_options buffers;
        buffers.registered = registered;
        CAPTURE(registered);
        each_with([](core& c) -> task<> {
            const auto bytes = net::pattern(3 << 20);
            auto both = co_await flavours::connected();
            auto serve = [&]() -> task<> {
                co_await echo(both.server, true);
                CHECK(both.server.try_shutdown_send());
            };
            auto asked = ask(both.client, bytes);
            auto [received, served] = co_await all_of(std::move(asked), serve());
            static_cast<void>(served);
            CHECK(received == bytes);
            co_await all_given_back(c);
            const core_stats stats = c.stats();
            CHECK((stats.zero_copies > 0) == (c.ring() != nullptr));
            // That it is registered memory they are sent from.
            const registered_memory& had = c.register_buffers();
            CHECK((had.bytes > 0) == (c.ring() != nullptr && had.wanted > 0 && !had.refusal));
            CHECK((stats.fixed_transfers > 0) == (had.bytes > 0));
            CHECK(stats.fixed_transfers <= stats.zero_copies);
        }, buffers);
    }
}

TEST_CASE("it turns itself off where the kernel copies all the same") {
    flavours::each_task([](core& c) -> task<> {
        const auto bytes = net::pattern(4 << 20);
        auto both = co_await flavours::connected();
        auto serve = [&]() -> task<> { co_await echo(both.server, false); };
        auto asked = ask(both.client, bytes);
        auto [received, served] = co_await all_of(std::move(asked), serve());
        static_cast<void>(served);
        CHECK(received == bytes);
        co_await all_given_back(c);
        const auto stats = c.stats();
        // Linux before 6.2 does not report it.
        if (stats.zero_copies_copied > 0) CHECK(stats.zero_copies < 64);
    });
}

namespace {
constexpr std::size_t some = 2 * least;
/// Takes `some` bytes of the client's and sends them back by chunks, of which one at least is large
/// enough for zero copy.
task<> echo_once(flavours::pair& both) {
    const auto bytes = net::pattern(some);
    CHECK(co_await both.client.send_all(bytes));
    for (std::size_t left = some; left > 0;) {
        auto got = co_await both.server.chunks().next();
        REQUIRE(got);
        left -= got->size();
        CHECK(co_await both.server.send_all(std::move(*got)));
    }
    const auto received = co_await net::receive(both.client, some);
    CHECK(received == bytes);
}
/// For what the kernel reports of its own accord.
template <class Condition>
task<> come_true(Condition condition) {
    const auto limit = now() + 30s;
    while (!condition() && now() < limit) co_await yield();
}
}  // namespace

TEST_CASE("it turns itself off for the one stream alone") {
    flavours::each_task([](core& c) -> task<> {
        auto one = co_await flavours::connected();
        auto other = co_await flavours::connected();
        one.server.set_zero_copy(1024);
        other.server.set_zero_copy(1024);
        co_await echo_once(one);
        if (c.ring() != nullptr) {
            CHECK(c.stats().zero_copies > 0);
            co_await come_true([&] { return c.stats().zero_copies_copied > 0; });
            CHECK(c.stats().zero_copies_copied > 0);
        }
        const auto tried = c.stats().zero_copies;
        for (int i = 0; i < 20; ++i) co_await echo_once(one);
        CHECK(c.stats().zero_copies == tried);
        co_await echo_once(other);
        CHECK((c.stats().zero_copies > tried) == (c.ring() != nullptr));
        co_await all_given_back(c);
    });
}

TEST_CASE("a send that is refused goes the other way and counts as none") {
    flavours::each_task([](core& c) -> task<> {
        std::array<int, 2> ends{};
        constexpr int kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
        REQUIRE(::socketpair(AF_UNIX, kind, 0, ends.data()) == 0);
        flavours::pair both{tcp_stream(owned_descriptor(ends[0])),
                            tcp_stream(owned_descriptor(ends[1]))};
        both.server.set_zero_copy(1024);
        for (int i = 0; i < 3; ++i) co_await echo_once(both);
        co_await all_given_back(c);
        CHECK(c.stats().zero_copies == 0);
        CHECK(c.stats().zero_copies_copied == 0);
        CHECK(c.stats().fixed_transfers == 0);
    });
}

TEST_CASE("a send that is refused is never counted, also while it is under way") {
    flavours::each_task([](core& c) -> task<> {
        std::array<int, 2> ends{};
        constexpr int kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
        REQUIRE(::socketpair(AF_UNIX, kind, 0, ends.data()) == 0);
        flavours::pair both{tcp_stream(owned_descriptor(ends[0])),
                            tcp_stream(owned_descriptor(ends[1]))};
        both.server.set_zero_copy(1024);
        CHECK(co_await both.client.send_all(net::pattern(some)));
        auto got = co_await both.server.chunks().next();
        REQUIRE(got);
        const auto look = [&]() -> task<> {  // in the turn of the send, before its answer
            CHECK((c.zero_copies().held() > 0) == (c.ring() != nullptr));
            CHECK(c.stats().zero_copies == 0);
            CHECK(c.stats().fixed_transfers == 0);
            co_return;
        };
        auto sending = both.server.send_all(std::move(*got));
        const auto [sent, looked] = co_await all_of(std::move(sending), look());
        static_cast<void>(looked);
        CHECK(sent);
        co_await all_given_back(c);
        CHECK(c.stats().zero_copies == 0);
        CHECK(c.stats().fixed_transfers == 0);
    });
}

TEST_CASE("a send that was cancelled before anything went has not been copied") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        both.server.set_zero_copy(1024);
        CHECK(co_await both.client.send_all(net::pattern(some)));
        auto got = co_await both.server.chunks().next();
        REQUIRE(got);
        const std::size_t before = co_await net::fill(both.server);
        const auto late = co_await both.server.send_all(std::move(*got)).within(5ms);
        CHECK(late.error() == errc::timed_out);
        co_await all_given_back(c);
        CHECK(c.stats().zero_copies == (c.ring() != nullptr ? 1 : 0));
        CHECK(c.stats().zero_copies_copied == 0);
        // So it is still tried.
        const auto old = co_await net::receive(both.client, before);
        CHECK(old.size() == before);
        co_await echo_once(both);
        CHECK(c.stats().zero_copies >= (c.ring() != nullptr ? 2 : 0));
        co_await all_given_back(c);
    });
}

TEST_CASE("small chunks and plain bytes are copied: nothing is held for them") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        both.server.set_zero_copy(5000);  // rounded up to 8192
        CHECK(co_await both.client.send_all(net::pattern(8000)));
        for (std::size_t left = 8000; left > 0;) {
            auto got = co_await both.server.chunks().next();
            REQUIRE(got);
            left -= got->size();
            CHECK(co_await both.server.send_all(std::move(*got)));
        }
        CHECK(co_await both.server.send_all(net::pattern(100'000)));
        CHECK(c.stats().zero_copies == 0);
        const auto received = co_await net::receive(both.client, 108'000);
        CHECK(received.size() == 108'000);
        // And off again.
        both.server.set_zero_copy(1);
        both.server.set_zero_copy(0);
        CHECK(co_await both.client.send_all(net::pattern(4000)));
        auto got = co_await both.server.chunks().next();
        REQUIRE(got);
        CHECK(co_await both.server.send_all(std::move(*got)));
        CHECK(c.stats().zero_copies == 0);
    });
}

TEST_CASE("cancelled, closed and reset at every moment: no buffer is lost, none given back twice") {
    flavours::each_task([](core& c) -> task<> {
        const auto block = net::pattern(256 << 10);
        for (int round = 0; round < 40; ++round) {
            auto both = co_await flavours::connected();
            auto serve = [&]() -> task<> { co_await echo(both.server, true); };
            // The client does not read: the sends fill the socket, and then wait.
            auto send = [&]() -> task<> {
                while (co_await both.client.send_all(block)) {}
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(serve());
                s.start(send());
                for (int i = 0; i < round; ++i) co_await yield();
                s.cancel();
            });
            if (round % 3 == 0) both.client.abort();
            if (round % 3 == 1) co_await both.server.close();
        }
        co_await all_given_back(c);
    });
}

TEST_CASE("peers that acknowledge nothing hold a part of the pool, not all of it") {
    buffer_options buffers;
    buffers.limit = 64;
    buffers.window = 16;
    each_with([](core& c) -> task<> {
        auto slow = co_await flavours::connected();
        auto quick = co_await flavours::connected();
        const auto block = net::pattern(64 << 10);
        auto serve = [&]() -> task<> { co_await echo(slow.server, true); };
        auto flood = [&]() -> task<> {
            while (co_await slow.client.send_all(block)) {}
        };
        auto serve_quick = [&]() -> task<> {
            co_await echo(quick.server, true);
            CHECK(quick.server.try_shutdown_send());
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(serve());
            s.start(flood());
            for (int i = 0; i < 200; ++i) co_await yield();
            CHECK(c.zero_copies().held() <= 16);
            const auto bytes = net::pattern(1 << 20);
            auto asked = ask(quick.client, bytes);
            auto [received, served] = co_await all_of(std::move(asked), serve_quick());
            static_cast<void>(served);
            CHECK(received == bytes);
            s.cancel();
        });
        slow.client.abort();
        slow.server.abort();
        co_await all_given_back(c);
    }, buffers);
}

TEST_CASE("a core may end while peers have not acknowledged") {
    std::vector<net::plain_client> clients;
    flavours::each([&](core& c) {
        block_on(c, [](std::vector<net::plain_client>& kept) -> task<> {
            auto both = co_await net::half_connected();
            both.server.set_zero_copy(least);
            CHECK(both.client.send(std::string(50'000, 'x')));
            for (std::size_t left = 50'000; left > 0;) {
                auto got = co_await both.server.chunks().next();
                REQUIRE(got);
                left -= got->size();
                CHECK(co_await both.server.send_all(std::move(*got)));
            }
            kept.push_back(std::move(both.client));
        }(clients));
    });
    for (const auto& client : clients) {
        std::string all;
        for (std::string part; !(part = client.recv(65536)).empty();) all += part;
        CHECK(all == std::string(50'000, 'x'));
    }
}

TEST_CASE("a core says of registered buffers how many it has or may have, or why none") {
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    const std::string of_limit =
        "; RLIMIT_MEMLOCK " +
        (limit.rlim_cur == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_cur >> 10) + "K");
    core_options options;
    options.backend = backend::epoll;
    CHECK(core::make(options).value()->describe() == "edge-triggered no-registered-buffers(epoll)");
    options.backend = backend::uring;
    options.buffers.registered = 0;
    if (!flavours::made(options)) return;
    const auto says_of = [&](core& c, const std::string& text) {
        CAPTURE(c.describe());
        CHECK(c.describe().find(text) != std::string::npos);
    };
    says_of(*core::make(options).value(), " no-registered-buffers(none wanted" + of_limit + ")");
    options.buffers.registered = 64 << 10;
    says_of(*core::make(options).value(),
            " no-registered-buffers(64K, for this core, are less than two buffers" + of_limit + ")");
    options.buffers.registered = 128 << 10;
    if (limit.rlim_cur / 4 < options.buffers.registered) {
        MESSAGE("the rest left out", of_limit);  // of this machine
        return;
    }
    auto c = core::make(options).value();
    says_of(*c, " registered-buffers=on-demand(at most 128K" + of_limit + ")");
    if (const std::size_t got = c->register_buffers().bytes; got > 0)
        says_of(*c, " registered-buffers=" + std::to_string(got >> 10) + "K");
    // Of a share of the limit.
    options.buffers.registered = UINT32_MAX;
    options.buffers.sharers = 3;
    c.reset();
    c = core::make(options).value();
    const std::uint64_t share = limit.rlim_cur / 4 / 3;
    if (share < UINT32_MAX)
        says_of(*c, " registered-buffers=on-demand(at most " + std::to_string(share >> 10) + "K");
    CHECK(c->register_buffers().most == share);
    CHECK(c->register_buffers().bytes <= share);
#ifndef NDEBUG
    c.reset();
    c = core::make(options).value();
    kernel::fault::hook = [](const char* call) noexcept {
        return std::strcmp(call, "register_buffers") == 0 ? ENOMEM : 0;
    };
    c->register_buffers();
    kernel::fault::hook = nullptr;
    says_of(*c, " no-registered-buffers(Cannot allocate memory" + of_limit + ")");
#endif
}

TEST_CASE("what is registered stays within a quarter of the locked memory, and a refusal is no error") {
    core_options options;
    options.backend = backend::uring;
    if (const auto c = flavours::made(options)) {
        const registered_memory& got = c->register_buffers();
        CHECK(got.wanted == options.buffers.registered);
        CHECK(got.bytes <= got.wanted);
        CHECK((got.bytes <= got.limit / 4));
        if (got.limit / 4 >= got.wanted && !got.refusal) CHECK(got.bytes > got.wanted / 2);
        CHECK(&c->register_buffers() == &got);
    }
    options.buffers.large_limit = 0;  // then all of it is of the small ones
    if (const auto c = flavours::made(options)) {
        const registered_memory& got = c->register_buffers();
        if (got.limit / 4 >= got.wanted && !got.refusal) CHECK(got.bytes == got.wanted);
    }
    options.buffers.large_limit = buffer_options{}.large_limit;
#ifndef NDEBUG
    static int refusals = 0;
    refusals = 2;
    kernel::fault::hook = [](const char* call) noexcept {
        return std::strcmp(call, "register_buffers") == 0 && refusals-- > 0 ? ENOMEM : 0;
    };
    if (const auto c = flavours::made(options)) {
        const registered_memory& got = c->register_buffers();
        CHECK(got.bytes <= got.wanted / 4);  // halved twice
    }
    refusals = 1000;
    if (const auto c = flavours::made(options)) {
        const registered_memory& got = c->register_buffers();
        CHECK(got.bytes == 0);
        CHECK(got.refusal == std::errc::not_enough_memory);
    }
    kernel::fault::hook = nullptr;
#endif
    options.backend = backend::epoll;
    auto c = core::make(options);
    REQUIRE(c);
    CHECK((*c)->register_buffers().bytes == 0);
}
