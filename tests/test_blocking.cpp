// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "net_helpers.hpp"

#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

/// Holds the pool's threads until it is opened; says how many are in it.
class gate {
public:
    void pass() noexcept {
        inside.fetch_add(1);
        inside.notify_all();
        open_.wait(false);
    }
    void open() noexcept {
        open_.store(true);
        open_.notify_all();
    }
    void wait_for(int threads) const noexcept {
        for (int now = inside.load(); now < threads; now = inside.load()) inside.wait(now);
    }
    std::atomic<int> inside{0};

private:
    std::atomic<bool> open_{false};
};

/// Asked on another thread: whether a thread sleeps in the kernel before half a minute is over.
bool falls_asleep(pid_t thread) {
    const std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
    const auto limit = std::chrono::steady_clock::now() + 30s;
    while (std::chrono::steady_clock::now() < limit) {
        std::string line;
        std::getline(std::ifstream(path), line);
        const std::size_t name_ends = line.rfind(')');  // then its state
        if (name_ends != std::string::npos && line.substr(name_ends, 3) == ") S") return true;
        std::this_thread::yield();
    }
    return false;
}

/// The same test on each flavour, with so many threads and places in the queue.
template <class Body>
void each_pool(unsigned threads, unsigned queue, Body body) {
    flavours::each([&](core& c) { block_on(c, body(c)); },
                   [&](core_options& o) {
                       o.blocking.threads = threads;
                       o.blocking.queue = queue;
                   });
}

task<> hold(gate& g) {
    const auto held = co_await blocking([&] { g.pass(); });
    CHECK(held);
}

struct no_default {
    explicit no_default(int v) : value(v) {}
    int value;
};

}  // namespace

TEST_CASE("a blocking call runs on another thread and its value comes back to this core") {
    flavours::each_task([](core& c) -> task<> {
        const auto loop = std::this_thread::get_id();
        std::thread::id worker;
        const auto seven = co_await blocking([&] {
            worker = std::this_thread::get_id();
            CHECK(core::here_or_null() == nullptr);
            return 7;
        });
        CHECK(*seven == 7);
        CHECK(worker != loop);
        CHECK(std::this_thread::get_id() == loop);
        CHECK(&here() == &c);

        const auto nothing = co_await blocking([] {});
        CHECK(nothing);
        // A result is not wrapped in another one.
        result<int> refused = co_await blocking([]() -> result<int> { return errc::unsupported; });
        CHECK(refused.error() == errc::unsupported);
        auto moved = co_await blocking([] { return std::make_unique<no_default>(3); });
        CHECK((*moved)->value == 3);
        const std::string text = "a named closure may own what it likes";
        auto named = [text] { return text.size(); };
        CHECK(*co_await blocking(named) == text.size());
    });
}

TEST_CASE("what a blocking call throws is thrown where it is awaited") {
    flavours::each_task([](core&) -> task<> {
        bool caught = false;
        try {
            const auto never = co_await blocking([]() -> int { throw std::runtime_error("worn"); });
            CHECK(!never);
        } catch (const std::runtime_error& e) {
            caught = std::string(e.what()) == "worn";
        }
        CHECK(caught);
    });
}

TEST_CASE("the loop goes on while a call blocks, and signals are not the workers'") {
    flavours::each_task([](core&) -> task<> {
        gate g;
        int turns = 0;
        sigset_t blocked;
        sigemptyset(&blocked);
        co_await with_scope([&](scope& s) -> task<> {
            s.start(hold(g));
            co_await yield();
            g.wait_for(1);
            for (int i = 0; i < 50; ++i, ++turns) co_await yield();
            CHECK(s.size() == 1);
            g.open();
        });
        CHECK(turns == 50);
        const auto masked =
            co_await blocking([&] { ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked); });
        CHECK(masked);
        CHECK(sigismember(&blocked, SIGTERM) == 1);
        CHECK(sigismember(&blocked, SIGUSR1) == 1);
    });
}

TEST_CASE("there are never more threads than asked for, and the queue is first come first served") {
    each_pool(2, 100, [](core&) -> task<> {
        gate g;
        std::atomic<int> running{0};
        std::atomic<int> most{0};
        std::mutex mutex;
        std::set<std::thread::id> threads;
        std::vector<int> order;
        auto one = [&](int number) -> task<> {
            const auto ran = co_await blocking([&] {
                const int now = running.fetch_add(1) + 1;
                if (now > most.load()) most.store(now);
                {
                    const std::lock_guard lock(mutex);
                    threads.insert(std::this_thread::get_id());
                    order.push_back(number);
                }
                running.fetch_sub(1);
            });
            CHECK(ran);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(hold(g));
            s.start(hold(g));
            co_await yield();
            g.wait_for(2);
            for (int i = 0; i < 60; ++i) s.start(one(i));
            co_await yield();
            g.open();
        });
        CHECK(most <= 2);
        CHECK(threads.size() <= 2);
        CHECK(order.size() == 60);
    });
    each_pool(1, 100, [](core&) -> task<> {
        gate g;
        std::vector<int> order;
        auto one = [&](int number) -> task<> {
            const auto ran = co_await blocking([&] { order.push_back(number); });
            CHECK(ran);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(hold(g));
            co_await yield();
            for (int i = 0; i < 20; ++i) s.start(one(i));
            co_await yield();
            g.open();
        });
        for (int i = 0; i < 20; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
    });
}

