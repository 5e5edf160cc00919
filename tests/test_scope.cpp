// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "flavours.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

task<> sleeps(nanoseconds duration, result<void>& outcome) {
    outcome = co_await sleep_for(duration);
}

task<> throws_after(nanoseconds duration, const char* what) {
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
task<std::string> what_it_throws(task<void> work) {
    try {
        co_await std::move(work);
    } catch (const std::exception& e) {
        co_return e.what();
    }
    co_return "nothing";
}

}  // namespace

TEST_CASE("a scope is left when its last child has ended") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<void> first;
        result<void> second;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sleeps(10s, first));
            s.start(sleeps(3s, second));
            CHECK(s.size() == 2);
            co_return;
        });
        CHECK(now() - begin >= 10s);
        CHECK(first);
        CHECK(second);
    });
}

TEST_CASE("a scope gives the value of its body, after the children") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        bool child_ended = false;
        auto body = [&](scope& s) -> task<std::unique_ptr<int>> {
            s.start([&]() -> task<> {
                std::ignore = co_await sleep_for(1s);
                child_ended = true;
            });
            co_return std::make_unique<int>(4);
        };
        auto value = co_await with_scope(body);
        CHECK(child_ended);
        CHECK(*value == 4);
    });
}

TEST_CASE("a scope without children is left at once") {
    flavours::each_task([](core&) -> task<> {
        const int value = co_await with_scope([](scope&) -> task<int> { co_return 1; });
        CHECK(value == 1);
    });
}

TEST_CASE("children run in the order in which they were started, after the starter suspends") {
    flavours::each_task([](core&) -> task<> {
        std::vector<int> order;
        co_await with_scope([&](scope& s) -> task<> {
            for (int i = 0; i < 100; ++i)
                s.start([&order, i]() -> task<> {
                    order.push_back(i);
                    co_return;
                });
            CHECK(order.empty());
            co_return;
        });
        REQUIRE(order.size() == 100);
        for (int i = 0; i < 100; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
    });
}

TEST_CASE("what a child throws cancels its siblings and the body, and is thrown by the scope") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<void> sibling;
        result<void> body_slept;
        auto body = [&](scope& s) -> task<> {
            s.start(sleeps(1h, sibling));
            s.start(throws_after(2s, "child"));
            body_slept = co_await sleep_for(1h);
        };
        const std::string said = co_await what_it_throws(with_scope(body));
        CHECK(said == "child");
        CHECK(sibling.error() == errc::cancelled);
        CHECK(body_slept.error() == errc::cancelled);
        CHECK(now() - begin < 3s);
    });
}

TEST_CASE("what the body throws cancels the children and is thrown when they have ended") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> child;
        auto body = [&](scope& s) -> task<> {
            s.start(sleeps(1h, child));
            std::ignore = co_await sleep_for(1s);
            throw std::runtime_error("body");
        };
        const std::string said = co_await what_it_throws(with_scope(body));
        CHECK(said == "body");
        CHECK(child.error() == errc::cancelled);
    });
}

TEST_CASE("a body that throws before it is a coroutine is a body that throws") {
    flavours::each_task([](core&) -> task<> {
        auto body = [](scope& s) -> task<> {
            if (s.size() == 0) throw std::runtime_error("early");
            return []() -> task<> { co_return; }();
        };
        const std::string said = co_await what_it_throws(with_scope(body));
        CHECK(said == "early");
    });
}

TEST_CASE("the first of several failures is the one that is thrown") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        auto body = [&](scope& s) -> task<> {
            s.start([]() -> task<> {
                std::ignore = co_await sleep_for(1h);  // cancelled by the failure below
                throw std::runtime_error("second");
            });
            s.start(throws_after(1s, "first"));
            co_return;
        };
        const std::string said = co_await what_it_throws(with_scope(body));
        CHECK(said == "first");
    });
}

TEST_CASE("a scope that failed does not harm the scope around it") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> outside;
        co_await with_scope([&](scope& outer) -> task<> {
            outer.start(sleeps(5s, outside));
            auto inner = [](scope& s) -> task<> {
                s.start(throws_after(1s, "inner"));
                co_return;
            };
            const std::string said = co_await what_it_throws(with_scope(inner));
            CHECK(said == "inner");
            CHECK(!outer.cancelled());
        });
        CHECK(outside);
    });
}

TEST_CASE("a child may start siblings") {
    flavours::each_task([](core&) -> task<> {
        int ran = 0;
        struct tree {
            static task<> grow(scope& s, int left, int& ran) {
                ++ran;
                if (left > 0) {
                    s.start(grow(s, left - 1, ran));
                    s.start(grow(s, left - 1, ran));
                }
                co_return;
            }
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(tree::grow(s, 9, ran));
            co_return;
        });
        CHECK(ran == 1023);
    });
}

