// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/backend.hpp>
#include <ringlet/core/time.hpp>

#include <cstdint>
#include <string>
#include <type_traits>

namespace ringlet {

/// When a core with nothing to run goes to sleep, and what wakes it.
struct wait_policy {
    /// Wait for this many completions, for at most `min_wait`. More than 1 saves CPU where messages
    /// come one by one and costs up to `min_wait` of latency. Either does nothing without the other
    /// (0 of `min_wait` would be for ever; it is rounded up to whole microseconds). io_uring on
    /// Linux 6.12 or newer; ignored elsewhere.
    unsigned wait_count = 1;
    nanoseconds min_wait{0};
    /// Waits that way only as long as it pays: after a wait that gathered no more than one message
    /// the next 1 to 63 end with the first answer. False: always.
    bool adaptive = true;
    /// Look for completions for this long before sleeping: buys latency (-73 % p50 at one
    /// connection with 50 us; docs/benchmarks.md) with a core's time. A timer that is due ends it.
    nanoseconds spin{0};
};

/// How streams that are read by chunks() receive; io_uring only, ignored on epoll. What each pins, and
/// what not: docs/design/receiving.md.
enum class receive_path : std::uint8_t {
    automatic,  ///< each stream by the sizes it receives: small by multishot, large by readiness
    multishot,  ///< the ring receives into a buffer of its choice as data comes
    readiness,  ///< the ring tells of data, recv(2) takes it into the hottest buffer; where much
                ///< comes at a time, into a large one, and before the ring is asked
};

/// The buffers of a core that chunks() gives out. All sizes in bytes, rounded up to pages; memory is
/// used only as far as it is touched.
struct buffer_options {
    /// Of each; 64 bytes to 16 MiB.
    std::uint32_t size = 64 * 1024;
    /// Buffers the ring may pick from at a time; rounded down to a power of two. Small, so that they
    /// stay in the cache; at most half of `limit`. Locked memory: 16 bytes each.
    std::uint32_t window = 64;
    /// Buffers in all, 2 to 32768. When all are in use, streams wait until one is given back.
    std::uint32_t limit = 4096;
    /// For streams that move much at a time: the size of each, at least `size` and at most 256 MiB, and
    /// how many, beside `limit` and at most 16384; 0: none.
    std::uint32_t large_size = 256 * 1024;
    std::uint32_t large_limit = 32;
    /// Buffers one stream may have received unasked before it is paused, at least 1; while more than a quarter
    /// of `limit` are in use, one (io_uring; before Linux 6.17 the kernel may give it as many as
    /// `window` more before it can be stopped).
    std::uint32_t hold = 4;
    receive_path receive = receive_path::automatic;
    /// One answer of the ring for all buffers that a receive has filled (receive bundles, Linux
    /// 6.10). Taken only where a self-test finds that the kernel keeps their order; what a core got
    /// and why is in core::describe(). Off, since large buffers do as well (receiving.md).
    bool bundles = false;
    /// The ring fills its buffers bit by bit (Linux 6.12): many small messages share one, which
    /// saves memory where streams keep chunks; one that is kept keeps its whole buffer from being
    /// used again. After a self-test, like `bundles`, never together with them, and only on a ring
    /// with deferred task work (Linux 6.1).
    bool incremental = false;
    /// Bytes of the buffers that are registered with the ring for fixed operations (zero-copy sends,
    /// reads and writes of files by chunks) when the first of these is made: pinned, and counted
    /// against RLIMIT_MEMLOCK, which is the user's and not the process's: all cores of a run()
    /// together take a quarter of it at most. With less or none the same operations go on
    /// unregistered; 0: none.
    std::uint32_t registered = 2 * 1024 * 1024;
    /// How many cores share that quarter; 0 counts as 1. run() puts the number of its cores here.
    std::uint32_t sharers = 1;
};

/// How streams are spliced; io_uring only.
enum class splice_path : std::uint8_t {
    readiness,  ///< the ring tells of data, splice(2) on the core's thread moves it
    ring,       ///< the ring tells of data, IORING_OP_SPLICE moves it: on worker threads of the
                ///< kernel, which unburdens the core's and costs more in all
};

/// The pipes of a core through which streams are spliced. A pipe is held while there is something in
/// it, so a few are enough for many streams; who finds none copies instead.
struct pipe_options {
    /// Open at once, in use or spare: two descriptors each.
    std::uint32_t limit = 64;
    /// Bytes (F_SETPIPE_SZ), at least 64 KiB; 0: the kernel's 64 KiB. Users without CAP_SYS_RESOURCE
    /// may have 1 MiB in a pipe and 64 MiB in all theirs (/proc/sys/fs/pipe-max-size,
    /// pipe-user-pages-soft): what goes beyond stays at 64 KiB, or is not made.
    std::uint32_t size = 1024 * 1024;
    splice_path path = splice_path::readiness;
};

/// The threads that calls which block are given to; see io/blocking.hpp. They belong to the process:
/// the core that needs them first decides.
struct blocking_options {
    /// At most so many, 1 to 1024; started one by one when a call finds the others busy.
    unsigned threads = 4;
    /// Calls that may wait for a thread; one more is refused with errc::pool_full.
    unsigned queue = 1024;
};

struct core_options {
    ringlet::backend backend = backend::automatic;
    ring_flavour flavour = ring_flavour::best;
    /// Submission entries, 4 to 32768, a power of two or rounded up to one. A full queue is
    /// submitted early; nothing is lost. Locked memory: 68 bytes an entry, and 16 a completion
    /// entry (with 16 of those: 324). Where that is not to be had both queues are halved until they
    /// fit, down to 16 entries here: core::describe() tells what was had (sq=, cq=).
    unsigned ring_entries = 256;
    /// Completion entries, rounded up to a power of two, at least the submission entries and at most
    /// 65536; 0 means 16 times ring_entries, at least 4096.
    unsigned completion_entries = 0;
    /// io-wq threads a ring may start on each NUMA node: bounded (files) and unbounded (everything
    /// else). 0: the kernel's own bound, which is high. Where a filter refuses io_uring_register it is
    /// that one too; core::describe() then lacks `capped-workers`.
    unsigned bounded_workers = 2;
    unsigned unbounded_workers = 4;
    /// Slots of a file table of the ring's own, into which connections are accepted and opened
    /// (direct descriptors, Linux 6.8; io_uring only). They are none of the process's descriptors,
    /// yet RLIMIT_NOFILE limits the table: more is cut to it. When all are in use, plain descriptors
    /// are taken. 0, the default: plain ones always, since measuring showed no gain; see
    /// docs/design/descriptors.md.
    unsigned direct_descriptors = 0;
    /// Tasks resumed per turn before the kernel is asked again.
    unsigned turn_budget = 1024;
    /// Operations one resume may finish without the loop getting a say (epoll finishes what it can
    /// at once); bounds how long a busy connection may keep the others waiting.
    unsigned inline_budget = 16;
    /// Messages that may wait in the inbox from other threads; rounded up to a power of two.
    unsigned inbox_capacity = 1024;
    wait_policy wait = {};
    buffer_options buffers = {};
    pipe_options pipes = {};
    blocking_options blocking = {};
    /// Null: CLOCK_MONOTONIC. Not owned; outlives the core. run() gives the same one to all its
    /// cores, each on its own thread: with several it must be safe for that, which manual_clock is
    /// not.
    clock_source* clock = nullptr;
};

// g++ 12.2 destroys the members of a temporary aggregate twice when it stands in a co_await
// expression (GCC PR 99576): option structs have trivial members only.
static_assert(std::is_trivially_copyable_v<core_options>);

/// The choice of backend and, where it is epoll by necessity, the reason and the remedy.
struct backend_choice {
    ringlet::backend chosen = backend::epoll;
    std::string fallback_reason;  ///< empty unless `automatic` had to take epoll
};

}  // namespace ringlet
