// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Reading by chunks: leases of the core's buffer pool, on every flavour and every receive path.

#include "aborts.hpp"
#include "receive_ways.hpp"

#include <core/buffer_pool.hpp>
#include <kernel/fault.hpp>
#include <kernel/ring.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <string>
#include <tuple>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;
using receiving::each_core_way;
using receiving::each_path;
using receiving::echo;
using receiving::receive_chunks;
using receiving::talk;
using receiving::tiny;

TEST_CASE("the bytes come in chunks, in order, then the end, again and again") {
    each_path([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("first"));
        {
            auto got = co_await both.server.chunks().next();
            REQUIRE(got);
            CHECK(got->text() == "first");
            CHECK(c.buffers().leased() == 1);
            got->drop_front(2);
            CHECK(got->text() == "rst");
            got->drop_front(100);
            CHECK(got->empty());
        }
        CHECK(c.buffers().leased() == 0);
        CHECK(both.client.send("second"));
        both.client.close();
        const auto rest = co_await receive_chunks(both.server, 1000);
        CHECK(net::text_of(rest) == "second");
        for (int i = 0; i < 2; ++i) {
            const auto end = co_await both.server.chunks().next();
            CHECK(end.error() == errc::end_of_stream);
        }
        std::array<std::byte, 8> room{};
        CHECK((co_await both.server.recv(room)).error() == errc::end_of_stream);
    });
}

TEST_CASE("megabytes come through unchanged, small pool or large") {
    const auto work = [](core&) -> task<> {
        auto both = co_await flavours::connected();
        const auto all = net::pattern(3 << 20);
        std::vector<std::byte> received;
        auto write = [&]() -> task<> {
            CHECK(co_await both.client.send_all(all));
            CHECK(both.client.try_shutdown_send());
        };
        auto read = [&]() -> task<> {
            received = co_await receive_chunks(both.server, all.size() + 1);
        };
        co_await all_of(write(), read());
        CHECK(received == all);
    };
    each_path(work);
    each_path(work, tiny);
}

TEST_CASE("a pool of 4 buffers serves 1000 busy connections, byte for byte") {
    static constexpr unsigned rounds = 2;
    if (!net::may_open(2100)) {
        MESSAGE("skipped: too few files may be open");
        return;
    }
    each_path(
        [](core& c) -> task<> {
            const buffer_options& pool = c.buffers().options();
            // 1000 for each of the two ways to wait for a buffer.
            const bool usual = pool.receive != receive_path::multishot && !pool.bundles &&
                               !pool.incremental;
            const unsigned many = usual ? 1000 : 200;
            unsigned good = 0;
            std::size_t buffers = 0;
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            auto one = [&](unsigned i) -> task<> {
                const std::size_t size = 1 + 61U * (i % 200);
                buffers += rounds * (size / pool.size + 1);
                auto peer = co_await tcp_stream::connect(door.local_name());
                if (co_await talk(std::move(peer).value(), size, rounds, i)) ++good;
            };
            const auto before = c.stats();
            co_await with_scope([&](scope& s) -> task<> {
                for (unsigned i = 0; i < many; ++i) s.start(one(i));
                for (unsigned i = 0; i < many; ++i) s.start(echo((co_await door.next()).value()));
            });
            const auto after = c.stats();
            CHECK(good == many);
            CHECK(c.buffers().leased() == 0);
            // Nobody turns the loop for nothing, or is told again and again that there is none.
            CHECK(after.turns - before.turns < 2 * buffers);
            CHECK(after.starvations - before.starvations < 2 * buffers);
        },
        tiny);
}