TEST_CASE("who goes on asking while the queue is full does not keep other tasks from running") {
    each_pool(1, 1, [](core&) -> task<> {
        gate g;
        bool others_ran = false;
        int refused = 0;
        const auto nothing = [] {};
        auto queued = [&]() -> task<> { CHECK(co_await blocking(nothing)); };
        auto others = [&]() -> task<> {
            for (int i = 0; i < 3; ++i) co_await yield();
            others_ran = true;
        };
        auto insist = [&]() -> task<> {
            for (; !others_ran && refused < 10'000; ++refused)
                CHECK((co_await blocking(nothing)).error() == errc::pool_full);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(hold(g));
            co_await yield();
            g.wait_for(1);  // begun: its place in the queue is free
            s.start(queued());
            co_await with_scope([&](scope& both) -> task<> {
                both.start(insist());
                both.start(others());
                co_return;
            });
            g.open();
        });
        CHECK(refused < 1000);
    });
}

TEST_CASE("a full queue is an error of its own, and the place that becomes free is taken again") {
    each_pool(1, 3, [](core&) -> task<> {
        gate g;
        int ran = 0;
        int refused = 0;
        auto one = [&]() -> task<> {
            const auto done = co_await blocking([] {});
            if (done) {
                ++ran;
            } else {
                CHECK(done.error() == errc::pool_full);
                CHECK(done.error() == std::errc::resource_unavailable_try_again);
                ++refused;
            }
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(hold(g));
            co_await yield();
            g.wait_for(1);  // begun: its place in the queue is free
            for (int i = 0; i < 5; ++i) s.start(one());
            while (refused < 2) co_await yield();
            CHECK(ran == 0);
            g.open();
        });
        CHECK(ran == 3);
        CHECK(refused == 2);
        co_await one();
        CHECK(ran == 4);
    });
}

TEST_CASE("a call that has not begun is dropped when its scope is cancelled") {
    each_pool(1, 100, [](core&) -> task<> {
        gate g;
        bool ran = false;
        auto call = [&]() -> task<std::error_code> {
            co_return (co_await blocking([&] { ran = true; })).error();
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(hold(g));
            co_await yield();
            g.wait_for(1);
            for (const int turns : {-1, 0, 1, 2, 5})
                CHECK(co_await net::cancelled_after(turns, call) == errc::cancelled);
            g.open();
        });
        CHECK(!ran);
    });
}

TEST_CASE("a call that runs is waited for when its scope is cancelled, and keeps its value") {
    each_pool(2, 100, [](core&) -> task<> {
        gate g;
        bool ended = false;
        auto call = [&]() -> task<> {
            const auto value = co_await blocking([&] {
                g.pass();
                return 5;
            });
            CHECK((value && *value == 5));
            CHECK((co_await blocking([] {})).error() == errc::cancelled);
            ended = true;
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(call());
            co_await yield();
            g.wait_for(1);
            s.cancel();
            for (int i = 0; i < 20; ++i) co_await yield();
            CHECK(!ended);
            g.open();
        });
        CHECK(ended);
    });
}

TEST_CASE("a time limit drops a call that has not begun and waits for one that runs") {
    manual_clock clock;
    flavours::each(
        [&](core& c) {
            auto body = [&]() -> task<> {
                gate g;
                int outcomes = 0;
                auto running = [&]() -> task<> {
                    auto work = [&]() -> task<result<int>> {
                        co_return co_await blocking([&] {
                            g.pass();
                            return 1;
                        });
                    };
                    const auto one = co_await with_deadline(1h, work());
                    CHECK((one && *one == 1));  // it ended with a value, which is kept
                    ++outcomes;
                };
                auto queued = [&]() -> task<> {
                    auto work = [&]() -> task<result<int>> {
                        co_return co_await blocking([] { return 2; });
                    };
                    const auto two = co_await with_deadline(1h, work());
                    CHECK(two.error() == errc::timed_out);
                    ++outcomes;
                };
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(running());
                    s.start(queued());
                    co_await yield();
                    g.wait_for(1);
                    // Time does not jump while a call is out.
                    const auto before = clock.now_ns();
                    for (int i = 0; i < 5; ++i) co_await yield();
                    CHECK(clock.now_ns() == before);
                    clock.advance(2h);
                    while (outcomes == 0) co_await yield();
                    CHECK(outcomes == 1);
                    g.open();
                });
                CHECK(outcomes == 2);
            };
            block_on(c, body());
        },
        [&](core_options& o) {
            o.clock = &clock;
            o.blocking.threads = 1;
        });
}

