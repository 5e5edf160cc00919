// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "flavours.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <tuple>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t tick_ns = 1ULL << 16;
constexpr std::uint64_t day_ns = 24ULL * 3600 * 1'000'000'000;

/// A timer that notes when it fired, by the clock of the wheel that is being tested.
struct probe : timer {
    probe() noexcept : timer(fired) {}
    static void fired(timer& t) noexcept {
        auto& self = static_cast<probe&>(t);
        ++self.times;
        self.fired_at = *self.clock;
        if (self.order != nullptr) self.order->push_back(self.name);
    }
    const std::uint64_t* clock = nullptr;
    std::vector<int>* order = nullptr;
    int name = 0;
    int times = 0;
    std::uint64_t fired_at = 0;
};

/// Two deadlines that note when they passed.
struct pair_probe : deadline_pair {
    static void passed(deadline_pair& p, unsigned which) noexcept {
        auto& self = static_cast<pair_probe&>(p);
        ++self.times[which];
        self.passed_at[which] = *self.clock;
    }
    const std::uint64_t* clock = nullptr;
    std::array<int, 2> times{};
    std::array<std::uint64_t, 2> passed_at{};
};

/// A wheel and the time it is told.
struct bench {
    explicit bench(std::uint64_t begin = 0) : clock(begin) {
        wheel->advance(begin);
        wheel->pair_passed = pair_probe::passed;
    }
    void arm(pair_probe& p, unsigned which, std::uint64_t duration) {
        p.clock = &clock;
        wheel->arm_after(p, which, duration);
        wheel->place_fresh(clock);
    }
    void arm(probe& p, std::uint64_t duration) {
        p.clock = &clock;
        wheel->arm_after(p, duration);
        wheel->place_fresh(clock);
    }
    /// Goes from one next_ns() to the next, as the loop does, up to `until`.
    int run_to(std::uint64_t until) {
        int looks = 0;
        for (std::uint64_t next = wheel->next_ns(); next <= until; next = wheel->next_ns()) {
            clock = std::max(clock, next);
            wheel->advance(clock);
            ++looks;
        }
        clock = std::max(clock, until);
        wheel->advance(clock);
        return looks;
    }
    std::uint64_t clock;
    std::unique_ptr<timer_wheel> wheel = std::make_unique<timer_wheel>();
};

}  // namespace

TEST_CASE("a timer fires once, never early and at most two ticks late, from 1 us to 400 days") {
    for (const std::uint64_t begin : {std::uint64_t{0}, std::uint64_t{123'456'789'012'345},
                                      tick_ns * 64 * 64 * 64 - 1, 3 * 365 * day_ns}) {
        for (std::uint64_t d = 1'000; d <= 400 * day_ns; d += d / 3 + 1) {
            bench b(begin);
            probe p;
            b.arm(p, d);
            b.run_to(begin + d - 1);
            REQUIRE(p.times == 0);
            const int looks = b.run_to(begin + d + 2 * tick_ns);
            REQUIRE(p.times == 1);
            REQUIRE(p.fired_at >= begin + d);
            REQUIRE(looks <= 8);
            REQUIRE(b.wheel->next_ns() == timer_wheel::never);
        }
    }
}

TEST_CASE("each deadline of a pair passes once, never early and at most three ticks late") {
    for (const std::uint64_t begin : {std::uint64_t{0}, std::uint64_t{123'456'789'012'345}}) {
        for (std::uint64_t d = 1'000; d <= 400 * day_ns; d += d / 3 + 1) {
            bench b(begin);
            pair_probe p;
            b.arm(p, 0, d);
            b.arm(p, 1, 2 * d);
            b.run_to(begin + d - 1);
            REQUIRE(p.times == std::array{0, 0});
            b.run_to(begin + d + 3 * tick_ns);
            REQUIRE(p.times[0] == 1);
            REQUIRE(p.passed_at[0] >= begin + d);
            REQUIRE((p.times[1] == 0 || p.passed_at[1] >= begin + 2 * d));
            b.run_to(begin + 2 * d + 3 * tick_ns);
            REQUIRE(p.times == std::array{1, 1});
            REQUIRE(p.passed_at[1] >= begin + 2 * d);
            REQUIRE(b.wheel->next_ns() == timer_wheel::never);
            REQUIRE(b.wheel->fired() == 2);
        }
    }
}

