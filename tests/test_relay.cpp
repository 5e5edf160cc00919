// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "net_helpers.hpp"

#include <core/buffer_pool.hpp>
#include <core/pipe_pool.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;
using ender = relay_result::side;

namespace {

constexpr std::array modes{relay_mode::copy, relay_mode::splice, relay_mode::automatic};
const char* name_of(relay_mode m) {
    return m == relay_mode::copy ? "copy" : m == relay_mode::splice ? "splice" : "automatic";
}

/// Bytes without a period that a pipe's or a buffer's size could hide behind.
std::vector<std::byte> noise(std::size_t size, std::uint32_t seed) {
    std::vector<std::byte> bytes(size);
    std::uint32_t x = seed * 2654435761U + 1;
    for (auto& b : bytes) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        b = static_cast<std::byte>(x);
    }
    return bytes;
}

/// left - a - the relay - b - right
struct ends {
    tcp_stream left, a, b, right;
};
task<ends> proxied() {
    flavours::pair one = co_await flavours::connected();
    flavours::pair two = co_await flavours::connected();
    ends all{std::move(one.client), std::move(one.server), std::move(two.client),
             std::move(two.server)};
    co_return all;
}

/// Runs the body on each flavour and sees that it leaves no pipe, no buffer and no descriptor.
template <class Body, class Change>
void each_core(Body body, Change change) {
    const std::size_t before = net::open_files();
    flavours::each(
        [&](core& c) {
            block_on(c, body(c));
            CHECK(c.pipes().leased() == 0);
            CHECK(c.buffers().leased() == 0);
        },
        change);
    CHECK(net::open_files() == before);
}
template <class Body>
void each_core(Body body) {
    each_core(std::move(body), [](core_options&) {});
}
template <class Body>
void each_mode(Body body) {
    for (const relay_mode mode : modes) {
        INFO("mode ", std::string(name_of(mode)));
        each_core([&](core& c) { return body(c, mode); });
    }
    INFO("mode splice, in the ring");
    each_core([&](core& c) { return body(c, relay_mode::splice); },
              [](core_options& o) { o.pipes.path = splice_path::ring; });
}

relay_options options_of(relay_mode mode) {
    relay_options options;
    options.mode = mode;
    return options;
}

task<> run_relay(ends& e, relay_options options, relay_result& into) {
    into = co_await relay(e.a, e.b, options);
}
/// The relay, and then what a proxy does: it closes both.
task<> run_and_close(ends& e, relay_options options, relay_result& into) {
    into = co_await relay(e.a, e.b, options);
    co_await e.a.close();
    co_await e.b.close();
}
task<> give(tcp_stream& to, std::span<const std::byte> bytes, std::size_t piece) {
    while (!bytes.empty()) {
        const auto part = bytes.first(std::min(piece, bytes.size()));
        if (!co_await to.send_all(part)) co_return;
        bytes = bytes.subspan(part.size());
    }
}
task<> give_all(tcp_stream& to, std::span<const std::byte> bytes, std::size_t piece) {
    co_await give(to, bytes, piece);
    static_cast<void>(to.try_shutdown_send());
}
/// Receives to the end of the stream; how much of it was what is expected.
task<> take_all(tcp_stream& from, std::span<const std::byte> expected, std::size_t& right,
                std::error_code& end) {
    std::vector<std::byte> room(100'000);
    right = 0;
    for (;;) {
        const auto got = co_await from.recv(room);
        if (!got) {
            end = got.error();
            co_return;
        }
        if (*got > expected.size() - right ||
            !std::equal(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*got),
                        expected.begin() + static_cast<std::ptrdiff_t>(right)))
            co_return;  // `end` says nothing: it went wrong
        right += *got;
    }
}

struct received {
    std::size_t right = 0;
    std::error_code end;
};

