// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Says what this machine offers to ringlet, what ringlet would make of it, and what to type where
/// a limit is low. That io_uring is refused is an answer, not a failure: the exit code is 0.

#include "common/options.hpp"
#include "common/tell.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

/// One thing looked at. With a remedy when it should be different.
struct row {
    row(std::string n, std::string v, std::string r = {})
        : name(std::move(n)), value(std::move(v)), remedy(std::move(r)) {}
    std::string name;
    std::string value;
    std::string remedy;
};

struct section {
    section(std::string k, std::string t, std::vector<row> r)
        : key(std::move(k)), title(std::move(t)), rows(std::move(r)) {}
    std::string key;
    std::string title;
    std::vector<row> rows;
};

// ---- what /proc and the kernel say ----------------------------------------------------------

/// The first line of a small file; nothing when it cannot be read.
std::optional<std::string> first_line(const char* path) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line)) return std::nullopt;
    return line;
}

/// What stands behind `name:` in /proc/self/status.
std::string status_of(std::string_view name) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':')
            continue;
        const auto begin = line.find_first_not_of(" \t", name.size() + 1);
        return begin == std::string::npos ? std::string() : line.substr(begin);
    }
    return {};
}

std::optional<std::uint64_t> number_in(const char* path) {
    const auto line = first_line(path);
    if (!line) return std::nullopt;
    try {
        return std::stoull(*line);
    } catch (const std::exception&) {
        return std::nullopt;  // `max` in a cgroup's file
    }
}

bool may_lock_memory() {
    constexpr unsigned cap_ipc_lock = 14;
    const std::string effective = status_of("CapEff");
    return !effective.empty() && (std::stoull(effective, nullptr, 16) >> cap_ipc_lock & 1) != 0;
}

unsigned usable_cpus() {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
}

/// Raises the soft limit of locked memory, as ringlet::run() does; what it was before.
rlimit raise_locked_memory() {
    rlimit before{};
    getrlimit(RLIMIT_MEMLOCK, &before);
    const rlimit raised{.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
    static_cast<void>(setrlimit(RLIMIT_MEMLOCK, &raised));
    return before;
}

std::string text_of(rlim_t limit) {
    return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit);
}

// ---- the machine ----------------------------------------------------------------------------

row seccomp_row() {
    const std::string mode = status_of("Seccomp");
    if (mode == "0") return {"seccomp", "off"};
    if (mode == "1") return {"seccomp", "strict"};
    if (mode == "2") return {"seccomp", "a filter is in force"};
    return {"seccomp", "unknown"};
}

row disabled_row() {
    const auto value = first_line("/proc/sys/kernel/io_uring_disabled");
    if (!value) return {"kernel.io_uring_disabled", "no such sysctl (Linux before 6.6)"};
    if (*value == "0") return {"kernel.io_uring_disabled", "0: allowed to all"};
    const std::string allow = "sysctl -w kernel.io_uring_disabled=0";
    if (*value == "2") return {"kernel.io_uring_disabled", "2: refused to all", allow};
    const std::string group = first_line("/proc/sys/kernel/io_uring_group").value_or("-1");
    return {"kernel.io_uring_disabled",
            fmt::format("{}: only with CAP_SYS_ADMIN or in group {}", *value, group), allow};
}

section machine() {
    utsname names{};
    uname(&names);
    const unsigned cpus = usable_cpus();
    std::vector<row> rows;
    rows.emplace_back("kernel", fmt::format("{} {}", names.release, names.machine));
    rows.emplace_back("cpus", fmt::format("{} that this process may use", cpus));
    rows.push_back(disabled_row());
    rows.push_back(seccomp_row());
    rows.emplace_back("no_new_privs", status_of("NoNewPrivs") == "1" ? "on" : "off");
    return {"machine", "This machine", std::move(rows)};
}

// ---- what ringlet makes of it ---------------------------------------------------------------

struct decision {
    std::string backend;  ///< empty: a program would not start
    std::string why;
};

decision decide() {
    std::string why;
    const auto choice = ringlet::choose_backend(ringlet::core_options(), &why);
    if (!choice) return {.backend = {}, .why = why};
    const char* variable = std::getenv("RINGLET_BACKEND");
    const bool asked = variable != nullptr && *variable != '\0';
    std::string reason = choice->fallback_reason;
    if (reason.empty()) reason = "the kernel grants a ring";
    if (choice->fallback_reason.empty() && asked)
        reason = fmt::format("RINGLET_BACKEND is `{}`", variable);
    return {.backend = std::string(to_string(choice->chosen)), .why = std::move(reason)};
}

/// Then no call of io_uring is made, as in any other program: a seccomp filter that kills would end
/// this one with nothing said.
bool io_uring_is_left_out() {
    const char* variable = std::getenv("RINGLET_BACKEND");
    return variable != nullptr && std::string_view(variable) == "epoll";
}
constexpr const char* left_out = "not tried: RINGLET_BACKEND is `epoll`";

