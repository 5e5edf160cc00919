// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "net_helpers.hpp"
#include "splice_paths.hpp"

#include <kernel/fault.hpp>
#include <kernel/ring.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

}  // namespace

TEST_CASE("bytes go from one socket through a pipe into another") {
    each_splice_path([](core& c) -> task<> {
        auto in = co_await flavours::connected();
        auto out = co_await flavours::connected();
        const auto data = net::pattern(40'000);
        CHECK((co_await in.client.send_all(std::span(data))).has_value());
        CHECK(in.client.try_shutdown_send().has_value());
        std::size_t total = 0;
        splice_pipe through;
        CHECK(!through);
        for (;;) {
            const auto got = co_await in.server.splice_to(through, 7'000);
            if (!got) {
                CHECK(got.error() == errc::end_of_stream);
                break;
            }
            CHECK(*got == through.size());
            CHECK(*got <= 7'000);
            CHECK(c.pipes().leased() == 1);
            total += *got;
            while (!through.empty()) CHECK((co_await out.client.splice_from(through)).value_or(0) > 0);
        }
        CHECK(!through);  // nothing in it: given back
        CHECK(total == data.size());
        CHECK(co_await net::receive(out.server, data.size()) == data);
        CHECK(c.pipes().open() == 1);
    });
}

TEST_CASE("who waits to splice holds no pipe; cancelling and time limits end the wait") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        for (int turns = -1; turns < 4; ++turns) {
            splice_pipe through;
            const auto wait = [&]() -> task<std::error_code> {
                co_return (co_await both.server.splice_to(through)).error();
            };
            CHECK(co_await net::cancelled_after(turns, wait) == errc::cancelled);
            CHECK(!through);
            CHECK(c.pipes().leased() == 0);
        }
        splice_pipe through;
        CHECK((co_await both.server.splice_to(through).within(5ms)).error() == errc::timed_out);
        CHECK((co_await both.client.send_all("late")).has_value());
        CHECK((co_await both.server.splice_to(through)).value_or(0) == 4);
        std::array<std::byte, 16> room;
        CHECK(through.try_read(room).value_or(0) == 4);
        CHECK(net::text_of(std::span(room).first(4)) == "late");
        CHECK(through.empty());
    });
}

#ifndef NDEBUG
TEST_CASE("spliced in the ring: no worker and no pipe waits, and the core calls no splice(2)") {
    const auto threads = [] {
        namespace fs = std::filesystem;
        return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
    };
    const auto body = [&](core& c) -> task<> {
        std::vector<flavours::pair> all;
        std::vector<splice_pipe> pipes(8);
        for (std::size_t i = 0; i < pipes.size(); ++i) all.push_back(co_await flavours::connected());
        std::size_t total = 0;
        const auto wait = [&](std::size_t i) -> task<> {
            total += (co_await all[i].server.splice_to(pipes[i])).value_or(0);
            CHECK((co_await all[i].server.splice_from(pipes[i])).value_or(0) == 5);
        };
        const auto before = threads();
        kernel::fault::hook = [](const char* call) noexcept {
            return std::string_view(call) == "splice" ? EINVAL : 0;
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (std::size_t i = 0; i < pipes.size(); ++i) s.start(wait(i));
            for (int i = 0; i < 20; ++i) co_await yield();
            CHECK(c.pipes().leased() == 0);
            CHECK(threads() == before);
            for (auto& both : all) CHECK((co_await both.client.send_all("hello")).has_value());
        });
        kernel::fault::hook = nullptr;
        CHECK(total == 5 * pipes.size());
        CHECK(threads() <= before + static_cast<std::ptrdiff_t>(core_options().unbounded_workers));
        for (auto& both : all) CHECK(net::text_of(co_await net::receive(both.client, 5)) == "hello");
    };
    for (const flavours::flavour& f : flavours::all) {
        if (f.backend == backend::epoll) continue;
        INFO("on ", std::string(f.name));
        core_options with = flavours::options_of(f);
        with.pipes.path = splice_path::ring;
        if (const auto made = flavours::made(with)) block_on(*made, body(*made));
    }
}
#endif

