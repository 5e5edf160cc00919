// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

#include <memory>
#include <utility>

ringlet::task<> work() { co_return; }
ringlet::task<int> seven() { co_return 7; }

ringlet::task<> everything(ringlet::tcp_stream peer, ringlet::semaphore& gate) {
    auto sent = co_await peer.send_all("x");
    auto slept = co_await ringlet::sleep_for(ringlet::nanoseconds(1));
    std::ignore = co_await peer.send_all("ignored on purpose");
    auto permit = co_await gate.acquire();
    auto other = std::move(permit);
    auto asked = co_await ringlet::on_core(0, []() noexcept { return 1; });
    auto [a, b] = co_await ringlet::all_of(seven(), ringlet::yield());
    auto held = std::make_unique<int>(1);
    auto body = [held = std::move(held)](ringlet::scope& s) -> ringlet::task<> {
        s.start(work());
        s.start([]() -> ringlet::task<> { co_return; });
        auto later = work();
        s.start(std::move(later));
        co_await s.join();
    };
    co_await ringlet::with_scope(body);
    co_await ringlet::with_scope([&](ringlet::scope& s) -> ringlet::task<> {
        s.cancel();
        co_return;
    });
    if (!sent || !slept || !other || !asked || a != 7) co_return;
    (void)b;
    auto moved = std::move(peer);
    co_await moved.close();
}

int main() {
    return ringlet::run([]() -> ringlet::task<> { co_return; });
}