section ringlet_would(const decision& d) {
    std::vector<row> rows;
    rows.emplace_back("version", RINGLET_VERSION_STRING);
    rows.emplace_back("backend `auto`",
                      d.backend.empty() ? "none: a program ends with code 2" : d.backend);
    rows.emplace_back("because", d.why);
    return {"ringlet", "What ringlet would do", std::move(rows)};
}

/// What a core made this way says of itself, or why it cannot be made.
std::string try_core(ringlet::backend backend, ringlet::ring_flavour flavour) {
    if (backend == ringlet::backend::uring && io_uring_is_left_out()) return left_out;
    ringlet::core_options options;
    options.backend = backend;
    options.flavour = flavour;
    std::string why;
    const auto made = ringlet::core::make(options, &why);
    return made ? (*made)->describe() : "refused: " + why;
}

/// How much of its buffers a core could register for fixed operations, by doing it.
std::string try_registering() {
    if (io_uring_is_left_out()) return left_out;
    ringlet::core_options options;
    options.backend = ringlet::backend::uring;
    const auto made = ringlet::core::make(options);
    if (!made) return "none: there is no ring";
    const ringlet::registered_memory& got = (*made)->register_buffers();
    std::string text = fmt::format("{} of {} KiB wanted", got.bytes / 1024, got.wanted / 1024);
    if (got.bytes < got.wanted)
        text += fmt::format("; a quarter of the {} KiB of locked memory at most, for all cores",
                            got.limit / 1024);
    if (got.refusal) text += fmt::format("; refused more: {}", got.refusal.message());
    return text;
}

section loops() {
    using ringlet::backend;
    using ringlet::ring_flavour;
    std::vector<row> rows;
    rows.emplace_back("io_uring deferred", try_core(backend::uring, ring_flavour::deferred));
    rows.emplace_back("io_uring cooperative", try_core(backend::uring, ring_flavour::cooperative));
    rows.emplace_back("io_uring plain", try_core(backend::uring, ring_flavour::plain));
    rows.emplace_back("epoll", try_core(backend::epoll, ring_flavour::best));
    rows.emplace_back("registered buffers", try_registering());
    return {"loops", "Each kind of loop, tried", std::move(rows)};
}

section features() {
    std::vector<row> rows;
    if (io_uring_is_left_out()) {
        rows.emplace_back("io_uring", left_out);
        return {"features", "What this kernel's io_uring offers", std::move(rows)};
    }
    for (const ringlet::kernel_feature& f : ringlet::kernel_features())
        rows.emplace_back(std::string(f.name),
                          fmt::format("{:<4} {}", f.present ? "yes" : "no", f.purpose));
    return {"features", "What this kernel's io_uring offers", std::move(rows)};
}

// ---- limits ---------------------------------------------------------------------------------

constexpr std::uint64_t many_files = 65536;
constexpr std::uint64_t much_locked = 64 << 20;
constexpr std::uint64_t long_queue = 4096;
constexpr std::uint64_t many_ports = 28000;

row open_files() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    std::string value = fmt::format("{}, up to {} without root: ringlet raises it to that",
                                    text_of(limit.rlim_cur), text_of(limit.rlim_max));
    if (limit.rlim_max >= many_files) return {"open files", std::move(value)};
    return {"open files", std::move(value),
            "ulimit -n 1048576 (as root; LimitNOFILE=1048576 for systemd, --ulimit "
            "nofile=1048576 for docker)"};
}

row locked_memory(const rlimit& limit) {
    std::string value = text_of(limit.rlim_cur) + (limit.rlim_cur == RLIM_INFINITY ? "" : " bytes");
    if (limit.rlim_cur < limit.rlim_max)
        value += fmt::format(", up to {} without root: ringlet raises it to that",
                             text_of(limit.rlim_max));
    if (may_lock_memory()) return {"locked memory", value + ", and not counted: CAP_IPC_LOCK"};
    if (limit.rlim_max >= much_locked) return {"locked memory", std::move(value)};
    return {"locked memory", std::move(value),
            "ulimit -l unlimited (as root; LimitMEMLOCK=infinity for systemd, --ulimit memlock=-1 "
            "for docker)"};
}

/// A sysctl that should be at least `enough`.
row at_least(const char* name, const char* path, std::uint64_t enough, const char* meaning) {
    const auto value = number_in(path);
    if (!value) return {name, "cannot be read"};
    row r(name, fmt::format("{}: {}", *value, meaning));
    if (*value < enough) r.remedy = fmt::format("sysctl -w {}={}", name, enough);
    return r;
}