TEST_CASE("streams that find no buffer wait for one, first come first served") {
    each_path(
        [](core& c) -> task<> {
            // Slices share a buffer.
            if (c.buffers().form() == buffer_pool::window_form::slices) co_return;
            std::vector<net::half_plain> all;
            for (int i = 0; i < 8; ++i) all.push_back(co_await net::half_connected());
            std::vector<chunk> held;
            std::vector<int> order;
            auto take = [&](int i) -> task<> {
                auto got = co_await all[static_cast<std::size_t>(i)].server.chunks().next();
                REQUIRE(got);
                CHECK(got->text() == "message " + std::to_string(i));
                order.push_back(i);
                held.push_back(std::move(*got));
            };
            co_await with_scope([&](scope& s) -> task<> {
                for (int i = 0; i < 8; ++i) {
                    CHECK(all[static_cast<std::size_t>(i)].client.send("message " +
                                                                       std::to_string(i)));
                    s.start(take(i));
                }
                for (int i = 0; i < 2000 && held.size() < 2; ++i)
                    std::ignore = co_await sleep_for(1ms);
                std::ignore = co_await sleep_for(20ms);
                CHECK(held.size() >= 2);
                CHECK(held.size() <= 5);  // 4 and a large one
                CHECK(c.stats().starvations > 0);
                const auto turns = c.stats().turns;
                std::ignore = co_await sleep_for(50ms);
                CHECK(c.stats().turns - turns < 20);  // waiting, not spinning
                while (held.size() > 0) {
                    held.erase(held.begin());
                    for (int i = 0; i < 5; ++i) co_await yield();
                    std::ignore = co_await sleep_for(2ms);
                }
            });
            held.clear();
            CHECK(order.size() == 8);
            CHECK(std::is_sorted(order.begin(), order.end()));
        },
        tiny);
}

TEST_CASE("of what comes while nobody asks for it nothing is lost") {
    each_path([](core&) -> task<> {
        auto both = co_await flavours::connected();
        const auto all = net::pattern(4 << 20);
        std::vector<std::byte> received;
        auto write = [&]() -> task<> {
            CHECK(co_await both.client.send_all(all));
            CHECK(both.client.try_shutdown_send());
        };
        auto read = [&]() -> task<> {
            {
                auto first = co_await both.server.chunks().next();
                REQUIRE(first);
                received.assign(first->bytes().begin(), first->bytes().end());
            }
            // The peer goes on as fast as it can; this task has better things to do.
            for (int i = 0; i < 30; ++i) co_await yield();
            const auto rest = co_await receive_chunks(both.server, all.size());
            received.insert(received.end(), rest.begin(), rest.end());
        };
        co_await all_of(write(), read());
        CHECK(received == all);
    });
}

TEST_CASE("a wait that times out or is cancelled loses no byte") {
    each_path([](core&) -> task<> {
        auto both = co_await net::half_connected();
        std::string all;
        std::string sent;
        for (int i = 0; i < 200; ++i) {
            const std::string text = "piece " + std::to_string(i) + ";";
            auto take = [&]() -> task<std::error_code> {
                const auto got = co_await both.server.chunks().next();
                if (got) all += got->text();
                co_return got.error();
            };
            auto outcome = net::cancelled_after(i % 4 - 1, take);
            CHECK(both.client.send(text));
            sent += text;
            const auto error = co_await std::move(outcome);
            if (error) CHECK(error == errc::cancelled);
            const auto got = co_await both.server.chunks().next().within(i % 3 == 0 ? 0ns : 1ms);
            if (got) {
                all += got->text();
            } else {
                CHECK(got.error() == errc::timed_out);
            }
        }
        both.client.close();
        all += net::text_of(co_await receive_chunks(both.server, 1 << 20));
        CHECK(all == sent);
    });
}

TEST_CASE("recv() and chunks() may take turns on one stream") {
    each_path([](core&) -> task<> {
        auto both = co_await flavours::connected();
        const auto all = net::pattern(1 << 20);
        std::vector<std::byte> received;
        auto write = [&]() -> task<> {
            for (std::size_t at = 0; at < all.size(); at += 16384) {
                CHECK(co_await both.client.send_all(std::span(all).subspan(at, 16384)));
                if (at % 65536 == 0) std::ignore = co_await sleep_for(100us);
            }
            CHECK(both.client.try_shutdown_send());
        };
        auto read = [&]() -> task<> {
            std::array<std::byte, 1000> room{};
            for (unsigned n = 0;; ++n) {
                if (n % 3 == 0) {
                    const auto got = co_await both.server.chunks().next();
                    if (!got) break;
                    received.insert(received.end(), got->bytes().begin(), got->bytes().end());
                } else {
                    const auto got = co_await both.server.recv(room);
                    if (!got) break;
                    received.insert(received.end(), room.begin(),
                                    room.begin() + static_cast<std::ptrdiff_t>(*got));
                }
            }
        };
        co_await all_of(write(), read());
        CHECK(received == all);
    });
}

