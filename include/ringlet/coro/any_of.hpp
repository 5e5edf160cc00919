// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/coro/awaitable.hpp>
#include <ringlet/coro/scope.hpp>

#include <cstddef>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace ringlet {

namespace detail {

/// Runs one contestant; the first to end, by value or by exception, wins and cancels the rest.
template <std::size_t Index, class Prize, class T>
task<void> contend(task<T> contestant, std::optional<Prize>& prize, scope& race) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(contestant);
        if (!prize && !race.failed()) prize.emplace(std::in_place_index<Index>);
    } else {
        T value = co_await std::move(contestant);
        if (!prize && !race.failed()) prize.emplace(std::in_place_index<Index>, std::move(value));
    }
    race.cancel();
}

template <std::size_t... Index, class... T>
task<std::variant<stored<T>...>> any_task(std::index_sequence<Index...>, task<T>... tasks) {
    using prize = std::variant<stored<T>...>;
    std::optional<prize> first;
    scope race(co_await context_awaiter());
    race.start_all([&] {
        (race.start(contend<Index, prize>(std::move(tasks), first, race)), ...);
    });
    co_await race.join();
    if (!first) std::rethrow_exception(race.take_failure());
    co_return std::move(*first);
}

template <class T>
task<void> contend_at(std::size_t index, task<T> contestant,
                      std::optional<std::pair<std::size_t, stored<T>>>& prize, scope& race) {
    if constexpr (std::is_void_v<T>) {
        co_await std::move(contestant);
        if (!prize && !race.failed()) prize.emplace(index, std::monostate());
    } else {
        T value = co_await std::move(contestant);
        if (!prize && !race.failed()) prize.emplace(index, std::move(value));
    }
    race.cancel();
}

}  // namespace detail

/// Runs all awaitables (tasks or operations) at once; the first to end wins, the others are
/// cancelled and waited for. A variant whose index says which one; std::monostate for void. When
/// the winner is an exception it is rethrown. What a loser had already received is lost with it: to
/// put a time limit on an operation use within(), which loses nothing.
template <class... A>
    requires(sizeof...(A) > 0)
[[nodiscard]] auto any_of(A... awaitables) {
    return detail::any_task(std::index_sequence_for<A...>(),
                            detail::as_task(std::move(awaitables))...);
}

/// The same for any number (at least one) of tasks of one type: the winner's index and its value.
template <class T>
[[nodiscard]] task<std::pair<std::size_t, detail::stored<T>>> any_of(std::vector<task<T>> tasks) {
    RINGLET_CHECK(!tasks.empty(), "any_of() needs at least one task");
    std::optional<std::pair<std::size_t, detail::stored<T>>> first;
    scope race(co_await detail::context_awaiter());
    race.start_all([&] {
        for (std::size_t i = 0; i < tasks.size(); ++i)
            race.start(detail::contend_at<T>(i, std::move(tasks[i]), first, race));
    });
    co_await race.join();
    if (!first) std::rethrow_exception(race.take_failure());
    co_return std::move(*first);
}

}  // namespace ringlet
