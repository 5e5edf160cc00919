// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "flavours.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

task<int> after(nanoseconds duration, int value) {
    std::ignore = co_await sleep_for(duration);
    co_return value;
}
task<result<int>> asks(nanoseconds duration, int value) {
    const auto slept = co_await sleep_for(duration);
    if (!slept) co_return slept.error();
    co_return value;
}
task<result<std::unique_ptr<int>>> asks_box(nanoseconds duration, int value) {
    const auto slept = co_await sleep_for(duration);
    if (!slept) co_return slept.error();
    co_return std::make_unique<int>(value);
}
task<result<int>> stubborn(nanoseconds duration, int value) {
    std::ignore = co_await sleep_for(duration);
    co_return value;
}
task<> waits(nanoseconds duration, result<void>& outcome) {
    outcome = co_await sleep_for(duration);
}
task<std::unique_ptr<int>> boxed(int value) { co_return std::make_unique<int>(value); }
task<int> throws(nanoseconds duration, const char* what) {
    std::ignore = co_await sleep_for(duration);
    throw std::runtime_error(what);
}

template <class T>
task<std::string> what_it_throws(task<T> work) {
    try {
        std::ignore = co_await std::move(work);
    } catch (const std::exception& e) {
        co_return e.what();
    }
    co_return "nothing";
}

}  // namespace

// ---- sleep and yield --------------------------------------------------------------------------

TEST_CASE("a sleep ends when its time has come and not before") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        for (const nanoseconds d : {nanoseconds(1us), nanoseconds(50us), nanoseconds(1ms),
                                    nanoseconds(17ms), nanoseconds(1s), nanoseconds(1h),
                                    nanoseconds(24h * 400)}) {
            const auto begin = now();
            const auto slept = co_await sleep_for(d);
            CHECK(slept);
            CHECK(now() - begin >= d);
            CHECK(now() - begin < d + 140us);
        }
    });
}

TEST_CASE("a sleep by the real clock is not early either") {
    flavours::each_task([](core&) -> task<> {
        for (int i = 0; i < 20; ++i) {
            const auto begin = std::chrono::steady_clock::now();
            const auto slept = co_await sleep_for(200us);
            CHECK(slept);
            CHECK(std::chrono::steady_clock::now() - begin >= 200us);
        }
    });
}

TEST_CASE("a sleep of nothing, or less, ends without a misuse") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        const auto zero = co_await sleep_for(0ns);
        const auto negative = co_await sleep_for(-5s);
        const auto past = co_await sleep_until(begin - 1h);
        const auto first_of_all = co_await sleep_until(time_point::min());
        CHECK(zero);
        CHECK(negative);
        CHECK(past);
        CHECK(first_of_all);
        CHECK(now() - begin < 1ms);
    });
}

TEST_CASE("the longest sleep there is can be cancelled like any other") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> outcome;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(waits(nanoseconds::max(), outcome));
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        CHECK(outcome.error() == errc::cancelled);
    });
}

TEST_CASE("sleep_until ends at its point in time") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto when = now() + 90min;
        const auto slept = co_await sleep_until(when);
        CHECK(slept);
        CHECK(now() >= when);
        CHECK(now() < when + 1ms);
    });
}

TEST_CASE("sleepers wake in the order of their times") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        std::vector<int> order;
        co_await with_scope([&](scope& s) -> task<> {
            for (const int ms : {70, 10, 5000, 30, 1, 600, 90, 40})
                s.start([&order, ms]() -> task<> {
                    std::ignore = co_await sleep_for(std::chrono::milliseconds(ms));
                    order.push_back(ms);
                });
            co_return;
        });
        CHECK(order == std::vector<int>{1, 10, 30, 40, 70, 90, 600, 5000});
    });
}

TEST_CASE("yield lets the others run before it goes on") {
    flavours::each_task([](core&) -> task<> {
        std::string order;
        co_await with_scope([&](scope& s) -> task<> {
            for (const char name : {'a', 'b', 'c'})
                s.start([&order, name]() -> task<> {
                    for (int i = 0; i < 3; ++i) {
                        order += name;
                        co_await yield();
                    }
                });
            co_return;
        });
        CHECK(order == "abcabcabc");
    });
}

