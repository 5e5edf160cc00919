// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "flavours.hpp"

#include <csignal>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

task<> sleeps(nanoseconds duration, result<void>& outcome) {
    outcome = co_await sleep_for(duration);
}

/// Waits for whatever it is given and notes how that ended.
template <class Operation>
task<> tries(Operation operation, std::optional<std::error_code>& outcome) {
    auto ended = co_await std::move(operation);
    outcome = ended.error();
}

task<> listens(tcp_listener& door, std::optional<std::error_code>& outcome) {
    auto ended = co_await door.next();
    outcome = ended.error();
}

/// A wait that is answered by hand, and what the loop is told about it.
struct by_hand : completion {
    explicit by_hand(int& asked) noexcept : completion(kind_of_mine), times_asked(&asked) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        waiter = handle;
        at = phase::parked;
        handle.promise().context().link(*this);
    }
    [[nodiscard]] int await_resume() const noexcept { return answer; }

    static void cancel(core&, completion& c) noexcept {
        ++*static_cast<by_hand&>(c).times_asked;  // and does not answer yet
    }
    static constexpr completion_kind kind_of_mine{.cancel = cancel};
    int* times_asked;
};

}  // namespace

TEST_CASE("a wait in a cancelled scope ends at once, whatever is waited for") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        auto both = co_await flavours::connected();
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        const auto door_name = door.local_name();
        std::array<std::byte, 8> room{};
        semaphore free(1);
        semaphore none(0);
        std::array<std::optional<std::error_code>, 8> outcomes;
        const auto turns = c.stats().turns;
        co_await with_scope([&](scope& s) -> task<> {
            s.cancel();
            s.start(tries(sleep_for(1h), outcomes[0]));
            s.start(tries(free.acquire(), outcomes[1]));
            s.start(tries(none.acquire(), outcomes[2]));
            s.start(tries(stop_request(), outcomes[3]));
            s.start(tries(both.client.recv(room), outcomes[4]));
            s.start(tries(both.server.send_all("x"), outcomes[5]));
            s.start(tries(tcp_stream::connect(door_name), outcomes[6]));
            s.start(listens(door, outcomes[7]));
            co_return;
        });
        for (const auto& outcome : outcomes) {
            REQUIRE(outcome);
            CHECK(*outcome == errc::cancelled);
            CHECK(*outcome == std::errc::operation_canceled);
        }
        CHECK(free.available() == 1);
        CHECK(c.stats().turns - turns <= 4);
    });
}

TEST_CASE("a cancel ends waits of every kind while they wait") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        auto both = co_await flavours::connected();
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        std::array<std::byte, 8> room{};
        semaphore none(0);
        std::array<std::optional<std::error_code>, 6> outcomes;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(tries(sleep_for(1h), outcomes[0]));
            s.start(tries(none.acquire(), outcomes[1]));
            s.start(tries(stop_request(), outcomes[2]));
            s.start(tries(both.client.recv(room), outcomes[3]));
            s.start(tries(both.server.recv(room).within(1h), outcomes[4]));
            s.start(listens(door, outcomes[5]));
            std::ignore = co_await sleep_for(1s);
            for (const auto& outcome : outcomes) CHECK(!outcome);
            s.cancel();
        });
        for (const auto& outcome : outcomes) {
            REQUIRE(outcome);
            CHECK(*outcome == errc::cancelled);
        }
        // What was cancelled is as good as new.
        const auto sent = co_await both.server.send_all("ok");
        CHECK(sent);
        const auto got = co_await both.client.recv(room);
        REQUIRE(got);
        CHECK(*got == 2);
    });
}

TEST_CASE("what has been answered before the cancel keeps its answer") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        semaphore one(1);
        std::optional<std::error_code> outcome;
        co_await with_scope([&](scope& s) -> task<> {
            auto held = co_await one.acquire();
            s.start([&]() -> task<> {
                auto permit = co_await one.acquire();
                outcome = permit.error();
            });
            co_await yield();
            held = semaphore::permit();  // the waiting task has the permit now, but has not run
            s.cancel();
            CHECK(!outcome);
        });
        REQUIRE(outcome);
        CHECK(!*outcome);
        CHECK(one.available() == 1);
    });
}

