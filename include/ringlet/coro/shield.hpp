// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/coro/cancel.hpp>
#include <ringlet/coro/task.hpp>

#include <utility>

namespace ringlet {

/// Runs a task that no cancellation reaches: for cleanup that must go through. Bound it in time
/// yourself (`shield(with_deadline(1s, ...))`), since nothing else will.
template <class T>
[[nodiscard]] task<T> shield(task<T> cleanup) {
    cancel_scope apart;
    co_return co_await std::move(cleanup).in(apart);
}

}  // namespace ringlet
