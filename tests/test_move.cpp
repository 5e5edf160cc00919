// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Connections that move from core to core: under load, with bytes received and not taken, and where
// they cannot.

#include "aborts.hpp"
#include "net_helpers.hpp"

#include <array>
#include <atomic>
#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr unsigned cores = 2;

struct form {
    const char* name;
    bool bundles;
    bool incremental;
};
constexpr std::array<form, 3> forms{
    {{"whole buffers", false, false}, {"bundles", true, false}, {"slices", false, true}}};

/// Calls `body(run_options&)` once for each kind of descriptor and form of receiving.
template <class Body>
void each_kind(Body body, std::size_t count = forms.size()) {
    for (std::size_t i = 0; i < flavours::all.size() * count; ++i) {
        const flavours::flavour& f = flavours::all[i / count];
        const form& how = forms[i % count];
        if (f.backend == backend::epoll && (how.bundles || how.incremental)) continue;
        INFO("on ", std::string(f.name), ", ", std::string(how.name));
        run_options options;
        options.cores = cores;
        options.core = flavours::options_of(f);
        options.core.buffers.bundles = how.bundles;
        options.core.buffers.incremental = how.incremental;
        std::string why;
        if (!choose_backend(options.core, &why)) {
            MESSAGE("skipped: ", why);
            continue;
        }
        body(options);
    }
}

/// Where each core's sessions run; set by the core itself.
std::array<std::atomic<scope*>, cores> sessions;
/// Of both cores: while one lives it may be on its way to the other core, whose scope must be there.
std::atomic<int> living;
std::atomic<int> moves;
std::atomic<int> direct_moves;

task<> echo(tcp_stream peer, int moves_left);

task<> until_ended(task<> session) {
    co_await std::move(session);
    --living;
}

/// On the core that it runs on, or on which it has arrived.
void start_session(task<> session) noexcept {
    ++living;
    auto counted = until_ended(std::move(session));
    sessions[core_index()].load()->start(std::move(counted));
}

/// Moves on to the other core and echoes there.
task<> hand_over(tcp_stream peer, int moves_left) {
    const unsigned other = 1 - core_index();
    auto arrived = [=](tcp_stream s) noexcept {
        ++moves;
        direct_moves += s.native_handle() < 0;
        start_session(echo(std::move(s), moves_left - 1));
    };
    auto work = move_stream(other, peer, arrived);
    const auto moved = co_await std::move(work);
    if (moved) co_return;
    MESSAGE("not moved: ", moved.error().message());
    co_await echo(std::move(peer), 0);
}

/// Chunk by chunk for a while (so that the ring goes on receiving as it moves), then elsewhere.
task<> echo(tcp_stream peer, int moves_left) {
    int chunks = 0;
    while (auto got = co_await peer.chunks().next()) {
        if (!co_await peer.send_all(std::move(*got))) co_return;
        if (moves_left > 0 && ++chunks == 3) {
            co_await hand_over(std::move(peer), moves_left);
            co_return;
        }
    }
}

/// Sends all of it without waiting for answers, and receives as much.
task<bool> exact_through(address where, std::size_t size, unsigned seed) {
    const auto bytes = net::pattern(size, seed);
    auto stream = co_await tcp_stream::connect(where);
    if (!stream) co_return false;
    auto send = [&]() -> task<> {
        for (std::size_t at = 0; at < size; at += 1000) {
            const auto part = std::span(bytes).subspan(at, std::min<std::size_t>(1000, size - at));
            if (!co_await stream->send_all(part)) co_return;
            if (at % 7000 == 0) co_await yield();
        }
    };
    auto receive = [&]() -> task<std::vector<std::byte>> {
        co_return co_await net::receive(*stream, size);
    };
    auto [sent, received] = co_await all_of(send(), receive());
    static_cast<void>(sent);
    co_return received == bytes;
}

/// Runs `body()` on each core in a scope that the other core can start sessions in, until every core's
/// body and every session has ended.
template <class Body>
task<> in_sessions(std::atomic<unsigned>& ended, Body& body) {
    co_await with_scope([&](scope& s) -> task<> {
        sessions[core_index()] = &s;
        while (sessions[0].load() == nullptr || sessions[1].load() == nullptr)
            co_await yield();
        co_await body();
        ++ended;
        while (ended.load() < cores || living.load() > 0) co_await yield();
    });
    sessions[core_index()] = nullptr;
}

}  // namespace