TEST_CASE("yield asks the kernel each time") {
    flavours::each_task([](core& c) -> task<> {
        const auto before = c.stats().enters;
        for (int i = 0; i < 10; ++i) co_await yield();
        CHECK(c.stats().enters - before >= 10);
    });
}

// ---- all_of -----------------------------------------------------------------------------------

TEST_CASE("all_of runs its tasks at the same time and keeps the order of their values") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        const auto [a, b, c] = co_await all_of(after(3s, 1), after(1s, 2), after(2s, 3));
        CHECK(a == 1);
        CHECK(b == 2);
        CHECK(c == 3);
        CHECK(now() - begin >= 3s);
        CHECK(now() - begin < 3s + 1ms);
    });
}

TEST_CASE("all_of takes operations, tasks without a value and values that only move") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> outcome = errc::cancelled;
        auto all = co_await all_of(sleep_for(1s), waits(1s, outcome), boxed(5));
        CHECK(std::get<0>(all));
        static_assert(std::is_same_v<std::tuple_element_t<1, decltype(all)>, std::monostate>);
        CHECK(outcome);
        CHECK(*std::get<2>(all) == 5);
    });
}

TEST_CASE("an error in a result is a value for all_of: it cancels nothing") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        auto fails = []() -> task<result<int>> { co_return errc::unsupported; };
        const auto [bad, good] = co_await all_of(fails(), asks(1h, 2));
        CHECK(bad.error() == errc::unsupported);
        REQUIRE(good);
        CHECK(*good == 2);
    });
}

TEST_CASE("what one of all_of throws cancels the others and is thrown when they have ended") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<void> other;
        const std::string said =
            co_await what_it_throws(all_of(waits(1h, other), throws(1s, "one of all")));
        CHECK(said == "one of all");
        CHECK(other.error() == errc::cancelled);
        CHECK(now() - begin < 2s);
    });
}

TEST_CASE("all_of takes a vector of tasks") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        std::vector<task<int>> many;
        for (int i = 0; i < 1000; ++i)
            many.push_back(after(std::chrono::milliseconds(1000 - i), i));
        const auto values = co_await all_of(std::move(many));
        REQUIRE(values.size() == 1000);
        for (int i = 0; i < 1000; ++i) CHECK(values[static_cast<std::size_t>(i)] == i);

        std::vector<result<void>> outcomes(10, result<void>(errc::cancelled));
        std::vector<task<void>> voids;
        for (auto& outcome : outcomes) voids.push_back(waits(1s, outcome));
        co_await all_of(std::move(voids));
        for (const auto& outcome : outcomes) CHECK(outcome);

        std::vector<task<int>> none;
        const auto nothing = co_await all_of(std::move(none));
        CHECK(nothing.empty());
    });
}

// ---- any_of -----------------------------------------------------------------------------------

TEST_CASE("any_of gives the first value and cancels the rest") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<void> loser;
        const auto first = co_await any_of(after(5s, 1), after(2s, 2), waits(1h, loser));
        REQUIRE(first.index() == 1);
        CHECK(std::get<1>(first) == 2);
        CHECK(loser.error() == errc::cancelled);
        CHECK(now() - begin < 3s);
    });
}

TEST_CASE("any_of waits for its losers") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        bool cleaned = false;
        auto loser = [&]() -> task<> {
            std::ignore = co_await sleep_for(1h);
            co_await shield([](bool& done) -> task<> {
                std::ignore = co_await sleep_for(4s);
                done = true;
            }(cleaned));
        };
        const auto first = co_await any_of(loser(), sleep_for(1s));
        CHECK(first.index() == 1);
        CHECK(cleaned);
        CHECK(now() - begin >= 5s);
    });
}

TEST_CASE("when several of any_of end at the same time the first one wins, and keeps its value") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        for (int i = 0; i < 10; ++i) {
            const auto first = co_await any_of(after(1s, 1), after(1s, 2), after(1s, 3));
            REQUIRE(first.index() == 0);
            CHECK(std::get<0>(first) == 1);
        }
    });
}