TEST_CASE("a stream may change between small and large messages at any time") {
    each_path([](core&) -> task<> {
        auto both = co_await flavours::connected();
        bool good = true;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(echo(std::move(both.server)));
            for (int i = 0; i < 60 && good; ++i) {
                // Small and large by turns, long enough for either path to be taken.
                const std::size_t size = i / 10 % 2 == 0 ? 64 : 200'000;
                const auto all = net::pattern(size, static_cast<unsigned>(i));
                std::vector<std::byte> back;
                auto write = [&]() -> task<> { CHECK(co_await both.client.send_all(all)); };
                auto read = [&]() -> task<> { back = co_await net::receive(both.client, size); };
                co_await all_of(write(), read());
                good = back == all;
            }
            auto closing = both.client.close();
            co_await std::move(closing);
        });
        CHECK(good);
    });
}

TEST_CASE("a stream that fills large buffers again and again lets the others go first") {
    int seen = 0;
    const auto body = [&](core&) -> task<> {
        auto busy = co_await net::half_connected();
        auto quiet = co_await net::half_connected();
        const std::string large(16384, 'x');
        for (int i = 0; i < 16; ++i) {  // until it is known for large messages
            CHECK(busy.client.send(large));
            CHECK((co_await receive_chunks(busy.server, large.size())).size() == large.size());
        }
        if (!(*busy.server.socket()).bulk) co_return;
        ++seen;
        std::string order;
        auto read = [&](tcp_stream& from, char who, std::size_t left) -> task<> {
            while (left > 0) {
                const auto got = co_await from.chunks().next();
                if (!got) break;
                order += who;
                left -= std::min(left, got->size());
            }
        };
        auto write = [&]() -> task<> {
            co_await yield();
            for (int i = 0; i < 8; ++i) CHECK(busy.client.send(large));
            CHECK(quiet.client.send("?"));
        };
        co_await all_of(read(busy.server, 'b', 8 * large.size()), read(quiet.server, 'q', 1),
                        write());
        CHECK_MESSAGE(order.find('q') <= 4, order);
        CHECK(std::count(order.begin(), order.end(), 'b') >= 8);
    };
    each_path(body, [](buffer_options& o) { o.size = o.large_size = 16384; });
    CHECK(seen > 0);
}

TEST_CASE("the buffer that was given back last is the next one taken") {
    each_path([](core& c) -> task<> {
        buffer_pool& pool = c.buffers();
        REQUIRE(pool.open() == 0);
        for (const bool large : {false, true}) {
            const auto one = pool.take(large);
            const auto two = pool.take(large);
            pool.give_back(one.id);
            pool.give_back(two.id);
            const auto first = pool.take(large);
            const auto second = pool.take(large);
            CHECK(first.data == two.data);
            CHECK(second.data == one.data);
            pool.give_back(first.id);
            pool.give_back(second.id);
        }
        co_return;
    });
}