row local_ports() {
    constexpr const char* name = "net.ipv4.ip_local_port_range";
    std::istringstream text(first_line("/proc/sys/net/ipv4/ip_local_port_range").value_or(""));
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    if (!(text >> first >> last) || last < first) return {name, "cannot be read"};
    const std::uint64_t ports = last - first + 1;
    row r(name, fmt::format("{} to {}: {} connections out to one address", first, last, ports));
    if (ports < many_ports) r.remedy = fmt::format("sysctl -w {}=\"10240 65535\"", name);
    return r;
}

/// Whichever limit on threads is met first.
row threads() {
    rlimit limit{};
    getrlimit(RLIMIT_NPROC, &limit);
    std::uint64_t least = limit.rlim_cur;
    std::string whose = "ulimit -u";
    const auto lower = [&](const char* name, const char* path) {
        const auto value = number_in(path);
        if (!value || *value >= least) return;
        least = *value;
        whose = name;
    };
    lower("kernel.threads-max", "/proc/sys/kernel/threads-max");
    lower("kernel.pid_max", "/proc/sys/kernel/pid_max");
    lower("the cgroup's pids.max", "/sys/fs/cgroup/pids.max");
    const ringlet::core_options defaults;
    const std::uint64_t needed =
        usable_cpus() * (1ULL + defaults.bounded_workers + defaults.unbounded_workers) +
        defaults.blocking.threads;
    row r("threads", fmt::format("{} by {}; ringlet may use {}", least, whose, needed));
    const std::uint64_t enough = needed + 256;
    if (least >= enough) return r;
    if (whose == "ulimit -u") r.remedy = fmt::format("ulimit -u {} (as root)", enough);
    if (whose.starts_with("kernel.")) r.remedy = fmt::format("sysctl -w {}={}", whose, enough);
    if (r.remedy.empty())
        r.remedy = fmt::format("TasksMax={0} for systemd, --pids-limit {0} for docker", enough);
    return r;
}

section limits(const rlimit& locked) {
    std::vector<row> rows;
    rows.push_back(open_files());
    rows.push_back(locked_memory(locked));
    rows.push_back(threads());
    rows.push_back(at_least("net.core.somaxconn", "/proc/sys/net/core/somaxconn", long_queue,
                            "connections that may wait for accept"));
    rows.push_back(at_least("net.ipv4.tcp_max_syn_backlog",
                            "/proc/sys/net/ipv4/tcp_max_syn_backlog", 1024,
                            "half-open connections before SYN cookies"));
    rows.push_back(local_ports());
    rows.push_back(at_least("fs.file-max", "/proc/sys/fs/file-max", 4 * many_files,
                            "open files of the whole system"));
    rows.push_back(at_least("fs.nr_open", "/proc/sys/fs/nr_open", many_files,
                            "the highest `ulimit -n` there can be"));
    return {"limits", "Limits", std::move(rows)};
}

// ---- output ---------------------------------------------------------------------------------

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
    }
    return out + '"';
}

void print_json(const decision& d, const std::vector<section>& sections) {
    std::string out = fmt::format("{{\"auto\": {}, \"reason\": {}",
                                  d.backend.empty() ? "null" : quoted(d.backend), quoted(d.why));
    for (const section& s : sections) {
        out += fmt::format(", {}: {{", quoted(s.key));
        for (const row& r : s.rows) {
            if (out.back() != '{') out += ", ";
            out += fmt::format("{}: {{\"value\": {}, \"remedy\": {}}}", quoted(r.name),
                               quoted(r.value), r.remedy.empty() ? "null" : quoted(r.remedy));
        }
        out += '}';
    }
    samples::print(out + "}\n");
}

/// How many of its rows are to be changed.
std::size_t print_text(const section& s) {
    std::string out = s.title + '\n';
    std::size_t low = 0;
    for (const row& r : s.rows) {
        out += fmt::format("  {:<30} {}\n", r.name, r.value);
        if (r.remedy.empty()) continue;
        out += fmt::format("  {:>30} change it: {}\n", "", r.remedy);
        ++low;
    }
    samples::print(out + '\n');
    return low;
}

}  // namespace

int main(int argc, char** argv) {
    bool json = false;
    samples::command_line line("doctor",
                               "Says what this machine offers and what ringlet would do with it.");
    line.flag("json", json, "the same as one line of JSON");
    line.parse(argc, argv);

    std::vector<section> sections;
    std::size_t low = 0;
    // At once: what is asked next may end the program, where a seccomp filter kills.
    const auto add = [&](section s) {
        if (!json) low += print_text(s);
        static_cast<void>(std::fflush(stdout));
        sections.push_back(std::move(s));
    };
    add(machine());
    const rlimit locked = raise_locked_memory();
    const decision d = decide();
    add(ringlet_would(d));
    add(loops());
    add(features());
    add(limits(locked));
    if (json) {
        print_json(d, sections);
    } else {
        samples::print(low == 0 ? "Nothing to change.\n"
                                : fmt::format("{} to change for many connections.\n", low));
    }
    return samples::wrote_all("doctor") ? 0 : 1;
}