TEST_CASE("an exception that ends first wins any_of and is thrown, whatever the losers return") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const std::string said =
            co_await what_it_throws(any_of(after(1h, 1), throws(1s, "winner"), sleep_for(1h)));
        CHECK(said == "winner");
        std::vector<task<int>> many;
        many.push_back(after(1h, 1));
        many.push_back(throws(1s, "of many"));
        const std::string of_many = co_await what_it_throws(any_of(std::move(many)));
        CHECK(of_many == "of many");
    });
}

TEST_CASE("what a loser of any_of throws is of no interest") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto first = co_await any_of(throws(1h, "loser"), after(1s, 9));
        REQUIRE(first.index() == 1);
        CHECK(std::get<1>(first) == 9);
    });
}

TEST_CASE("any_of takes a vector of tasks") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        std::vector<task<int>> many;
        for (int i = 0; i < 100; ++i) many.push_back(after(std::chrono::seconds(100 - i), i));
        const auto [index, value] = co_await any_of(std::move(many));
        CHECK(index == 99);
        CHECK(value == 99);
    });
}

TEST_CASE("any_of of no task is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        std::ignore = block_on(c, any_of(std::vector<task<int>>()));
    });
    CHECK_MESSAGE(says(said, "any_of() needs at least one task"), said);
}

// ---- with_deadline ----------------------------------------------------------------------------

TEST_CASE("a task that ends within its deadline keeps its value") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto plain = co_await with_deadline(2s, after(1s, 1));
        REQUIRE(plain);
        CHECK(*plain == 1);
        const auto asked = co_await with_deadline(2s, asks(1s, 2));
        REQUIRE(asked);
        CHECK(*asked == 2);
        const auto box = co_await with_deadline(2s, asks_box(1s, 3));
        REQUIRE(box);
        CHECK(**box == 3);
        result<void> outcome = errc::cancelled;
        const auto nothing = co_await with_deadline(2s, waits(1s, outcome));
        CHECK(nothing);
        CHECK(outcome);
    });
}

TEST_CASE("a deadline that passes ends what the task waits for with timed_out") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        const auto plain = co_await with_deadline(1s, after(1h, 1));
        CHECK(plain.error() == errc::timed_out);
        CHECK(plain.error() == std::errc::timed_out);
        const auto asked = co_await with_deadline(1s, asks(1h, 2));
        CHECK(asked.error() == errc::timed_out);
        result<void> outcome;
        const auto nothing = co_await with_deadline(1s, waits(1h, outcome));
        CHECK(nothing.error() == errc::timed_out);
        CHECK(outcome.error() == errc::timed_out);
        CHECK(now() - begin >= 3s);
        CHECK(now() - begin < 4s);
    });
}

TEST_CASE("a task of a result that still ends with a value after its deadline keeps it") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto kept = co_await with_deadline(1s, stubborn(1h, 6));
        REQUIRE(kept);
        CHECK(*kept == 6);
    });
}

TEST_CASE("a sleep and a deadline that end in the same instant end the sleep once") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        for (int i = 0; i < 100; ++i) {
            result<void> outcome;
            int ends = 0;
            auto sleeper = [&]() -> task<> {
                outcome = co_await sleep_for(1s);
                ++ends;
            };
            const auto slept = co_await with_deadline(1s, sleeper());
            CHECK(ends == 1);
            CHECK(slept.has_value() == false);
            CHECK(slept.error() == errc::timed_out);
            const auto later = co_await sleep_for(1ms);
            CHECK(later);
        }
    });
}

TEST_CASE("a deadline is disarmed when its task has ended") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        for (int i = 0; i < 1000; ++i) {
            const auto got = co_await with_deadline(1h, after(1ms, i));
            CHECK(got);
        }
        const auto fired = c.stats().timers_fired;
        const auto later = co_await sleep_for(2h);  // past all of the thousand deadlines
        CHECK(later);
        CHECK(c.stats().timers_fired - fired <= 1);
    });
}

TEST_CASE("of two deadlines the nearer one counts, inside or outside") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        const auto inner = co_await with_deadline(1h, with_deadline(1s, asks(2h, 1)));
        CHECK(inner.error() == errc::timed_out);
        const auto outer = co_await with_deadline(1s, with_deadline(1h, asks(2h, 1)));
        CHECK(outer.error() == errc::timed_out);
        CHECK(now() - begin < 3s);
    });
}