/// `there` and `back` at once through a relay; everything must arrive.
task<relay_result> exchange(std::span<const std::byte> there, std::span<const std::byte> back,
                            std::size_t piece, relay_options options) {
    ends e = co_await proxied();
    relay_result result;
    received at_right;
    received at_left;
    co_await with_scope([&](scope& s) -> task<> {
        s.start(run_relay(e, options, result));
        s.start(give_all(e.left, there, piece));
        s.start(give_all(e.right, back, piece));
        s.start(take_all(e.right, there, at_right.right, at_right.end));
        s.start(take_all(e.left, back, at_left.right, at_left.end));
        co_return;
    });
    CHECK(at_right.right == there.size());
    CHECK(at_right.end == errc::end_of_stream);
    CHECK(at_left.right == back.size());
    CHECK(at_left.end == errc::end_of_stream);
    CHECK(result.complete());
    CHECK(result.a_to_b.bytes == there.size());
    CHECK(result.b_to_a.bytes == back.size());
    CHECK(result.a_to_b.unsent + result.b_to_a.unsent == 0);
    co_return result;
}

}  // namespace

TEST_CASE("a relay moves both ways at once, byte for byte") {
    const auto there = noise(5'000'003, 1);
    const auto back = noise(3'000'001, 2);
    each_mode([&](core& c, relay_mode mode) -> task<> {
        relay_totals totals;
        relay_options options = options_of(mode);
        options.totals = &totals;
        static_cast<void>(co_await exchange(there, back, 70'001, options));
        CHECK(totals.a_to_b == there.size());
        CHECK(totals.b_to_a == back.size());
        const core_stats stats = c.stats();
        CHECK((stats.splices > 0) == (mode != relay_mode::copy));
        CHECK(stats.pipe_shortages == 0);
        CHECK(stats.pipes_made <= 2);
        CHECK(stats.spliced_bytes == totals.spliced);
        if (mode == relay_mode::splice) CHECK(totals.spliced == there.size() + back.size());
        if (mode == relay_mode::copy) CHECK(totals.spliced == 0);
    });
}

TEST_CASE("a byte at a time") {
    const auto there = noise(300, 3);
    const auto back = noise(200, 4);
    each_mode([&](core&, relay_mode mode) -> task<> {
        static_cast<void>(co_await exchange(there, back, 1, options_of(mode)));
    });
}

TEST_CASE("nothing but two ends") {
    each_mode([&](core&, relay_mode mode) -> task<> {
        static_cast<void>(co_await exchange({}, {}, 1, options_of(mode)));
    });
}

TEST_CASE("the end of one side is passed on, and the other goes on") {
    const auto question = noise(100'000, 5);
    const auto reply = noise(2'000'000, 6);
    each_mode([&](core&, relay_mode mode) -> task<> {
        for (const bool forth : {true, false}) {
            ends e = co_await proxied();
            tcp_stream& asks = forth ? e.left : e.right;
            tcp_stream& answers = forth ? e.right : e.left;
            relay_result result;
            received at_answers;
            received at_asks;
            co_await with_scope([&](scope& s) -> task<> {
                s.start(run_relay(e, options_of(mode), result));
                co_await give_all(asks, question, 9'999);
                co_await take_all(answers, question, at_answers.right, at_answers.end);
                s.start(give_all(answers, reply, 100'000));
                co_await take_all(asks, reply, at_asks.right, at_asks.end);
            });
            CHECK(at_answers.right == question.size());
            CHECK(at_asks.right == reply.size());
            CHECK(result.complete());
            CHECK(result.first == (forth ? ender::a : ender::b));
            CHECK(result.how == errc::end_of_stream);
        }
    });
}

TEST_CASE("an end is passed on though the process has no descriptor left") {
    const auto question = noise(100'000, 19);
    const auto reply = noise(200'000, 20);
    each_mode([&](core&, relay_mode mode) -> task<> {
        ends e = co_await proxied();
        const unique_fd asking = e.left.duplicate().value();
        const unique_fd answering = e.right.duplicate().value();
        relay_result result;
        std::vector<std::byte> at_right;
        std::vector<std::byte> at_left;
        std::array<std::error_code, 2> at_the_end;
        const auto to_the_end = [](tcp_stream& from, std::error_code& end) -> task<> {
            std::array<std::byte, 1> room;
            end = (co_await from.recv(room).within(10s)).error();
        };
        co_await with_scope([&](scope& s) -> task<> {
            const net::few_descriptors none(0);
            s.start(run_relay(e, options_of(mode), result));
            s.start(give(e.left, question, 9'999));
            at_right = co_await net::receive(e.right, question.size());
            CHECK(::shutdown(asking.get(), SHUT_WR) == 0);
            co_await to_the_end(e.right, at_the_end[0]);
            s.start(give(e.right, reply, 100'000));
            at_left = co_await net::receive(e.left, reply.size());
            CHECK(::shutdown(answering.get(), SHUT_WR) == 0);
            co_await to_the_end(e.left, at_the_end[1]);
            if (at_the_end[1] != errc::end_of_stream) s.cancel();
        });
        CHECK(at_right == question);
        CHECK(at_left == reply);
        for (const std::error_code& end : at_the_end) CHECK(end == errc::end_of_stream);
        CHECK(result.complete());
    });
}

TEST_CASE("a receiver that takes no more ends both ways though the process has no descriptor left") {
    const std::string name = "unix:@ringlet-test-relay-" + std::to_string(::getpid());
    each_mode([&](core&, relay_mode mode) -> task<> {
        flavours::pair one = co_await flavours::connected();
        auto door = tcp_listener::bind(name).value();
        // The one that was accepted may be a direct descriptor.
        auto [right, b] = co_await all_of(tcp_stream::connect(door.local_name()), door.next());
        ends e{std::move(one.client), std::move(one.server), std::move(b).value(),
               std::move(right).value()};
        const unique_fd refusing = e.right.duplicate().value();
        CHECK(::shutdown(refusing.get(), SHUT_RD) == 0);
        relay_options options = options_of(mode);
        options.idle = 10s;  // what it would end by
        relay_result result;
        co_await with_scope([&](scope& s) -> task<> {
            const net::few_descriptors none(0);
            CHECK((co_await e.left.send_all("nobody takes this")).has_value());
            co_await run_relay(e, options, result);
            s.cancel();
        });
        CHECK(result.first == ender::b);
        CHECK(result.a_to_b.end == std::errc::broken_pipe);
        CHECK(result.a_to_b.unsent == 17);
        CHECK(result.b_to_a.end == errc::end_of_stream);
    });
}

TEST_CASE("a reset of either side at any byte ends the relay, after what came before it") {
    const auto bytes = noise(700'000, 7);
    each_mode([&](core&, relay_mode mode) -> task<> {
        for (const std::size_t cut : {0, 1, 17, 4096, 65'536, 200'001, 700'000}) {
            for (const bool forth : {true, false}) {
                ends e = co_await proxied();
                tcp_stream& breaks = forth ? e.left : e.right;
                tcp_stream& stays = forth ? e.right : e.left;
                relay_result result;
                received at_stays;
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(run_and_close(e, options_of(mode), result));
                    s.start(take_all(stays, bytes, at_stays.right, at_stays.end));
                    co_await give(breaks, std::span(bytes).first(cut), 65'536);
                    breaks.abort();
                });
                // So much has come before the reset does; what had not is dropped with it.
                CHECK((cut <= 4096 ? at_stays.right == cut : at_stays.right <= cut));
                CHECK(at_stays.end);
                CHECK(result.first == (forth ? ender::a : ender::b));
                CHECK(result.how == std::errc::connection_reset);
                CHECK((forth ? result.a_to_b : result.b_to_a).bytes == at_stays.right);
            }
        }
    });
}

TEST_CASE("a receiver that vanishes ends the relay while the sender floods") {
    const auto bytes = noise(4'000'000, 8);
    each_mode([&](core&, relay_mode mode) -> task<> {
        for (const bool by_reset : {true, false}) {
            ends e = co_await proxied();
            relay_result result;
            co_await with_scope([&](scope& s) -> task<> {
                s.start(run_and_close(e, options_of(mode), result));
                s.start(give_all(e.left, bytes, 65'536));
                const auto some = co_await net::receive(e.right, 150'000);
                CHECK(some.size() == 150'000);
                if (by_reset) {
                    e.right.abort();
                } else {
                    co_await e.right.close();
                }
            });
            // Its end may be seen before the failure to send: both are its doing.
            CHECK(result.first == ender::b);
            CHECK(result.a_to_b.end);
            CHECK(result.a_to_b.bytes >= 150'000);
        }
    });
}

TEST_CASE("nothing is received that the other side does not take") {
    each_mode([&](core& c, relay_mode mode) -> task<> {
        ends e = co_await proxied();
        relay_result result;
        std::size_t flooded = 0;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(run_relay(e, options_of(mode), result));
            flooded = co_await net::fill(e.left);
            CHECK(c.buffers().leased() <= c.buffers().options().hold + 1);
            CHECK(c.pipes().leased() <= 1);
            s.cancel();
        });
        CHECK(result.how == errc::cancelled);
        CHECK(result.first == ender::neither);
        CHECK(result.a_to_b.end == errc::cancelled);
        CHECK(result.a_to_b.unsent > 0);
        CHECK(result.a_to_b.bytes + result.a_to_b.unsent <= flooded);
    });
}

/// Whether the socket has room to send.
static bool takes_more(int fd) {
    pollfd look{.fd = fd, .events = POLLOUT, .revents = 0};
    return ::poll(&look, 1, 0) == 1;
}

TEST_CASE("a cap on what is in flight") {
    const auto bytes = noise(300'000, 9);
    each_mode([&](core& c, relay_mode mode) -> task<> {
        relay_options options = options_of(mode);
        options.in_flight = 1000;
        static_cast<void>(co_await exchange(bytes, bytes, 50'000, options));
        ends e = co_await proxied();
        relay_result result;
        relay_totals totals;
        options.totals = &totals;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(run_relay(e, options, result));
            static_cast<void>(co_await net::fill(e.left));
            // What the sender has given may take its time, a thousand bytes after the other: until the
            // way out takes no more, something for it is in hand, and turn after turn moves nothing.
            const unique_fd out = e.b.duplicate().value();
            for (std::uint64_t before = UINT64_MAX; before != totals.a_to_b;) {
                before = totals.a_to_b;
                while (takes_more(out.get()) || c.buffers().leased() + c.pipes().leased() == 0)
                    co_await yield();
                for (int turns = 0; turns < 1000; ++turns) co_await yield();
            }
            CHECK(c.buffers().leased() <= 1);
            s.cancel();
        });
        // The kernel's workers (IORING_OP_SPLICE) may send the last of it while nobody looks.
        const bool by_workers = c.pipes().options().path == splice_path::ring;
        CHECK((by_workers || result.a_to_b.unsent > 0));
        CHECK(result.a_to_b.unsent <= 1000);
    });
}

TEST_CASE("a relay that is cancelled at any moment leaves nothing behind") {
    const auto bytes = noise(600'000, 10);
    each_mode([&](core&, relay_mode mode) -> task<> {
        for (int turns = -1; turns < 60; turns += turns < 20 ? 1 : 7) {
            ends e = co_await proxied();
            relay_result result;
            received at_right;
            co_await with_scope([&](scope& s) -> task<> {
                if (turns < 0) s.cancel();
                s.start(run_relay(e, options_of(mode), result));
                s.start(give_all(e.left, bytes, 65'536));
                s.start(give_all(e.right, bytes, 1'000));
                s.start(take_all(e.right, bytes, at_right.right, at_right.end));
                for (int i = 0; i < turns; ++i) co_await yield();
                s.cancel();
            });
            CHECK(result.how);
            CHECK(result.a_to_b.bytes + result.a_to_b.unsent <= bytes.size());
            CHECK(at_right.right <= result.a_to_b.bytes);
        }
    });
}

TEST_CASE("the streams can be used after a relay was cancelled, and nothing queued is lost") {
    const auto bytes = noise(100'000, 11);
    each_mode([&](core&, relay_mode mode) -> task<> {
        ends e = co_await proxied();
        relay_result result;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(run_relay(e, options_of(mode), result));
            co_await give(e.left, bytes, 30'000);
            const auto got = co_await net::receive(e.right, bytes.size());
            CHECK(got == bytes);
            s.cancel();
        });
        CHECK(result.a_to_b.bytes == bytes.size());
        CHECK((co_await e.right.send_all("to the proxy")).has_value());
        std::array<std::byte, 64> room;
        auto got = co_await e.b.recv(room);
        CHECK(*got == 12);
        CHECK((co_await e.a.send_all(std::span(bytes))).has_value());
        CHECK(co_await net::receive(e.left, bytes.size()) == bytes);
    });
}

TEST_CASE("a relay in which nothing moves ends after its idle time, and not before") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        for (const relay_mode mode : {relay_mode::copy, relay_mode::splice}) {
            ends e = co_await proxied();
            relay_options options = options_of(mode);
            options.idle = 10s;
            relay_result result;
            const time_point begin = now();
            co_await with_scope([&](scope& s) -> task<> {
                s.start(run_relay(e, options, result));
                for (int i = 0; i < 2; ++i) {
                    static_cast<void>(co_await sleep_for(7s));
                    tcp_stream& sends = i % 2 == 0 ? e.left : e.right;
                    tcp_stream& gets = i % 2 == 0 ? e.right : e.left;
                    CHECK((co_await sends.send_all("still here")).has_value());
                    std::array<std::byte, 64> room;
                    CHECK((co_await gets.recv(room)).value_or(0) == 10);
                }
            });
            CHECK(result.how == errc::timed_out);
            CHECK(result.first == ender::neither);
            CHECK(now() - begin >= 24s);
            CHECK(now() - begin <= 27s);
        }
    });
}

namespace {

/// A relay whose left end floods while its right end takes nothing and says a little all the time.
task<> stuck_one_way(relay_options options, bool stop, relay_result& result,
                     nanoseconds& lasted) {
    ends e = co_await proxied();
    bool over = false;
    time_point stuck;
    auto moving = [&]() -> task<> {
        co_await run_relay(e, options, result);
        lasted = now() - stuck;
        over = true;
    };
    auto talking = [&]() -> task<> {
        static_cast<void>(co_await net::fill(e.left));
        stuck = now();
        std::array<std::byte, 64> room;
        if (stop) here().request_stop();
        for (int i = 0; i < 4 && !over; ++i) {
            static_cast<void>(co_await sleep_for(2s));
            if (over) break;
            CHECK((co_await e.right.send_all("x")).has_value());
            CHECK((co_await e.left.recv(room)).value_or(0) == 1);
        }
    };
    co_await with_scope([&](scope& s) -> task<> {
        s.start(moving());
        co_await talking();
        s.cancel();
    });
}

}  // namespace

TEST_CASE("a receiver that takes nothing ends its relay, whatever moves the other way") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        for (const relay_mode mode : {relay_mode::copy, relay_mode::splice}) {
            relay_options options = options_of(mode);
            options.idle = 4s;
            relay_result result;
            nanoseconds lasted{};
            co_await stuck_one_way(options, false, result, lasted);
            CHECK(result.how == errc::timed_out);
            CHECK(result.first == ender::neither);
            CHECK(result.a_to_b.unsent > 0);
            CHECK(lasted >= 3500ms);  // the last byte may have gone while the sender was filling
            CHECK(lasted <= 5100ms);
        }
    });
}

TEST_CASE("after a stop a receiver that takes nothing ends its relay in idle_at_stop") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        relay_options options;
        options.idle_at_stop = 4s;
        relay_result result;
        nanoseconds lasted{};
        co_await stuck_one_way(options, true, result, lasted);
        CHECK(result.how == errc::stopping);
        CHECK(lasted >= 4s);
        CHECK(lasted <= 5100ms);
    });
}

TEST_CASE("a receiver that takes some now and then keeps its relay, and so does a silent sender") {
    constexpr std::size_t some = 4'000'000;
    const std::vector<std::byte> bytes(4 * some);
    flavours::each_virtual([&](core&, manual_clock&) -> task<> {
        relay_options options;
        options.idle = 4s;
        relay_result result;
        ends e = co_await proxied();
        bool over = false;
        auto moving = [&]() -> task<> {
            co_await run_relay(e, options, result);
            over = true;
        };
        const auto floods = [&](scope& s) -> task<> {
            s.start(moving());
            s.start(give(e.left, bytes, bytes.size()));
            for (int i = 0; i < 3; ++i) {
                static_cast<void>(co_await sleep_for(3s));
                // As much as makes the kernel take more into the buffers between.
                CHECK((co_await net::receive(e.right, some)).size() == some);
                CHECK(!over);
            }
            s.cancel();
        };
        co_await with_scope(floods);

        ends quiet = co_await proxied();
        const auto listens = [&](scope& s) -> task<> {
            s.start(run_relay(quiet, options, result));
            std::array<std::byte, 64> room;
            for (int i = 0; i < 3; ++i) {
                static_cast<void>(co_await sleep_for(3s));
                CHECK((co_await quiet.right.send_all("news")).has_value());
                CHECK((co_await quiet.left.recv(room)).value_or(0) == 4);
            }
            s.cancel();
        };
        co_await with_scope(listens);
        CHECK(result.how == errc::cancelled);
    });
}

TEST_CASE("a stop ends a relay once nothing moves") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        ends e = co_await proxied();
        relay_options options;
        options.idle_at_stop = 2s;
        relay_result result;
        time_point asked;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(run_relay(e, options, result));
            static_cast<void>(co_await sleep_for(100s));
            c.request_stop();
            asked = now();
            static_cast<void>(co_await sleep_for(1s));
            CHECK((co_await e.left.send_all("the last question")).has_value());
            std::array<std::byte, 64> room;
            CHECK((co_await e.right.recv(room)).value_or(0) == 17);
        });
        CHECK(result.how == errc::stopping);
        CHECK(now() - asked >= 3s);
        CHECK(now() - asked <= 4s);

        co_await run_relay(e, options, result);  // a new one while stopping
        CHECK(result.how == errc::stopping);
        options.idle_at_stop = 0s;
        co_await run_relay(e, options, result);
        CHECK(result.how == errc::stopping);
    });
}

TEST_CASE("a rate limit, by the clock") {
    constexpr std::uint64_t rate = 40'000;
    const auto bytes = noise(rate, 12);
    flavours::each_virtual([&](core&, manual_clock&) -> task<> {
        for (const relay_mode mode : {relay_mode::copy, relay_mode::splice}) {
            relay_options options = options_of(mode);
            options.rate_a_to_b = rate;
            const time_point begin = now();
            static_cast<void>(co_await exchange(bytes, bytes, bytes.size(), options));
            const nanoseconds took = now() - begin;
            CHECK(took >= 1s - 1s / 16 - 1ms);
            CHECK(took <= 1s + 250ms);
        }
    });
}

TEST_CASE("without pipes a relay copies, and counts it") {
    const auto bytes = noise(2'000'000, 13);
    for (const relay_mode mode : {relay_mode::splice, relay_mode::automatic}) {
        each_core(
            [&](core& c) -> task<> {
                static_cast<void>(co_await exchange(bytes, bytes, 100'000, options_of(mode)));
                CHECK(c.stats().splices == 0);
                CHECK(c.stats().pipe_shortages > 0);
            },
            [](core_options& o) { o.pipes.limit = 0; });
    }
}

TEST_CASE("streams whose receiving is pinned to multishot are spliced too") {
    const auto bytes = noise(8'000'000, 18);
    each_core(
        [&](core& c) -> task<> {
            static_cast<void>(co_await exchange(bytes, bytes, 100'000, relay_options()));
            CHECK(c.stats().spliced_bytes > bytes.size());
        },
        [](core_options& o) { o.buffers.receive = receive_path::multishot; });
}

TEST_CASE("one pipe serves many relays") {
    const auto bytes = noise(1'000'000, 14);
    each_core(
        [&](core& c) -> task<> {
            std::vector<task<relay_result>> all;
            for (int i = 0; i < 8; ++i)
                all.push_back(exchange(bytes, bytes, 100'000, options_of(relay_mode::splice)));
            const auto results = co_await all_of(std::move(all));
            CHECK(results.size() == 8);
            CHECK(c.pipes().open() <= 1);
            CHECK(c.stats().splices > 0);
        },
        [](core_options& o) { o.pipes.limit = 1; });
}

TEST_CASE("from copying to splicing and back, as the messages change") {
    const auto small = noise(64, 15);
    const auto large = noise(3'000'000, 16);
    each_core([&](core& c) -> task<> {
        ends e = co_await proxied();
        relay_result result;
        const auto ping = [&](int times) -> task<> {
            for (int i = 0; i < times; ++i) {
                CHECK((co_await e.left.send_all(std::span(small))).has_value());
                CHECK(co_await net::receive(e.right, small.size()) == small);
                CHECK((co_await e.right.send_all(std::span(small))).has_value());
                CHECK(co_await net::receive(e.left, small.size()) == small);
            }
        };
        const auto session = [&](scope& s) -> task<> {
            s.start(run_relay(e, relay_options(), result));
            for (int phase = 0; phase < 3; ++phase) {
                co_await ping(30);
                const std::uint64_t before = c.stats().spliced_bytes;
                co_await ping(30);
                CHECK(c.stats().spliced_bytes == before);  // copied by now
                scope sending(s.context());
                sending.start(give(e.left, large, 200'000));
                CHECK(co_await net::receive(e.right, large.size()) == large);
                co_await sending.join();
                CHECK(c.stats().spliced_bytes - before > large.size() / 4);
                CHECK(c.pipes().leased() == 0);  // idle: nobody holds one
            }
            s.cancel();
        };
        co_await with_scope(session);
        CHECK(result.a_to_b.bytes == 3 * large.size() + 180 * small.size());
        CHECK(result.b_to_a.bytes == 180 * small.size());
    });
}

#ifndef NDEBUG
TEST_CASE("what fails in the kernel's splicing is done by copying, with nothing lost") {
    const auto bytes = noise(2'000'000, 17);
    for (const relay_mode mode : {relay_mode::splice, relay_mode::automatic}) {
        each_core([&](core& c) -> task<> {
            for (const int error : {EINVAL, ENOMEM, ENOSYS, EPERM}) {
                for (const int first : {0, 1, 2, 7}) {  // into a pipe, or out of one
                    const faults::failing from_here("splice", error, first);
                    static_cast<void>(co_await exchange(bytes, bytes, 100'000, options_of(mode)));
                }
            }
            for (const int error : {EMFILE, ENFILE, ENOMEM}) {
                const faults::failing from_here("pipe", error);
                const core_stats before = c.stats();
                static_cast<void>(co_await exchange(bytes, {}, 100'000, options_of(mode)));
                CHECK((c.stats().pipe_shortages > before.pipe_shortages || c.pipes().open() > 0));
            }
        });
    }
    each_core([&](core& c) -> task<> {  // over pipe-user-pages-soft: one page
        const faults::failing from_here("pipe_size", EPERM);
        static_cast<void>(co_await exchange(bytes, {}, 100'000, options_of(relay_mode::splice)));
        CHECK(c.stats().splices == 0);
        CHECK(c.stats().pipe_shortages > 0);
    });
}
#endif
