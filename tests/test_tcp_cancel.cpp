// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Ends that meet: a cancel, a time-out, a stop or a close against the answer itself, against each
// other, and against the end of what is waited on.

#include "net_helpers.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using room_type = std::array<std::byte, 64>;

/// Nothing of ours is left in the kernel; a listener's accept may take some turns to leave.
task<bool> comes_to_rest(core& c, std::uint32_t in_flight) {
    for (int turns = 0; turns < 1000 && c.in_flight > in_flight; ++turns) co_await yield();
    co_return c.in_flight <= in_flight;
}

}  // namespace

TEST_CASE("an answer that is there when the cancel comes is kept") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(co_await comes_to_rest(c, 0));
        room_type room{};
        int received = 0;
        int refused = 0;
        for (int round = 0; round < 200; ++round) {
            std::error_code error;
            std::size_t count = 0;
            auto read = [&]() -> task<> {
                const auto got = co_await both.server.recv(room);
                if (got) count = *got;
                error = got.error();
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(read());
                for (int i = 0; i <= round % 2; ++i) co_await yield();
                CHECK(both.client.send("1234"));
                for (int i = 0; i < round / 2 % 3; ++i) co_await yield();
                s.cancel();
            });
            if (error) {
                CHECK(error == errc::cancelled);
                CHECK(count == 0);
                ++refused;
                const auto late = co_await both.server.recv(room);  // it was not lost
                REQUIRE(late);
                CHECK(*late == 4);
            } else {
                CHECK(count == 4);
                ++received;
            }
        }
        CHECK(received + refused == 200);
        CHECK(received > 0);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a time-out against arriving data has one outcome each and loses no byte") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        room_type room{};
        std::uint8_t sent = 0;
        std::uint8_t expected = 0;
        bool in_order = true;
        int received = 0;
        int timed_out = 0;
        for (int round = 0; round < 500; ++round) {
            auto read = [&]() -> task<> {
                const auto got = co_await both.server.recv(room).within(round % 5 * 20us);
                if (!got) {
                    ++timed_out;
                    in_order = in_order && got.error() == errc::timed_out;
                    co_return;
                }
                ++received;
                for (std::size_t i = 0; i < *got; ++i)
                    in_order = in_order && room[i] == std::byte(expected++);
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(read());
                for (int i = 0; i < round % 3; ++i) co_await yield();
                const char one = static_cast<char>(sent++);
                CHECK(both.client.send(std::string_view(&one, 1)));
            });
        }
        while (expected != sent) {
            const auto rest = co_await both.server.recv(room);
            REQUIRE(rest);
            for (std::size_t i = 0; i < *rest; ++i)
                in_order = in_order && room[i] == std::byte(expected++);
        }
        CHECK(in_order);
        CHECK(received + timed_out == 500);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("sends that time out again and again leave a stream of whole bytes in order") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        // Else all of it may find room in the socket (tcp_wmem), and no send would ever time out.
        CHECK(both.client.set_option(SOL_SOCKET, SO_SNDBUF, 64 * 1024));
        const auto all = net::pattern(4 << 20);
        std::size_t gone = 0;
        int timed_out = 0;
        auto write = [&]() -> task<> {
            while (gone < all.size()) {
                const auto rest = std::span(all).subspan(gone);
                const auto sent = co_await both.client.send(rest).within(100us);
                if (sent) {
                    gone += *sent;
                } else {
                    CHECK(sent.error() == errc::timed_out);
                    ++timed_out;
                }
            }
            CHECK(both.client.try_shutdown_send());
        };
        std::vector<std::byte> received;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(write());
            // Not before the sender has been refused some room.
            while (timed_out < 3) std::ignore = co_await sleep_for(1ms);
            received = co_await net::receive(both.server, all.size() + 1);
        });
        CHECK(timed_out >= 3);
        CHECK(received == all);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("every wait with within() ends with timed_out, and a cancel is quicker than an hour") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        std::ignore = co_await net::fill(both.client);
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        room_type room{};
        const auto block = net::pattern(4 << 20);
        const std::array<send_part, 2> parts{send_part(block), send_part(block)};
        for (const nanoseconds limit : {nanoseconds(0), nanoseconds(1us), nanoseconds(2ms)}) {
            auto recv = [&]() -> task<std::error_code> {
                co_return (co_await both.client.recv(room).within(limit)).error();
            };
            auto send = [&]() -> task<std::error_code> {
                co_return (co_await both.client.send(block).within(limit)).error();
            };
            auto send_all = [&]() -> task<std::error_code> {
                co_return (co_await both.client.send_all(block).within(limit)).error();
            };
            auto gathered = [&]() -> task<std::error_code> {
                co_return (co_await both.client.send_all(parts).within(limit).or_stop()).error();
            };
            auto accept = [&]() -> task<std::error_code> {
                co_return (co_await door.accept().or_stop().within(limit)).error();
            };
            CHECK(co_await recv() == errc::timed_out);
            CHECK(co_await send() == errc::timed_out);
            CHECK(co_await send_all() == errc::timed_out);
            CHECK(co_await gathered() == errc::timed_out);
            CHECK(co_await accept() == errc::timed_out);
        }
        auto gathered = [&]() -> task<std::error_code> {
            co_return (co_await both.client.send_all(parts).or_stop().within(1h)).error();
        };
        auto accept = [&]() -> task<std::error_code> {
            co_return (co_await door.accept().within(1h).or_stop()).error();
        };
        for (const int turns : {-1, 0, 1, 2}) {
            CHECK(co_await net::cancelled_after(turns, gathered) == errc::cancelled);
            CHECK(co_await net::cancelled_after(turns, accept) == errc::cancelled);
        }
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a time-out and a cancel of the same turn are one outcome") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        room_type room{};
        for (int round = 0; round < 60; ++round) {
            auto read = [&]() -> task<std::error_code> {
                co_return (co_await both.server.recv(room).within(round % 4 * 30us)).error();
            };
            const auto error = co_await net::cancelled_after(round % 5, read);
            const bool either = error == errc::cancelled || error == errc::timed_out;
            CHECK(either);
        }
        CHECK(co_await both.client.send_all("alive"));
        const auto got = co_await both.server.recv(room);
        REQUIRE(got);
        CHECK(*got == 5);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a single accept that is cancelled as a connection comes leaks neither") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        int served = 0;
        std::vector<net::plain_client> clients;
        for (int round = 0; round < 200; ++round) {
            auto take = [&]() -> task<> {
                const auto peer = co_await door.accept();
                if (peer) ++served;
                else CHECK(peer.error() == errc::cancelled);
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(take());
                for (int i = 0; i < round % 3; ++i) co_await yield();
                clients.emplace_back(door.local_name());
                CHECK(clients.back().connected());
                for (int i = 0; i < round / 3 % 3; ++i) co_await yield();
                s.cancel();
            });
        }
        CHECK(served > 0);
        while (served < 200) {
            const auto rest = co_await door.accept().within(5s);
            REQUIRE(rest);
            ++served;
        }
        CHECK((co_await door.accept().within(1ms)).error() == errc::timed_out);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a connect that is cancelled as it succeeds is a connection or it is closed") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        const auto open = c.descriptors().open();
        int made = 0;
        for (int round = 0; round < 200; ++round) {
            auto connect = [&]() -> task<std::error_code> {
                const auto stream = co_await tcp_stream::connect(door.local_name());
                if (stream) ++made;
                co_return stream.error();
            };
            const auto error = co_await net::cancelled_after(round % 4 - 1, connect);
            const bool either = !error || error == errc::cancelled;
            CHECK(either);
            CHECK(c.descriptors().open() == open);
        }
        CHECK(made > 0);
        CHECK(made < 200);
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("a stop ends a connect, also one that begins after it, without blocking the loop") {
    flavours::each_task([](core& c) -> task<> {
        listen_options options;
        options.backlog = 0;
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        // Until the backlog is full and a connect hangs.
        std::vector<tcp_stream> waiting;
        for (int i = 0; i < 16; ++i) {
            auto stream = co_await tcp_stream::connect(door.local_name()).within(50ms);
            if (!stream) break;
            waiting.push_back(std::move(*stream));
        }
        REQUIRE(waiting.size() < 16);
        std::error_code hanging;
        auto connect = [&]() -> task<> {
            hanging = (co_await tcp_stream::connect(door.local_name()).within(1h).or_stop()).error();
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(connect());
            for (int i = 0; i < 3; ++i) co_await yield();
            c.request_stop();
        });
        CHECK(hanging == errc::stopping);
        const auto late = co_await tcp_stream::connect(door.local_name()).or_stop();
        CHECK(late.error() == errc::stopping);
    });
}

