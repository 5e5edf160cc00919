// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/coro/promise.hpp>
#include <ringlet/coro/sleep.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace ringlet {

namespace detail {
/// Core `index` of the running program; null when there is none, or it has ended.
[[nodiscard]] core* core_at(unsigned index) noexcept;
}  // namespace detail

/// Calls a plain function (not a coroutine) on another core of the program, between two of its
/// turns, and gives its value as a result:
///
///     auto size = co_await on_core(2, [&]() noexcept { return table.size(); });
///
/// The function and its value are the caller's; the call is not cancelled half-way.
/// Errors: errc::core_stopped; errc::inbox_full when the other core is that far behind.
template <class F>
class [[nodiscard]] on_core : ready_node {
    using value_type = std::invoke_result_t<F&>;
    static_assert(std::is_nothrow_invocable_v<F&>,
                  "a function for another core is noexcept: its failure has nowhere to go there");

public:
    [[nodiscard]] on_core(unsigned index, F function) noexcept
        : index_(index), function_(std::move(function)) {}
    on_core(on_core&& unstarted) noexcept
        : index_(unstarted.index_), function_(std::move(unstarted.function_)) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <ringlet_promise Promise>
    [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        waiter = handle;
        home_ = &here();
        core* other = detail::core_at(index_);
        if (other == nullptr) return refused(errc::core_stopped);
        home_->called_out();
        // Once posted, the other core may answer before this line ends: touch nothing after it.
        result<void> posted = other->post(message{.run = call, .subject = this});
        if (posted) return true;
        home_->came_back();
        return refused(posted.error());
    }
    result<value_type> await_resume() noexcept {
        if (error_) return error_;
        home_->came_back();
        if constexpr (std::is_void_v<value_type>) {
            return {};
        } else {
            return std::move(*value_);
        }
    }

private:
    /// False: do not suspend. Who asks again until there is room must let his own core's inbox be
    /// read meanwhile: the other core may be asking it.
    [[nodiscard]] bool refused(const std::error_code& error) noexcept {
        error_ = error;
        if (home_->spend()) return false;
        home_->make_ready_later(*this);
        return true;
    }
    static void call(void* subject, std::uintptr_t) noexcept {
        auto& self = *static_cast<on_core*>(subject);
        if constexpr (std::is_void_v<value_type>) {
            self.function_();
        } else {
            self.value_.emplace(self.function_());
        }
        self.home_->make_ready_from_anywhere(self);
    }

    using stored = std::conditional_t<std::is_void_v<value_type>, char, value_type>;
    unsigned index_;
    F function_;
    core* home_ = nullptr;
    std::optional<stored> value_;
    std::error_code error_;
};

}  // namespace ringlet
