// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "servers.hpp"

#include "process.hpp"

#include <utility>

namespace bench {

namespace {

using words = std::vector<std::string>;

server ours(std::string name, std::string backend, std::string kind, level least, words more) {
    words command{"echo_bench", "--backend", backend == "epoll" ? "epoll" : "uring"};
    command.insert(command.end(), more.begin(), more.end());
    return {std::move(name), std::move(backend), std::move(kind), std::move(command), least};
}
server without(std::string name, words more) {
    return ours("uring " + std::move(name), "io_uring", "ablation", level::standard,
                std::move(more));
}
server c_ring(std::string name, level least, words more) {
    words command{"limit_uring", "--technique"};
    command.insert(command.end(), more.begin(), more.end());
    return {std::move(name), "io_uring", "C", std::move(command), least, false};
}
server peer(std::string name, std::string backend, level least, words command) {
    command.front() = "peers/" + command.front();
    return {std::move(name), std::move(backend), "peer", std::move(command), least};
}

}  // namespace

std::vector<server> all_servers() {
    constexpr level quick = level::quick;
    constexpr level standard = level::standard;
    constexpr level full = level::full;
    return {
        ours("ringlet uring", "io_uring", "ours", quick, {}),
        c_ring("C uring multishot", quick, {"multishot"}),
        c_ring("C uring single", full, {"single"}),
        c_ring("C uring poll", standard, {"poll"}),
        ours("ringlet epoll", "epoll", "ours", quick, {}),
        {"C epoll", "epoll", "C", {"limit_epoll"}, quick},
        {"C epoll et", "epoll", "C", {"limit_epoll", "--technique", "et"}, full},
        {"C epoll 256K", "epoll", "C", {"limit_epoll", "--buffer", "262144"}, standard},
        peer("Asio epoll", "epoll", quick, {"asio_echo", "--style", "callbacks"}),
        peer("Asio epoll coro", "epoll", standard, {"asio_echo", "--style", "coroutines"}),
        peer("Asio uring", "io_uring", standard, {"asio_echo_uring", "--style", "callbacks"}),
        peer("Asio uring coro", "io_uring", full, {"asio_echo_uring", "--style", "coroutines"}),
        peer("libuv", "epoll", quick, {"uv_echo"}),
        peer("libevent", "epoll", standard, {"event_echo", "--style", "plain"}),
        peer("libevent buffer", "epoll", full, {"event_echo", "--style", "buffer"}),
        without("plain ring", {"--ring", "plain"}),
        without("cooperative", {"--ring", "cooperative"}),
        without("multishot only", {"--receive", "multishot"}),
        without("readiness only", {"--receive", "readiness"}),
        without("window 8", {"--window", "8"}),
        without("window 512", {"--window", "512"}),
        without("own buffer", {"--own-buffer"}),
        without("guarded", {"--guarded"}),
        without("spin 50us", {"--spin", "50"}),
        ours("epoll own buffer", "epoll", "ablation", standard, {"--own-buffer"}),
        ours("epoll guarded", "epoll", "ablation", standard, {"--guarded"}),
    };
}

std::vector<std::string> command_of(const server& s, const workload& w) {
    std::vector<std::string> command = s.command;
    command.front() = sibling(command.front());
    if (w.traffic == "sink" || w.traffic == "source") {
        command.push_back("--mode");
        command.push_back(w.traffic);
    }
    command.push_back("--listen");
    command.push_back("127.0.0.1:0");
    return command;
}

bool takes_part(const server& s, const workload& w, level l) {
    if (s.kind == "ablation" && l != level::full && !w.ablates) return false;
    return s.streams || (w.traffic != "sink" && w.traffic != "source");
}

}  // namespace bench
