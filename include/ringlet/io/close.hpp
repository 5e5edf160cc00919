// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/core/descriptor.hpp>

#include <coroutine>
#include <utility>

namespace ringlet {

/// Ends what other tasks wait for on the descriptor (errc::cancelled), waits until they have left,
/// then closes it. Cannot be cancelled. close(2) alone would leave an operation of the ring waiting
/// for ever on a socket that nobody can reach (io_uring_cancelation.7).
class [[nodiscard]] close_op : ready_node {
public:
    explicit close_op(owned_descriptor&& d) noexcept : descriptor_(std::move(d)) {}
    close_op(close_op&& unstarted) noexcept : descriptor_(std::move(unstarted.descriptor_)) {}

    [[nodiscard]] bool await_ready() noexcept;
    template <ringlet_promise Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        waiter = handle;
        (*descriptor_).closer = this;
    }
    void await_resume() noexcept { descriptor_.reset(); }

private:
    owned_descriptor descriptor_;
};

}  // namespace ringlet