TEST_CASE("who gives up the wait for a buffer leaves no place in the queue behind") {
    enum class ending { cancel, limit, close };
    manual_clock clock;
    for (const ending how : {ending::cancel, ending::limit, ending::close}) {
        INFO("ending ", static_cast<int>(how));
        const auto body = [&](core& c) -> task<> {
            // Slices share a buffer.
            if (c.buffers().form() == buffer_pool::window_form::slices) co_return;
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            std::vector<net::plain_client> clients;
            std::vector<tcp_stream> streams;
            const auto connect = [&]() -> task<> {
                clients.emplace_back(door.local_name());
                streams.push_back((co_await door.next()).value());
            };
            std::vector<chunk> held;
            for (std::size_t i = 0; i < 6; ++i) {
                co_await connect();
                CHECK(clients[i].send(std::to_string(i)));
                if (i < 4) held.push_back((co_await streams[i].chunks().next()).value());
            }
            const auto starves = [&](std::size_t i) -> task<> {
                descriptor& d = *streams[i].socket();
                const auto waits = [&] { return d.seat(side::read) && d.starved().linked(); };
                for (int n = 0; n < 100'000 && !waits(); ++n) co_await yield();
            };
            std::error_code end;
            const auto give_up = [&]() -> task<> {
                end = (co_await streams[4].chunks().next().within(1h)).error();
            };
            std::string order;
            const auto take = [&](std::size_t i) -> task<> {
                const auto got = co_await streams[i].chunks().next();
                order += got ? got->text() : "?";
            };
            co_await with_scope([&](scope& s) -> task<> {
                co_await with_scope([&](scope& first) -> task<> {
                    first.start(give_up());
                    co_await starves(4);
                    s.start(take(5));
                    co_await starves(5);
                    if (how == ending::cancel) first.cancel();
                    if (how == ending::limit) clock.advance(1h);
                    if (how == ending::close) {
                        auto closing = streams[4].close();
                        co_await std::move(closing);
                    }
                });
                CHECK(end == (how == ending::limit ? errc::timed_out : errc::cancelled));
                // The next connection has its record.
                if (how == ending::cancel) streams[4] = tcp_stream();
                co_await connect();
                CHECK(clients[6].send("6"));
                s.start(take(6));
                co_await starves(6);
                held.pop_back();
                for (int n = 0; n < 100'000 && order.size() < 2; ++n) co_await yield();
                s.cancel();
            });
            CHECK(order == "56");
            if (how == ending::limit) co_await take(4);
            CHECK(order == (how == ending::limit ? "564" : "56"));
        };
        each_core_way(body, [&](core_options& o) {
            tiny(o.buffers);
            o.clock = &clock;
        });
    }
}

TEST_CASE("a stream's path follows the sizes that it receives, and does not flap") {
    each_path([](core& c) -> task<> {
        const receive_path path = c.buffers().options().receive;
        const bool ring = c.ring() != nullptr;
        const bool multishot = ring && path != receive_path::readiness;
        const bool adapts = !ring || path != receive_path::multishot;
        auto both = co_await net::half_connected();
        const descriptor& d = *both.server.socket();
        int changes = 0;
        const auto pass = [&](int times, std::string_view sizes) -> task<> {
            for (std::size_t i = 0; i < static_cast<std::size_t>(times) * sizes.size(); ++i) {
                const bool before = d.bulk;
                const std::string text(sizes[i % sizes.size()] == 'L' ? 16384 : 64, 'x');
                CHECK(both.client.send(text));
                const auto got = co_await receive_chunks(both.server, text.size());
                CHECK(got.size() == text.size());
                changes += d.bulk != before;
            }
        };
        co_await pass(20, "s");
        CHECK(changes == 0);
        CHECK(d.many.armed == multishot);
        co_await pass(8, "L");
        CHECK(d.bulk == adapts);
        CHECK(changes == (adapts ? 1 : 0));
        CHECK(d.many.armed == (multishot && !adapts));
        co_await pass(20, "s");
        CHECK_FALSE(d.bulk);
        CHECK(changes == (adapts ? 2 : 0));
        CHECK(d.many.armed == multishot);
        changes = 0;
        co_await pass(20, "Lss");
        CHECK(changes == 0);
        co_await pass(30, "Ls");
        CHECK(d.bulk == adapts);
        CHECK(changes == (adapts ? 1 : 0));
        CHECK(d.many.used == multishot);
    });
}

TEST_CASE("what is received ahead of one stream does not keep another one waiting") {
    each_path(
        [](core&) -> task<> {
            auto busy = co_await flavours::connected();
            auto quiet = co_await flavours::connected();
            std::size_t taken = 0;
            std::size_t taken_before = 0;
            const auto greedy = [&]() -> task<> {
                while (co_await busy.server.chunks().next()) ++taken;
            };
            const auto patient = [&]() -> task<> {
                CHECK(co_await quiet.server.chunks().next());
                taken_before = taken;
            };
            const auto flood = net::pattern(64 * 4096);
            co_await with_scope([&](scope& s) -> task<> {
                CHECK(co_await busy.client.send_all(flood));
                s.start(greedy());
                s.start(patient());
                CHECK(co_await quiet.client.send_all("me too"));
                auto closing = busy.client.close();
                co_await std::move(closing);
            });
            CHECK(taken >= 64);
            CHECK(taken_before <= taken / 2);
        },
        [](buffer_options& o) {
            o.size = 4096;
            o.hold = 64;
        });
}

TEST_CASE("64 connections echo with one enter per turn") {
    each_path([](core& c) -> task<> {
        // What is received from a direct descriptor by hand is a call of the ring's own.
        if (c.direct() && c.buffers().options().receive == receive_path::readiness) co_return;
        REQUIRE(c.buffers().open() == 0);  // asks the kernel what it can do
        constexpr unsigned many = 64;
        int good = 0;
        std::vector<flavours::pair> all;
        for (unsigned i = 0; i < many; ++i) all.push_back(co_await flavours::connected());
        const auto ask = [&](unsigned i) -> task<> {
            if (co_await talk(std::move(all[i].client), 64, 20, i)) ++good;
        };
        const auto before = c.stats();
        co_await with_scope([&](scope& s) -> task<> {
            for (unsigned i = 0; i < many; ++i) {
                s.start(echo(std::move(all[i].server)));
                s.start(ask(i));
            }
            co_return;
        });
        const auto after = c.stats();
        CHECK(good == many);
        CHECK(after.enters - before.enters <= after.turns - before.turns);
    });
}

TEST_CASE("a stream that is closed between two waits takes nothing with it") {
    each_path([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("one"));
        {
            const auto got = co_await both.server.chunks().next();
            REQUIRE(got);
        }
        CHECK(both.client.send("two, unread"));
        for (int i = 0; i < 3; ++i) co_await yield();
        both.server = tcp_stream();
        CHECK(c.buffers().leased() == 0);
        for (int i = 0; i < 3; ++i) co_await yield();
        CHECK(both.client.recv(10).empty());  // the end, or a reset: it is closed for the peer
        // The record is free for another connection, which hears nothing of the old one.
        auto next = co_await net::half_connected();
        CHECK(next.client.send("fresh"));
        const auto got = co_await next.server.chunks().next();
        REQUIRE(got);
        CHECK(got->text() == "fresh");
    });
}

TEST_CASE("close() ends a wait for a chunk in another task") {
    each_path([](core&) -> task<> {
        auto both = co_await net::half_connected();
        std::error_code end;
        auto read = [&]() -> task<> { end = (co_await both.server.chunks().next()).error(); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read());
            for (int i = 0; i < 3; ++i) co_await yield();
            auto closing = both.server.close();
            co_await std::move(closing);
        });
        CHECK(end == errc::cancelled);
        CHECK(both.client.recv(10).empty());
    });
}

