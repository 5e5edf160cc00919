// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "flavours.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

/// What a misuse says. Runs `body` in a forked child, which must end by abort(): gives what it
/// wrote to stderr, or a sentence that says how it ended instead. Called where no core is alive.
template <class Body>
std::string abort_message(Body body) {
    int ends[2];
    if (::pipe(ends) != 0) return "no pipe";
    const pid_t child = ::fork();
    if (child < 0) return "no child";
    if (child == 0) {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        ::alarm(30);  // for one that does not end
        ::signal(SIGABRT, SIG_DFL);
        ::dup2(ends[1], 2);
        body();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string said;
    std::array<char, 512> room{};
    for (ssize_t n = 0; (n = ::read(ends[0], room.data(), room.size())) > 0;)
        said.append(room.data(), static_cast<std::size_t>(n));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        return "it did not abort, status " + std::to_string(status) + ": " + said;
    return said;
}

/// The same of `body(core&)`, with a core of each flavour that is made in the child: on all of them
/// the same is said.
template <class Body>
std::string abort_message_on_core(Body body) {
    std::string said;
    for (const flavours::flavour& f : flavours::all) {
        INFO("on ", std::string(f.name));
        const ringlet::core_options options = flavours::options_of(f);
        if (!flavours::made(options)) continue;
        const std::string here = abort_message([&] {
            const auto c = ringlet::core::make(options).value();
            body(*c);
        });
        if (said.empty()) said = here;
        CHECK(here == said);
    }
    return said;
}

inline bool says(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}
