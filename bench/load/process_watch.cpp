// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "process_watch.hpp"

#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace bench {

namespace {

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<std::string> threads_of(pid_t pid) {
    std::vector<std::string> threads;
    std::error_code gone;
    const std::string folder = fmt::format("/proc/{}/task", pid);
    for (const auto& entry : std::filesystem::directory_iterator(folder, gone))
        threads.push_back(entry.path().string());
    return threads;
}

/// The number behind `key` in a file of lines such as /proc/PID/status.
std::uint64_t number_behind(const std::string& text, const char* key) {
    const std::size_t at = text.find(key);
    return at == std::string::npos
               ? 0
               : std::strtoull(text.c_str() + at + std::strlen(key), nullptr, 10);
}

/// What clock_getcpuclockid(3) makes of a pid: the CPU time of all its threads.
std::uint64_t cpu_ns_of(pid_t pid) {
    const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(pid) << 3) | 2);
    timespec used{};
    if (clock_gettime(clock, &used) != 0) return 0;
    return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(used.tv_nsec);
}

void read_ticks(pid_t pid, process_sample& sample) {
    const std::string text = text_of(fmt::format("/proc/{}/stat", pid));
    const std::size_t name_end = text.rfind(')');  // the name may hold anything
    if (name_end == std::string::npos) return;
    std::istringstream fields(text.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    fields >> sample.user_ticks >> sample.system_ticks;
}

}  // namespace

process_sample operator-(const process_sample& later, const process_sample& earlier) {
    return {.cpu_ns = later.cpu_ns - earlier.cpu_ns,
            .user_ticks = later.user_ticks - earlier.user_ticks,
            .system_ticks = later.system_ticks - earlier.system_ticks,
            .voluntary = later.voluntary - earlier.voluntary,
            .involuntary = later.involuntary - earlier.involuntary,
            .wait_ns = later.wait_ns - earlier.wait_ns,
            .rss_bytes = later.rss_bytes};
}

process_sample& operator+=(process_sample& sum, const process_sample& next) {
    sum.cpu_ns += next.cpu_ns;
    sum.user_ticks += next.user_ticks;
    sum.system_ticks += next.system_ticks;
    sum.voluntary += next.voluntary;
    sum.involuntary += next.involuntary;
    sum.wait_ns += next.wait_ns;
    sum.rss_bytes = next.rss_bytes;
    return sum;
}

process_sample sample_process(pid_t pid) {
    process_sample sample;
    sample.cpu_ns = cpu_ns_of(pid);
    read_ticks(pid, sample);
    for (const std::string& thread : threads_of(pid)) {
        const std::string status = text_of(thread + "/status");
        sample.voluntary += number_behind(status, "\nvoluntary_ctxt_switches:");
        sample.involuntary += number_behind(status, "\nnonvoluntary_ctxt_switches:");
        std::istringstream schedule(text_of(thread + "/schedstat"));
        std::uint64_t ran = 0;
        std::uint64_t waited = 0;
        schedule >> ran >> waited;
        sample.wait_ns += waited;
    }
    std::istringstream memory(text_of(fmt::format("/proc/{}/statm", pid)));
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    memory >> total >> resident;
    sample.rss_bytes = resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    return sample;
}

bool all_asleep(pid_t pid) {
    for (const std::string& thread : threads_of(pid)) {
        const std::string text = text_of(thread + "/stat");
        const std::size_t name_end = text.rfind(')');
        if (name_end != std::string::npos && text.compare(name_end, 3, ") R") == 0) return false;
    }
    return true;
}

std::uint64_t stolen_ticks_of(int cpu) {
    const std::string text = text_of("/proc/stat");
    const std::string key = fmt::format("cpu{} ", cpu);
    const std::size_t at = text.find(key);
    if (at == std::string::npos) return 0;
    std::istringstream fields(text.substr(at + key.size(), 200));
    std::uint64_t value = 0;
    for (int field = 0; field < 8; ++field) fields >> value;  // steal is the eighth
    return value;
}

syscall_counter::syscall_counter(pid_t pid, std::uint64_t tracepoint) {
    perf_event_attr what{};
    what.size = sizeof what;
    what.type = PERF_TYPE_TRACEPOINT;
    what.config = tracepoint;
    for (const std::string& thread : threads_of(pid)) {
        const int id = std::atoi(thread.c_str() + thread.rfind('/') + 1);
        const long fd = syscall(SYS_perf_event_open, &what, id, -1, -1, PERF_FLAG_FD_CLOEXEC);
        if (fd >= 0) counters_.push_back(static_cast<int>(fd));
    }
}

syscall_counter::~syscall_counter() {
    for (const int fd : counters_) close(fd);
}

std::uint64_t syscall_counter::count() const {
    std::uint64_t sum = 0;
    for (const int fd : counters_) {
        std::uint64_t calls = 0;
        if (read(fd, &calls, sizeof calls) == sizeof calls) sum += calls;
    }
    return sum;
}

}  // namespace bench
