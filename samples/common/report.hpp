// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/ringlet.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace samples {

/// What a server says on SIGUSR1: the counters of all its cores. A program that has more to say
/// derives from it.
class report {
public:
    virtual ~report() = default;
    /// Called on each core, one after the other.
    virtual void add_this_core() noexcept;
    /// Lines that begin with two spaces.
    [[nodiscard]] virtual std::string text() const;

private:
    ringlet::core_stats sum_;
};

using make_report = std::function<std::unique_ptr<report>()>;

/// Writes a new report to stderr at each SIGUSR1, until it is cancelled.
[[nodiscard]] ringlet::task<> report_when_asked(std::string_view program, const make_report& make);

}  // namespace samples