TEST_CASE("an operation is asked to end once, and the first reason stays") {
    flavours::each_task([](core& c) -> task<> {
        int asked = 0;
        int answer = 1;
        by_hand* wait = nullptr;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                by_hand mine(asked);
                wait = &mine;
                answer = co_await mine;
            });
            co_await yield();
            c.request_end(*wait, errc::timed_out);
            c.request_end(*wait, errc::cancelled);
            s.cancel();
            CHECK(asked == 1);
            CHECK(wait->ending == static_cast<std::uint8_t>(errc::timed_out));
            CHECK(answer == 1);  // asked, not ended
            c.answer(*wait, -7);
            c.request_end(*wait, errc::stopping);  // answered: too late
            CHECK(asked == 1);
            CHECK(wait->ending == static_cast<std::uint8_t>(errc::timed_out));
        });
        CHECK(answer == -7);
    });
}

TEST_CASE("an operation that has not started cannot be asked to end") {
    flavours::each([](core& c) {
        int asked = 0;
        by_hand idle(asked);
        c.request_end(idle, errc::cancelled);
        CHECK(asked == 0);
        CHECK(idle.ending == 0);
    });
}

TEST_CASE("the first reason of a scope stays") {
    flavours::each([](core&) {
        cancel_scope root;
        cancel_scope below(root);
        CHECK(!root.cancelled());
        below.cancel(errc::timed_out);
        CHECK(!root.cancelled());
        CHECK(below.cancelled());
        root.cancel(errc::cancelled);
        root.cancel(errc::timed_out);
        CHECK(answer::to_error(root.refusal()) == errc::cancelled);
        CHECK(answer::to_error(below.refusal()) == errc::timed_out);
    });
}

TEST_CASE("a scope made under a cancelled one is born cancelled, for the same reason") {
    flavours::each([](core&) {
        cancel_scope root;
        root.cancel(errc::timed_out);
        cancel_scope below(root);
        cancel_scope further(below);
        CHECK(below.cancelled());
        CHECK(answer::to_error(further.refusal()) == errc::timed_out);
        cancel_scope apart;
        CHECK(!apart.cancelled());
    });
}

TEST_CASE("scopes leave the tree in any order") {
    flavours::each([](core&) {
        cancel_scope root;
        auto first = std::make_unique<cancel_scope>(root);
        auto second = std::make_unique<cancel_scope>(root);
        auto third = std::make_unique<cancel_scope>(root);
        second.reset();
        first.reset();
        cancel_scope fourth(root);
        root.cancel();
        CHECK(third->cancelled());
        CHECK(fourth.cancelled());
    });
}

TEST_CASE("a cancel reaches nested scopes before they start, while they wait and as they end") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        // The inner scope's child ends in the very turn of the cancel, before it or behind it.
        for (const auto when : {0ms, 999ms, 1000ms, 1001ms}) {
            result<void> inner = errc::unsupported;
            result<void> outer = errc::unsupported;
            result<void> behind = errc::unsupported;
            co_await with_scope([&](scope& s) -> task<> {
                s.start([&]() -> task<> {
                    co_await with_scope([&](scope& nested) -> task<> {
                        nested.start(sleeps(1000ms, inner));
                        outer = co_await sleep_for(1000ms);
                    });
                    behind = co_await sleep_for(1ns);
                });
                if (when > 0ms) std::ignore = co_await sleep_for(when);
                s.cancel();
            });
            CHECK(inner.has_value() == outer.has_value());
            if (when < 1000ms) CHECK(inner.error() == errc::cancelled);
            if (when < 1000ms) CHECK(outer.error() == errc::cancelled);
            if (when > 1000ms) CHECK(inner);
            if (inner && when == 1001ms) CHECK(behind);
            if (!inner) CHECK(behind.error() == errc::cancelled);
        }
    });
}

TEST_CASE("a scope opened while a cancel is on its way starts cancelled") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> inner;
        bool was_cancelled = false;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                std::ignore = co_await sleep_for(1h);  // cancelled
                co_await with_scope([&](scope& late) -> task<> {
                    was_cancelled = late.cancelled();
                    late.start(sleeps(1h, inner));
                    co_return;
                });
            });
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        CHECK(was_cancelled);
        CHECK(inner.error() == errc::cancelled);
    });
}

