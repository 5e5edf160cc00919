// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "scene.hpp"

#include "../../samples/common/pattern.hpp"
#include "report_file.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

namespace bench {

namespace {

constexpr seconds start_limit{10};

constexpr std::string_view haproxy_form = R"(global
  nbthread 1
  maxconn 4000
  tune.bufsize 65536
  tune.pipesize 1048576
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen proxy
  bind {listen}
  {option}
  server upstream {upstream}
)";

constexpr std::string_view nginx_proxy_form = R"(load_module {module};
daemon off;
master_process off;
pid {folder}/{name}.pid;
error_log stderr crit;
events {{ worker_connections 8000; }}
stream {{
  server {{
    listen {listen};
    tcp_nodelay on;
    proxy_buffer_size 64k;
    proxy_half_close on;
    proxy_pass {upstream};
  }}
}}
)";

constexpr std::string_view nginx_files_form = R"(daemon off;
master_process off;
pid {folder}/{name}.pid;
error_log stderr crit;
events {{ worker_connections 8000; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000000;
  {option}
  client_body_temp_path {folder}/tmp;
  proxy_temp_path {folder}/tmp;
  fastcgi_temp_path {folder}/tmp;
  uwsgi_temp_path {folder}/tmp;
  scgi_temp_path {folder}/tmp;
  server {{
    listen {listen};
    root {folder};
  }}
}}
)";

sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return name;
}

/// One that nobody listens on now; somebody else may be quicker, and then the run fails.
std::uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in name = loopback(0);
    socklen_t size = sizeof name;
    const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&name), size) == 0 &&
                       getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0;
    close(fd);
    if (!bound) throw run_failure(fmt::format("no free port: {}", std::strerror(errno)));
    return ntohs(name.sin_port);
}

/// By the kernel's list: a connection to find out would be the server's first, before its memory
/// has been looked at.
bool listens(std::uint16_t port) {
    const std::string wanted = fmt::format(":{:04X} 00000000:0000 0A ", port);
    return read_text("/proc/net/tcp").find(wanted) != std::string::npos;
}

}  // namespace

scratch_folder::scratch_folder() {
    std::string form = std::filesystem::temp_directory_path() / "ringlet-compare-XXXXXX";
    if (mkdtemp(form.data()) == nullptr)
        throw std::runtime_error(fmt::format("{}: {}", form, std::strerror(errno)));
    path_ = form;
}
scratch_folder::~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string address_in(const std::string& start_line) {
    constexpr std::string_view key = "listening on ";
    const std::size_t at = start_line.find(key);
    if (at == std::string::npos)
        throw run_failure(fmt::format("its first line names no address: {}", start_line));
    const std::size_t begin = at + key.size();
    return start_line.substr(begin, start_line.find(' ', begin) - begin);
}

scene::scene(const server& s, const workload& w, const std::string& folder, const place& beside)
    : files_(folder) {
    if (w.role == role::files) put_file(w.size);
    if (w.role == role::proxy) {
        upstream_.emplace(upstream_command(w), beside);
        upstream_address_ = address_in(upstream_->read_line(start_limit));
    }
    command_ = command_of(s, w);
    if (s.form == config::none) {
        if (w.role == role::proxy) {
            command_.emplace_back("--upstream");
            command_.push_back(upstream_address_);
        }
        return;
    }
    port_ = free_port();
    name_ = fmt::format("server-{}", port_);
    const std::string file = fmt::format("{}/{}.conf", files_, name_);
    write_text(configuration(s), file);
    command_.push_back(file);
}

/// Named by its size, with the pattern that the load expects.
void scene::put_file(std::uint64_t size) const {
    const std::string path = fmt::format("{}/{}", files_, size);
    if (std::filesystem::exists(path)) return;
    const samples::pattern bytes;
    std::string content;
    while (content.size() < size) {
        const auto more = bytes.at(content.size(), size - content.size());
        content.append(reinterpret_cast<const char*>(more.data()), more.size());
    }
    write_text(content, path);
}

std::string scene::configuration(const server& s) const {
    const std::string_view form = s.form == config::haproxy       ? haproxy_form
                                  : s.form == config::nginx_proxy ? nginx_proxy_form
                                                                  : nginx_files_form;
    return fmt::format(fmt::runtime(form), fmt::arg("listen", address()),
                       fmt::arg("upstream", upstream_address_), fmt::arg("folder", files_),
                       fmt::arg("name", name_), fmt::arg("option", s.option),
                       fmt::arg("module", s.needs));
}

std::string scene::address() const { return fmt::format("127.0.0.1:{}", port_); }

std::string scene::address_of(child& started, std::string& start_line) const {
    if (port_ == 0) {
        start_line = started.read_line(start_limit);
        return address_in(start_line);
    }
    const auto deadline = std::chrono::steady_clock::now() + start_limit;
    while (!listens(port_)) {
        check_signals();
        if (started.has_ended() || std::chrono::steady_clock::now() > deadline)
            throw run_failure(started.death().value_or("it does not listen"));
        const timespec nap{.tv_sec = 0, .tv_nsec = 5'000'000};
        nanosleep(&nap, nullptr);
    }
    return address();
}

}  // namespace bench
