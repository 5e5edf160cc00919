// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// ringlet's row of every comparison: the echo loop of the README, with each technique of the
/// library behind a switch, and the two other sides of the streaming workloads.

#include "../samples/common/options.hpp"
#include "source_block.h"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;

enum mode : unsigned { echo, sink, source };

struct settings {
    ringlet::address listen = ringlet::address::loopback_v4(7000);
    unsigned mode = echo;
    bool own_buffer = false;
    bool guarded = false;
    ringlet::run_options run;
};

constexpr std::size_t own_buffer_size = 64 * 1024;

alignas(source_block_alignment) std::array<unsigned char, source_block_size> block;

ringlet::task<> echo_chunks(ringlet::tcp_stream peer) {
    while (auto chunk = co_await peer.chunks().next())
        if (!co_await peer.send_all(std::move(*chunk))) co_return;
}

/// As a server for strangers has it: a time limit on every wait, and an end at a stop.
ringlet::task<> echo_guarded(ringlet::tcp_stream peer) {
    while (auto chunk = co_await peer.chunks().next().within(60s).or_stop())
        if (!co_await peer.send_all(std::move(*chunk)).within(60s)) co_return;
}

ringlet::task<> echo_own_buffer(ringlet::tcp_stream peer) {
    const auto room = std::make_unique_for_overwrite<std::byte[]>(own_buffer_size);
    while (auto got = co_await peer.recv(std::span(room.get(), own_buffer_size)))
        if (!co_await peer.send_all(std::span(room.get(), *got))) co_return;
}

/// Takes everything and at the end says how many bytes that were.
ringlet::task<> take(ringlet::tcp_stream peer) {
    std::uint64_t count = 0;
    while (auto chunk = co_await peer.chunks().next()) count += chunk->size();
    std::array<std::byte, sizeof count> answer{};
    std::memcpy(answer.data(), &count, sizeof count);
    static_cast<void>(co_await peer.send_all(answer));
}

/// Sends the block without end.
ringlet::task<> give(ringlet::tcp_stream peer) {
    while (true) {
        auto sent = co_await peer.send_all(std::as_bytes(std::span(block)));
        if (!sent) co_return;
    }
}

ringlet::task<> session_of(const settings& set, ringlet::tcp_stream peer) {
    if (set.mode == sink) return take(std::move(peer));
    if (set.mode == source) return give(std::move(peer));
    if (set.own_buffer) return echo_own_buffer(std::move(peer));
    if (set.guarded) return echo_guarded(std::move(peer));
    return echo_chunks(std::move(peer));
}

ringlet::task<> serve(ringlet::tcp_listener door, const settings& set) {
    co_await ringlet::with_scope([&](ringlet::scope& sessions) -> ringlet::task<> {
        while (auto peer = co_await door.next())
            sessions.start(session_of(set, std::move(*peer)));
    });
}

settings read_command_line(int argc, char** argv) {
    settings set;
    unsigned receive = 0;
    unsigned buffers = 0;
    unsigned ring = 0;
    unsigned spin_us = 0;
    unsigned wait_us = 0;
    bool wait_always = false;
    unsigned window = set.run.core.buffers.window;
    std::size_t buffer = set.run.core.buffers.size;
    samples::command_line line("echo_bench",
                               "The echo server of the comparison, until SIGINT or SIGTERM.");
    line.address("listen", set.listen, "where to listen; port 0 picks one");
    line.number("cores", set.run.cores, 1, 1024, "loops, each on a thread of its own (default 1)");
    line.backend(set.run.core.backend);
    line.choice("mode", {"echo", "sink", "source"}, set.mode,
                "sends back what comes (default), takes all, or sends without end");
    line.choice("ring", {"best", "deferred", "cooperative", "plain"}, ring,
                "how the ring is set up (default best)");
    line.choice("receive", {"auto", "multishot", "readiness"}, receive,
                "how io_uring receives (default auto)");
    line.choice("buffers", {"whole", "bundles", "incremental"}, buffers,
                "an answer of the ring tells of one (default), of several, or of a slice of one");
    line.number("window", window, 1, 32768, "buffers the ring may pick from (default 64)");
    line.bytes("buffer", buffer, 4096, 16 << 20, "of one of them (default 64K)");
    line.number("spin", spin_us, 0, 1'000'000, "us to look for work before sleeping (default 0)");
    line.number("wait-count", set.run.core.wait.wait_count, 1, 4096,
                "answers to wait for, with --min-wait (default 1)");
    line.number("min-wait", wait_us, 0, 1'000'000,
                "us that the kernel may wait for so many (default 0)");
    line.flag("wait-always", wait_always, "also where that has not gathered anything lately");
    line.flag("own-buffer", set.own_buffer, "receive into 64 KiB of each session's own");
    line.flag("guarded", set.guarded, "with a time limit on every wait, and an end at a stop");
    line.parse(argc, argv);
    ringlet::core_options& core = set.run.core;
    core.flavour = static_cast<ringlet::ring_flavour>(ring);
    core.buffers.receive = static_cast<ringlet::receive_path>(receive);
    core.buffers.bundles = buffers == 1;
    core.buffers.incremental = buffers == 2;
    core.buffers.window = window;
    core.buffers.size = static_cast<std::uint32_t>(buffer);
    core.wait.spin = std::chrono::microseconds(spin_us);
    core.wait.min_wait = std::chrono::microseconds(wait_us);
    core.wait.adaptive = !wait_always;
    set.run.grace = 0s;
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    fill_source_block(block.data());
    return ringlet::run(set.run, [&]() -> ringlet::task<> {
        auto door = ringlet::tcp_listener::bind(set.listen);
        if (!door) {
            fmt::print(stderr, "echo_bench: {}: {}\n", set.listen.to_string(),
                       door.error().message());
            ringlet::stop();
            co_return;
        }
        if (ringlet::core_index() == 0) {
            const ringlet::core& here = ringlet::here();
            fmt::print("ringlet: listening on {} backend={} {}\n", door->local_name().to_string(),
                       to_string(here.backend()), here.describe());
            std::fflush(stdout);
        }
        co_await serve(std::move(*door), set);
    });
}
