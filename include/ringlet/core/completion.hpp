// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>

#include <coroutine>
#include <cstdint>

namespace ringlet {

class core;

/// Something the loop will resume: it lives in whatever waits and is in at most one list, the
/// cancel scope's while it waits or the ready queue (through `next` only) once it is answered.
struct ready_node : link {
    std::coroutine_handle<> waiter;
};

struct completion;
struct ring_target;

/// What the loop must know about a kind of operation; one static table per kind. Null: never asked.
struct completion_kind {
    /// Asks the operation to end. It ends exactly once, here or later, and keeps what it has: a
    /// cancelled operation that had succeeded is a success.
    void (*cancel)(core&, completion&) noexcept = nullptr;
    /// epoll: tries the system call again after an edge. -EAGAIN: wait for the next edge.
    int (*attempt)(completion&) noexcept = nullptr;
    /// io_uring: takes an answer of an operation that needs several; null for all others.
    void (*answered)(core&, ring_target&, int result, std::uint32_t cqe_flags) noexcept = nullptr;
    /// io_uring: asks the kernel, once more or at last.
    void (*submit)(core&, completion&) noexcept = nullptr;
    /// Its descriptor is being closed; null for what a task waits for.
    void (*retire)(core&, ring_target&) noexcept = nullptr;
};

/// Whom an answer of the ring goes to. Its address is the SQE's user_data, so it stays where it is
/// from the submission to its last CQE.
struct ring_target {
    explicit ring_target(const completion_kind& k) noexcept : kind(&k) {}
    const completion_kind* kind;
};

/// Where an operation's answer lands and who waits for it: it lives in the coroutine's frame.
struct completion : ready_node, ring_target {
    enum class phase : std::uint8_t {
        idle,     ///< not started
        ring,     ///< the kernel has it (io_uring) and may write to its memory
        parked,   ///< waits for an edge (epoll), a timer or another task
        edge,     ///< may find something now; to be attempted when its turn comes
        ready,    ///< answered; its waiter will be resumed
    };

    explicit completion(const completion_kind& k) noexcept : ring_target(k) {}

    int answer = 0;
    phase at = phase::idle;
    /// Why it was asked to end: 0, or errc as a number. Turns a failed answer into that outcome.
    std::uint8_t ending = 0;
    /// What else may end the wait, and what the kind wants to remember (8).
    std::uint8_t extras = 0;
    static constexpr std::uint8_t has_limit = 1;
    static constexpr std::uint8_t ends_at_stop = 2;
    static constexpr std::uint8_t waiting_with_them = 4;  ///< by means of its own
    /// What the ring has for it is another's, who hands the answer on.
    static constexpr std::uint8_t by_stand_in = 16;
};

/// Links a wait to its core's list of those that a stop ends with errc::stopping.
struct stop_node : link {
    explicit stop_node(completion& c) noexcept : target(&c) {}
    completion* target;
};

static_assert(sizeof(completion) <= 40, "an operation's bookkeeping stays within 40 bytes");

}  // namespace ringlet