TEST_CASE("a full socket makes the splice out of the pipe wait") {
    each_splice_path([](core& c) -> task<> {
        auto in = co_await flavours::connected();
        auto out = co_await flavours::connected();
        CHECK((co_await in.client.send_all("for later")).has_value());
        splice_pipe through;
        CHECK((co_await in.server.splice_to(through)).value_or(0) == 9);
        const std::size_t before = co_await net::fill(out.client);
        CHECK((co_await out.client.splice_from(through).within(5ms)).error() == errc::timed_out);
        CHECK(through.size() == 9);
        CHECK(c.pipes().leased() == 1);
        std::size_t sent = 0;
        co_await with_scope([&](scope& s) -> task<> {
            const auto drain = [&]() -> task<> {
                const auto got = co_await net::receive(out.server, before + 9);
                CHECK(net::text_of(std::span(got).last(9)) == "for later");
            };
            s.start(drain);
            sent = (co_await out.client.splice_from(through)).value_or(0);
        });
        CHECK(sent == 9);
    });
}

TEST_CASE("a pipe with bytes left in it is closed, not given to the next one") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        CHECK((co_await both.client.send_all("lost")).has_value());
        {
            splice_pipe through;
            CHECK((co_await both.server.splice_to(through)).value_or(0) == 4);
        }
        CHECK(c.pipes().open() == 0);
        CHECK((co_await both.client.send_all("found")).has_value());
        splice_pipe through;
        CHECK((co_await both.server.splice_to(through)).value_or(0) == 5);
        splice_pipe moved = std::move(through);
        CHECK(!through);
        std::array<std::byte, 3> room;
        CHECK(moved.try_read(room).value_or(0) == 3);
        CHECK(moved.size() == 2);
        CHECK(moved.try_read(room).value_or(0) == 2);
        moved.reset();
        CHECK(c.pipes().open() == 1);
        CHECK(c.stats().pipes_made == 2);
    });
}

TEST_CASE("tee puts the same bytes into a second pipe") {
    each_splice_path([](core&) -> task<> {
        auto in = co_await flavours::connected();
        auto out = co_await flavours::connected();
        CHECK((co_await in.client.send_all("both get this")).has_value());
        splice_pipe one;
        splice_pipe two;
        CHECK((co_await in.server.splice_to(one)).value_or(0) == 13);
        CHECK(one.try_tee(two, 1000).value_or(0) == 13);
        CHECK(one.size() == 13);
        CHECK(two.size() == 13);
        while (!one.empty()) CHECK((co_await out.client.splice_from(one)).has_value());
        while (!two.empty()) CHECK((co_await out.client.splice_from(two)).has_value());
        CHECK(net::text_of(co_await net::receive(out.server, 26)) == "both get thisboth get this");
    });
}

TEST_CASE("what chunks() has left comes first") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        CHECK((co_await both.client.send_all("one")).has_value());
        {
            auto first = co_await both.server.chunks().next();
            CHECK((first && first->text() == "one"));
        }
        // Nothing is left: the ring's receive is ended, then the socket is spliced.
        splice_pipe through;
        const auto later = [&]() -> task<> {
            for (int i = 0; i < 20; ++i) co_await yield();
            CHECK((co_await both.client.send_all("two")).has_value());
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(later);
            CHECK((co_await both.server.splice_to(through)).value_or(0) == 3);
        });
        through.reset();
        // Something is left, on the ring: it is to be taken as a chunk.
        CHECK((co_await both.client.send_all("three")).has_value());
        { static_cast<void>(co_await both.server.chunks().next()); }
        CHECK((co_await both.client.send_all("four")).has_value());
        for (int i = 0; i < 20; ++i) co_await yield();
        const auto got = co_await both.server.splice_to(through);
        if (c.ring() != nullptr) {
            CHECK(got.error() == std::errc::device_or_resource_busy);
            auto left = co_await both.server.chunks().next();
            CHECK((left && left->text() == "four"));
        } else {
            CHECK(*got == 4);
        }
    });
}

