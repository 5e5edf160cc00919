// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/coro/parked.hpp>
#include <ringlet/io/operation.hpp>
#include <ringlet/io/tcp_options.hpp>

namespace ringlet {

class tcp_stream;

/// Opens a connection. When it fails, times out or is cancelled, its socket is closed. To a
/// Unix-domain socket it never waits: resource_unavailable_try_again while the backlog is full.
class [[nodiscard]] connect_op : public operation<connect_op, side::write> {
public:
    connect_op(const address& peer, const stream_options& options) noexcept;

    static constexpr bool never_at_once = true;  ///< a stop ends it: there is nothing to be received
    [[nodiscard]] descriptor& target() const noexcept { return *socket_; }
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<tcp_stream> finish(int answer) noexcept;

    template <class Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        answer = open();
        if (answer < 0) return detail::answered_at_once(*this, handle);
        if (peer_.is_unix() && !handle.promise().context().cancelled()) {
            waiter = handle;
            answer = connect_now();
            return answered_at_once(here());
        }
        return operation::await_suspend(handle);
    }
    [[nodiscard]] result<tcp_stream> await_resume() noexcept;

private:
    [[nodiscard]] int open() noexcept;
    [[nodiscard]] int connect_now() noexcept;

    owned_descriptor socket_;
    address peer_;
    stream_options options_;
    bool asked_ = false;
};

extern template class operation<connect_op, side::write>;

}  // namespace ringlet