TEST_CASE("a pair whose deadline is put off is looked at once in that time, and passes when it is due") {
    bench b(7 * day_ns);
    pair_probe p;
    const std::uint64_t limit = 60'000'000'000;
    int looks = 0;
    for (int message = 0; message < 6'000; ++message) {  // ten minutes of a message each 0.1 s
        b.arm(p, 0, limit);
        looks += b.run_to(b.clock + 100'000'000);
    }
    CHECK(p.times == std::array{0, 0});
    CHECK(looks <= 10 * 6);  // six levels at most in each minute
    const std::uint64_t last = b.clock - 100'000'000;
    b.run_to(last + limit - 1);
    CHECK(p.times == std::array{0, 0});
    b.run_to(last + limit + 3 * tick_ns);
    CHECK(p.times == std::array{1, 0});
}

TEST_CASE("a pair moves when a deadline comes that is earlier than its place") {
    bench b(day_ns);
    pair_probe p;
    b.arm(p, 0, day_ns);
    b.arm(p, 1, 1'000'000);
    b.run_to(day_ns + 1'000'000 + 3 * tick_ns);
    CHECK(p.times == std::array{0, 1});
    b.arm(p, 1, 500'000);
    p.disarm(1);
    b.run_to(2 * day_ns - 1);
    CHECK(p.times == std::array{0, 1});
    b.run_to(2 * day_ns + 3 * tick_ns);
    CHECK(p.times == std::array{1, 1});
}

TEST_CASE("a deadline of a pair that is disarmed does not pass, however it was armed") {
    bench b(day_ns);
    pair_probe p;
    p.clock = &b.clock;
    b.wheel->arm_after(p, 0, 1'000'000);  // and away before the wheel has looked
    p.disarm(0);
    CHECK(b.wheel->has_fresh());
    b.wheel->place_fresh(b.clock);
    CHECK(!b.wheel->has_fresh());
    CHECK(b.wheel->next_ns() == timer_wheel::never);
    b.arm(p, 1, 1'000'000);
    p.disarm(1);
    b.run_to(2 * day_ns);
    CHECK(p.times == std::array{0, 0});
    CHECK(b.wheel->next_ns() == timer_wheel::never);
    CHECK(b.wheel->fired() == 0);
}

TEST_CASE("a deadline of a pair that is still a duration does not pass, though the other one does") {
    bench b(day_ns);
    pair_probe p;
    b.arm(p, 0, 1'000'000);
    b.wheel->arm_after(p, 1, 1'000'000);  // as a number it lies a day before the other
    b.run_to(day_ns + 1'000'000 + 3 * tick_ns);
    CHECK(p.times == std::array{1, 0});
    b.wheel->place_fresh(b.clock);
    b.run_to(b.clock + 1'000'000 - 1);
    CHECK(p.times == std::array{1, 0});
    b.run_to(b.clock + 1 + 3 * tick_ns);
    CHECK(p.times == std::array{1, 1});
}

TEST_CASE("random deadlines of pairs pass as they would without a wheel") {
    std::mt19937_64 random(11);  // NOLINT: the same each time
    bench b(5 * day_ns);
    constexpr std::size_t many = 64;
    std::vector<pair_probe> pairs(many);
    std::vector<std::array<std::uint64_t, 2>> due(many, {UINT64_MAX, UINT64_MAX});
    for (int step = 0; step < 20'000; ++step) {
        const std::size_t i = random() % many;
        const auto which = static_cast<unsigned>(random() % 2);
        if (random() % 3 != 0) {
            const std::uint64_t duration = random() % (1ULL << (10 + random() % 30));
            b.arm(pairs[i], which, duration);
            due[i][which] = b.clock + duration;
        } else {
            pairs[i].disarm(which);
            due[i][which] = UINT64_MAX;
        }
        for (auto& p : pairs) p.times = {};
        b.run_to(b.clock + random() % (1ULL << (10 + random() % 24)));
        for (std::size_t k = 0; k < many; ++k) {
            for (unsigned side : {0U, 1U}) {
                if (pairs[k].times[side] > 0) {
                    REQUIRE(pairs[k].times[side] == 1);
                    REQUIRE(pairs[k].passed_at[side] >= due[k][side]);
                    due[k][side] = UINT64_MAX;
                } else {
                    REQUIRE((due[k][side] == UINT64_MAX || due[k][side] + 3 * tick_ns >= b.clock));
                }
            }
        }
    }
}

TEST_CASE("an empty wheel never wants to be looked at") {
    bench b(5 * day_ns);
    CHECK(b.wheel->next_ns() == timer_wheel::never);
    CHECK(!b.wheel->has_fresh());
    b.run_to(900 * day_ns);
    CHECK(b.wheel->next_ns() == timer_wheel::never);
}

TEST_CASE("the next expiry is exact for timers within 4 ms") {
    bench b(77 * day_ns / tick_ns / 64 * 64 * tick_ns);  // at the beginning of a lap
    probe p;
    b.arm(p, 3'000'000);
    const std::uint64_t next = b.wheel->next_ns();
    CHECK(next >= b.clock + 3'000'000);
    CHECK(next < b.clock + 3'000'000 + tick_ns);
    p.disarm();
}

TEST_CASE("the next expiry is never later than the timer's own tick") {
    std::mt19937_64 random(7);
    for (int i = 0; i < 20'000; ++i) {
        bench b(random() % (4000 * day_ns));
        probe p;
        const std::uint64_t d = random() % (1ULL << (random() % 56));
        b.arm(p, d);
        REQUIRE(b.wheel->next_ns() <= b.clock + d + tick_ns);
        REQUIRE(b.wheel->next_ns() > b.clock);
        p.disarm();
    }
}

TEST_CASE("timers fire in the order of their times, over all levels") {
    bench b(41 * day_ns);
    std::vector<int> order;
    std::vector<std::unique_ptr<probe>> probes;
    std::vector<std::pair<std::uint64_t, int>> expected;
    std::mt19937_64 random(11);
    for (int i = 0; i < 3000; ++i) {
        const std::uint64_t d = (random() % (1ULL << (17 + random() % 38))) / tick_ns * tick_ns;
        auto& p = *probes.emplace_back(std::make_unique<probe>());
        p.name = static_cast<int>(expected.size());
        p.order = &order;
        expected.emplace_back(d, p.name);
        b.arm(p, d);
    }
    b.run_to(b.clock + 500 * day_ns);
    REQUIRE(order.size() == expected.size());
    for (std::size_t i = 1; i < order.size(); ++i) {
        const auto before = expected[static_cast<std::size_t>(order[i - 1])].first;
        const auto behind = expected[static_cast<std::size_t>(order[i])].first;
        REQUIRE(std::max(before, tick_ns) <= std::max(behind, tick_ns));
    }
}

TEST_CASE("timers of one tick fire in the order in which they were armed") {
    bench b;
    std::vector<int> order;
    std::array<probe, 50> probes;
    for (int i = 0; i < 50; ++i) {
        auto& p = probes[static_cast<std::size_t>(i)];
        p.name = i;
        p.order = &order;
        b.arm(p, 10'000'000'000);
    }
    b.run_to(11'000'000'000);
    REQUIRE(order.size() == 50);
    CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("one late look fires everything that is due, in order, and nothing else") {
    bench b;
    std::vector<int> order;
    std::array<probe, 6> probes;
    const std::array<std::uint64_t, 6> after{day_ns,        1'000'000,      3'600'000'000'000,
                                             2 * day_ns + 1, 50'000'000'000, 70'000};
    for (int i = 0; i < 6; ++i) {
        auto& p = probes[static_cast<std::size_t>(i)];
        p.name = i;
        p.order = &order;
        b.arm(p, after[static_cast<std::size_t>(i)]);
    }
    b.clock = 2 * day_ns;
    b.wheel->advance(b.clock);
    CHECK(order == std::vector<int>{5, 1, 4, 2, 0});
    b.run_to(3 * day_ns);
    CHECK(probes[3].times == 1);
}

TEST_CASE("a disarmed timer does not fire and its slot is forgotten") {
    bench b(9 * day_ns);
    for (std::uint64_t d = 1'000; d < 400 * day_ns; d *= 3) {
        probe p;
        b.arm(p, d);
        CHECK(p.linked());
        p.disarm();
        p.disarm();
        CHECK(!p.linked());
        CHECK(b.wheel->next_ns() == timer_wheel::never);
        b.run_to(b.clock + 2 * d);
        CHECK(p.times == 0);
    }
}

TEST_CASE("a timer that is disarmed while fresh never reaches the wheel") {
    bench b;
    probe p;
    b.wheel->arm_after(p, 5);
    CHECK(b.wheel->has_fresh());
    p.disarm();
    CHECK(!b.wheel->has_fresh());
    b.wheel->place_fresh(b.clock);
    CHECK(b.wheel->next_ns() == timer_wheel::never);
}

TEST_CASE("a stale slot does not hide or delay the timer that uses it in the next lap") {
    bench b;
    for (int lap = 0; lap < 1000; ++lap) {
        probe stale;
        probe real;
        b.arm(stale, 20 * tick_ns);
        stale.disarm();
        b.clock += 40 * tick_ns;
        b.wheel->advance(b.clock);
        const std::uint64_t due = b.clock + 44 * tick_ns;  // the same slot, one lap on
        b.arm(real, 44 * tick_ns);
        b.run_to(due + tick_ns);
        REQUIRE(real.times == 1);
        REQUIRE(real.fired_at >= due);
        REQUIRE(stale.times == 0);
    }
}

TEST_CASE("every level wraps without losing a timer") {
    for (unsigned level = 1; level < 8; ++level) {
        const std::uint64_t edge = tick_ns << (6 * level);
        for (const std::uint64_t lap : {1ULL, 2ULL, 63ULL}) {
            for (const std::int64_t off : {-2, -1, 0, 1, 2}) {
                const std::uint64_t target = edge * lap;
                const std::uint64_t due =
                    target + static_cast<std::uint64_t>(off * static_cast<std::int64_t>(tick_ns));
                bench b(target - 5 * tick_ns);
                probe p;
                b.arm(p, due - b.clock);
                b.run_to(due - 1);
                REQUIRE(p.times == 0);
                b.run_to(due + tick_ns);
                REQUIRE(p.times == 1);
            }
        }
    }
}

TEST_CASE("a timer at the end of time is held, not lost or dropped outside the wheel") {
    for (const std::uint64_t d :
         {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - tick_ns, UINT64_MAX / 2}) {
        bench b(1000 * day_ns);
        probe p;
        b.arm(p, d);
        CHECK(p.linked());
        CHECK(b.wheel->next_ns() > b.clock);
        b.run_to(2000 * day_ns);
        CHECK(p.times == 0);
        p.disarm();
        CHECK(b.wheel->next_ns() == timer_wheel::never);
    }
}

TEST_CASE("a timer may disarm others of its own tick, and arm itself again") {
    struct killer : timer {
        killer() noexcept : timer(fired) {}
        static void fired(timer& t) noexcept {
            auto& self = static_cast<killer&>(t);
            ++self.times;
            self.victim->disarm();
            self.wheel->arm_after(self, 1'000'000);
        }
        probe* victim = nullptr;
        timer_wheel* wheel = nullptr;
        int times = 0;
    };
    bench b;
    killer k;
    probe victim;
    k.victim = &victim;
    k.wheel = b.wheel.get();
    b.wheel->arm_after(k, 1'000'000);
    b.arm(victim, 1'000'000);
    b.run_to(2'000'000);
    CHECK(k.times == 1);
    CHECK(victim.times == 0);
    CHECK(b.wheel->has_fresh());
    b.wheel->place_fresh(b.clock);
    b.run_to(b.clock + 2'000'000);
    CHECK(k.times == 2);
    k.disarm();
}

TEST_CASE("the wheel agrees with a sorted map under a random load") {
    for (const std::uint64_t seed : {1ULL, 2ULL, 3ULL, 4ULL, 5ULL}) {
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        bench b(random() % (1000 * day_ns));
        std::vector<std::unique_ptr<probe>> probes;
        std::vector<int> order;
        for (int i = 0; i < 500; ++i) {
            auto& p = *probes.emplace_back(std::make_unique<probe>());
            p.name = i;
            p.order = &order;
        }
        // What must fire, by the tick at which it is due. The wheel deals with its present tick
        // only once, so what is armed for it fires in the next one.
        std::multimap<std::uint64_t, int> oracle;
        std::vector<std::multimap<std::uint64_t, int>::iterator> places(500, oracle.end());
        for (int step = 0; step < 40'000; ++step) {
            const auto which = static_cast<std::size_t>(random() % probes.size());
            probe& p = *probes[which];
            const auto action = random() % 8;
            if (action < 4 && !p.linked()) {
                const std::uint64_t d = random() % (1ULL << (10 + random() % 42));
                b.arm(p, d);
                const std::uint64_t present = b.clock / tick_ns;
                const std::uint64_t due =
                    std::max((b.clock + d + tick_ns - 1) / tick_ns, present + 1);
                places[which] = oracle.emplace(due, p.name);
            } else if (action < 6 && p.linked()) {
                p.disarm();
                oracle.erase(std::exchange(places[which], oracle.end()));
            } else if (action == 6) {
                b.clock += random() % (1ULL << (10 + random() % 38));
                b.wheel->advance(b.clock);
            } else if (b.wheel->next_ns() != timer_wheel::never) {
                const std::uint64_t next = b.wheel->next_ns();
                REQUIRE(next > b.clock);
                REQUIRE(next <= oracle.begin()->first * tick_ns);
                b.clock = next;
                b.wheel->advance(b.clock);
            }
            std::uint64_t before = 0;
            for (const int name : order) {
                const auto place = places[static_cast<std::size_t>(name)];
                REQUIRE(place != oracle.end());
                REQUIRE(place->first <= b.clock / tick_ns);
                REQUIRE(place->first >= before);
                before = place->first;
                oracle.erase(place);
                places[static_cast<std::size_t>(name)] = oracle.end();
            }
            order.clear();
            REQUIRE((oracle.empty() || oracle.begin()->first > b.clock / tick_ns));
            REQUIRE(oracle.empty() == (b.wheel->next_ns() == timer_wheel::never));
        }
        for (auto& p : probes) p->disarm();
    }
}

TEST_CASE("a million timers are armed, half of them disarmed, the rest fire, none twice") {
    bench b(3 * day_ns);
    constexpr int many = 1'000'000;
    auto probes = std::make_unique<probe[]>(many);
    std::mt19937_64 random(99);
    for (int i = 0; i < many; ++i) {
        probes[i].clock = &b.clock;
        b.wheel->arm_after(probes[i], random() % (3600ULL * 1'000'000'000));
        if (i % 1000 == 0) b.wheel->place_fresh(b.clock);
    }
    b.wheel->place_fresh(b.clock);
    for (int i = 0; i < many; i += 2) probes[i].disarm();
    b.run_to(b.clock + 3601ULL * 1'000'000'000);
    int fired = 0;
    int wrong = 0;
    for (int i = 0; i < many; ++i) {
        fired += probes[i].times;
        wrong += probes[i].times != i % 2;
    }
    CHECK(fired == many / 2);
    CHECK(wrong == 0);
    CHECK(b.wheel->next_ns() == timer_wheel::never);
}

TEST_CASE("the two neighbours of a timer that is disarmed are next to each other then") {
    bench b;
    std::array<probe, 3> p;
    for (auto& each : p) b.arm(each, day_ns);
    ringlet::link* const before = p[1].prev;
    ringlet::link* const behind = p[1].next;
    CHECK(before == &p[0]);
    CHECK(behind == &p[2]);
    p[1].disarm();
    CHECK(p[0].next == &p[2]);
    CHECK(p[2].prev == &p[0]);
    p[0].disarm();
    p[2].disarm();
}

TEST_CASE("four hundred days pass on a virtual clock in a handful of turns") {
    flavours::each_virtual([](core& c, manual_clock&) -> task<> {
        const auto begin = now();
        const auto turns = c.stats().turns;
        const auto slept = co_await sleep_for(400 * 24h);
        CHECK(slept);
        CHECK(now() - begin >= 400 * 24h);
        CHECK(c.stats().turns - turns < 20);
    });
}

TEST_CASE("a virtual clock does not jump while something else can run") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        bool woke = false;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                std::ignore = co_await sleep_for(1h);
                woke = true;
            });
            for (int i = 0; i < 100; ++i) co_await yield();
            CHECK(now() == begin);
            CHECK(!woke);
        });
        CHECK(woke);
    });
}

