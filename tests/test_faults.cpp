// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Failure sweeps: the n-th system call, or the n-th answer of the ring, or the n-th allocation fails,
// for n = 1, 2, ... until the scenario passes untouched. Whatever fails, the scenario ends, with an
// error or without, and nothing is left behind.

#include "net_helpers.hpp"

#include <ringlet/base/frame.hpp>

#include <core/buffer_pool.hpp>
#include <kernel/fault.hpp>
#include <kernel/ring.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

using namespace ringlet;

namespace {

thread_local long allocations_left = -1;  // -1: none fails
thread_local std::size_t largest = SIZE_MAX;  // any above it fails

}  // namespace

void* operator new(std::size_t size) {
    if (allocations_left > 0 && --allocations_left == 0) throw std::bad_alloc();
    if (size > largest) throw std::bad_alloc();
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

#ifndef NDEBUG  // the seam is not in release builds
struct fault {
    const char* call;
    long countdown;
    int error;
};
thread_local fault planned{nullptr, -1, 0};

int fail_planned(const char* call) noexcept {
    if (planned.countdown <= 0 || std::strcmp(call, planned.call) != 0) return 0;
    return --planned.countdown == 0 ? planned.error : 0;
}
#endif

task<> serve_one(tcp_listener& door) {
    auto peer = co_await door.next();
    if (!peer) co_return;
    while (auto got = co_await peer->chunks().next().within(std::chrono::seconds(5)))
        if (!co_await peer->send_all(std::move(*got))) co_return;
}

bool mangled = false;  // what has come back was not what had been sent

task<bool> ask(address where) {
    constexpr std::string_view text = "twelve bytes";
    std::array<std::byte, 256> room{};
    auto peer = co_await tcp_stream::connect(where).within(std::chrono::seconds(5));
    if (!peer) co_return false;
    for (int i = 0; i < 3; ++i) {
        if (!co_await peer->send_all(text)) co_return false;
        std::size_t received = 0;
        while (received < text.size()) {
            auto got = co_await peer->recv(std::span(room).subspan(received))
                           .within(std::chrono::seconds(5));
            if (!got) co_return false;
            received += *got;
            mangled = mangled || received > text.size() ||
                      std::memcmp(room.data(), text.data(), received) != 0;
        }
    }
    co_return true;
}

/// Combinators, then a server and its client; true when every byte came back.
task<int> half(int value) {
    co_await yield();
    co_return value;
}

task<bool> scenario() {
    auto [a, b] = co_await all_of(half(1), half(2));
    const auto first = co_await any_of(half(3), half(4));
    if (a + b != 3 || first.index() > 1) co_return false;

    auto door = tcp_listener::bind("127.0.0.1:0", listen_options{.on_absorbed = [](auto&) {}});
    if (!door) co_return false;
    bool good = false;
    co_await with_scope([&](scope& s) -> task<> {
        s.start(serve_one(*door));
        good = co_await ask(door->local_name());
        s.cancel();
    });
    co_return good;
}

#ifndef NDEBUG
/// Runs the scenario with the n-th `call` failing until it is no longer reached; how often it failed.
long sweep(core& c, const char* call, int error) {
    for (long n = 1;; ++n) {
        planned = fault{call, n, error};
        kernel::fault::hook = fail_planned;
        const bool good = block_on(c, scenario());
        kernel::fault::hook = nullptr;
        INFO(call, " number ", n, " fails with ", std::strerror(error));
        CHECK_FALSE(std::exchange(mangled, false));
        CHECK(c.descriptors().open() == 0);
        if (planned.countdown > 0) {  // never reached
            CHECK(good);
            return n - 1;
        }
        REQUIRE(n < 1000);
    }
}
#endif

}  // namespace

#ifndef NDEBUG
TEST_CASE("a listener that cannot be asked without waiting ends at a stop all the same") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        const auto waits = [&]() -> task<std::error_code> {
            co_return (co_await door.next()).error();
        };
        const auto stops = [&]() -> task<> {
            co_await yield();
            planned = fault{"set_nonblocking", 1, EIO};
            kernel::fault::hook = fail_planned;
            c.request_stop();
            kernel::fault::hook = nullptr;
        };
        const auto [end, stopped] = co_await all_of(waits(), stops());
        static_cast<void>(stopped);
        CHECK(end == errc::stopping);
        CHECK((planned.countdown == 0) == (c.ring() != nullptr));
    });
}

