// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "flavours.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

struct watched {
    explicit watched(std::size_t permits) noexcept : gate(permits) {}
    semaphore gate;
    int inside = 0;
    int most = 0;
    std::string order;
};

task<> visits(watched& w, char name, nanoseconds stay) {
    auto permit = co_await w.gate.acquire();
    CHECK(permit);
    w.most = std::max(w.most, ++w.inside);
    w.order += name;
    std::ignore = co_await sleep_for(stay);
    --w.inside;
}

task<> wants(semaphore& s, result<void>& outcome) {
    auto permit = co_await s.acquire();
    outcome = permit ? result<void>() : result<void>(permit.error());
}

}  // namespace

TEST_CASE("a semaphore lets in as many as it has permits, and all in the end") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        watched w(3);
        co_await with_scope([&](scope& s) -> task<> {
            for (int i = 0; i < 100; ++i)
                s.start(visits(w, 'x', std::chrono::milliseconds(1 + i % 7)));
            co_return;
        });
        CHECK(w.most == 3);
        CHECK(w.order.size() == 100);
        CHECK(w.gate.available() == 3);
    });
}

TEST_CASE("who came first is served first") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        watched w(1);
        co_await with_scope([&](scope& s) -> task<> {
            for (const char name : std::string("abcdefgh")) s.start(visits(w, name, 1ms));
            co_return;
        });
        CHECK(w.order == "abcdefgh");
    });
}

TEST_CASE("a permit goes straight to who waits: a newcomer cannot overtake") {
    flavours::each_task([](core&) -> task<> {
        semaphore one(1);
        std::string order;
        co_await with_scope([&](scope& s) -> task<> {
            auto held = co_await one.acquire();
            s.start([&]() -> task<> {
                auto permit = co_await one.acquire();
                order += 'w';
            });
            co_await yield();
            held->give_back();
            CHECK(one.available() == 0);
            auto mine = co_await one.acquire();
            order += 'n';
        });
        CHECK(order == "wn");
        CHECK(one.available() == 1);
    });
}

TEST_CASE("a permit is given back once, by whoever holds it last") {
    flavours::each_task([](core&) -> task<> {
        semaphore two(2);
        {
            auto first = co_await two.acquire();
            auto second = co_await two.acquire();
            REQUIRE(first);
            REQUIRE(second);
            CHECK(two.available() == 0);
            semaphore::permit kept = std::move(*first);
            first->give_back();  // empty by now
            CHECK(two.available() == 0);
            kept = std::move(*second);
            CHECK(two.available() == 1);
            kept.give_back();
            kept.give_back();
            CHECK(two.available() == 2);
            semaphore::permit none;
            none.give_back();
        }
        CHECK(two.available() == 2);
    });
}

TEST_CASE("a result that is thrown away gives its permit back at once") {
    flavours::each_task([](core&) -> task<> {
        semaphore one(1);
        std::ignore = co_await one.acquire();
        std::ignore = co_await one.acquire();
        CHECK(one.available() == 1);
    });
}

TEST_CASE("a cancelled waiter leaves the queue and the permit goes to the next one") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        semaphore one(1);
        result<void> impatient;
        result<void> patient = errc::unsupported;
        co_await with_scope([&](scope& s) -> task<> {
            auto held = co_await one.acquire();
            auto leaves = [&]() -> task<> {
                co_await with_scope([&](scope& inner) -> task<> {
                    inner.start(wants(one, impatient));
                    std::ignore = co_await sleep_for(1s);
                    inner.cancel();
                });
            };
            s.start(leaves());
            std::ignore = co_await sleep_for(1ms);
            s.start(wants(one, patient));
            std::ignore = co_await sleep_for(2s);
            CHECK(impatient.error() == errc::cancelled);
            CHECK(patient.error() == errc::unsupported);
        });
        CHECK(patient);
        CHECK(one.available() == 1);
    });
}

