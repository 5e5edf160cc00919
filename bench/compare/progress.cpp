// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "progress.hpp"

#include "say.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>

namespace bench {

namespace {
constexpr std::size_t bar_width = 24;
constexpr double trusted_part = 0.01;  // before it, how fast it goes is not known
}

progress::progress(double guess) : guess_(guess), tty_(isatty(STDERR_FILENO) == 1) {}

std::string progress::left() const {
    const double spent = std::chrono::duration<double>(clock::now() - began_).count();
    const double pace = part() < trusted_part ? 1 : spent / done_;
    const auto seconds = static_cast<unsigned>(pace * (guess_ - done_) + 0.5);
    return seconds < 60 ? fmt::format("{} s left", seconds)
                        : fmt::format("{} min {:02} s left", seconds / 60, seconds % 60);
}

void progress::show(const std::string& what) {
    if (!tty_) return;
    winsize window{};
    const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 20;
    const auto filled = static_cast<std::size_t>(part() * bar_width);
    std::string text = fmt::format("[{:-<{}}] {:.0f} %, {}: {}", std::string(filled, '#'),
                                   bar_width, part() * 100, left(), what);
    text.resize(std::min<std::size_t>(text.size(), known ? window.ws_col - 1U : 79U));
    say(stderr, fmt::format("\r\033[K{}", text));
    std::fflush(stderr);
}

void progress::show_cell(const std::string& what) {
    if (!tty_)
        say(stderr, fmt::format("compare: {} ({:.0f} % done, {})\n", what, part() * 100, left()));
}

void progress::clear() const {
    if (tty_) say(stderr, fmt::format("\r\033[K"));
}

}  // namespace bench
