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

#include <array>
#include <cstdio>
#include <cstring>

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

/// The compiler proper, not its driver: nothing of it is left when it is killed.
std::string compiler() {
    std::FILE* said = popen("c++ -print-prog-name=cc1plus 2>/dev/null", "r");
    std::array<char, 4096> path{};
    const bool found = said != nullptr && std::fgets(path.data(), path.size(), said) != nullptr;
    if (said != nullptr) pclose(said);
    path[std::strcspn(path.data(), "\n")] = '\0';
    if (!found || access(path.data(), X_OK) != 0)
        throw run_failure("--beside compiler: there is no g++ here");
    return path.data();
}

void compile_for_ever(const void* path) {
    const int file = memfd_create("source.cpp", 0);
    if (write(file, source, std::strlen(source)) < 0) return;
    const std::string name = fmt::format("/proc/self/fd/{}", file);
    for (;;) {
        const pid_t parent = getpid();
        const pid_t one = fork();
        if (one == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) _exit(1);
            const int nothing = open("/dev/null", O_WRONLY);
            dup2(nothing, STDOUT_FILENO);
            dup2(nothing, STDERR_FILENO);
            execl(static_cast<const char*>(path), "cc1plus", "-quiet", "-O2", "-D_GNU_SOURCE",
                  name.c_str(), "-o", "/dev/null", static_cast<char*>(nullptr));
            _exit(1);
        }
        int status = 0;
        if (one < 0 || waitpid(one, &status, 0) < 0) return;
    }
}

}  // namespace

neighbour::neighbour(const std::string& kind, const cpu_pair& cpus) {
    const place where{cpus.server};
    if (kind == "hog") {
        worker_ = fork_bound(where, compute, nullptr);
    } else if (kind == "compiler") {
        const std::string path = compiler();
        worker_ = fork_bound(where, compile_for_ever, path.c_str());
    } else if (kind == "server") {
        servers_.emplace_back(
            std::vector<std::string>{sibling("limit_epoll"), "--listen", "127.0.0.1:0"}, where);
        const std::string address = address_in(servers_.back().read_line(seconds(10)));
        servers_.emplace_back(std::vector<std::string>{sibling("load"), "--connect", address,
                                                       "--seconds", "1000000", "--rate",
                                                       std::to_string(other_rate)},
                              place{cpus.client});
    }
}

neighbour::~neighbour() {
    if (worker_ > 0) kill_group(worker_);
}

}  // namespace bench
