// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
// Compiled against an installed copy: a listener and a client that talk within one task.
#include <ringlet/ringlet.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string_view>

static_assert(RINGLET_VERSION_MAJOR >= 0 && sizeof(RINGLET_VERSION_STRING) > 1);

int main() {
    bool heard = false;
    const int code = ringlet::run([&heard]() -> ringlet::task<> {
        auto door = ringlet::tcp_listener::bind("127.0.0.1:0").value();
        auto client = co_await ringlet::tcp_stream::connect(door.local_name());
        auto server = co_await door.next();
        if (!client || !server) co_return;
        auto sent = co_await client->send_all(std::string_view("hello"));
        if (!sent) co_return;
        std::array<std::byte, 16> room;
        auto got = co_await server->recv(room);
        heard = got && *got == 5;
    });
    std::printf("ringlet %s: %s\n", RINGLET_VERSION_STRING, heard ? "heard" : "heard nothing");
    return code == 0 && heard ? 0 : 1;
}