TEST_CASE("a reset is told after what had come before it, or in its place") {
    each_path([](core&) -> task<> {
        auto both = co_await net::half_connected();
        std::error_code end;
        auto read = [&]() -> task<> {
            for (;;) {
                const auto got = co_await both.server.chunks().next();
                if (got) continue;
                end = got.error();
                break;
            }
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read());
            co_await yield();
            both.client.reset();
        });
        CHECK(end == std::errc::connection_reset);
    });
}

TEST_CASE("at a stop, what has come is still given out; then the wait ends") {
    each_path([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("before"));
        CHECK((co_await both.server.chunks().next().or_stop()).value().text() == "before");
        std::string seen;
        std::error_code end;
        auto read = [&]() -> task<> {
            for (;;) {
                const auto got = co_await both.server.chunks().next().or_stop();
                if (!got) {
                    end = got.error();
                    break;
                }
                seen += got->text();
            }
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read());
            for (int i = 0; i < 2; ++i) co_await yield();
            CHECK(both.client.send("in time"));
            c.request_stop();
            co_return;
        });
        CHECK(seen == "in time");
        CHECK(end == errc::stopping);
        CHECK(both.client.send("asked after"));
        const auto last = co_await both.server.chunks().next().or_stop();
        REQUIRE(last);
        CHECK(last->text() == "asked after");
    });
}

TEST_CASE("at a stop that comes before the first wait, what has come is given out as well") {
    each_path([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        const net::plain_client one(door.local_name());
        const net::plain_client two(door.local_name());
        auto first = (co_await door.next()).value();
        auto second = (co_await door.next()).value();
        CHECK(one.send("one"));
        CHECK(two.send("two"));
        c.request_stop();
        const auto a = co_await first.chunks().next().or_stop();
        const auto b = co_await second.chunks().next().or_stop();
        CHECK((a && a->text() == "one"));
        CHECK((b && b->text() == "two"));
        const auto none = co_await first.chunks().next().or_stop();
        CHECK(none.error() == errc::stopping);
    });
}