TEST_CASE("a virtual clock gives I/O in flight its chance before it jumps") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        auto both = co_await flavours::connected();
        const auto begin = now();
        std::array<std::byte, 8> room{};
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                const auto got = co_await both.server.recv(room).within(1h);
                CHECK(got);
            });
            const auto sent = co_await both.client.send_all("x");
            CHECK(sent);
        });
        CHECK(now() - begin < 1h);
    });
}

TEST_CASE("a loop that spins looks at its timers") {
    /// Passes with each look, and never jumps: to the core it is a clock like the machine's.
    struct quick_clock final : clock_source {
        std::uint64_t now = 1;
        std::uint64_t now_ns() noexcept override { return now += 1'000'000'000; }
        bool is_virtual() const noexcept override { return false; }
        void skip_to(std::uint64_t) noexcept override {}
    };
    const auto spin = [](clock_source& clock, nanoseconds how_long) {
        flavours::each(
            [](core& c) {
                block_on(c, [](core&) -> task<> {
                    for (int i = 0; i < 3; ++i) CHECK(co_await sleep_for(1ms));
                }(c));
            },
            [&](core_options& o) {
                o.wait.spin = how_long;
                o.clock = &clock;
            });
    };
    quick_clock quick;
    spin(quick, 1h);
    manual_clock manual;
    spin(manual, 1us);
}

TEST_CASE("time moved by the test fires what is due then") {
    flavours::each_virtual([](core&, manual_clock& clock) -> task<> {
        bool woke = false;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([&]() -> task<> {
                std::ignore = co_await sleep_for(1h);
                woke = true;
            });
            co_await yield();
            co_await yield();
            clock.advance(59min);
            co_await yield();
            co_await yield();
            CHECK(!woke);
            clock.advance(2min);
            co_await yield();
            co_await yield();
            CHECK(woke);
        });
    });
}
