// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "machine.hpp"

#include "network.hpp"

#include <ringlet/config.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace bench {

namespace {

constexpr const char* tracepoint_id = "events/raw_syscalls/sys_enter/id";
constexpr const char* trace_folder = "/sys/kernel/tracing";

/// The first line of a file; empty when there is none.
std::string line_of(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("model name")) {
            const std::size_t colon = line.find(':');
            return colon == std::string::npos ? line : line.substr(colon + 2);
        }
    return "unknown";
}

std::string hypervisor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("flags"))
            return (line + " ").find(" hypervisor ") == std::string::npos ? "none" : "yes";
    return "unknown";
}

std::string mitigations() {
    std::string text;
    std::error_code unreadable;
    const std::filesystem::path folder = "/sys/devices/system/cpu/vulnerabilities";
    for (const auto& entry : std::filesystem::directory_iterator(folder, unreadable)) {
        const std::string state = line_of(entry.path());
        if (!state.starts_with("Mitigation")) continue;
        text += fmt::format("{}{}", text.empty() ? "" : ", ", entry.path().filename().string());
    }
    if (unreadable) return "not to be seen";
    return text.empty() ? "none" : text;
}

std::string limit_of(int which) {
    rlimit limit{};
    getrlimit(static_cast<__rlimit_resource_t>(which), &limit);
    return limit.rlim_max == RLIM_INFINITY ? "unlimited" : std::to_string(limit.rlim_max);
}

std::string today() {
    const time_t now = time(nullptr);
    tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 32> text{};
    strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts);
    return text.data();
}

std::optional<std::uint64_t> id_in(const std::string& folder) {
    const std::string line = line_of(folder + "/" + tracepoint_id);
    if (line.empty()) return std::nullopt;
    return std::strtoull(line.c_str(), nullptr, 10);
}

/// In a child, since the mount must not outlive the look.
std::optional<std::uint64_t> id_by_mount() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
    const pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWNS) == 0 &&
            mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
            mount("none", trace_folder, "tracefs", 0, nullptr) == 0)
            if (const auto id = id_in(trace_folder))
                if (write(ends[1], &*id, sizeof *id) < 0) _exit(1);
        _exit(0);
    }
    close(ends[1]);
    std::uint64_t id = 0;
    const bool found = read(ends[0], &id, sizeof id) == sizeof id;
    close(ends[0]);
    if (child > 0) waitpid(child, nullptr, 0);
    if (!found) return std::nullopt;
    return id;
}

std::string siblings_of(int cpu) {
    return line_of(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
}

}  // namespace

cpu_pair choose_cpus() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
        if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
    const int first = cpus.empty() ? 0 : cpus.front();
    if (cpus.size() < 2)
        return {first, first,
                "only one CPU may be used: server and client take it from each other, so rates and "
                "latencies say little; CPU per message still does"};
    for (const int cpu : cpus)
        if (cpu != first && siblings_of(cpu) != siblings_of(first)) return {first, cpu, ""};
    return {first, cpus[1],
            "the CPUs that may be used are threads of one core: server and client slow each other "
            "down"};
}

std::vector<fact> machine_facts(const cpu_pair& cpus) {
    utsname names{};
    uname(&names);
    const std::string governor = line_of(
        fmt::format("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", cpus.server));
    return {
        {"date", today()},
        {"ringlet", RINGLET_VERSION_STRING},
        {"kernel", fmt::format("{} {} {}", names.sysname, names.release, names.machine)},
        {"CPU", fmt::format("{}, {} online, hypervisor: {}", processor(),
                            sysconf(_SC_NPROCESSORS_ONLN), hypervisor())},
        {"mitigations", mitigations()},
        {"governor", governor.empty() ? "none to be seen" : governor},
        {"congestion", congestion_in_force()},
        {"load average", line_of("/proc/loadavg")},
        {"limits",
         fmt::format("open files {}, locked memory {}, somaxconn {}", limit_of(RLIMIT_NOFILE),
                     limit_of(RLIMIT_MEMLOCK), line_of("/proc/sys/net/core/somaxconn"))},
    };
}

std::optional<std::uint64_t> syscall_tracepoint() {
    for (const char* folder : {trace_folder, "/sys/kernel/debug/tracing"})
        if (const auto id = id_in(folder)) return id;
    return id_by_mount();
}

bool may_use_fifo() {
    sched_param old{};
    sched_param wanted{};
    const int policy = sched_getscheduler(0);
    sched_getparam(0, &old);
    wanted.sched_priority = 1;
    if (sched_setscheduler(0, SCHED_FIFO, &wanted) != 0) return false;
    sched_setscheduler(0, policy, &old);
    return true;
}

}  // namespace bench
