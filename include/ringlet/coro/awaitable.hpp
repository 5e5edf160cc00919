// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/coro/task.hpp>

#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace ringlet::detail {

/// What `co_await std::declval<A>()` gives.
template <class A>
struct await_result {
    using type = decltype(std::declval<A>().await_resume());
};
template <class T>
struct await_result<task<T>> {
    using type = T;
};
template <class A>
using await_result_t = typename await_result<A>::type;

/// void has no values to keep in a tuple or variant.
template <class T>
using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/// Runs a task and keeps its value where another frame will look for it.
template <class T>
task<void> store(task<T> from, std::optional<stored<T>>& into) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(from);
        into.emplace();
    } else {
        into.emplace(co_await std::move(from));
    }
}

/// Any awaitable as a task, so that combinators deal with one thing.
template <class T>
task<T> as_task(task<T> t) {
    return t;
}
template <class A>
    requires(!is_task<A>)
task<await_result_t<A>> as_task(A operation) {
    co_return co_await std::move(operation);
}

}  // namespace ringlet::detail