TEST_CASE("a completion queue of 8 and a submission queue of 4 lose nothing") {
    const auto work = [](core&) -> task<> {
        int good = 0;
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        auto one = [&](unsigned i) -> task<> {
            auto peer = co_await tcp_stream::connect(door.local_name());
            if (co_await talk(std::move(peer).value(), 1 + 997U * i, 8, i)) ++good;
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (unsigned i = 0; i < 50; ++i) s.start(one(i));
            for (int i = 0; i < 50; ++i) s.start(echo((co_await door.next()).value()));
        });
        CHECK(good == 50);
    };
    const auto small_queues = [](core_options& o) {
        o.ring_entries = 4;
        o.completion_entries = 8;
    };
    each_core_way(work, [&](core_options& o) {
        small_queues(o);
        tiny(o.buffers);
    });
    // Messages that change a stream's path: direct descriptors are received from by ring::call().
    each_core_way(work, [&](core_options& o) {
        small_queues(o);
        o.buffers.size = 16384;
        o.buffers.window = 4;
        o.buffers.limit = 8;
    });
}

TEST_CASE("the ring's last answer may come while a receive begins that wants the stream back") {
    const auto each_reader = [](auto read) {
        flavours::each(
            [&](core& c) {
                auto work = [&](core&) -> task<> {
                    auto both = co_await net::half_connected();
                    CHECK(both.client.send("one"));
                    CHECK(co_await both.server.chunks().next());
                    for (int i = 0; i < 20; ++i) co_await yield();
                    const auto nothing = [](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); };
                    const auto fill = [&]() -> task<> { std::ignore = co_await uring(nothing); };
                    const auto end_it = [&]() -> task<> {
                        CHECK(both.client.send("two"));
                        both.client.close();
                        co_await fill();
                    };
                    const auto reader = [&]() -> task<> { co_await read(both.server); };
                    // All in one turn: both queues are full when the reader asks for the end of the
                    // multishot receive, which makes room by taking its last answer.
                    co_await with_scope([&](scope& s) -> task<> {
                        s.start(end_it());
                        for (int i = 0; i < 7; ++i) s.start(fill());
                        s.start(reader());
                        co_return;
                    });
                };
                block_on(c, work(c));
            },
            [](core_options& o) {
                o.ring_entries = 4;
                o.completion_entries = 4;
                o.buffers.receive = receive_path::multishot;
            });
    };
    const auto receive = [](tcp_stream& from) -> task<> {
        std::array<std::byte, 8> room{};
        CHECK((co_await from.recv(room)).value_or(0) == 3);
        CHECK((co_await from.recv(room)).error() == errc::end_of_stream);
    };
    each_reader(receive);
    const auto splice = [](tcp_stream& from) -> task<> {
        splice_pipe through;
        auto got = co_await from.splice_to(through);
        if (got.error() == std::errc::device_or_resource_busy) {
            auto left = co_await from.chunks().next();
            CHECK((left && left->text() == "two"));
        } else {
            CHECK((got && *got == 3));
            through.reset();
        }
        CHECK((co_await from.splice_to(through)).error() == errc::end_of_stream);
    };
    each_reader(splice);
}

TEST_CASE("two readers of one stream are caught, by chunks as well") {
    const auto said = abort_message([] {
        core_options options;
        auto c = core::make(options).value();
        auto work = []() -> task<> {
            auto both = co_await flavours::connected();
            auto read = [&]() -> task<> { std::ignore = co_await both.server.chunks().next(); };
            co_await all_of(read(), read());
        };
        block_on(*c, work());
    });
    CHECK(says(said, "two operations read from one descriptor at once"));
}

TEST_CASE("streams that are not read leave buffers for the others") {
    const auto flood = net::pattern(64 * 1024);
    const auto keep_one_of_many = [&](core& c) -> task<> {
        constexpr std::size_t unread = 40;
        std::vector<flavours::pair> all;
        std::vector<chunk> kept;
        for (std::size_t i = 0; i < unread; ++i) {
            all.push_back(co_await flavours::connected());
            flavours::pair& both = all.back();
            CHECK((co_await both.client.send_all("x")).has_value());
            auto first = co_await both.server.chunks().next().within(10s);
            REQUIRE(first);
            kept.push_back(std::move(*first));
            CHECK((co_await both.client.send_all(flood)).has_value());
            for (int turns = 0; turns < 20; ++turns) co_await yield();
        }
        auto last = co_await flavours::connected();
        CHECK((co_await last.client.send_all("hello")).has_value());
        {
            const auto got = co_await last.server.chunks().next().within(10s);
            REQUIRE(got);
            CHECK(got->text() == "hello");
        }
        CHECK(c.stats().starvations == 0);
        // While so much is kept they go on one buffer at a time, and lose nothing.
        for (flavours::pair& both : all)
            CHECK(co_await receive_chunks(both.server, flood.size()) == flood);
    };
    each_path(keep_one_of_many, [](buffer_options& o) {
        o.size = 4096;
        o.window = 16;
        o.limit = 128;
        o.large_limit = 0;
    });
}

