// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "servers.hpp"

#include "process.hpp"

#include <filesystem>
#include <utility>

namespace bench {

namespace {

using words = std::vector<std::string>;

server ours(std::string name, std::string backend, std::string kind, level least, words more) {
    words command{"echo_bench", "--backend", backend == "epoll" ? "epoll" : "uring"};
    command.insert(command.end(), more.begin(), more.end());
    return {std::move(name), std::move(backend), std::move(kind), std::move(command), least};
}
server without(std::string name, words more, std::string says = {}) {
    server s =
        ours("uring " + std::move(name), "io_uring", "ablation", level::standard, std::move(more));
    s.says = std::move(says);
    return s;
}
/// What bundles are for: buffers smaller than what comes.
server small_buffers(std::string name, std::string form) {
    std::string says = form == "whole" ? "" : form;
    return without(std::move(name),
                   {"--receive", "multishot", "--buffer", "4096", "--window", "512", "--buffers",
                    std::move(form)},
                   std::move(says));
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

/// For how long the loop waits, where that can be seen: few connections, and a rate.
server waiting(std::string name, words more, std::string says = {}) {
    server s = without(std::move(name), std::move(more), std::move(says));
    s.cells = "echo/1x64,echo/64x64,open20k/64x64";
    return s;
}

server sample(std::string program, std::string backend, role r) {
    words command{"../samples/" + program, "--backend", backend == "epoll" ? "epoll" : "uring"};
    if (r == role::files) command.insert(command.end(), {"--root", "."});
    server s{program + (backend == "epoll" ? " epoll" : " uring"), std::move(backend), "ours",
             std::move(command), level::standard};
    s.role = r;
    return s;
}
/// The proxy with its way of moving bytes pinned.
server pinned(std::string name, words more) {
    server s = sample("tcp_proxy", "io_uring", role::proxy);
    s.name = "tcp_proxy " + std::move(name);
    s.kind = "ablation";
    s.command.insert(s.command.end(), more.begin(), more.end());
    s.cells = "proxy/64x64,proxy-bulk/1x64K";
    return s;
}
server by_hand(std::string name, std::string backend, role r, level least, words command) {
    server s{std::move(name), std::move(backend), "C", std::move(command), least};
    s.role = r;
    return s;
}
server haproxy(std::string name, std::string option) {
    server s{std::move(name), "epoll", "peer", {"/usr/sbin/haproxy", "-db", "-f"}, level::standard};
    s.role = role::proxy;
    s.form = config::haproxy;
    s.option = std::move(option);
    return s;
}
server nginx(std::string name, role r, std::string option) {
    server s{std::move(name),
             "epoll",
             "peer",
             {"/usr/sbin/nginx", "-e", "stderr", "-c"},
             level::standard};
    s.role = r;
    s.form = r == role::proxy ? config::nginx_proxy : config::nginx_files;
    if (r == role::proxy) s.needs = "/usr/lib/nginx/modules/ngx_stream_module.so";
    s.option = std::move(option);
    return s;
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
        without("bundles", {"--buffers", "bundles"}, "bundles"),
        without("incremental", {"--buffers", "incremental"}, "incremental"),
        small_buffers("4K buffers", "whole"),
        small_buffers("4K bundles", "bundles"),
        without("window 8", {"--window", "8"}),
        without("window 512", {"--window", "512"}),
        without("own buffer", {"--own-buffer"}),
        without("guarded", {"--guarded"}),
        waiting("spin 50us", {"--spin", "50"}),
        waiting("min-wait 20us", {"--wait-count", "8", "--min-wait", "20"}, "min-wait"),
        waiting("min-wait 100us", {"--wait-count", "16", "--min-wait", "100"}, "min-wait"),
        waiting("always 100us", {"--wait-count", "16", "--min-wait", "100", "--wait-always"},
                "min-wait"),
        ours("epoll own buffer", "epoll", "ablation", standard, {"--own-buffer"}),
        ours("epoll guarded", "epoll", "ablation", standard, {"--guarded"}),
        sample("tcp_proxy", "io_uring", role::proxy),
        sample("tcp_proxy", "epoll", role::proxy),
        pinned("copy", {"--mode", "copy"}),
        pinned("splice", {"--mode", "splice"}),
        pinned("ring splice", {"--mode", "splice", "--splice", "ring"}),
        by_hand("C proxy copy", "epoll", role::proxy, standard, {"limit_proxy"}),
        by_hand("C proxy copy 256K", "epoll", role::proxy, full,
                {"limit_proxy", "--buffer", "262144"}),
        by_hand("C proxy splice", "epoll", role::proxy, standard,
                {"limit_proxy", "--technique", "splice", "--buffer", "1048576"}),
        by_hand("C proxy ring", "io_uring", role::proxy, standard,
                {"limit_proxy", "--technique", "ring", "--buffer", "1048576"}),
        haproxy("haproxy", ""),
        // splice-auto leaves it to a guess whether to splice.
        haproxy("haproxy splice", "option splice-request\n  option splice-response"),
        nginx("nginx stream", role::proxy, ""),
        sample("file_server", "io_uring", role::files),
        sample("file_server", "epoll", role::files),
        by_hand("C file", "epoll", role::files, standard, {"limit_file"}),
        by_hand("C file copy", "epoll", role::files, standard,
                {"limit_file", "--technique", "copy"}),
        nginx("nginx", role::files, ""),
        nginx("nginx nopush", role::files, "tcp_nopush on;"),
        nginx("nginx cache", role::files, "open_file_cache max=100;"),
    };
}

bool is_installed(const server& s) {
    return has_sibling(s.command.front()) && (s.needs.empty() || std::filesystem::exists(s.needs));
}

namespace {
void add_mode(words& command, const workload& w) {
    if (w.traffic == "sink" || w.traffic == "source") {
        command.emplace_back("--mode");
        command.push_back(w.traffic);
    }
}
void add_listen(words& command) {
    command.emplace_back("--listen");
    command.emplace_back("127.0.0.1:0");
}
}  // namespace

std::vector<std::string> command_of(const server& s, const workload& w) {
    words command = s.command;
    command.front() = sibling(command.front());
    if (s.form != config::none) return command;
    if (w.role == role::echo) add_mode(command, w);
    add_listen(command);
    return command;
}

std::vector<std::string> upstream_command(const workload& w) {
    words command{sibling("limit_epoll")};
    add_mode(command, w);
    add_listen(command);
    return command;
}

bool takes_part(const server& s, const workload& w, level l) {
    if (s.role != w.role) return false;
    if (!s.cells.empty() && l != level::full) return matches(s.cells, w.name);
    if (s.kind == "ablation" && l != level::full && !w.ablates) return false;
    return s.role != role::echo || s.streams || (w.traffic != "sink" && w.traffic != "source");
}

}  // namespace bench