TEST_CASE("a permit given back in the turn of a cancel passes by the cancelled and is not lost") {
    flavours::each_task([](core&) -> task<> {
        semaphore one(1);
        result<void> first;
        result<void> second = errc::unsupported;
        co_await with_scope([&](scope& s) -> task<> {
            auto held = co_await one.acquire();
            cancel_scope apart;
            s.start([&]() -> task<> { co_await wants(one, first).in(apart); });
            co_await yield();
            s.start(wants(one, second));
            co_await yield();
            apart.cancel();
            held->give_back();  // the first in the queue is cancelled but has not left it
            co_await s.join();
        });
        CHECK(first.error() == errc::cancelled);
        CHECK(second);
        CHECK(one.available() == 1);
    });
}

TEST_CASE("a semaphore waits under a deadline") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        semaphore none(0);
        result<void> outcome;
        const auto got = co_await with_deadline(1s, wants(none, outcome));
        CHECK(got.error() == errc::timed_out);
        CHECK(outcome.error() == errc::timed_out);
        CHECK(none.available() == 0);
    });
}

TEST_CASE("a semaphore survives a random crowd with cancels and keeps count") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        watched w(4);
        std::uint64_t seed = 0x9E3779B97F4A7C15;
        auto next = [&seed] {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            return seed;
        };
        int served = 0;
        int gone = 0;
        auto visitor = [&](nanoseconds patience, nanoseconds stay) -> task<> {
            auto inner = [&]() -> task<result<void>> {
                auto permit = co_await w.gate.acquire();
                if (!permit) co_return permit.error();
                w.most = std::max(w.most, ++w.inside);
                std::ignore = co_await shield([](nanoseconds d) -> task<result<void>> {
                    co_return co_await sleep_for(d);
                }(stay));
                --w.inside;
                co_return result<void>();
            };
            const auto ended = co_await with_deadline(patience, inner());
            ++(ended ? served : gone);
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (int i = 0; i < 2000; ++i) {
                s.start(visitor(std::chrono::microseconds(next() % 20'000),
                                std::chrono::microseconds(next() % 5'000)));
                if (i % 8 == 0)
                    std::ignore = co_await sleep_for(std::chrono::microseconds(next() % 8'000));
            }
        });
        CHECK(served + gone == 2000);
        CHECK(served > 100);
        CHECK(gone > 100);
        CHECK(w.most == 4);
        CHECK(w.inside == 0);
        CHECK(w.gate.available() == 4);
    });
}

TEST_CASE("a wait for a permit that was refused may be tried again, and keeps none") {
    flavours::each_task([](core& c) -> task<> {
        semaphore gate(1);
        auto held = co_await gate.acquire();
        c.request_stop();
        auto want = gate.acquire().or_stop();
        const auto first = co_await want;
        CHECK(first.error() == errc::stopping);
        held->give_back();
        {
            const auto second = co_await want;
            CHECK(second.has_value());
            CHECK(gate.available() == 0);
        }
        CHECK(gate.available() == 1);
    });
}

TEST_CASE("who takes permits that are free lets the others have their turn") {
    flavours::each_task([](core&) -> task<> {
        semaphore gate(1);
        bool ran = false;
        int rounds = 0;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                while (!ran && rounds < 100'000) {
                    const auto permit = co_await gate.acquire();
                    rounds += permit ? 1 : 100'000;
                }
            });
            s.start([&]() -> task<> {
                ran = true;
                co_return;
            });
            co_return;
        });
        CHECK(rounds < 100'000);
        CHECK(gate.available() == 1);
    });
}

TEST_CASE("a semaphore that ends before a permit has reached its task is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        auto early = std::make_unique<semaphore>(1);
        block_on(c, [](std::unique_ptr<semaphore>& gate) -> task<> {
            co_await with_scope([&](scope& s) -> task<> {
                auto held = co_await gate->acquire();
                s.start([&]() -> task<> { std::ignore = co_await gate->acquire(); });
                co_await yield();
                held->give_back();
                gate.reset();
            });
        }(early));
    });
    CHECK_MESSAGE(says(said, "a semaphore ended while tasks waited for it"), said);
}

TEST_CASE("a semaphore that ends while tasks wait for it is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        auto early = std::make_unique<semaphore>(0);
        root_task root;
        root.start(c, [](semaphore& s) -> task<> { std::ignore = co_await s.acquire(); }(*early));
        block_on(c, []() -> task<> { co_await yield(); }());
        early.reset();
    });
    CHECK_MESSAGE(says(said, "a semaphore ended while tasks waited for it"), said);
}