TEST_CASE("a virtual clock neither jumps nor calls a deadlock while a call is out") {
    flavours::each_virtual([](core&, manual_clock& clock) -> task<> {
        const auto before = clock.now_ns();
        // A loop that would jump, or say that nothing can ever happen, does so before it sleeps.
        const pid_t loop = ::gettid();
        const auto outlast = [&] { CHECK(falls_asleep(loop)); };
        CHECK(co_await blocking(outlast));
        CHECK(clock.now_ns() == before);
        bool slept = false;
        auto sleeper = [&]() -> task<> { slept = static_cast<bool>(co_await sleep_for(1h)); };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sleeper());
            const auto held = co_await blocking(outlast);
            CHECK(held);
            CHECK(!slept);
            CHECK(clock.now_ns() == before);
        });
        CHECK(slept);
    });
}

TEST_CASE("cancelling everything that the ring has takes no wake-up away") {
    flavours::each_task([](core& c) -> task<> {
        if (c.backend() != backend::uring) co_return;
        for (int i = 0; i < 3; ++i) {
            const auto cancelled = co_await uring([](io_uring_sqe& sqe) {
                io_uring_prep_cancel64(&sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            });
            if (!cancelled && cancelled.error() == std::errc::invalid_argument) co_return;  // < 5.19
            // Until one has found the core asleep, and woken it.
            const std::uint64_t heard = c.counters().bells;
            const auto nothing = []() noexcept {};
            while (c.counters().bells == heard) std::ignore = co_await blocking(nothing);
        }
    });
}

TEST_CASE("no wake-up is lost and nothing is mixed up over many calls from two cores") {
    constexpr int rounds =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        300;
#else
        2000;
#endif
    for (const flavours::flavour& f : flavours::all) {
        run_options options;
        options.cores = 2;
        options.handle_signals = false;
        options.core = flavours::options_of(f);
        std::atomic<int> wrong{0};
        std::atomic<int> right{0};
        const int code = run(options, [&]() -> task<> {
            auto many = [&](int seed) -> task<> {
                for (int i = 0; i < rounds; ++i) {
                    const auto got = co_await blocking([&] { return seed + i; });
                    (got && *got == seed + i ? right : wrong).fetch_add(1);
                }
            };
            co_await with_scope([&](scope& s) -> task<> {
                for (int k = 0; k < 8; ++k) s.start(many(k * 1000003));
                co_return;
            });
        });
        if (code == 2) {
            MESSAGE("skipped on ", f.name);
            continue;
        }
        CHECK(code == 0);
        CHECK(wrong == 0);
        CHECK(right == 2 * 8 * rounds);
    }
}

TEST_CASE("cancelling at the moment a call begins or ends gives one outcome and loses nothing") {
    each_pool(2, 1000, [](core&) -> task<> {
        std::atomic<int> ran{0};
        int kept = 0;
        int dropped = 0;
        auto one = [&]() -> task<> {
            const auto value = co_await blocking([&] { ran.fetch_add(1); });
            ++(value ? kept : dropped);
            if (!value) CHECK(value.error() == errc::cancelled);
        };
        for (int round = 0; round < 200; ++round) {
            co_await with_scope([&](scope& s) -> task<> {
                for (int i = 0; i < 6; ++i) s.start(one());
                for (int i = 0; i < round % 4; ++i) co_await yield();
                s.cancel();
            });
        }
        CHECK(kept + dropped == 1200);
        CHECK(ran == kept);
    });
}

TEST_CASE("a core may end right after its last call, again and again") {
    for (int round = 0; round < 50; ++round) {
        flavours::each_task(
            [](core&) -> task<> { CHECK(*co_await blocking([] { return 1; }) == 1); });
    }
}

TEST_CASE("the pool's threads end with the last core that used it") {
    // Told by the threads themselves: /proc lists a thread that has been joined for a while yet.
    static std::atomic<int> alive{0};
    struct life {
        life() { ++alive; }
        ~life() { --alive; }
    };
    flavours::each_task([&](core&) -> task<> {
        CHECK(co_await blocking([] { const thread_local life here; }));
        CHECK(alive == 1);
    });
    CHECK(alive == 0);
}

#ifndef NDEBUG
TEST_CASE("without a thread to be had a call fails, and the next one may do better") {
    flavours::each_task([](core&) -> task<> {
        {
            const faults::failing none("thread", EAGAIN);
            CHECK((co_await blocking([] {})).error() ==
                  std::errc::resource_unavailable_try_again);
        }
        CHECK(co_await blocking([] {}));
    });
}
#endif