TEST_CASE("any system call may fail with any errno and nothing hangs, leaks or crashes") {
    constexpr std::array errors{EIO, ENOMEM, ENOBUFS, EMFILE, ENFILE, ECONNABORTED, ECONNRESET,
                                EPIPE, ETIMEDOUT, EPERM, EINVAL};
    flavours::each([&](core& c) {
        long reached = 0;
        for (const int error : errors) {
            for (const char* call : {"socket", "bind", "listen", "connect", "send"})
                reached += sweep(c, call, error);
            reached += sweep(c, "recv", error);
            reached += sweep(c, "epoll_add", error);
            if (c.backend() == backend::epoll) reached += sweep(c, "accept", error);
        }
        CHECK(reached >= 20);
    });
}

TEST_CASE("connections that fail one after the other cost a pause, not the ones that come after them") {
    manual_clock clock;
    flavours::each(
        [&](core& c) {
            if (c.ring() != nullptr) return;  // no error can be made up of a multishot's answers
            static thread_local int left;
            left = 40;
            const auto body = [&]() -> task<bool> {
                auto door =
                    tcp_listener::bind("127.0.0.1:0", listen_options{.on_absorbed = [](auto&) {}});
                bool served = false;
                const auto serve = [&]() -> task<> { served = (co_await door->next()).has_value(); };
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(serve());
                    co_await yield();
                    kernel::fault::hook = [](const char* asked) noexcept {
                        const bool fails = left > 0 && std::strcmp(asked, "accept") == 0;
                        return fails && left-- > 0 ? ECONNABORTED : 0;
                    };
                    const net::plain_client client(door->local_name());  // one edge
                    co_return;
                });
                kernel::fault::hook = nullptr;
                co_return served;
            };
            CHECK(block_on(c, body()));
            CHECK(left == 0);
            CHECK(c.stats().accept_backoffs > 0);
            CHECK(c.stats().accept_backoffs < 10);
        },
        [&](core_options& o) { o.clock = &clock; });
}

TEST_CASE("a file that the ring has closed with an error is not closed again") {
    flavours::each([](core& c) {
        if (c.ring() == nullptr || c.direct()) return;
        const auto body = [&]() -> task<> {
            const int number = ::dup(2);  // the lowest that is free
            ::close(number);
            auto opened = co_await file::open("/dev/null");
            REQUIRE(opened.has_value());
            int other = -1;
            const auto close = [&]() -> task<> {
                CHECK(!(co_await opened->close()).has_value());
            };
            scope* all = nullptr;
            const auto meanwhile = [&]() -> task<> {
                all->cancel();
                planned = fault{"cqe of several", 1, EIO};
                kernel::fault::hook = fail_planned;
                c.ring()->enter(0, 0, 0);
                other = ::dup(2);  // takes the number that is free now
                co_return;
            };
            co_await with_scope([&](scope& s) -> task<> {
                all = &s;
                s.start(close());
                s.start(meanwhile());
                co_return;
            });
            kernel::fault::hook = nullptr;
            CHECK(other == number);
            CHECK(::fcntl(other, F_GETFD) >= 0);
            ::close(other);
        };
        block_on(c, body());
    });
}

TEST_CASE("a receive that the kernel finds no buffer for may be any of them") {
    flavours::each([&](core& c) {
        const bool ring = c.backend() == backend::uring;
        CHECK((sweep(c, ring ? "receive_buffers" : "take_buffer", ENOBUFS) > 0));
        CHECK(c.stats().starvations > 0);
        CHECK(c.buffers().leased() == 0);
    });
}

TEST_CASE("any answer of the ring may be a failure and nothing hangs, leaks or crashes") {
    flavours::each([&](core& c) {
        if (c.backend() != backend::uring) return;
        for (const int error :
             {EIO, ENOMEM, ENOBUFS, ECONNRESET, EPIPE, ETIMEDOUT, EPERM, EINVAL}) {
            INFO("error ", error);
            const long single = sweep(c, "cqe", error);
            // Sends, and the ends of the multishot accept and of the multishot receive.
            const long several = sweep(c, "cqe of several", error);
            CHECK(single > 3);
            CHECK(several > 6);
        }
    });
}
#endif

TEST_CASE("any allocation may fail: an error or bad_alloc, and nothing leaks or hangs") {
    flavours::each([&](core& c) {
        long n = 1;
        for (;; ++n) {
            bool good = false;
            frame::drop_lists();  // every frame from the heap again
            frame::use_lists();
            allocations_left = n;
            try {
                good = block_on(c, scenario());
            } catch (const std::bad_alloc&) {
                good = false;
            }
            const bool reached = allocations_left == 0;
            allocations_left = -1;
            INFO("allocation number ", n, " failed");
            CHECK(c.descriptors().open() == 0);
            if (!reached) {
                CHECK(good);
                break;
            }
            REQUIRE(n < 1000);
        }
        MESSAGE(c.describe(), ": ", n - 1, " allocations failed in turn");
    });
}

