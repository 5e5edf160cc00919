// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <cstdint>
#include <string_view>

namespace ringlet {

enum class backend : std::uint8_t {
    automatic,  ///< io_uring where it can be had, else epoll; RINGLET_BACKEND overrides it
    uring,      ///< io_uring or an error that says why not
    epoll,
};

/// `io_uring`, `epoll` or `auto`.
[[nodiscard]] std::string_view to_string(backend b) noexcept;

/// How the kernel runs the ring's task work (io_uring_setup.2): what users of the library leave at
/// `best`; tests and benches pin it.
enum class ring_flavour : std::uint8_t { best, deferred, cooperative, plain };

}  // namespace ringlet