TEST_CASE("a stream is given no more buffers unasked than it may hold") {
    each_path(
        [](core& c) -> task<> {
            auto both = co_await flavours::connected();
            const std::size_t flooded = co_await net::fill(both.client);
            CHECK(flooded > 64 * 4096);
            std::size_t received = 0;
            {
                const auto first = co_await both.server.chunks().next();
                REQUIRE(first);
                received = first->size();
                for (int i = 0; i < 50; ++i) co_await yield();
                // A kernel that knows no limit may give the whole window before it can be stopped.
                const auto& pool = c.buffers();
                const bool exact = c.ring() == nullptr || !pool.provides() ||
                                   pool.receive_limit() > 0;
                CHECK(pool.leased() <= (exact ? pool.options().hold + 1 : pool.options().window));
            }
            received += (co_await receive_chunks(both.server, flooded - received)).size();
            CHECK(received == flooded);
        },
        [](buffer_options& o) { o.size = 4096; });
}

TEST_CASE("an error is told once, then what is so: the end after a reset") {
    const auto each_way = [](auto read) {
        each_path([&](core&) -> task<> {
            auto both = co_await net::half_connected();
            CHECK(both.client.send("x"));
            CHECK(co_await both.server.chunks().next());
            both.client.reset();
            CHECK((co_await read(both.server)) == std::errc::connection_reset);
            CHECK((co_await read(both.server)) == errc::end_of_stream);
            CHECK((co_await read(both.server)) == errc::end_of_stream);
        });
    };
    each_way([](tcp_stream& from) -> task<std::error_code> {
        co_return (co_await from.chunks().next()).error();
    });
    each_way([](tcp_stream& from) -> task<std::error_code> {
        std::array<std::byte, 8> room{};
        co_return (co_await from.recv(room)).error();
    });
    each_way([](tcp_stream& from) -> task<std::error_code> {
        splice_pipe through;
        co_return (co_await from.splice_to(through)).error();
    });
}

TEST_CASE("a stream that cannot be received from is its own affair") {
    each_path([](core& c) -> task<> {
        constexpr int kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
        tcp_stream lonely{owned_descriptor(::socket(AF_UNIX, kind, 0))};
        auto both = co_await net::half_connected();
        CHECK(both.client.send("first"));
        CHECK(co_await both.server.chunks().next());
        const bool provides = c.buffers().provides();
        for (int i = 0; i < 2; ++i) {
            const auto refused = co_await lonely.chunks().next();
            CHECK(refused.error() == std::errc::invalid_argument);
        }
        CHECK(c.buffers().provides() == provides);
        CHECK(both.client.send("second"));
        CHECK((co_await both.server.chunks().next()).value().text() == "second");
    });
}

TEST_CASE("giving up a stream that the ring receives for is caught") {
    core_options options;
    options.backend = backend::uring;
    if (!flavours::made(options)) return;
    const auto said = abort_message([&] {
        auto c = core::make(options).value();
        auto work = []() -> task<> {
            auto both = co_await net::half_connected();
            CHECK(both.client.send("x"));
            std::ignore = co_await both.server.chunks().next();
            std::ignore = both.server.release();
        };
        block_on(*c, work());
    });
    CHECK(says(said, "is being read by chunks()"));
}

#ifndef NDEBUG
namespace {
const char* refused_call = "";
int refused_error = 0;
}  // namespace

TEST_CASE("without memory for the pool a wait for a chunk says so") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("later"));
        refused_call = "mmap";
        refused_error = ENOMEM;
        kernel::fault::hook = [](const char* call) noexcept {
            return std::string_view(call) == refused_call ? refused_error : 0;
        };
        const auto refused = co_await both.server.chunks().next();
        kernel::fault::hook = nullptr;
        CHECK(refused.error() == std::errc::not_enough_memory);
        CHECK((co_await both.server.chunks().next()).value().text() == "later");
    });
}