TEST_CASE("a stop ends accept() with or_stop(), but not before those who have connected are served") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::error_code end;
        int served = 0;
        auto serve = [&]() -> task<> {
            for (;;) {
                const auto peer = co_await door.accept().or_stop();
                if (!peer) {
                    end = peer.error();
                    co_return;
                }
                ++served;
            }
        };
        std::vector<net::plain_client> clients;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(serve());
            for (int i = 0; i < 2; ++i) co_await yield();
            for (int i = 0; i < 3; ++i) clients.emplace_back(door.local_name());
            c.request_stop();
        });
        CHECK(served == 3);
        CHECK(end == errc::stopping);
    });
}

TEST_CASE("a stop ends next(), but not before those who have connected are served") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::error_code end;
        int served = 0;
        auto serve = [&]() -> task<> {
            auto peer = co_await door.next();
            for (; peer; peer = co_await door.next()) ++served;
            end = peer.error();
        };
        std::vector<net::plain_client> clients;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(serve());
            for (int i = 0; i < 2; ++i) co_await yield();
            // Where the ring's work is done at any system call, it has accepted these already.
            for (int i = 0; i < 3; ++i) clients.emplace_back(door.local_name());
            c.request_stop();
        });
        CHECK(served == 3);
        CHECK(end == errc::stopping);
    });
}