TEST_CASE("connections move back and forth under load, and every byte comes once, in order") {
    each_kind([](run_options& options) {
        constexpr int connections = 40;
        std::atomic<int> exact{0};
        std::atomic<unsigned> ended{0};
        moves = direct_moves = 0;
        const int code = run(options, [&]() -> task<> {
            auto body = [&]() -> task<> {
                if (core_index() != 0) co_return;
                // A listener of this core alone.
                auto door = tcp_listener::bind("127.0.0.1:0").value();
                auto serve = [&]() -> task<> {
                    for (int i = 0; i < connections; ++i) {
                        auto peer = co_await door.next();
                        if (!peer) co_return;
                        start_session(echo(std::move(*peer), 8));
                    }
                };
                auto ask = [&](unsigned seed) -> task<> {
                    exact += co_await exact_through(door.local_name(), 60'000, seed);
                };
                co_await with_scope([&](scope& mine) -> task<> {
                    mine.start(serve());
                    for (unsigned i = 0; i < connections; ++i) mine.start(ask(i));
                    co_return;
                });
            };
            co_await in_sessions(ended, body);
        });
        CHECK(code == 0);
        CHECK(exact == connections);
        CHECK(moves >= connections);
        CHECK((direct_moves > 0) == (options.core.direct_descriptors > 0));
    });
}

TEST_CASE("what was received and not taken goes with it, the end too") {
    each_kind([](run_options& options) {
        std::atomic<unsigned> ended{0};
        std::atomic<int> arrived_bytes{-1};
        std::atomic<bool> end_seen{false};
        const int code = run(options, [&]() -> task<> {
            auto finish = [&](tcp_stream s) -> task<> {
                int sum = 0;
                while (auto got = co_await s.chunks().next()) sum += static_cast<int>(got->size());
                end_seen = true;
                arrived_bytes = sum;
            };
            auto body = [&]() -> task<> {
                if (core_index() == 0) {
                    auto both = co_await net::half_connected();
                    CHECK(both.client.send("first"));
                    CHECK((co_await both.server.chunks().next()).value().text() == "first");
                    for (int i = 0; i < 3; ++i) {
                        CHECK(both.client.send("later"));
                        co_await yield();
                    }
                    both.client.close();
                    for (int i = 0; i < 3; ++i) co_await yield();
                    auto take_over = [&](tcp_stream s) noexcept {
                        start_session(finish(std::move(s)));
                    };
                    auto work = move_stream(1, both.server, take_over);
                    CHECK(co_await std::move(work));
                    CHECK(!both.server);
                }
                while (arrived_bytes.load() < 0) co_await yield();
            };
            co_await in_sessions(ended, body);
        });
        CHECK(code == 0);
        CHECK(end_seen);
        CHECK(arrived_bytes == 15);
    });
}

TEST_CASE("a move that fails leaves the stream whole where it is; one to its own core is a call") {
    each_kind([](run_options& options) {
        options.core.buffers.limit = 2;
        options.core.buffers.window = 1;
        std::atomic<unsigned> ended{0};
        std::atomic<bool> held{false};
        std::atomic<bool> tried{false};
        std::atomic<bool> on_ring{false};
        const int code = run(options, [&]() -> task<> {
            auto body = [&]() -> task<> {
                if (core_index() == 1) {
                    // Takes all of this core's buffers.
                    auto both = co_await net::half_connected();
                    std::vector<chunk> kept;
                    for (int i = 0; i < 2; ++i) {
                        CHECK(both.client.send("x"));
                        auto got = co_await both.server.chunks().next().within(2s);
                        if (got) kept.push_back(std::move(*got));
                    }
                    held = true;
                    while (!tried.load()) co_await yield();
                    co_return;
                }
                while (!held.load()) co_await yield();
                on_ring = here().ring() != nullptr;
                auto both = co_await net::half_connected();
                CHECK(both.client.send("a"));
                CHECK(co_await both.server.chunks().next());
                CHECK(both.client.send("bc"));
                for (int i = 0; i < 3; ++i) co_await yield();
                auto nowhere = [](tcp_stream) noexcept {};
                auto to_none = move_stream(7, both.server, nowhere);
                CHECK((co_await std::move(to_none)).error() == errc::core_stopped);
                auto work = move_stream(1, both.server, nowhere);
                const auto moved = co_await std::move(work);
                tried = true;
                if (on_ring) {  // on epoll nothing is received before it is asked for
                    CHECK(moved.error() == std::errc::no_buffer_space);
                    auto got = co_await both.server.chunks().next();
                    REQUIRE(got);
                    CHECK(got->text() == "bc");
                    got->reset();
                    tcp_stream same;
                    auto keep = [&](tcp_stream s) noexcept { same = std::move(s); };
                    auto home = move_stream(0, both.server, keep);
                    CHECK(co_await std::move(home));
                    CHECK(same);
                }
            };
            co_await in_sessions(ended, body);
        });
        CHECK(code == 0);
    }, 1);  // the other forms hold less in two buffers, or more
}

TEST_CASE("a stream that another task reads is not moved: that is said") {
    each_kind([](run_options& options) {
        const std::string said = abort_message([&] {
            static_cast<void>(run(options, []() -> task<> {
                if (core_index() != 0) co_return;
                auto both = co_await net::half_connected();
                const auto read = [&]() -> task<> {
                    static_cast<void>(co_await both.server.chunks().next());
                };
                const auto move = [&]() -> task<> {
                    auto nowhere = [](tcp_stream) noexcept {};
                    auto work = move_stream(1, both.server, nowhere);
                    static_cast<void>(co_await std::move(work));
                };
                co_await all_of(read(), move());
            }));
        });
        CHECK(says(said, "a stream was moved while an operation on it was in flight"));
    }, 1);
}

namespace {

long open_files() {
    const auto all = std::filesystem::directory_iterator("/proc/self/fd");
    return std::distance(begin(all), end(all));
}

enum class trouble { cancelled, stopped };

/// Moves a connection with bytes that nobody has taken and, so many turns after that began, cancels
/// the mover or stops the program: the stream is then on the one core or on the other, whole.
void move_in_trouble(run_options& options, trouble what, int turns) {
    std::atomic<unsigned> ended{0};
    std::atomic<int> received{-1};
    std::atomic<bool> by_table{false};
    std::atomic<bool> moved{false};
    std::array<std::size_t, cores> records{};
    const int code = run(options, [&]() -> task<void> {
        const std::size_t before = here().descriptors().open();
        const auto finish = [&](tcp_stream s) -> task<> {
            int sum = 0;
            while (auto got = co_await s.chunks().next()) sum += static_cast<int>(got->size());
            received = sum;
        };
        const auto body = [&]() -> task<> {
            if (core_index() == 0) {
                auto both = co_await net::half_connected();
                CHECK(both.client.send("first"));
                CHECK((co_await both.server.chunks().next()).value().text() == "first");
                CHECK(both.client.send("later"));
                for (int i = 0; i < 3; ++i) co_await yield();
                const auto take_over = [&](tcp_stream s) noexcept {
                    by_table = s.native_handle() < 0;
                    start_session(finish(std::move(s)));
                };
                const auto mover = [&]() -> task<std::error_code> {
                    auto work = move_stream(1, both.server, take_over);
                    co_return (co_await std::move(work)).error();
                };
                std::error_code outcome;
                if (what == trouble::cancelled) {
                    outcome = co_await net::cancelled_after(turns, mover);
                } else {
                    const auto stop_later = [&]() -> task<> {
                        for (int i = 0; i < turns; ++i) co_await yield();
                        stop();
                    };
                    const auto keep = [&]() -> task<> { outcome = co_await mover(); };
                    co_await all_of(keep(), stop_later());
                }
                CHECK(both.client.send("last"));
                both.client.close();
                CHECK(static_cast<bool>(outcome) == static_cast<bool>(both.server));
                moved = !outcome;
                if (both.server) co_await finish(std::move(both.server));
            }
            while (received.load() < 0) co_await yield();
        };
        co_await in_sessions(ended, body);
        records[core_index()] = here().descriptors().open() - before;
    });
    CHECK(code == 0);
    CHECK(received == 9);
    CHECK(moved);  // what has begun is done, and in the same way as ever
    CHECK(by_table == (options.core.direct_descriptors > 0));
    CHECK(records[0] == 0);
    CHECK(records[1] == 0);
}

}  // namespace

TEST_CASE("a move whose task is cancelled, or a stop in its midst, loses and leaks nothing") {
    each_kind([](run_options& options) {
        const long before = open_files();
        for (const trouble what : {trouble::cancelled, trouble::stopped}) {
            for (int turns = what == trouble::cancelled ? -1 : 0; turns < 5; ++turns) {
                INFO((what == trouble::stopped ? "stop" : "cancel"), " after ", turns, " turns");
                move_in_trouble(options, what, turns);
            }
        }
        CHECK(open_files() == before);
    });
}