TEST_CASE("cancelling an inner scope leaves the outer one alone") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> inner;
        result<void> outer = errc::cancelled;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sleeps(5s, outer));
            co_await with_scope([&](scope& nested) -> task<> {
                nested.start(sleeps(5s, inner));
                co_await yield();
                nested.cancel();
            });
            CHECK(inner.error() == errc::cancelled);
            CHECK(!s.cancelled());
        });
        CHECK(outer);
    });
}

TEST_CASE("a cancel goes through any_of, all_of and deadlines to what waits at the bottom") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<void> first;
        result<void> second;
        result<void> third = errc::unsupported;
        std::size_t winner = 99;
        bool all_ended = false;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                const auto any = co_await any_of(sleeps(1h, first), sleeps(2h, second));
                winner = any.index();
            });
            s.start([&]() -> task<> {
                std::ignore = co_await all_of(sleep_for(1h), sleep_for(2h));
                all_ended = true;
            });
            s.start([&]() -> task<> {
                auto sleeper = []() -> task<result<void>> { co_return co_await sleep_for(2h); };
                third = co_await with_deadline(1h, sleeper());
            });
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        CHECK(first.error() == errc::cancelled);
        CHECK(second.error() == errc::cancelled);
        CHECK(third.error() == errc::cancelled);  // not timed_out
        CHECK(winner == 0);
        CHECK(all_ended);
        CHECK(now() - begin < 2s);
    });
}

TEST_CASE("a sleep that is cancelled in the turn in which it is over ends once") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        for (int i = 0; i < 100; ++i) {
            std::vector<result<void>> outcomes(4, result<void>(errc::unsupported));
            int ends = 0;
            co_await with_scope([&](scope& s) -> task<> {
                for (auto& outcome : outcomes)
                    s.start([&]() -> task<> {
                        outcome = co_await sleep_for(1s);
                        ++ends;
                        s.cancel();
                    });
                co_return;
            });
            CHECK(ends == 4);
            for (const auto& outcome : outcomes)
                CHECK((outcome || outcome.error() == errc::cancelled));
        }
    });
}

TEST_CASE("ten thousand waits under a hundred scopes all end with one cancel") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        int cancelled = 0;
        co_await with_scope([&](scope& s) -> task<> {
            for (int i = 0; i < 100; ++i)
                s.start([&cancelled]() -> task<> {
                    co_await with_scope([&](scope& nested) -> task<> {
                        for (int j = 0; j < 100; ++j)
                            nested.start([&cancelled]() -> task<> {
                                const auto slept = co_await sleep_for(1h);
                                if (slept.error() == errc::cancelled) ++cancelled;
                            });
                        co_return;
                    });
                });
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        CHECK(cancelled == 10'000);
        CHECK(c.timers().next_ns() == timer_wheel::never);  // no timer was left behind
    });
}

TEST_CASE("a waiting stop_request ends with a value when the core is asked to stop") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        result<void> waited = errc::unsupported;
        result<void> slept = errc::unsupported;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> { waited = co_await stop_request(); });
            s.start(sleeps(5s, slept));
            std::ignore = co_await sleep_for(1s);
            CHECK(!stop_requested());
            CHECK(waited.error() == errc::unsupported);
            c.request_stop();
            CHECK(stop_requested());
        });
        CHECK(waited);
        CHECK(slept);  // a stop is not a cancel
        const auto again = co_await stop_request();
        CHECK(again);  // and it stays
    });
}

TEST_CASE("a stop_request that is cancelled leaves nothing behind for a stop to find") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        result<void> waited;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> { waited = co_await stop_request(); });
            co_await yield();
            s.cancel();
            c.request_stop();  // cancelled, but not resumed yet
        });
        CHECK(waited.error() == errc::cancelled);
        CHECK(c.stop_waiters().empty());
        c.request_stop();
        CHECK(c.stop_waiters().empty());
    });
}

TEST_CASE("a cancel in a cancelled and stopped core gives cancelled") {
    flavours::each_task([](core& c) -> task<> {
        result<void> waited;
        c.request_stop();
        co_await with_scope([&](scope& s) -> task<> {
            s.cancel();
            waited = co_await stop_request();
        });
        CHECK(waited.error() == errc::cancelled);
    });
}

