// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>

namespace ringlet {

class core;
struct completion;

/// A place in the queue of operations that cannot begin without a buffer of the core's pool. A
/// stream waits by its descriptor instead; of a file there may be many at once.
struct buffer_wait : link {
    buffer_wait() noexcept = default;
    buffer_wait(buffer_wait&&) noexcept {}  // unstarted

    completion* owner = nullptr;
    /// There is a buffer: takes it and begins.
    void (*served)(core&, completion&) noexcept = nullptr;
};

}  // namespace ringlet
