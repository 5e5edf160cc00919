// refuses: ringlet_promise|await_suspend
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

#include <coroutine>

struct foreign {
    struct promise_type {
        foreign get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept {}
    };
};

foreign misuse() {
    auto slept = co_await ringlet::sleep_for(ringlet::nanoseconds(1));
    (void)slept;
}
