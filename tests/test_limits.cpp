// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Every queue, budget and table at its limit.

#include "net_helpers.hpp"

#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

task<> echo(tcp_stream peer) {
    std::array<std::byte, 512> room{};
    while (auto got = co_await peer.recv(room))
        if (!co_await peer.send_all(std::span(room).first(*got))) co_return;
}

task<> serve(tcp_listener& door, scope& sessions) {
    while (auto peer = co_await door.next()) sessions.start(echo(std::move(*peer)));
}

/// Sends `rounds` messages of its own and counts those that come back the same.
task<> converse(address where, int number, int rounds, int& good) {
    auto peer = co_await tcp_stream::connect(where).within(10s);
    if (!peer) co_return;
    std::array<std::byte, 64> room{};
    for (int i = 0; i < rounds; ++i) {
        const std::string text = "client " + std::to_string(number) + " says " + std::to_string(i);
        if (!co_await peer->send_all(text)) co_return;
        std::size_t have = 0;
        while (have < text.size()) {
            const auto got = co_await peer->recv(std::span(room).subspan(have)).within(10s);
            if (!got) co_return;
            have += *got;
        }
        if (have != text.size() || std::memcmp(room.data(), text.data(), have) != 0) co_return;
    }
    ++good;
}

task<int> echo_load(int connections, int rounds) {
    auto door = tcp_listener::bind("127.0.0.1:0").value();
    int good = 0;
    co_await with_scope([&](scope& all) -> task<> {
        all.start(serve(door, all));
        co_await with_scope([&](scope& clients) -> task<> {
            for (int i = 0; i < connections; ++i)
                clients.start(converse(door.local_name(), i, rounds, good));
            co_return;
        });
        all.cancel();
    });
    co_return good;
}

int absorbed = 0;

}  // namespace

TEST_CASE("a ring of 4 and 4 entries with 200 connections loses nothing") {
    flavours::each([](core& c) { CHECK(block_on(c, echo_load(200, 20)) == 200); },
                   [](core_options& o) {
                       o.ring_entries = 4;
                       o.completion_entries = 4;
                   });
}

TEST_CASE("budgets of one still serve everybody") {
    flavours::each([](core& c) { CHECK(block_on(c, echo_load(50, 20)) == 50); },
                   [](core_options& o) {
                       o.turn_budget = 1;
                       o.inline_budget = 0;
                   });
}

TEST_CASE("a thousand connections at once") {
    flavours::each([](core& c) { CHECK(block_on(c, echo_load(1000, 3)) == 1000); });
}

TEST_CASE("batching and spinning change when the loop sleeps, not what it does") {
    for (const bool adaptive : {true, false}) {
        flavours::each([](core& c) { CHECK(block_on(c, echo_load(40, 50)) == 40); },
                       [=](core_options& o) {
                           o.wait.wait_count = 8;
                           o.wait.min_wait = 50us;
                           o.wait.adaptive = adaptive;
                           o.wait.spin = 20us;
                       });
    }
}

