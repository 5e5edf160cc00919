// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <stdexcept>
#include <string>

namespace bench {

/// The network that was asked for cannot be had; the text says why, and the remedy.
class network_failure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The congestion control of a new connection over 127.0.0.1, as both its ends tell it
/// (TCP_CONGESTION): a route or a program may have set another than the system's.
[[nodiscard]] std::string congestion_in_force();

/// Moves this process, and with it every child that is started from then on, into a network
/// namespace of its own, where connections over 127.0.0.1 use the congestion control `name`. It has
/// no name in the file system and ends with the last process in it. To be called before there is a
/// socket or a thread.
///
/// Where CAP_SYS_ADMIN is missing, it lies in a user namespace of its own: there, CPUs are pinned
/// as ever, but neither SCHED_FIFO nor the tracing of system calls is granted by a capability. Who
/// has no CAP_SYS_ADMIN seldom has those.
void enter_network(const std::string& name);

}  // namespace bench
