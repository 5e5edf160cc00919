// refuses: await_ready|co_await
// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#include <ringlet/ringlet.hpp>

ringlet::task<> misuse(ringlet::tcp_stream& peer, std::span<std::byte> room) {
    auto get = peer.recv(room);
    static_cast<void>(co_await get);
}
