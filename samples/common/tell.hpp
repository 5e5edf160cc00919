// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/time.hpp>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>

namespace samples {

/// Writes to stderr what somebody may want to know. Where that cannot be written (a full disk, a
/// terminal that is gone) the program goes on: fmt::print() would throw.
inline void tell(const std::string& text) noexcept {
    static_cast<void>(std::fputs(text.c_str(), stderr));
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