TEST_CASE("a loop that goes on when its scope is cancelled does not keep others from running") {
    flavours::each_task([](core&) -> task<> {
        auto both = co_await flavours::connected();
        std::array<std::byte, 8> room{};
        semaphore none(0);
        signal_set signals{SIGUSR2};
        bool others_ran = false;
        int rounds = 0;
        constexpr int far_too_many = 100'000;
        auto goes_on = [&](auto wait) -> task<> {
            for (; !others_ran && rounds < far_too_many; ++rounds) {
                const auto ended = co_await wait();
                CHECK(ended.error() == errc::cancelled);
            }
        };
        auto another = [&]() -> task<> {
            others_ran = true;
            co_return;
        };
        auto race = [&](auto wait) -> task<> {
            others_ran = false;
            rounds = 0;
            co_await with_scope([&](scope& s) -> task<> {
                s.cancel();
                s.start(goes_on(wait));
                s.start(another());
                co_return;
            });
            CHECK(rounds > 0);
            CHECK(rounds < far_too_many);
        };
        auto sleeping = [] { return sleep_for(1h); };
        auto acquiring = [&] { return none.acquire(); };
        auto stopping = [] { return stop_request(); };
        auto signalled = [&] { return signals.next(); };
        auto receiving = [&] { return both.client.recv(room); };
        auto of_chunks = [&] { return both.client.chunks().next(); };
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        auto nothing = [] {};
        auto listening = [&] { return door.next(); };
        auto calling = [&] { return blocking(nothing); };
        auto connecting = [&] { return tcp_stream::connect(both.server.local_name().value()); };
        co_await race(sleeping);
        co_await race(acquiring);
        co_await race(stopping);
        co_await race(signalled);
        co_await race(receiving);
        co_await race(of_chunks);
        co_await race(connecting);
        co_await race(listening);
        co_await race(calling);
    });
}

TEST_CASE("a stop ends sleeps, waits for permits and for signals that are marked or_stop()") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        semaphore none(0);
        semaphore one(1);
        signal_set signals{SIGUSR2};
        std::array<std::optional<std::error_code>, 4> marked;
        std::array<std::optional<std::error_code>, 3> others;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(tries(sleep_for(1h).or_stop(), marked[0]));
            s.start(tries(none.acquire().or_stop(), marked[1]));
            s.start(tries(signals.next().or_stop(), marked[2]));
            s.start(tries(sleep_for(1s), others[0]));
            s.start(tries(sleep_for(1ms).or_stop(), others[1]));
            const auto slept = co_await sleep_for(10ms);
            CHECK(slept);
            c.request_stop();
            s.start(tries(sleep_for(1h).or_stop(), marked[3]));  // begun too late
            s.start(tries(one.acquire().or_stop(), others[2]));  // there is one
        });
        for (const auto& outcome : marked) {
            REQUIRE(outcome);
            CHECK(*outcome == errc::stopping);
        }
        for (const auto& outcome : others) {
            REQUIRE(outcome);
            CHECK(!*outcome);
        }
        // Nothing is left behind for a later release or signal to find.
        CHECK(one.available() == 1);
        ::raise(SIGUSR2);
        co_await yield();  // the loop hears of it
        const auto number = co_await signals.next().or_stop();
        REQUIRE(number);
        CHECK(*number == SIGUSR2);
        const auto none_left = co_await signals.next().or_stop();
        CHECK(none_left.error() == errc::stopping);
    });
}

TEST_CASE("the root of a core's tasks can be cancelled") {
    flavours::each([](core& c) {
        result<void> outcome;
        root_task root;
        root.start(c, sleeps(1h, outcome));
        CHECK(!root.ended());
        struct cancels {
            static void now(void* subject, std::uintptr_t) noexcept {
                static_cast<root_task*>(subject)->cancel();
            }
        };
        REQUIRE(c.post(message{.run = cancels::now, .subject = &root}));
        root.finish(c);
        CHECK(root.ended());
        CHECK(outcome.error() == errc::cancelled);
    });
}