namespace {
/// From now on no descriptor gets a record: all are taken, and `largest` forbids to make more.
std::vector<owned_descriptor> take_all_records() {
    largest = 4096;
    std::vector<owned_descriptor> all;
    do all.emplace_back(::dup(0));
    while (all.back());
    return all;
}
}  // namespace

TEST_CASE("a stop ends the wait for a connection that there is no memory for") {
    for (const bool waiting : {false, true}) {
        INFO("waiting " << waiting);
        flavours::each_task([&](core& c) -> task<> {
            auto door =
                tcp_listener::bind("127.0.0.1:0", listen_options{.on_absorbed = [](auto&) {}});
            std::error_code end;
            const auto take = [&]() -> task<> { end = (co_await door->next()).error(); };
            co_await with_scope([&](scope& s) -> task<> {
                if (waiting) s.start(take());
                co_await yield();
                const auto records = take_all_records();
                const net::plain_client client(door->local_name());
                c.request_stop();
                if (!waiting) s.start(take());
                const auto limit = now() + std::chrono::seconds(30);
                while (!end && now() < limit) co_await yield();
                s.cancel();
                largest = SIZE_MAX;
            });
            CHECK(end == errc::stopping);
        });
    }
}

TEST_CASE("a connection that there is no memory for does not keep another one waiting") {
    flavours::each_task([](core&) -> task<> {
        auto door = tcp_listener::bind(
            "127.0.0.1:0", listen_options{.on_absorbed = [](auto&) { largest = SIZE_MAX; }});
        const net::plain_client first(door->local_name());
        const auto served = co_await door->next();
        const net::plain_client lost(door->local_name());
        const net::plain_client second(door->local_name());
        for (int i = 0; i < 8; ++i) co_await yield();  // the ring has accepted both
        bool got = false;
        const auto take = [&]() -> task<> { got = (co_await door->next()).has_value(); };
        co_await with_scope([&](scope& s) -> task<> {
            const auto records = take_all_records();
            s.start(take());
            const auto limit = now() + std::chrono::seconds(30);
            while (!got && now() < limit) co_await yield();
            s.cancel();
        });
        CHECK(largest == SIZE_MAX);
        CHECK(got);
    });
}

TEST_CASE("accepted connections that there is no memory to queue are closed, not the program") {
    flavours::each_task([](core& c) -> task<> {
        static thread_local int absorbed;
        absorbed = 0;
        listen_options options;
        options.ready_limit = 300;
        options.on_absorbed = [](const std::error_code&) { ++absorbed; };
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<net::plain_client> clients;
        clients.reserve(200);
        clients.emplace_back(door.local_name());
        std::vector<tcp_stream> served;
        served.push_back((co_await door.next()).value());
        for (int i = 0; i < 150; ++i) {
            clients.emplace_back(door.local_name());
            CHECK(clients.back().send("x"));
        }
        largest = 0;
        for (int i = 0; i < 20; ++i) co_await yield();
        largest = SIZE_MAX;
        CHECK((absorbed > 0) == (c.ring() != nullptr));  // epoll accepts nothing ahead
        clients.emplace_back(door.local_name());
        CHECK(clients.back().send("y"));
        std::array<std::byte, 1> room{};
        while (room[0] != std::byte('y')) {
            served.push_back((co_await door.next()).value());
            CHECK(co_await served.back().recv(room));
        }
    });
}

#if !defined(__SANITIZE_ADDRESS__)  // which gives each frame memory of its own
TEST_CASE("a long chain of tasks that there is no memory to put off goes on") {
    flavours::each_task([](core&) -> task<> {
        const auto at_once = []() -> task<int> { co_return 1; };
        int sum = 0;
        for (int i = 0; i < 10'000; ++i) {
            if (i == 1) largest = 0;  // its frame is there by now
            sum += co_await at_once();
        }
        largest = SIZE_MAX;
        CHECK(sum == 10'000);
    });
}
#endif

TEST_CASE("a core without memory to be made with ends the program with 2") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        int unusable = 0;
        for (long n = 1;; ++n) {
            int code = -1;
            frame::drop_lists();
            allocations_left = n;
            try {
                code = run(options, []() -> task<void> { co_return; });
            } catch (const std::bad_alloc&) {}  // before there was a program
            const bool reached = allocations_left == 0;
            allocations_left = -1;
            INFO("allocation number ", n, " failed");
            if (code == 2) ++unusable;
            if (!reached) {
                CHECK(code == 0);
                break;
            }
            REQUIRE(n < 1000);
        }
        CHECK(unusable > 3);
    });
}
