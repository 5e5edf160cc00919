// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/coro/awaitable.hpp>
#include <ringlet/coro/scope.hpp>

#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace ringlet {

namespace detail {

template <class... T>
task<std::tuple<stored<T>...>> all_tasks(task<T>... tasks) {
    std::tuple<std::optional<stored<T>>...> values;
    scope children(co_await context_awaiter());
    children.start_all([&] {
        std::apply([&](auto&... value) { (children.start(store(std::move(tasks), value)), ...); },
                   values);
    });
    co_await children.join();
    if (auto failure = children.take_failure()) std::rethrow_exception(std::move(failure));
    co_return std::apply(
        [](auto&... value) { return std::tuple<stored<T>...>(std::move(*value)...); }, values);
}

}  // namespace detail

/// Runs all awaitables (tasks or operations) at once and waits for all: a tuple of their values in
/// order, std::monostate for void. An exception in one cancels the others and is rethrown when all
/// have ended. An error in a result<T> is a value like any other.
template <class... A>
    requires(sizeof...(A) > 0)
[[nodiscard]] auto all_of(A... awaitables) {
    return detail::all_tasks(detail::as_task(std::move(awaitables))...);
}

/// The same for any number of tasks of one type: their values in order.
template <class T>
    requires(!std::is_void_v<T>)
[[nodiscard]] task<std::vector<T>> all_of(std::vector<task<T>> tasks) {
    std::vector<std::optional<T>> values(tasks.size());
    scope children(co_await detail::context_awaiter());
    children.start_all([&] {
        for (std::size_t i = 0; i < tasks.size(); ++i)
            children.start(detail::store(std::move(tasks[i]), values[i]));
    });
    co_await children.join();
    if (auto failure = children.take_failure()) std::rethrow_exception(std::move(failure));
    std::vector<T> all;
    all.reserve(values.size());
    for (auto& value : values) all.push_back(std::move(*value));
    co_return all;
}
[[nodiscard]] inline task<void> all_of(std::vector<task<void>> tasks) {
    scope children(co_await detail::context_awaiter());
    for (auto& t : tasks) children.start(std::move(t));
    co_await children.join();
    if (auto failure = children.take_failure()) std::rethrow_exception(std::move(failure));
}

}  // namespace ringlet