TEST_CASE("no buffer for every fifth receive: byte for byte, on the ring and by hand") {
    const auto body = [](core& c) -> task<> {
        static thread_local unsigned asked;
        static thread_local unsigned refused;
        asked = refused = 0;
        int good = 0;
        constexpr unsigned many = 20;
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        const auto one = [&](unsigned i) -> task<> {
            auto peer = co_await tcp_stream::connect(door.local_name());
            if (co_await talk(std::move(peer).value(), 1 + 997U * i, 6, i)) ++good;
        };
        kernel::fault::hook = [](const char* call) noexcept {
            const std::string_view name = call;
            if (name != "receive_buffers" && name != "take_buffer") return 0;
            if (++asked % 5 != 0) return 0;
            ++refused;
            return ENOBUFS;
        };
        const auto before = c.stats();
        const auto work = [&]() -> task<> {
            co_await with_scope([&](scope& s) -> task<> {
                for (unsigned i = 0; i < many; ++i) s.start(one(i));
                for (unsigned i = 0; i < many; ++i) s.start(echo((co_await door.next()).value()));
            });
        };
        auto all = work();
        CHECK(co_await with_deadline(30s, std::move(all)));
        kernel::fault::hook = nullptr;
        const auto after = c.stats();
        CHECK(good == many);
        CHECK(refused > many);
        CHECK(after.starvations - before.starvations > many);
    };
    // The kernel gives a stream one buffer, then it is asked again.
    each_path(body, [](buffer_options& o) {
        o.size = 4096;
        o.hold = 1;
    });
}

namespace {
std::array<std::string_view, 2> unknown{};
/// What a ring is asked when it is made.
void refuse(std::array<std::string_view, 2> calls) {
    unknown = calls;
    kernel::fault::hook = [](const char* call) noexcept {
        return call == unknown[0] || call == unknown[1] ? EINVAL : 0;
    };
}
}  // namespace

TEST_CASE("a ring that knows no limit of a receive is stopped by cancelling it") {
    const auto body = [](core& c) -> task<> {
        kernel::fault::hook = nullptr;
        auto both = co_await flavours::connected();
        const std::size_t flooded = co_await net::fill(both.client);
        std::size_t received = 0;
        {
            const auto first = co_await both.server.chunks().next();
            REQUIRE(first);
            received = first->size();
            for (int i = 0; i < 50; ++i) co_await yield();
        }
        CHECK(c.buffers().receive_limit() == 0);
        CHECK((c.ring() == nullptr || c.stats().pauses > 0));
        received += (co_await receive_chunks(both.server, flooded - received)).size();
        CHECK(received == flooded);
    };
    flavours::each([&](core& c) { block_on(c, body(c)); },
                   [](core_options& o) {
                       o.buffers.size = 4096;
                       refuse({"receive_limit", "receive_limit"});
                   });
    kernel::fault::hook = nullptr;
}

TEST_CASE("a ring that takes no buffers is read by hand") {
    flavours::each_task([](core& c) -> task<> {
        refused_call = "register_buf_ring";
        refused_error = EINVAL;
        kernel::fault::hook = [](const char* call) noexcept {
            return std::string_view(call) == refused_call ? refused_error : 0;
        };
        auto both = co_await net::half_connected();
        CHECK(both.client.send("by hand"));
        const auto got = co_await both.server.chunks().next();
        kernel::fault::hook = nullptr;
        REQUIRE(got);
        CHECK(got->text() == "by hand");
        CHECK_FALSE(c.buffers().provides());
    });
}

TEST_CASE("a ring without a multishot receive is read by hand") {
    const auto body = [](core& c) -> task<> {
        kernel::fault::hook = nullptr;
        auto both = co_await net::half_connected();
        CHECK(both.client.send("by hand"));
        const auto got = co_await both.server.chunks().next();
        REQUIRE(got);
        CHECK(got->text() == "by hand");
        CHECK_FALSE(c.buffers().provides());
    };
    flavours::each([&](core& c) { block_on(c, body(c)); },
                   [](core_options&) { refuse({"receive_limit", "multishot_receive"}); });
    kernel::fault::hook = nullptr;
}
#endif