namespace {

/// True while this thread of the process sleeps in the kernel.
bool asleep(pid_t thread) {
    std::ifstream stat("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string line;
    std::getline(stat, line);
    const std::size_t name_end = line.rfind(") ");
    return name_end != std::string::npos && line[name_end + 2] == 'S';
}

/// How often the kernel is asked for 8 x 8 messages of as many streams, each sent when the core has
/// gone to sleep after the one before.
task<std::uint64_t> enters_for_spread_messages(core& c) {
    constexpr std::size_t streams = 8;
    constexpr std::size_t rounds = 8;
    std::vector<net::half_plain> all;
    // The minimum wait is for the messages: the loop does not sleep until then.
    const auto connect = [&]() -> task<> {
        for (std::size_t i = 0; i < streams; ++i) all.push_back(co_await net::half_connected());
    };
    const auto stay_awake = [&]() -> task<> {
        while (all.size() < streams) co_await yield();
    };
    co_await all_of(connect(), stay_awake());
    const auto receive = [&](tcp_stream& from) -> task<> {
        for (std::size_t have = 0; have < rounds;) {
            const auto got = co_await from.chunks().next();
            if (!got) break;
            have += got->size();
        }
    };
    const pid_t loop = ::gettid();
    // A few more where the loop has seen one before it slept: they fill its last wait.
    std::atomic<bool> done{false};
    const auto send = [&all, &done, loop] {
        const auto limit = std::chrono::steady_clock::now() + 30s;
        for (std::size_t i = 0; !done && i < 2 * streams * rounds; ++i) {
            while (!done && !asleep(loop) && std::chrono::steady_clock::now() < limit)
                ::sched_yield();
            static_cast<void>(all[i % streams].client.send("x"));
        }
    };
    const std::uint64_t before = c.stats().enters;
    std::thread sender;
    co_await with_scope([&](scope& s) -> task<> {
        for (auto& one : all) s.start(receive(one.server));
        sender = std::thread(send);
        co_return;
    });
    const std::uint64_t enters = c.stats().enters - before;
    done = true;
    sender.join();
    co_return enters;
}

}  // namespace

TEST_CASE("with a minimum wait messages that come one by one share an enter") {
    std::vector<std::uint64_t> alone;
    std::vector<std::uint64_t> together;
    for (auto* const enters : {&alone, &together}) {
        flavours::each(
            [&](core& c) {
                if (c.ring() == nullptr) return;
                if (c.describe().find("min-wait") == std::string::npos) {
                    flavours::left_out("a minimum wait", c.describe(), {6, 12});
                    return;
                }
                enters->push_back(block_on(c, enters_for_spread_messages(c)));
            },
            [&](core_options& o) {
                o.wait.wait_count = enters == &together ? 8 : 1;
                o.wait.min_wait = 2s;
                o.wait.adaptive = false;
            });
    }
    REQUIRE(alone.size() == together.size());
    for (std::size_t i = 0; i < alone.size(); ++i) CHECK(together[i] * 2 < alone[i]);
}

TEST_CASE("a minimum wait of less than a microsecond is one") {
    for (const auto wait : {1ns, 500ns, 999ns}) {
        flavours::each(
            [](core& c) {
                const auto echo = [](core& c) -> task<> {
                    auto both = co_await flavours::connected();
                    std::array<std::byte, 8> room{};
                    for (int i = 0; i < 3; ++i) {
                        CHECK(co_await both.client.send_all("x"));
                        CHECK(co_await both.server.recv(room).within(10s));
                    }
                    CHECK(c.stats().timers_fired == 0);  // the limit was not what ended a wait
                };
                block_on(c, echo(c));
            },
            [=](core_options& o) {
                o.wait.wait_count = 8;
                o.wait.min_wait = wait;
                o.wait.adaptive = false;
            });
    }
}

namespace {
/// `wait(core&, silent)` with a minimum wait that no test outlasts, and a stream to which nothing comes.
template <class Wait>
void with_a_long_minimum_wait(Wait wait) {
    flavours::each(
        [&](core& c) {
            std::array<int, 2> ends{};
            REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
            tcp_stream silent{owned_descriptor(ends[0])};
            const tcp_stream other{owned_descriptor(ends[1])};
            const auto begin = now();
            block_on(c, wait(c, silent));
            CHECK(now() - begin < 30s);
        },
        [](core_options& o) {
            o.wait.wait_count = 8;
            o.wait.min_wait = 40s;
            o.wait.adaptive = false;
        });
}
}  // namespace

TEST_CASE("a minimum wait does not put a deadline off") {
    with_a_long_minimum_wait([](core&, tcp_stream& silent) -> task<> {
        std::array<std::byte, 8> room{};
        for (int i = 0; i < 3; ++i)
            CHECK((co_await silent.recv(room).within(1ms)).error() == errc::timed_out);
    });
}

TEST_CASE("a minimum wait does not put a deadline off in whose turn something is closed") {
    with_a_long_minimum_wait([](core& c, tcp_stream& silent) -> task<> {
        std::array<std::byte, 8> room{};
        std::vector<net::half_plain> read;
        const auto read_some = [&read]() -> task<> {
            while (read.size() < 3) {
                read.push_back(co_await net::half_connected());
                CHECK(read.back().client.send("x"));
                CHECK(co_await read.back().server.chunks().next());
            }
        };
        const auto stay_awake = [&read]() -> task<> {
            while (read.size() < 3) co_await yield();
            for (int i = 0; i < 10; ++i) co_await yield();
        };
        auto reading = read_some();
        co_await all_of(std::move(reading), stay_awake());
        // In the turn after the limit: what was cancelled goes to the kernel on its own, before the
        // socket is closed for which a receive is armed.
        const auto close_one = [&]() -> task<> {
            const auto fired = c.stats().timers_fired;
            CHECK(co_await net::come_true([&] { return c.stats().timers_fired > fired; }));
            read.pop_back();
        };
        for (int i = 0; i < 3; ++i) {
            auto receiving = silent.recv(room).within(1ms);
            auto [got, closed] = co_await all_of(std::move(receiving), close_one());
            static_cast<void>(closed);
            CHECK(got.error() == errc::timed_out);
        }
    });
}

TEST_CASE("waits for a batch that gather nothing become rare, and one that pays brings them back") {
    batch_wait policy;
    auto waits_until_next = [&] {
        unsigned waits = 0;
        while (!policy.due()) ++waits;
        return waits;
    };
    CHECK(waits_until_next() == 0);
    policy.gathered(batch_wait::too_few + 1);
    CHECK(waits_until_next() == 0);
    for (const unsigned pause : {1U, 3U, 7U, 15U, 31U, 63U, 63U}) {
        policy.gathered(batch_wait::too_few);
        CHECK(waits_until_next() == pause);
    }
    policy.gathered(16);
    CHECK(waits_until_next() == 0);
    policy.gathered(0);
    CHECK(waits_until_next() == 1);
}

TEST_CASE("a busy connection does not keep the others waiting") {
    flavours::each_task([](core& c) -> task<> {
        auto busy = co_await flavours::connected();
        auto quiet = co_await flavours::connected();
        std::uint64_t busy_reads = 0;
        std::uint64_t reads_before_quiet = 0;
        auto greedy = [&]() -> task<> {
            std::array<std::byte, 16> room{};
            while (co_await busy.server.recv(room)) ++busy_reads;
        };
        auto patient = [&]() -> task<> {
            std::array<std::byte, 16> room{};
            CHECK(co_await quiet.server.recv(room));
            reads_before_quiet = busy_reads;
        };
        const std::vector<std::byte> flood(64 * 1024);
        co_await with_scope([&](scope& s) -> task<> {
            CHECK(co_await busy.client.send_all(flood));
            s.start(greedy());
            s.start(patient());
            CHECK(co_await quiet.client.send_all("me too"));
            co_await busy.client.close();
        });
        CHECK(busy_reads == flood.size() / 16);
        CHECK(reads_before_quiet < busy_reads / 4);
        static_cast<void>(c);
    });
}

namespace {

/// One byte at a time, each seen by the core before the next is sent.
task<> send_in_drops(core& c, const net::plain_client& from, int count) {
    for (int i = 0; i < count; ++i) {
        CHECK(from.send("x"));
        const std::uint64_t turns = c.counters().turns;
        while (c.counters().turns < turns + 2) co_await yield();
    }
}

/// Takes `count` bytes in one of the ways there are.
using take_form = task<std::size_t> (*)(tcp_stream&, std::size_t count);
task<std::size_t> take_by_recv(tcp_stream& from, std::size_t count) {
    co_return (co_await net::receive(from, count)).size();
}
task<std::size_t> take_by_chunks(tcp_stream& from, std::size_t count) {
    std::size_t have = 0;
    auto chunks = from.chunks();
    while (have < count) {
        const auto got = co_await chunks.next();
        if (!got) break;
        have += got->size();
    }
    co_return have;
}
task<std::size_t> take_by_splice(tcp_stream& from, std::size_t count) {
    std::size_t have = 0;
    splice_pipe through;
    std::array<std::byte, 512> room{};
    while (have < count) {
        const auto got = co_await from.splice_to(through, room.size());
        if (!got) break;
        have += *got;
        while (!through.empty()) CHECK(through.try_read(room));
    }
    co_return have;
}

}  // namespace

TEST_CASE("what comes while nobody reads does not wake the core again and again, and is not lost") {
    for (const take_form take : {take_by_recv, take_by_chunks, take_by_splice}) {
        flavours::each_task([take](core& c) -> task<> {
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            net::plain_client peer(door.local_name());
            auto stream = (co_await door.next()).value();
            std::size_t sent = 0;
            for (int round = 0; round < 3; ++round) {
                const auto send_later = [&]() -> task<> {
                    co_await yield();
                    CHECK(peer.send("first"));
                };
                const auto [got, nothing] = co_await all_of(take(stream, sent + 5), send_later());
                CHECK(got == sent + 5);
                const std::uint64_t edges = c.counters().edges;
                co_await send_in_drops(c, peer, 50);
                CHECK(c.counters().edges - edges <= 3);
                sent = 50;
            }
            // A writer on the same stream is still told, and so is a reader of the end.
            CHECK(co_await stream.send_all("all this"));
            ::shutdown(peer.fd(), SHUT_WR);
            CHECK(co_await take(stream, 1000) == 50);
            CHECK(peer.recv(100) == "all this");
        });
    }
}

TEST_CASE("edges that were taken back take no other's place") {
    flavours::each_task([](core& c) -> task<> {
        if (c.ring() != nullptr) co_return;
        static int attempts;
        attempts = 0;
        const completion_kind kind{.attempt = [](completion&) noexcept {
            ++attempts;
            return -EAGAIN;
        }};
        auto both = co_await flavours::connected();
        completion waits(kind);
        completion comes_and_goes(kind);
        for (int i = 0; i < 1000; ++i) {
            CHECK(c.make_room_for_edges());
            if (i == 0) c.queue_attempt(waits);
            c.queue_attempt(comes_and_goes);
            c.forget_attempt(comes_and_goes);
        }
        for (int i = 0; i < 1000 && c.has_edges(); ++i) co_await yield();
        CHECK(attempts == 1);
    });
}

TEST_CASE("accepted connections wait in the kernel when nobody takes them") {
    flavours::each_task([](core& c) -> task<> {
        listen_options options;
        options.ready_limit = 4;
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<tcp_stream> clients;
        std::vector<tcp_stream> served;
        clients.push_back((co_await tcp_stream::connect(door.local_name())).value());
        served.push_back((co_await door.next()).value());
        const std::size_t before = net::open_files();
        for (int i = 0; i < 40; ++i)  // a turn of the loop each
            clients.push_back((co_await tcp_stream::connect(door.local_name())).value());
        // What is accepted directly is in the ring's table, and not counted here.
        const std::size_t most = before + 40 + std::size_t{2} * options.ready_limit;
        if (!c.direct()) CHECK(net::open_files() <= most);
        for (int i = 0; i < 40; ++i) {
            auto peer = co_await door.next();
            REQUIRE(peer);
            served.push_back(std::move(*peer));
        }
        CHECK(served.size() == 41);
    });
}

TEST_CASE("with a ready_limit of 1 one connection is accepted ahead, whatever is in the backlog") {
    flavours::each_task([](core& c) -> task<> {
        if (c.direct()) co_return;  // what is counted here is not in the ring's table
        listen_options options;
        options.ready_limit = 1;
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<net::plain_client> clients;
        clients.emplace_back(door.local_name());
        std::vector<tcp_stream> served;
        served.push_back((co_await door.next()).value());
        const auto open_files = [] {
            const auto all = std::filesystem::directory_iterator("/proc/self/fd");
            return std::distance(begin(all), end(all));
        };
        const auto before = open_files();
        for (int i = 0; i < 40; ++i) clients.emplace_back(door.local_name());
        std::array<std::byte, 1> room{};
        for (int turns = 0; turns < 8; ++turns) {  // an accept would have been answered
            CHECK(clients.front().send("x"));
            CHECK(co_await served.front().recv(room));
        }
        CHECK(open_files() <= before + 40 + 1);
        for (int i = 0; i < 40; ++i) served.push_back((co_await door.next()).value());
        CHECK(clients[40].send("y"));
        CHECK(co_await served.back().recv(room));
    });
}

TEST_CASE("a full table of descriptors: no spin, the old are served, and the new after a close") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        if (c.direct()) co_return;  // another table: see test_direct
        absorbed = 0;
        listen_options options;
        options.on_absorbed = [](const std::error_code& error) {
            CHECK(error == std::errc::too_many_files_open);
            ++absorbed;
        };
        // For the listener, two clients and one accepted connection. (Before the accept is armed: the
        // ring reads the limit then.)
        const net::few_descriptors left(4);
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<tcp_stream> clients;
        std::vector<tcp_stream> served;
        auto serve_one = [&]() -> task<> {
            auto peer = co_await door.next();
            CHECK(peer);
            if (peer) served.push_back(std::move(*peer));
        };
        clients.push_back((co_await tcp_stream::connect(door.local_name())).value());
        co_await serve_one();
        std::array<std::byte, 16> room{};
        co_await with_scope([&](scope& s) -> task<> {
            clients.push_back((co_await tcp_stream::connect(door.local_name())).value());
            s.start(serve_one());
            const auto before = c.stats();
            CHECK(co_await sleep_for(200ms));
            const auto after = c.stats();
            // Pauses of 10, 20, 40, 80 and 160 ms: so many tries, and about as many turns.
            CHECK(after.turns - before.turns < 40);
            CHECK(after.accept_backoffs == 5);
            CHECK(absorbed == 1);  // told once a second
            CHECK(co_await clients.front().send_all("still here"));
            CHECK(co_await served.front().recv(room).within(1s));
            CHECK(served.size() == 1);
            co_await served.front().close();  // a descriptor is free again
        });
        CHECK(served.size() == 2);
    });
}

