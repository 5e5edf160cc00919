// refuses: nodiscard|unused-result|unused-value
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<> misuse(ringlet::tcp_stream& peer) { co_await peer.send_all("did it go?"); }
