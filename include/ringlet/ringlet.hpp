// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// The one include of a program.

#include <ringlet/base/address.hpp>
#include <ringlet/base/error.hpp>
#include <ringlet/base/features.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/base/unique_fd.hpp>
#include <ringlet/config.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/options.hpp>
#include <ringlet/core/time.hpp>
#include <ringlet/coro/all_of.hpp>
#include <ringlet/coro/any_of.hpp>
#include <ringlet/coro/block_on.hpp>
#include <ringlet/coro/deadline.hpp>
#include <ringlet/coro/scope.hpp>
#include <ringlet/coro/shield.hpp>
#include <ringlet/coro/sleep.hpp>
#include <ringlet/coro/stop.hpp>
#include <ringlet/coro/task.hpp>
#include <ringlet/io/blocking.hpp>
#include <ringlet/io/file.hpp>
#include <ringlet/io/relay.hpp>
#include <ringlet/io/signals.hpp>
#include <ringlet/io/tcp_listener.hpp>
#include <ringlet/io/tcp_stream.hpp>
#include <ringlet/io/uring.hpp>
#include <ringlet/run/move_stream.hpp>
#include <ringlet/run/on_core.hpp>
#include <ringlet/run/run.hpp>
#include <ringlet/sync/semaphore.hpp>