TEST_CASE("after a stop a flood that or_stop() still takes in does not keep other tasks from running") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        const auto all = net::pattern(64 * 1024);
        CHECK(co_await both.client.send_all(all));
        c.request_stop();
        int reads = 0;
        int reads_before_other = -1;
        std::vector<std::byte> received;
        auto session = [&]() -> task<> {
            room_type room{};
            while (auto got = co_await both.server.recv(room).or_stop()) {
                ++reads;
                received.insert(received.end(), room.begin(),
                                room.begin() + static_cast<std::ptrdiff_t>(*got));
            }
        };
        auto other = [&]() -> task<> {
            co_await yield();
            reads_before_other = reads;
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(session());
            s.start(other());
            co_return;
        });
        CHECK(received == all);
        CHECK(reads_before_other >= 0);
        CHECK(reads_before_other < reads / 4);
    });
}

namespace {
/// Awaits `ask()`, which is refused at once, until another task has had three turns: how often.
template <class Ask>
task<int> refusals_until_others_ran(Ask ask) {
    constexpr int too_often = 10'000;
    bool others_ran = false;
    auto others = [&]() -> task<> {
        for (int i = 0; i < 3; ++i) co_await yield();
        others_ran = true;
    };
    int asked = 0;
    auto insist = [&]() -> task<> {
        for (; !others_ran && asked < too_often; ++asked) CHECK(!co_await ask());
    };
    co_await with_scope([&](scope& s) -> task<> {
        s.start(insist());
        s.start(others());
        co_return;
    });
    co_return asked;
}
}  // namespace

TEST_CASE("who goes on asking for what is refused does not keep other tasks from running") {
    flavours::each_task([](core& c) -> task<> {
        constexpr int some = 1000;
        auto both = co_await flavours::connected();
        room_type room{};
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        const unique_fd reader(ends[0]);
        const file pipe{owned_descriptor(ends[1])};
        const address nowhere = address::parse("unix:/nowhere/at-all").value();
        const auto connect = [&] { return tcp_stream::connect(nowhere); };
        CHECK(co_await refusals_until_others_ran(connect) < some);
        if (c.backend() == backend::epoll) {
            const net::few_descriptors no_more(0);
            CHECK(co_await refusals_until_others_ran(connect) < some);
        }
        const auto open = [] { return file::open("/", {.read = false}); };
        CHECK(co_await refusals_until_others_ran(open) < some);
        const auto read = [&] { return pipe.read_at(room, 0); };
        CHECK(co_await refusals_until_others_ran(read) < some);
        const auto read_chunk = [&] { return pipe.read_chunk(0); };
        CHECK(co_await refusals_until_others_ran(read_chunk) < some);
        const auto write = [&] { return pipe.write_at(room, 0); };
        CHECK(co_await refusals_until_others_ran(write) < some);
        if (c.backend() == backend::epoll) {
            const auto in_ring = [] { return uring([](io_uring_sqe&) {}); };
            CHECK(co_await refusals_until_others_ran(in_ring) < some);
        }
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        door.close();
        const auto next = [&] { return door.next(); };
        CHECK(co_await refusals_until_others_ran(next) < some);
        c.request_stop();
        const auto receive = [&] { return both.server.recv(room).or_stop(); };
        CHECK(co_await refusals_until_others_ran(receive) < some);
        const auto send_file = [&] { return both.server.send_file(pipe, 0, 1).or_stop(); };
        CHECK(co_await refusals_until_others_ran(send_file) < some);
    });
}