TEST_CASE("an end that is told together with bytes does not come before them") {
    each_splice_path([](core& c) -> task<> {
        if (c.ring() == nullptr) co_return;  // only the ring receives before it is asked
        auto both = co_await net::half_connected();
        CHECK(both.client.send("head"));
        CHECK((co_await both.server.chunks().next()).has_value());
        // The multishot receive stays armed; the kernel answers, and the core has not looked yet.
        CHECK(both.client.send("tail"));
        CHECK(::shutdown(both.client.fd(), SHUT_WR) == 0);
        c.ring()->enter(0, 0, 0);
        splice_pipe through;
        const auto early = co_await both.server.splice_to(through);
        CHECK(early.error() == std::errc::device_or_resource_busy);
        const auto tail = co_await both.server.chunks().next();
        REQUIRE(tail.has_value());
        CHECK(tail->text() == "tail");
        CHECK((co_await both.server.splice_to(through)).error() == errc::end_of_stream);
    });
}

TEST_CASE("chunks of at most so many bytes") {
    each_splice_path([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        const auto data = net::pattern(10'000);
        CHECK((co_await both.client.send_all("unlimited")).has_value());
        { static_cast<void>(co_await both.server.chunks().next()); }  // leaves the ring armed
        std::vector<std::byte> all;
        const auto take = [&]() -> task<> {
            while (all.size() < data.size()) {
                auto got = co_await both.server.chunks(1'000).next();
                REQUIRE(got.has_value());
                all.insert(all.end(), got->bytes().begin(), got->bytes().end());
                if (all.size() > 8'000) {
                    // Past what the ring had received before.
                    CHECK(got->size() <= 1'000);
                    CHECK(c.buffers().leased() == 1);
                }
            }
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(take);
            for (int i = 0; i < 10; ++i) co_await yield();
            for (auto rest = std::span(data); !rest.empty(); rest = rest.subspan(2'500))
                CHECK((co_await both.client.send_all(rest.first(2'500))).has_value());
        });
        CHECK(all == data);
    });
}

TEST_CASE("a splice into a dead connection is an error, and no SIGPIPE ends the program") {
    each_splice_path([](core&) -> task<> {
        auto in = co_await flavours::connected();
        auto out = co_await flavours::connected();
        out.server.abort();
        CHECK((co_await in.client.send_all("to nobody")).has_value());
        splice_pipe through;
        CHECK((co_await in.server.splice_to(through)).value_or(0) == 9);
        CHECK((co_await out.client.splice_from(through)).error() == std::errc::connection_reset);
        CHECK((co_await out.client.splice_from(through)).error() == std::errc::broken_pipe);
        CHECK(through.size() == 9);
    });
}

TEST_CASE("the ring's sockets receive and send as before when they have been spliced") {
    each_splice_path([](core&) -> task<> {
        auto both = co_await flavours::connected();
        splice_pipe through;
        CHECK((co_await both.server.splice_to(through).within(1ms)).error() == errc::timed_out);
        std::string got;
        const auto read_by_chunks = [&]() -> task<> {
            auto piece = co_await both.server.chunks().next();
            if (piece) got = piece->text();
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read_by_chunks);
            for (int i = 0; i < 5; ++i) co_await yield();
            CHECK((co_await both.client.send_all("armed before it came")).has_value());
        });
        CHECK(got == "armed before it came");
        const std::size_t size = co_await net::fill(both.server);
        co_await with_scope([&](scope& s) -> task<> {
            const auto drain = [&]() -> task<> {
                CHECK((co_await net::receive(both.client, size + 4)).size() == size + 4);
            };
            s.start(drain);
            CHECK((co_await both.server.send_all(bytes_of("last"))).has_value());
        });
    });
}
