// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/time.hpp>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>

namespace samples {

/// Writes to stderr as much of `text` as there is room for at once; what is left of it. PIPE_BUF bytes
/// at most at a time: a pipe that has room has it for these (pipe(7)).
inline std::string_view write_at_once(std::string_view text) noexcept {
    while (!text.empty()) {
        pollfd room{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
        if (::poll(&room, 1, 0) <= 0) break;
        const auto wrote =
            ::write(room.fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
        if (wrote <= 0) break;
        text.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return text;
}
/// Writes to stderr what somebody may want to know. Where that cannot be written (a full disk, a
/// terminal that is gone) the program goes on: fmt::print() would throw. Nor does its loop, with all
/// its sessions, wait for a reader that has stalled: what finds no room is dropped, and counted.
inline void tell(std::string_view text) noexcept {
    static std::uint64_t dropped = 0;
    ::flockfile(stderr);  // or another thread took the room between the question and the writing
    if (dropped > 0) {
        char room[80];  // without the heap; what was dropped may have begun a line
        const auto notice = fmt::format_to_n(
            room, sizeof room, "\nmessages dropped here, since nobody read them: {}\n", dropped);
        if (write_at_once({room, notice.size}).empty()) dropped = 0;
    }
    if (!write_at_once(text).empty()) ++dropped;
    ::funlockfile(stderr);
}

/// Writes to stdout what the program was started for; fmt::print() would throw where it cannot be
/// written. wrote_all() tells.
inline void print(const std::string& text) noexcept {
    static_cast<void>(std::fputs(text.c_str(), stdout));
}
/// False, and told on stderr, where not all that was printed could be written (a full disk).
[[nodiscard]] inline bool wrote_all(const char* program) noexcept {
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
    static_cast<void>(std::fprintf(stderr, "%s: stdout cannot be written: %s\n", program,
                                   std::strerror(errno)));
    return false;
}

/// The error of a connect says nothing about the other end: this machine lacks something.
[[nodiscard]] inline bool is_shortage(const std::error_code& error) noexcept {
    using std::errc;
    for (const errc lacks :
         {errc::too_many_files_open, errc::too_many_files_open_in_system, errc::no_buffer_space,
          errc::not_enough_memory, errc::address_not_available})
        if (error == lacks) return true;
    return false;
}

/// For what may happen a thousand times a second: is it time to tell of it again? Once a second.
class seldom {
public:
    [[nodiscard]] bool is_due(ringlet::time_point now) noexcept {
        if (now < again_at_) return false;
        again_at_ = now + std::chrono::seconds(1);
        return true;
    }

private:
    ringlet::time_point again_at_;
};

}  // namespace samples
