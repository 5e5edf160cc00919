// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "flavours.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

task<int> just(int value) { co_return value; }

task<std::unique_ptr<int>> boxed(int value) { co_return std::make_unique<int>(value); }

task<int> refuse(const char* why) {
    if (why != nullptr) throw std::runtime_error(why);
    co_return 0;
}

task<int> depth(int n) {
    if (n == 0) co_return 0;
    const int below = co_await depth(n - 1);
    co_return below + 1;
}

/// Counts those alive.
struct counted {
    explicit counted(int& n) noexcept : count(&n) { ++*count; }
    counted(counted&& other) noexcept : count(other.count) { ++*count; }
    counted(const counted&) = delete;
    ~counted() { --*count; }
    int* count;
};

task<int> holds(counted held) { co_return *held.count; }

task<> note(std::vector<std::string>& said, const char* what) {
    said.emplace_back(what);
    co_return;
}

}  // namespace

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
namespace {
// No local variable, and a condition that awaits: g++ 12 puts the promise elsewhere than handles
// look for it, and the body would never run.
task<> laid_out_wrongly() {
    while (!co_await sleep_for(1ms)) {}
}
task<> laid_out_well() {
    for (;;) {
        const auto slept = co_await sleep_for(1ms);
        if (slept) co_return;
    }
}
}  // namespace

TEST_CASE("a coroutine that g++ 12 miscompiles says so, with the remedy, where it is made") {
    const std::string said = abort_message([] {
        auto made = laid_out_wrongly();
        static_cast<void>(made);
    });
    CHECK(says(said, "g++ has miscompiled this coroutine"));
    CHECK(says(said, "const auto sent = co_await"));
    flavours::each_virtual([](core&, manual_clock&) -> task<> { co_await laid_out_well(); });
}
#endif

TEST_CASE("a million synchronous completions leave the stack flat") {
    flavours::each_task([](core&) -> task<> {
        long sum = 0;
        for (int i = 0; i < 1'000'000; ++i) sum += co_await just(1);
        CHECK(sum == 1'000'000);
    });
}

TEST_CASE("several tasks may each have a million synchronous completions at once") {
    flavours::each_task([](core&) -> task<> {
        std::array<long, 3> sums{};
        co_await with_scope([&](scope& all) -> task<> {
            for (long& sum : sums)
                all.start([&sum]() -> task<> {
                    for (int i = 0; i < 100'000; ++i) sum += co_await just(1);
                });
            co_return;
        });
        for (long sum : sums) CHECK(sum == 100'000);
    });
}

TEST_CASE("a task that never suspends cannot keep timers and other tasks from running") {
    flavours::each_task([](core&) -> task<> {
        bool rang = false;
        bool ran = false;
        long spins = 0;
        co_await with_scope([&](scope& all) -> task<> {
            all.start([&]() -> task<> {
                std::ignore = co_await sleep_for(1ms);
                rang = true;
            });
            all.start([&]() -> task<> {
                while (!rang || !ran) spins += co_await just(1);
            });
            all.start([&]() -> task<> {
                while (!rang) spins += co_await just(1);
                ran = true;
            });
            co_return;
        });
        CHECK(rang);
        CHECK(spins > 0);
    });
}

TEST_CASE("tasks nest a hundred thousand deep") {
    flavours::each_task([](core&) -> task<> {
        const int reached = co_await depth(100'000);
        CHECK(reached == 100'000);
    });
}

TEST_CASE("a task does nothing before it is awaited") {
    flavours::each_task([](core&) -> task<> {
        std::vector<std::string> said;
        auto later = note(said, "task");
        said.emplace_back("before");
        co_await std::move(later);
        said.emplace_back("after");
        CHECK(said == std::vector<std::string>{"before", "task", "after"});
    });
}

TEST_CASE("a task gives values that can only be moved") {
    flavours::each_task([](core&) -> task<> {
        auto box = co_await boxed(7);
        REQUIRE(box);
        CHECK(*box == 7);
    });
}

TEST_CASE("block_on gives the value of its task") {
    flavours::each([](core& c) {
        CHECK(block_on(c, just(5)) == 5);
        CHECK(*block_on(c, boxed(6)) == 6);
        CHECK_THROWS_WITH(block_on(c, refuse("at the root")), "at the root");
        CHECK(block_on(c, just(8)) == 8);  // the core goes on after a failure
    });
}

TEST_CASE("what a task throws is thrown where it is awaited, through any number of tasks") {
    flavours::each_task([](core&) -> task<> {
        auto through = []() -> task<int> { co_return co_await refuse("from below"); };
        std::string said;
        try {
            std::ignore = co_await through();
        } catch (const std::runtime_error& e) {
            said = e.what();
        }
        CHECK(said == "from below");
        const int fine = co_await refuse(nullptr);
        CHECK(fine == 0);
    });
}

TEST_CASE("the frame of an awaited task ends with the expression that awaits it") {
    flavours::each_task([](core&) -> task<> {
        int alive = 0;
        auto work = holds(counted(alive));
        CHECK(alive == 1);
        const int seen = co_await std::move(work);
        CHECK(seen == 1);
        CHECK(alive == 0);
    });
}

TEST_CASE("a task that is never awaited goes away with what it holds") {
    flavours::each([](core&) {
        int alive = 0;
        {
            auto first = holds(counted(alive));
            auto second = holds(counted(alive));
            CHECK(alive == 2);
            first = std::move(second);
            CHECK(alive == 1);
        }
        CHECK(alive == 0);
    });
}

TEST_CASE("a moved task is awaited where it has gone") {
    flavours::each_task([](core&) -> task<> {
        auto here_first = just(3);
        auto then_here = std::move(here_first);
        const int got = co_await std::move(then_here);
        CHECK(got == 3);
    });
}

TEST_CASE("awaiting an empty task is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        block_on(c, []() -> task<> {
            auto once = just(1);
            std::ignore = co_await std::move(once);
            std::ignore = co_await std::move(once);
        }());
    });
    CHECK_MESSAGE(says(said, "a task was awaited that is empty"), said);
}

