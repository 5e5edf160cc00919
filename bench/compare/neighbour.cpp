// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "neighbour.hpp"

#include "scene.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace bench {

namespace {

constexpr const char* source =
    "#include <algorithm>\n#include <map>\n#include <regex>\n"
    "#include <string>\nint main() { std::map<std::string, std::regex> m;"
    " m[\"a\"] = std::regex(\"a+\"); return (int)m.size(); }\n";
constexpr int other_rate = 5000;

void compute(const void*) {
    volatile unsigned long count = 0;
    for (;;) {
        const unsigned long next = count + 1;
        count = next;
    }
}

/// Once. The driver knows where the headers are; its compiler proper is in our group.
int compile(const char* name) {
    const pid_t parent = getpid();
    const pid_t one = fork();
    if (one == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        const int nothing = open("/dev/null", O_WRONLY);
        dup2(nothing, STDOUT_FILENO);
        dup2(nothing, STDERR_FILENO);
        execlp("c++", "c++", "-x", "c++", "-S", "-O2", name, "-o", "/dev/null",
               static_cast<char*>(nullptr));
        _exit(1);
    }
    int status = 0;
    if (one < 0 || waitpid(one, &status, 0) < 0) return -1;
    return status;
}

std::string source_file() {
    const int file = memfd_create("source.cpp", 0);
    if (write(file, source, std::strlen(source)) < 0) throw run_failure("--beside compiler: memfd");
    return fmt::format("/proc/{}/fd/{}", getpid(), file);
}

void compile_for_ever(const void* name) {
    while (compile(static_cast<const char*>(name)) == 0) {}
}

}  // namespace

neighbour::neighbour(const std::string& kind, const cpu_pair& cpus) {
    const place where{cpus.server};
    if (kind == "hog") {
        worker_ = fork_bound(where, compute, nullptr);
    } else if (kind == "compiler") {
        const std::string name = source_file();
        if (compile(name.c_str()) != 0)
            throw run_failure("--beside compiler: c++ cannot compile a small program; is g++ "
                              "installed?");
        worker_ = fork_bound(where, compile_for_ever, name.c_str());
    } else if (kind == "server") {
        servers_.emplace_back(
            std::vector<std::string>{sibling("limit_epoll"), "--listen", "127.0.0.1:0"}, where);
        const std::string address = address_in(servers_.back().read_line(seconds(10)));
        servers_.emplace_back(std::vector<std::string>{sibling("load"), "--connect", address,
                                                       "--seconds", "1000000", "--sleepy", "--rate",
                                                       std::to_string(other_rate)},
                              place{cpus.client});
    }
}

void neighbour::check_alive() {
    bool alive = worker_ < 0 || waitpid(worker_, nullptr, WNOHANG) == 0;
    for (child& one : servers_) alive = alive && !one.has_ended();
    if (alive) return;
    worker_ = -1;
    throw run_failure("--beside: the neighbour has ended by itself");
}

neighbour::~neighbour() {
    if (worker_ > 0) kill_group(worker_);
}

}  // namespace bench
