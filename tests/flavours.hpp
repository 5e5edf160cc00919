// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/ringlet.hpp>

#include <doctest/doctest.h>

#include <sys/utsname.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

/// One test body over every flavour of loop: io_uring with deferred task work, the same with direct
/// descriptors, io_uring with cooperative task work and plain, and epoll. A flavour that this
/// kernel refuses is left out with a message, never passed over silently, and fails in CI.
namespace flavours {

/// A kernel's version.
struct linux_version {
    unsigned major = 0;
    unsigned minor = 0;

    auto operator<=>(const linux_version&) const = default;
};

inline linux_version this_kernel() {
    utsname names{};
    linux_version found;
    if (::uname(&names) == 0) std::sscanf(names.release, "%u.%u", &found.major, &found.minor);
    return found;
}

/// Says that `what` is not tested here, and why. That is a failure with CI=true, where all is to be
/// had that the kernel has: `since` is the first that surely has it.
inline void left_out(const std::string& what, const std::string& why, linux_version since = {}) {
    const char* const ci = std::getenv("CI");
    if (ci != nullptr && std::string(ci) == "true" && this_kernel() >= since) {
        FAIL_CHECK("left out, and may not be in CI: ", what, ": ", why);
    } else {
        MESSAGE("left out: ", what, ": ", why);
    }
}

struct flavour {
    const char* name;
    ringlet::backend backend;
    ringlet::ring_flavour ring;
    unsigned direct_descriptors;
};

inline constexpr std::array<flavour, 5> all{{
    {"io_uring deferred", ringlet::backend::uring, ringlet::ring_flavour::deferred, 0},
    {"io_uring direct", ringlet::backend::uring, ringlet::ring_flavour::deferred, 8192},
    {"io_uring cooperative", ringlet::backend::uring, ringlet::ring_flavour::cooperative, 0},
    {"io_uring plain", ringlet::backend::uring, ringlet::ring_flavour::plain, 0},
    {"epoll", ringlet::backend::epoll, ringlet::ring_flavour::best, 0},
}};

inline ringlet::core_options options_of(const flavour& f) {
    ringlet::core_options options;
    options.backend = f.backend;
    options.flavour = f.ring;
    options.direct_descriptors = f.direct_descriptors;
    return options;
}

/// A core; nothing, and said so, where there is none to be had.
inline std::unique_ptr<ringlet::core> made(const ringlet::core_options& options) {
    std::string why;
    auto core = ringlet::core::make(options, &why);
    if (core) return std::move(*core);
    left_out(std::string(ringlet::to_string(options.backend)), why);
    return nullptr;
}

/// Calls `body(core&)` with a core of each flavour; `change` may alter its options.
template <class Body, class Change>
void each(Body body, Change change) {
    for (const flavour& f : all) {
        ringlet::core_options options = options_of(f);
        change(options);
        std::string why;
        auto core = ringlet::core::make(options, &why);
        if (!core) {
            left_out(f.name, why);
            continue;
        }
        INFO("on ", std::string(f.name));
        body(**core);
        CHECK((*core)->descriptors().open() == 0);  // nothing leaked
    }
}
template <class Body>
void each(Body body) {
    each(std::move(body), [](ringlet::core_options&) {});
}

/// The same, `body` being a coroutine: `[](ringlet::core&) -> ringlet::task<>`.
template <class Body>
void each_task(Body body) {
    each([&](ringlet::core& c) { ringlet::block_on(c, body(c)); });
}

/// The same under a virtual clock: time jumps to the next timer when nothing else can happen, and
/// the test aborts with a message when nothing could ever happen again.
template <class Body>
void each_virtual(Body body) {
    ringlet::manual_clock clock;
    each([&](ringlet::core& c) { ringlet::block_on(c, body(c, clock)); },
         [&](ringlet::core_options& o) { o.clock = &clock; });
}

/// Calls `body(run_options&)` once for each backend.
template <class Body>
void each_backend(Body body) {
    for (const ringlet::backend b : {ringlet::backend::uring, ringlet::backend::epoll}) {
        INFO("on ", std::string(ringlet::to_string(b)));
        ringlet::run_options options;
        options.core.backend = b;
        std::string why;
        if (!ringlet::choose_backend(options.core, &why)) {
            left_out(std::string(ringlet::to_string(b)), why);
            continue;
        }
        body(options);
    }
}

/// Two ends of one connection on the current core.
struct pair {
    ringlet::tcp_stream client;
    ringlet::tcp_stream server;
};
inline ringlet::task<pair> connected() {
    auto door = ringlet::tcp_listener::bind("127.0.0.1:0").value();
    auto [client, server] = co_await ringlet::all_of(
        ringlet::tcp_stream::connect(door.local_name()), door.next());
    pair both{std::move(client).value(), std::move(server).value()};
    co_return both;
}

}  // namespace flavours