TEST_CASE("starting an empty task is a misuse that aborts") {
    const std::string said = abort_message([] {
        auto once = just(1);
        auto taken = std::move(once);
        std::ignore = std::move(once).release();
    });
    CHECK_MESSAGE(says(said, "a task was started that is empty"), said);
}

TEST_CASE("a second core on one thread is a misuse that aborts") {
    const std::string said = abort_message([] {
        core_options options;
        options.backend = backend::epoll;
        auto first = core::make(options);
        auto second = core::make(options);
    });
    CHECK_MESSAGE(says(said, "a second core on one thread"), said);
}

TEST_CASE("a virtual clock finds the deadlock that nothing could ever end") {
    const std::string said = abort_message([] {
        manual_clock clock;
        core_options options;
        options.backend = backend::epoll;
        options.clock = &clock;
        auto c = core::make(options).value();
        semaphore none(0);
        block_on(*c, [](semaphore& s) -> task<> { std::ignore = co_await s.acquire(); }(none));
    });
    CHECK_MESSAGE(says(said, "nothing can ever wake a task again"), said);
}

TEST_CASE("a connection carries bytes both ways") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        std::array<std::byte, 16> room{};
        const auto sent = co_await both.client.send_all("ping");
        CHECK(sent);
        const auto got = co_await both.server.recv(room);
        REQUIRE(got);
        CHECK(*got == 4);
        const auto answered = co_await both.server.send_all("pong!");
        CHECK(answered);
        const auto back = co_await both.client.recv(room);
        REQUIRE(back);
        CHECK(*back == 5);
    });
}

TEST_CASE("a loop that is run from within one of its tasks is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        block_on(c, [](core& here) -> task<> {
            block_on(here, []() -> task<> { co_return; }());
            co_return;
        }(c));
    });
    CHECK_MESSAGE(says(said, "run from within one of its tasks: co_await instead"), said);
}

TEST_CASE("a root task that is left while it runs is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        root_task root;
        root.start(c, []() -> task<> { co_await yield(); }());
    });
    CHECK_MESSAGE(says(said, "a root task was left while it ran"), said);
}
