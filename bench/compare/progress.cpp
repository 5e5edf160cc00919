// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "progress.hpp"

#include "say.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace bench {

namespace {
constexpr std::size_t bar_width = 24;
}

progress::progress(std::size_t runs, double guess_seconds)
    : total_(runs), guess_(guess_seconds), tty_(isatty(STDERR_FILENO) == 1) {}

std::string progress::left() const {
    const double spent = std::chrono::duration<double>(clock::now() - began_).count();
    const double each = done_ == 0 ? guess_ : spent / static_cast<double>(done_);
    const auto seconds = static_cast<unsigned>(each * static_cast<double>(total_ - done_) + 0.5);
    return seconds < 60 ? fmt::format("{} s left", seconds)
                        : fmt::format("{} min {:02} s left", seconds / 60, seconds % 60);
}

void progress::show(const std::string& what) {
    if (!tty_) return;
    winsize window{};
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 20;
    const std::size_t filled = total_ == 0 ? 0 : bar_width * done_ / total_;
    std::string text = fmt::format("[{:-<{}}] {}/{}, {}: {}", std::string(filled, '#'), bar_width,
                                   done_, total_, left(), what);
    text.resize(std::min<std::size_t>(text.size(), known ? window.ws_col - 1U : 79U));
    say(stderr, fmt::format("\r\033[K{}", text));
    std::fflush(stderr);
}

void progress::show_cell(const std::string& what) {
    if (!tty_)
        say(stderr,
            fmt::format("compare: {} ({} of {} runs done, {})\n", what, done_, total_, left()));
}

void progress::clear() const {
    if (tty_) say(stderr, fmt::format("\r\033[K"));
}

}  // namespace bench