TEST_CASE("a table that is full before the first connection is taken does no harm") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        if (c.direct()) co_return;  // another table: see test_direct
        absorbed = 0;
        listen_options options;
        options.on_absorbed = [](const std::error_code&) { ++absorbed; };
        // Nothing but the listener on this core, and a connection in its backlog.
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        net::plain_client client(door.local_name());
        REQUIRE(client.connected());
        auto take = [&]() -> task<bool> { co_return static_cast<bool>(co_await door.next()); };
        {
            const net::few_descriptors none(0);
            auto work = take();
            const auto got = co_await with_deadline(60ms, std::move(work));
            CHECK(got.error() == errc::timed_out);
            CHECK(absorbed == 1);
        }
        auto work = take();
        const auto got = co_await with_deadline(5s, std::move(work));
        REQUIRE(got);
        CHECK(*got);
        // Pauses of 10, 20 and 40 ms; on epoll its edge came at the first try, and was one more.
        CHECK(c.stats().accept_backoffs >= 3);
        CHECK(c.stats().accept_backoffs <= 4);
    });
}

TEST_CASE("64 listeners on a submission queue of 4: each connection comes once") {
    flavours::each([](core& c) {
        block_on(c, []() -> task<> {
            constexpr int doors = 64;
            constexpr int clients = 4;
            listen_options options;
            std::vector<tcp_listener> all;
            for (unsigned i = 0; i < doors; ++i) {
                options.ready_limit = 1 + i % 2;  // of 1: one accept at a time
                all.push_back(tcp_listener::bind("127.0.0.1:0", options).value());
            }
            int served = 0;
            std::vector<std::string> heard(doors);
            auto serve = [&](int i) -> task<> {
                std::array<std::byte, 16> room{};
                for (int n = 0; n < clients; ++n) {
                    auto peer = co_await all[static_cast<std::size_t>(i)].next();
                    if (!peer) co_return;
                    const auto got = co_await peer->recv(room).within(10s);
                    if (got) {
                        heard[static_cast<std::size_t>(i)] +=
                            net::text_of(std::span(room).first(*got));
                        ++served;
                    }
                }
            };
            std::vector<net::plain_client> callers;
            co_await with_scope([&](scope& s) -> task<> {
                for (int i = 0; i < doors; ++i) s.start(serve(i));
                for (int i = 0; i < 3; ++i) co_await yield();  // armed
                for (int n = 0; n < clients; ++n) {
                    for (const auto& door : all) {
                        callers.emplace_back(door.local_name());
                        CHECK(callers.back().connected());
                        CHECK(callers.back().send(std::string(1, static_cast<char>('a' + n))));
                    }
                }
                for (int turns = 0; turns < 5000 && served < doors * clients; ++turns)
                    std::ignore = co_await sleep_for(1ms);
                s.cancel();
            });
            CHECK(served == doors * clients);
            for (std::string& letters : heard) {
                std::sort(letters.begin(), letters.end());
                CHECK(letters == "abcd");
            }
        }());
    }, [](core_options& o) {
        o.ring_entries = 4;
        o.completion_entries = 256;
    });
}
