// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// What is given up inside a turn that has filled the ring's queues: asking the kernel to cancel it
// reaps, and so may tell its last answer.

#include "net_helpers.hpp"

#include <liburing.h>

#include <array>
#include <filesystem>
#include <iterator>
#include <vector>

using namespace ringlet;

namespace {

/// With 4 and 8 entries the ninth operation of a turn finds both queues full.
template <class Body>
void each_small(Body body) {
    flavours::each([&](core& c) { block_on(c, body(c)); },
                   [](core_options& o) {
                       o.ring_entries = 4;
                       o.completion_entries = 8;
                   });
}

template <class Step>
task<> do_and_ask(Step& step) {
    step();
    std::ignore = co_await uring([](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); });
}

/// `first` before the queues fill up, `last` when they are full, in one turn.
template <class First, class Last>
task<> with_full_queues(First first, Last last) {
    auto nothing = [] {};
    co_await with_scope([&](scope& s) -> task<> {
        s.start(do_and_ask(first));
        for (int i = 0; i < 7; ++i) s.start(do_and_ask(nothing));
        s.start(do_and_ask(last));
        co_return;
    });
}

std::ptrdiff_t open_descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

task<> settle(core& c) {
    for (int i = 0; i < 1000 && c.in_flight > 0; ++i) co_await yield();
    CHECK(c.in_flight == 0);
}

}  // namespace

TEST_CASE("a stream whose receive ends while it is being given up leaves its record once") {
    each_small([](core& c) -> task<> {
        co_await settle(c);
        const auto before = open_descriptors();
        {
            auto gone = co_await net::half_connected();
            CHECK(gone.client.send("x"));
            CHECK((co_await gone.server.chunks().next())->text() == "x");
            for (int i = 0; i < 3; ++i) co_await yield();
            co_await with_full_queues([&] { gone.client.close(); },
                                      [&] { const tcp_stream last = std::move(gone.server); });
        }
        co_await settle(c);
        CHECK(open_descriptors() == before);
        auto a = co_await net::half_connected();
        auto b = co_await net::half_connected();
        CHECK(a.client.send("for a"));
        CHECK(b.client.send("for b"));
        CHECK((co_await a.server.chunks().next())->text() == "for a");
        CHECK((co_await b.server.chunks().next())->text() == "for b");
        CHECK(co_await a.server.send_all("from a"));
        CHECK(co_await b.server.send_all("from b"));
        CHECK(a.client.recv(6) == "from a");
        CHECK(b.client.recv(6) == "from b");
    });
}

TEST_CASE("a listener whose accept fails while it is being closed is gone once") {
    each_small([](core& c) -> task<> {
        static int absorbed = 0;
        absorbed = 0;
        const auto before = open_descriptors();
        {
            listen_options quiet;
            quiet.on_absorbed = [](const std::error_code&) { ++absorbed; };
            auto door = tcp_listener::bind("127.0.0.1:0", quiet).value();
            const address where = door.local_name();
            // The limit that holds for an accept is that of the time when it was armed.
            const net::few_descriptors some(8);
            const net::plain_client one(where);
            const auto served = co_await door.next();
            CHECK(served.has_value());
            for (int i = 0; i < 3; ++i) co_await yield();
            const unique_fd late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            std::vector<unique_fd> all_others;
            for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) all_others.emplace_back(fd);
            co_await with_full_queues(
                [&] {
                    CHECK(::connect(late.get(), static_cast<const sockaddr*>(where.data()),
                                    where.size()) == 0);
                },
                [&] { door.close(); });
            // On epoll nothing has asked for it; a direct descriptor is none of those that ran out.
            if (c.backend() == backend::uring && !c.direct()) CHECK(absorbed == 1);
        }
        co_await settle(c);
        CHECK(open_descriptors() == before);
    });
}
