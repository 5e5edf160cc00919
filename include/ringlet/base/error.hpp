// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <system_error>

namespace ringlet {

/// Outcomes that are ringlet's own; every other error is the kernel's errno in
/// std::system_category(), the same on both backends.
enum class errc {
    cancelled = 1,   ///< the scope around the operation was cancelled (== operation_canceled)
    timed_out,       ///< a within() or with_deadline() passed (== std::errc::timed_out)
    stopping,        ///< the program is stopping and nothing was left to do; see or_stop()
    end_of_stream,   ///< the peer has sent everything it will send
    unsupported,     ///< this backend or kernel cannot do it (== operation_not_supported)
    bad_address,     ///< text that is not an address (== invalid_argument)
    inbox_full,      ///< the other core's inbox is at its limit (== resource_unavailable_try_again)
    core_stopped,    ///< the other core no longer runs
    pool_full,       ///< too many blocking calls wait (== resource_unavailable_try_again)
};

[[nodiscard]] const std::error_category& category() noexcept;
[[nodiscard]] std::error_code make_error_code(errc e) noexcept;

/// What a kernel call or a completion said: zero or more is success, a negative number is -errno,
/// and the numbers below -4095 (no errno reaches that far) are ringlet's own outcomes.
namespace answer {
inline constexpr int own_base = -5000;
inline constexpr int cancelled = own_base - static_cast<int>(errc::cancelled);
inline constexpr int timed_out = own_base - static_cast<int>(errc::timed_out);
inline constexpr int stopping = own_base - static_cast<int>(errc::stopping);

[[nodiscard]] std::error_code to_error(int negative) noexcept;
}  // namespace answer

}  // namespace ringlet

template <>
struct std::is_error_code_enum<ringlet::errc> : std::true_type {};
