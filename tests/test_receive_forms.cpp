// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Receive bundles and incremental buffers: when they are taken, what they change, and that they
// lose nothing where buffers are short. What they share with every way to receive is in
// test_chunks.cpp.

#include "receive_ways.hpp"

#include <kernel/fault.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;
using receiving::each_path;
using receiving::receive_chunks;
using receiving::tiny;
using form = buffer_pool::window_form;

namespace {

core_options with(bool bundles, bool incremental) {
    core_options options;
    options.backend = backend::uring;
    options.buffers.bundles = bundles;
    options.buffers.incremental = incremental;
    return options;
}

/// A core that receives so; nothing, and said so, where this kernel does not.
std::unique_ptr<core> receives_so(const core_options& options) {
    auto c = flavours::made(options);
    if (!c || receiving::got_what_was_asked(*c)) return c;
    flavours::left_out("a form of receiving", c->describe(), {6, 15});  // 6.13 and 6.14 mix it up
    return nullptr;
}

bool says(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("bundles and incremental buffers together are refused, by both names") {
    for (const backend b : {backend::automatic, backend::epoll}) {
        core_options options = with(true, true);
        options.backend = b;
        std::string why;
        const auto refused = core::make(options, &why);
        CHECK(refused.error() == std::errc::invalid_argument);
        CHECK(says(why, "buffer_options::bundles"));
        CHECK(says(why, "buffer_options::incremental"));
    }
}

TEST_CASE("a core says what it got of what it was asked for") {
    for (const bool bundles : {true, false}) {
        const auto made = flavours::made(with(bundles, !bundles));
        if (!made) return;
        const std::string name = bundles ? "bundles" : "incremental-buffers";
        CHECK((says(made->describe(), " " + name) || says(made->describe(), " no-" + name)));
    }
    const auto plain = core::make(with(false, false));
    CHECK_FALSE(says((*plain)->describe(), "bundles"));
    CHECK_FALSE(says((*plain)->describe(), "incremental"));
}

TEST_CASE("the kernel's features are those that a core gets") {
    for (const bool bundles : {true, false}) {
        const auto made = flavours::made(with(bundles, !bundles));
        if (!made) return;
        const std::string_view name = bundles ? "receive bundles" : "incremental buffers";
        int seen = 0;
        for (const kernel_feature& f : kernel_features()) {
            if (f.name != name) continue;
            ++seen;
            CHECK(f.present == receiving::got_what_was_asked(*made));
        }
        CHECK(seen == 1);
    }
}

TEST_CASE("a ring that receives between two calls gets no incremental buffers") {
    for (const ring_flavour f : {ring_flavour::cooperative, ring_flavour::plain}) {
        core_options options = with(false, true);
        options.flavour = f;
        const auto made = flavours::made(options);
        if (!made) return;
        CHECK(made->buffers().form() == form::whole);
        CHECK(says(made->describe(), "no-incremental-buffers(only on a deferred ring"));
    }
}

TEST_CASE("pinned to readiness a core has no use for either, and says so") {
    core_options options = with(true, false);
    options.buffers.receive = receive_path::readiness;
    const auto made = flavours::made(options);
    if (!made) return;
    CHECK(says(made->describe(), "no-bundles(readiness)"));
}

TEST_CASE("a bundle is one answer for several buffers") {
    core_options options = with(true, false);
    options.buffers.receive = receive_path::multishot;
    options.buffers.size = 4096;
    const auto made = receives_so(options);
    if (!made) return;
    core& c = *made;
    auto work = [&]() -> task<> {
        auto both = co_await flavours::connected();
        const std::size_t flooded = co_await net::fill(both.client);
        const std::size_t buffers = flooded / options.buffers.size;
        const auto before = c.stats().completed;
        const auto received = co_await receive_chunks(both.server, flooded);
        CHECK(received.size() == flooded);
        CHECK(c.stats().completed - before < buffers * 3 / 4);
    };
    block_on(c, work());
}

TEST_CASE("many streams that each keep a small message share a buffer") {
    core_options options = with(false, true);
    options.buffers.limit = 8;
    const auto made = receives_so(options);
    if (!made) return;
    core& c = *made;
    auto work = [&]() -> task<> {
        constexpr std::size_t many = 300;
        std::vector<net::half_plain> streams;
        std::vector<chunk> kept;
        const std::string message(64, 'm');
        for (std::size_t i = 0; i < many; ++i) {
            streams.push_back(co_await net::half_connected());
            CHECK(streams.back().client.send(message));
            auto got = co_await streams.back().server.chunks().next().within(5s);
            REQUIRE(got);
            kept.push_back(std::move(*got));
        }
        CHECK(c.buffers().leased() == many);
        CHECK(c.buffers().with_kernel() == options.buffers.limit / 2);
        for (const chunk& one : kept) CHECK(one.text() == message);
        // Next to each other: all of them in one buffer.
        CHECK(kept.back().bytes().data() - kept.front().bytes().data() ==
              static_cast<std::ptrdiff_t>((many - 1) * message.size()));
    };
    block_on(c, work());
    CHECK(c.buffers().leased() == 0);
}

TEST_CASE("when very many slices are kept, streams wait until some are given back") {
    core_options options = with(false, true);
    options.buffers.size = 4096;
    options.buffers.limit = 32768;  // leaves the fewest ids for slices
    options.buffers.large_limit = 16384;
    options.buffers.large_size = 4096;
    manual_clock clock;
    options.clock = &clock;
    const auto made = receives_so(options);
    if (!made) return;
    core& c = *made;
    auto work = [&]() -> task<> {
        auto both = co_await net::half_connected();
        std::vector<chunk> kept;
        bool waited = false;
        for (int i = 0; i < 10'000 && !waited; ++i) {
            CHECK(both.client.send(std::string(1, static_cast<char>('a' + i % 26))));
            auto got = co_await both.server.chunks().next().within(1s);
            if (got) {
                CHECK(got->text()[0] == static_cast<char>('a' + i % 26));
                kept.push_back(std::move(*got));
                continue;
            }
            waited = true;
            const auto turns = c.stats().turns;
            std::ignore = co_await sleep_for(20ms);
            CHECK(c.stats().turns - turns < 20);  // a loop that spins does not let time pass
            kept.resize(kept.size() / 2);
            got = co_await both.server.chunks().next().within(5s);
            REQUIRE(got);
            CHECK(got->text()[0] == static_cast<char>('a' + i % 26));
        }
        CHECK(waited);
        CHECK(c.stats().starvations > 0);
    };
    block_on(c, work());
    CHECK(c.buffers().leased() == 0);
}

TEST_CASE("the end and a reset come after what was received before them, amid a bundle too") {
    const auto all = net::pattern(40'000);
    const std::string text = net::text_of(all);
    for (const bool reset : {false, true}) {
        const auto work = [&](core&) -> task<> {
            for (int turns = 0; turns < 4; ++turns) {
                auto both = co_await net::half_connected();
                CHECK(both.client.send("x"));
                CHECK((co_await both.server.chunks().next()).value().text() == "x");
                CHECK(both.client.send(text));
                for (int i = 0; i < turns; ++i) co_await yield();
                reset ? both.client.reset() : both.client.close();
                std::string received;
                std::error_code end;
                while (!end) {
                    const auto got = co_await both.server.chunks().next();
                    if (got) received += got->text();
                    end = got.error();
                }
                CHECK(received == text.substr(0, received.size()));
                if (reset) {
                    CHECK(end == std::errc::connection_reset);
                } else {
                    CHECK(received.size() == text.size());
                    CHECK(end == errc::end_of_stream);
                }
            }
        };
        each_path(work, tiny);
        each_path(work, [](buffer_options& o) { o.size = 4096; });
    }
}

#ifndef NDEBUG
namespace {
const char* refused_call = "";
int refuse(const char* call) noexcept {
    return std::string_view(call) == refused_call ? EINVAL : 0;
}
unsigned receives = 0;
int starve_every_fifth(const char* call) noexcept {
    return std::string_view(call) == "receive_buffers" && ++receives % 5 == 0 ? ENOBUFS : 0;
}
int never_a_buffer(const char* call) noexcept {
    return std::string_view(call) == "receive_window" ? ENOBUFS : 0;
}
}  // namespace

TEST_CASE("where the self-test fails, the plain form is taken, and the core says why") {
    if (!flavours::made(with(false, false))) return;
    struct refusal {
        const char* call;
        const char* why;
    };
    for (const bool bundles : {true, false}) {
        const std::string name = bundles ? "no-bundles" : "no-incremental-buffers";
        for (const refusal r : {refusal{bundles ? "receive_bundles" : "incremental_buffers",
                                        "Invalid argument"},
                                refusal{"receive_order", "out of order"},
                                refusal{"listen", "Invalid argument"},
                                refusal{"register_buf_ring", "Invalid argument"}}) {
            refused_call = r.call;
            kernel::fault::hook = refuse;
            auto made = core::make(with(bundles, !bundles));
            kernel::fault::hook = nullptr;
            REQUIRE(made);
            core& c = **made;
            CHECK(c.buffers().form() == form::whole);
            CHECK(says(c.describe(), name + "("));
            CHECK(says(c.describe(), r.why));
            auto work = [&]() -> task<> {
                auto both = co_await net::half_connected();
                CHECK(both.client.send("as ever"));
                CHECK((co_await both.server.chunks().next()).value().text() == "as ever");
            };
            block_on(c, work());
        }
    }
}

TEST_CASE("a ring that is refused its window says so") {
    const auto made = flavours::made(with(false, false));
    if (!made) return;
    refused_call = "register_buf_ring";
    kernel::fault::hook = refuse;
    CHECK(made->buffers().open() == 0);
    kernel::fault::hook = nullptr;
    CHECK(says(made->describe(), " no-provided-buffers(Invalid argument)"));
}

TEST_CASE("a kernel that never has a buffer ends the self-test") {
    for (const bool bundles : {true, false}) {
        kernel::fault::hook = never_a_buffer;
        const auto made = flavours::made(with(bundles, !bundles));
        kernel::fault::hook = nullptr;
        if (!made) return;
        CHECK(made->buffers().form() == form::whole);
        CHECK(says(made->describe(), bundles ? " no-bundles(" : " no-incremental-buffers("));
    }
}

TEST_CASE("every fifth receive finds no buffer, and nothing is lost") {
    each_path(
        [](core& c) -> task<> {
            const bool by_ring = c.ring() != nullptr && c.buffers().options().receive !=
                                                           receive_path::readiness;
            receives = 0;
            kernel::fault::hook = starve_every_fifth;
            int good = 0;
            constexpr int many = 20;
            auto door = tcp_listener::bind("127.0.0.1:0").value();
            auto one = [&](unsigned i) -> task<> {
                auto peer = co_await tcp_stream::connect(door.local_name());
                if (co_await receiving::talk(std::move(peer).value(), 1 + 1009 * i, 4, i)) ++good;
            };
            co_await with_scope([&](scope& s) -> task<> {
                for (unsigned i = 0; i < many; ++i) s.start(one(i));
                for (int i = 0; i < many; ++i)
                    s.start(receiving::echo((co_await door.next()).value()));
            });
            kernel::fault::hook = nullptr;
            CHECK(good == many);
            if (by_ring) CHECK(receives > 20);
        },
        tiny);
}
#endif