TEST_CASE("a listener may be closed by a task while its own edge waits in the queue") {
    flavours::each_task([](core& c) -> task<> {
        for (int round = 0; round < 20; ++round) {
            auto session = co_await net::half_connected();
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            const address where = door.local_name();
            std::error_code end;
            int served = 0;
            auto listen = [&]() -> task<> {
                for (;;) {
                    const auto peer = co_await door.next();
                    if (!peer) {
                        end = peer.error();
                        co_return;
                    }
                    ++served;
                }
            };
            auto talk = [&]() -> task<> {
                room_type room{};
                CHECK(co_await session.server.recv(room));
                door.close();
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(listen());
                s.start(talk());
                for (int i = 0; i < 2; ++i) co_await yield();
                // Both in one turn, the session's first; in every other round the other way round.
                if (round % 2 == 1) CHECK(net::plain_client(where).connected());
                CHECK(session.client.send("close it"));
                if (round % 2 == 0) CHECK(net::plain_client(where).connected());
            });
            CHECK(end == errc::cancelled);
            CHECK(served <= 1);
        }
        CHECK(co_await comes_to_rest(c, 0));
    });
}

TEST_CASE("a listener that goes away while nobody waits takes its connections with it") {
    flavours::each_task([](core& c) -> task<> {
        std::vector<net::plain_client> clients;
        {
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            clients.emplace_back(door.local_name());
            CHECK(co_await door.next());
            for (int i = 0; i < 5; ++i) clients.emplace_back(door.local_name());
            for (int i = 0; i < 3; ++i) co_await yield();
        }
        CHECK(co_await comes_to_rest(c, 0));
        co_await yield();  // direct descriptors are closed with the turn
        for (const auto& client : clients) {
            CHECK(client.connected());
            CHECK(client.recv(1).empty());  // an end or a reset, not a hang
        }
    });
}

TEST_CASE("a listener closed in the turn that armed it takes nothing from the next of its number") {
    flavours::each_task([](core& c) -> task<> {
        auto first = tcp_listener::bind("127.0.0.1:0").value();
        std::error_code end;
        bool served = false;
        auto wait = [&]() -> task<> { end = (co_await first.next()).error(); };
        auto replace = [&]() -> task<> {
            first.close();  // its accept has not been submitted
            auto second = tcp_listener::bind("127.0.0.1:0").value();
            const net::plain_client client(second.local_name());
            auto next = [&]() -> task<bool> { co_return static_cast<bool>(co_await second.next()); };
            auto work = next();
            served = (co_await with_deadline(std::chrono::seconds(10), std::move(work)))
                         .value_or(false);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(wait());
            s.start(replace());
            co_return;
        });
        CHECK(end == errc::cancelled);
        CHECK(served);
        CHECK(co_await comes_to_rest(c, 0));
    });
}

TEST_CASE("close() waits for a reader and a writer that are cancelled as their answers come") {
    flavours::each_task([](core& c) -> task<> {
        for (int round = 0; round < 30; ++round) {
            auto both = co_await net::half_connected();
            const auto block = net::pattern(8 << 20);
            int ended = 0;
            std::error_code read_end;
            std::error_code write_end;
            auto read = [&]() -> task<> {
                room_type room{};
                read_end = (co_await both.server.recv(room)).error();
                ++ended;
            };
            auto write = [&]() -> task<> {
                write_end = (co_await both.server.send_all(block)).error();
                ++ended;
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(read());
                s.start(write());
                for (int i = 0; i < 2 + round % 2; ++i) co_await yield();
                CHECK(both.client.send("now"));
                for (int i = 0; i < round / 2 % 3; ++i) co_await yield();
                auto closing = both.server.close();
                co_await std::move(closing);
                CHECK_FALSE(both.server);
            });
            CHECK(ended == 2);
            const bool kept_or_cancelled = !read_end || read_end == errc::cancelled;
            CHECK(kept_or_cancelled);
            CHECK(write_end == errc::cancelled);
            CHECK(c.in_flight == 0);
        }
    });
}