TEST_CASE("a deadline of nothing lets the task run and ends its first wait") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        const auto none = co_await with_deadline(0s, asks(1h, 1));
        CHECK(none.error() == errc::timed_out);
        const auto less = co_await with_deadline(-1s, asks(1h, 1));
        CHECK(less.error() == errc::timed_out);
        const auto quick = co_await with_deadline(0s, boxed(4));
        REQUIRE(quick);
        CHECK(**quick == 4);
        CHECK(now() - begin < 1s);
    });
}

TEST_CASE("what a task throws passes through its deadline") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const std::string said =
            co_await what_it_throws(with_deadline(1h, throws(1s, "through the deadline")));
        CHECK(said == "through the deadline");
    });
}

// ---- shield -----------------------------------------------------------------------------------

TEST_CASE("shield keeps cancellation out and gives the value") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> before;
        result<int> shielded = errc::unsupported;
        result<void> behind;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                before = co_await sleep_for(1h);
                shielded = co_await shield(asks(3s, 8));
                behind = co_await sleep_for(1h);
            });
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        CHECK(before.error() == errc::cancelled);
        REQUIRE(shielded);
        CHECK(*shielded == 8);
        CHECK(behind.error() == errc::cancelled);
    });
}

TEST_CASE("a cancel that comes while a shielded task waits does not reach it") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<int> shielded = errc::unsupported;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> { shielded = co_await shield(asks(3s, 8)); });
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        REQUIRE(shielded);
        CHECK(*shielded == 8);
    });
}

TEST_CASE("a shielded task may have a deadline of its own") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<int> bounded = 0;
        co_await with_scope([&](scope& s) -> task<> {
            s.cancel();
            bounded = co_await shield(with_deadline(2s, asks(1h, 1)));
        });
        CHECK(bounded.error() == errc::timed_out);
        CHECK(now() - begin >= 2s);
    });
}

TEST_CASE("what a shielded task throws is thrown") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const std::string said = co_await what_it_throws(shield(throws(1s, "cleanup")));
        CHECK(said == "cleanup");
    });
}

TEST_CASE("a limit of for ever, in whatever unit, is no limit of nothing") {
    flavours::each_virtual([](core&, manual_clock& clock) -> task<> {
        using std::chrono::hours;
        result<void> slept, waited;
        result<std::size_t> received = std::size_t{0};
        auto both = co_await flavours::connected();
        std::array<std::byte, 8> room{};
        const auto sleep = [&]() -> task<> { slept = co_await sleep_for(hours::max()); };
        const auto receive = [&]() -> task<> {
            received = co_await both.server.recv(room).within(hours::max());
        };
        const auto wait = [&]() -> task<> {
            semaphore none(0);
            auto acquire = [&]() -> task<> { std::ignore = co_await none.acquire(); };
            waited = co_await with_deadline(std::chrono::minutes::max(), acquire());
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sleep());
            s.start(receive());
            s.start(wait());
            co_await yield();
            clock.advance(hours(24 * 365));
            for (int i = 0; i < 3; ++i) co_await yield();
            s.cancel();
        });
        CHECK(slept.error() == errc::cancelled);
        CHECK(received.error() == errc::cancelled);
        CHECK(waited.has_value());
    });
}

TEST_CASE("sleep_until means its point in time, however late it is awaited") {
    flavours::each_virtual([](core&, manual_clock& clock) -> task<> {
        const time_point when = now() + 2s;
        auto nap = sleep_until(when);
        clock.advance(1s);
        CHECK(co_await std::move(nap));
        CHECK(now() >= when);
        CHECK(now() < when + 1ms);
    });
}

TEST_CASE("a deadline that passes when the task has been cancelled changes nothing") {
    flavours::each_virtual([](core&, manual_clock& clock) -> task<> {
        semaphore none(0);
        result<void> got;
        const auto work = [&]() -> task<result<void>> {
            const auto permit = co_await none.acquire();
            clock.advance(20s);  // the limit passes while it cleans up
            for (int i = 0; i < 3; ++i) co_await yield();
            co_return permit.error();
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> { got = co_await with_deadline(10s, work()); });
            for (int i = 0; i < 3; ++i) co_await yield();
            s.cancel();
        });
        CHECK(got.error() == errc::cancelled);
    });
}
