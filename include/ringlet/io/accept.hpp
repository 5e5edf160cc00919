// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/completion.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/coro/parked.hpp>
#include <ringlet/io/operation.hpp>
#include <ringlet/io/tcp_stream.hpp>

#include <coroutine>

namespace ringlet {

/// The lasting part of a listener: the multishot accept, what it has accepted, the pause after
/// errors. Owned by the core until the kernel's last answer, since that may come after the
/// listener's end.
class acceptor;

/// Waits for the next connection of a listener. A connection that is accepted while the wait is
/// cancelled stays with the listener for the next call.
class [[nodiscard]] next_op : public completion {
public:
    explicit next_op(acceptor* a) noexcept : completion(detail::parked_kind), acceptor_(a) {}
    next_op(next_op&& unstarted) noexcept : next_op(unstarted.acceptor_) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        cancel_scope& context = handle.promise().context();
        if (context.cancelled()) {
            answer = context.refusal();
            acceptor_ = nullptr;
            return detail::answered_at_once(*this, handle);
        }
        waiter = handle;
        return start(context);
    }
    [[nodiscard]] result<tcp_stream> await_resume() noexcept;

private:
    friend class acceptor;
    [[nodiscard]] bool start(cancel_scope& context) noexcept;
    acceptor* acceptor_;  ///< null once it has answered, or has gone
    owned_descriptor socket_;
};

/// A single accept.
class [[nodiscard]] accept_op : public operation<accept_op, side::read> {
public:
    explicit accept_op(acceptor& a) noexcept : acceptor_(&a) {}

    [[nodiscard]] descriptor& target() const noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<tcp_stream> finish(int answer) noexcept;

private:
    acceptor* acceptor_;
    bool into_table_ = false;
};

extern template class operation<accept_op, side::read>;

}  // namespace ringlet
