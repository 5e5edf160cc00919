// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/options.hpp>
#include <ringlet/core/time.hpp>
#include <ringlet/coro/task.hpp>

#include <functional>
#include <string>
#include <type_traits>
#include <utility>

namespace ringlet {

struct run_options {
    /// Loops, each on a thread of its own; 0: one for each CPU this process may use.
    unsigned cores = 1;
    /// Which connections a core gets, when there are several: by the kernel's hash over one listener
    /// each, or dealt out in turn by core 0, which alone accepts.
    enum class accept_mode : std::uint8_t { each_core, one_core } accept = accept_mode::each_core;
    /// Pin core i to the i-th CPU the process may use: `automatic` when there are several cores and
    /// a CPU for each.
    enum class pin_mode : std::uint8_t { automatic, yes, no } pin = pin_mode::automatic;
    /// How long sessions may go on after a stop before they are cancelled.
    nanoseconds grace = std::chrono::seconds(5);
    /// SIGINT and SIGTERM stop the program; a second one skips the grace.
    bool handle_signals = true;
    core_options core = {};
};

static_assert(std::is_trivially_copyable_v<run_options>);  // see core_options

/// What a running program can be asked from within its tasks.
/// Outside run(): core 0 of 1.
[[nodiscard]] unsigned core_index() noexcept;
[[nodiscard]] unsigned core_count() noexcept;
/// Stops the program as SIGTERM does, from any thread of it: listeners end, sessions may finish what
/// they have received within the grace period, what is left is cancelled and joined. A second call
/// skips the grace. Does nothing outside run().
void stop() noexcept;

namespace detail {
int run_on_cores(const run_options& options, const std::function<task<void>()>& body);
}

/// Runs `body()` on every core until all of them have ended, or the program is stopped. Returns the
/// exit code of the program: 0; 1 when a task threw (what the first one said is on stderr); 2 when
/// the cores could not be set up (one line on stderr names the cause and the remedy). `body` is
/// kept alive here and called once on each core, with a loop running.
template <class Body>
    requires std::is_same_v<std::invoke_result_t<Body&>, task<void>>
[[nodiscard]] int run(const run_options& options, Body body) {
    return detail::run_on_cores(options, [&body]() -> task<void> { return body(); });
}
template <class Body>
    requires std::is_same_v<std::invoke_result_t<Body&>, task<void>>
[[nodiscard]] int run(Body body) {
    return run(run_options(), std::move(body));
}

}  // namespace ringlet
