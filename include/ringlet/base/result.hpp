// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/check.hpp>
#include <ringlet/base/error.hpp>

#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace ringlet {

template <class T>
class result;

namespace detail {
template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<result<T>> = true;
}  // namespace detail

/// A value or the error that took its place; the member names are those of std::expected, so that
/// moving to it is a rename. Reading a value that is not there is a bug and aborts; value() throws
/// std::system_error instead, for code that prefers exceptions.
template <class T>
class [[nodiscard]] result {
public:
    using value_type = T;
    using error_type = std::error_code;

    template <class... Args>
        requires std::is_constructible_v<T, Args...>
    explicit result(std::in_place_t, Args&&... args) : has_value_(true) {
        std::construct_at(std::addressof(value_), std::forward<Args>(args)...);
    }
    result(T value) noexcept(std::is_nothrow_move_constructible_v<T>)  // NOLINT: implicit by design
        : has_value_(true) {
        std::construct_at(std::addressof(value_), std::move(value));
    }
    result(std::error_code error) noexcept : has_value_(false), error_(error) {}  // NOLINT
    result(errc error) noexcept : result(make_error_code(error)) {}               // NOLINT

    result(result&& other) noexcept(std::is_nothrow_move_constructible_v<T>)
        : has_value_(other.has_value_) {
        if (has_value_) {
            std::construct_at(std::addressof(value_), std::move(other.value_));
        } else {
            std::construct_at(std::addressof(error_), other.error_);
        }
    }
    result(const result& other)
        requires std::is_copy_constructible_v<T>
        : has_value_(other.has_value_) {
        if (has_value_) {
            std::construct_at(std::addressof(value_), other.value_);
        } else {
            std::construct_at(std::addressof(error_), other.error_);
        }
    }
    /// Not for a value whose move may throw: there would be neither the old nor the new one.
    result& operator=(result other) noexcept
        requires std::is_nothrow_move_constructible_v<T>
    {
        if (this != &other) {
            std::destroy_at(this);
            std::construct_at(this, std::move(other));
        }
        return *this;
    }
    ~result() {
        if (has_value_) std::destroy_at(std::addressof(value_));
    }

    [[nodiscard]] bool has_value() const noexcept { return has_value_; }
    explicit operator bool() const noexcept { return has_value_; }

    /// The error; a default (success) code when there is a value.
    [[nodiscard]] std::error_code error() const noexcept {
        return has_value_ ? std::error_code() : error_;
    }

    [[nodiscard]] T& operator*() & noexcept { return checked(); }
    [[nodiscard]] const T& operator*() const& noexcept {
        return const_cast<result*>(this)->checked();
    }
    [[nodiscard]] T&& operator*() && noexcept { return std::move(checked()); }
    [[nodiscard]] T* operator->() noexcept { return std::addressof(checked()); }
    [[nodiscard]] const T* operator->() const noexcept {
        return std::addressof(const_cast<result*>(this)->checked());
    }

    [[nodiscard]] T& value() & { return or_throw(), value_; }
    [[nodiscard]] const T& value() const& { return or_throw(), value_; }
    [[nodiscard]] T&& value() && { return or_throw(), std::move(value_); }

    template <class U>
    [[nodiscard]] T value_or(U&& other) && {
        return has_value_ ? std::move(value_) : static_cast<T>(std::forward<U>(other));
    }

private:
    T& checked() noexcept {
        RINGLET_CHECK(has_value_, "a result was read that holds an error: test it first");
        return value_;
    }
    void or_throw() const {
        if (!has_value_) throw std::system_error(error_);
    }

    bool has_value_;
    union {
        T value_;
        std::error_code error_;
    };
};

template <>
class [[nodiscard]] result<void> {
public:
    using value_type = void;
    using error_type = std::error_code;

    result() noexcept : has_value_(true), none_() {}
    result(std::error_code error) noexcept : has_value_(false), error_(error) {}  // NOLINT
    result(errc error) noexcept : result(make_error_code(error)) {}               // NOLINT

    [[nodiscard]] bool has_value() const noexcept { return has_value_; }
    explicit operator bool() const noexcept { return has_value_; }
    /// The error; a default (success) code when there is a value.
    [[nodiscard]] std::error_code error() const noexcept {
        return has_value_ ? std::error_code() : error_;
    }
    void operator*() const noexcept {
        RINGLET_CHECK(has_value_, "a result was read that holds an error: test it first");
    }
    void value() const {
        if (!has_value_) throw std::system_error(error_);
    }

private:
    bool has_value_;
    union {
        char none_;
        std::error_code error_;
    };
};

}  // namespace ringlet
