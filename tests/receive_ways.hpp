// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "net_helpers.hpp"

#include <core/buffer_pool.hpp>

#include <array>
#include <string>
#include <vector>

/// Every way in which chunks() may receive, and what its tests do with a stream.
namespace receiving {

using namespace ringlet;
using namespace std::chrono_literals;

/// The ways to receive. On epoll bundles and slices are the first once more.
struct way {
    const char* name;
    receive_path path;
    bool bundles;
    bool incremental;
};
inline constexpr std::array<way, 7> ways{{
    {"automatic", receive_path::automatic, false, false},
    {"multishot", receive_path::multishot, false, false},
    {"readiness", receive_path::readiness, false, false},
    {"automatic, bundles", receive_path::automatic, true, false},
    {"multishot, bundles", receive_path::multishot, true, false},
    {"automatic, incremental", receive_path::automatic, false, true},
    {"multishot, incremental", receive_path::multishot, false, true},
}};

/// True where this kernel receives as the core was asked to.
inline bool got_what_was_asked(const core& c) {
    return c.describe().find("no-bundles") == std::string::npos &&
           c.describe().find("no-incremental") == std::string::npos;
}

/// Runs `body(core&) -> task<>` on every flavour with every way to receive; afterwards no buffer is
/// leased and the kernel has nothing. `change` may alter the core's options.
template <class Body, class Change>
void each_core_way(Body body, Change change) {
    for (const way& w : ways) {
        INFO("receive path ", std::string(w.name));
        flavours::each(
            [&](core& c) {
                const bool special = w.bundles || w.incremental;
                if (special && c.ring() == nullptr) return;
                if (!got_what_was_asked(c)) MESSAGE(w.name, " on this kernel: ", c.describe());
                block_on(c, body(c));
                auto settle = [&]() -> task<> {
                    while (c.in_flight > 0) co_await yield();
                };
                block_on(c, settle());
                CHECK(c.in_flight == 0);
                CHECK(c.buffers().leased() == 0);
            },
            [&](core_options& o) {
                o.buffers.receive = w.path;
                o.buffers.bundles = w.bundles;
                o.buffers.incremental = w.incremental;
                change(o);
            });
    }
}
/// The same; `change` may alter those of its buffers.
template <class Body, class Change>
void each_path(Body body, Change change) {
    each_core_way(std::move(body), [&](core_options& o) { change(o.buffers); });
}
template <class Body>
void each_path(Body body) {
    each_path(std::move(body), [](buffer_options&) {});
}

inline void tiny(buffer_options& o) {
    o.size = 4096;
    o.window = 2;
    o.limit = 4;
    o.large_size = 8192;
    o.large_limit = 1;
    o.hold = 1;
}

inline task<std::vector<std::byte>> receive_chunks(tcp_stream& from, std::size_t count) {
    std::vector<std::byte> all;
    while (all.size() < count) {
        const auto got = co_await from.chunks().next();
        if (!got) break;
        CHECK(got->size() > 0);
        all.insert(all.end(), got->bytes().begin(), got->bytes().end());
    }
    co_return all;
}

inline task<> echo(tcp_stream peer) {
    while (auto got = co_await peer.chunks().next())
        if (!co_await peer.send_all(std::move(*got))) co_return;
}

/// Sends `all` in pieces of `step` while receiving it back, `rounds` times.
inline task<bool> talk(tcp_stream peer, std::size_t step, int rounds, unsigned seed) {
    const auto all = net::pattern(step, seed);
    for (int i = 0; i < rounds; ++i) {
        std::vector<std::byte> back;
        auto write = [&]() -> task<> { CHECK(co_await peer.send_all(all)); };
        auto read = [&]() -> task<> { back = co_await net::receive(peer, step); };
        co_await all_of(write(), read());
        if (back != all) co_return false;
    }
    co_return true;
}

}  // namespace receiving