TEST_CASE("a started callable and its arguments live as long as the child") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        std::string said;
        int sum = 0;
        co_await with_scope([&](scope& s) -> task<> {
            {
                auto text = std::make_unique<std::string>("kept alive in the child's own frame");
                s.start([&said, text = std::move(text)]() -> task<> {
                    std::ignore = co_await sleep_for(1s);
                    said = *text;
                });
                s.start(
                    [&sum](std::unique_ptr<int> a, int b) -> task<> {
                        std::ignore = co_await sleep_for(1s);
                        sum = *a + b;
                    },
                    std::make_unique<int>(40), 2);
            }
            co_return;
        });
        CHECK(said == "kept alive in the child's own frame");
        CHECK(sum == 42);
    });
}

TEST_CASE("cancelling a scope ends its children and what its body waits for, not the body") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        const auto begin = now();
        result<void> child;
        result<void> body;
        bool after = false;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sleeps(1h, child));
            s.start([&]() -> task<> {
                std::ignore = co_await sleep_for(1s);
                s.cancel();
                s.cancel();
            });
            body = co_await sleep_for(1h);
            CHECK(s.cancelled());
            after = true;
        });
        CHECK(child.error() == errc::cancelled);
        CHECK(body.error() == errc::cancelled);
        CHECK(after);
        CHECK(now() - begin < 2s);
        const auto later = co_await sleep_for(1s);
        CHECK(later);  // the scope around it goes on
    });
}

TEST_CASE("a child started in a cancelled scope runs, and all it waits for ends at once") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        bool ran = false;
        result<void> outcome;
        co_await with_scope([&](scope& s) -> task<> {
            s.cancel();
            s.start([&]() -> task<> {
                ran = true;
                outcome = co_await sleep_for(1h);
            });
            co_return;
        });
        CHECK(ran);
        CHECK(outcome.error() == errc::cancelled);
    });
}

TEST_CASE("a body may wait for its children and then start more") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        result<void> first;
        result<void> second;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sleeps(1s, first));
            co_await s.join();
            CHECK(s.size() == 0);
            s.start(sleeps(1s, second));
            co_await s.join();
            CHECK(s.size() == 0);
        });
        CHECK(first);
        CHECK(second);
    });
}

TEST_CASE("scopes nest two thousand deep and one cancel reaches the innermost") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        struct nest {
            static task<> down(int left, result<void>& innermost) {
                if (left == 0) {
                    innermost = co_await sleep_for(1h);
                    co_return;
                }
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(down(left - 1, innermost));
                    co_return;
                });
            }
        };
        result<void> innermost;
        co_await with_scope([&](scope& s) -> task<> {
            s.start(nest::down(2000, innermost));
            std::ignore = co_await sleep_for(1s);
            s.cancel();
        });
        CHECK(innermost.error() == errc::cancelled);
    });
}

TEST_CASE("a scope holds a hundred thousand children and loses none") {
    flavours::each_virtual([](core&, manual_clock&) -> task<> {
        int ended = 0;
        co_await with_scope([&](scope& s) -> task<> {
            for (int i = 0; i < 100'000; ++i)
                s.start([&ended, i]() -> task<> {
                    if (i % 3 == 0)
                        std::ignore = co_await sleep_for(std::chrono::milliseconds(i % 97));
                    if (i % 3 == 1) co_await yield();
                    ++ended;
                });
            CHECK(s.size() == 100'000);
            co_return;
        });
        CHECK(ended == 100'000);
    });
}

TEST_CASE("the body's own variables go before its children have run") {
    flavours::each_task([](core&) -> task<> {
        struct farewell {
            std::string& order;
            ~farewell() { order += 'b'; }
        };
        std::string order;
        co_await with_scope([&](scope& s) -> task<> {
            const farewell local{order};
            s.start([&]() -> task<> {
                order += 'c';
                co_return;
            });
            co_return;
        });
        CHECK(order == "bc");
    });
}

TEST_CASE("what a child's arguments start when they go is waited for as well") {
    struct last_words {
        last_words(scope& s, int& said) : in(&s), count(&said) {}
        last_words(last_words&& other) noexcept
            : in(std::exchange(other.in, nullptr)), count(other.count) {}
        ~last_words() {
            if (in == nullptr) return;
            in->start([](int& said) -> task<> {
                co_await yield();
                ++said;
            }(*count));
        }
        scope* in;
        int* count;
    };
    flavours::each_task([](core&) -> task<> {
        int said = 0;
        co_await with_scope([&](scope& s) -> task<> {
            s.start([](last_words) -> task<> { co_return; }(last_words(s, said)));
            co_return;
        });
        CHECK(said == 1);
    });
}

TEST_CASE("a scope that is left while a child runs is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core&) {
        cancel_scope root;
        scope left(root);
        left.start([]() -> task<> { co_return; }());
    });
    CHECK_MESSAGE(says(said, "a scope was left while its children ran"), said);
}

TEST_CASE("joining a scope twice at once is a misuse that aborts") {
    const std::string said = abort_message_on_core([](core& c) {
        block_on(c, []() -> task<> {
            co_await with_scope([](scope& s) -> task<> {
                s.start([&s]() -> task<> { co_await s.join(); });
                co_await s.join();
            });
        }());
    });
    CHECK_MESSAGE(says(said, "a scope was joined twice at once"), said);
}
