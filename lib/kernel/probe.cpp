// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <kernel/probe.hpp>

#include <kernel/sys.hpp>

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace ringlet::kernel {

namespace {

/// The `Seccomp:` line of /proc/self/status: 0 none, 2 a filter.
bool has_seccomp_filter() {
    std::array<char, 4096> room{};
    if (sys::read_small_file("/proc/self/status", room.data(), room.size()) < 0) return false;
    const char* line = std::strstr(room.data(), "\nSeccomp:");
    int mode = 0;
    return line != nullptr && std::sscanf(line, "\nSeccomp: %d", &mode) == 1 && mode != 0;
}

std::string refused_by_policy(std::string_view name) {
    std::array<char, 16> room{};
    if (sys::read_small_file("/proc/sys/kernel/io_uring_disabled", room.data(), room.size()) > 0 &&
        room[0] != '0') {
        return fmt::format(
            "io_uring_setup: {}: the sysctl kernel.io_uring_disabled is {}; allow it with "
            "`sysctl -w kernel.io_uring_disabled=0`",
            name, room[0]);
    }
    if (has_seccomp_filter()) {
        return fmt::format(
            "io_uring: {}: a seccomp filter refuses it (the default of Docker and containerd); "
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's profile",
            name);
    }
    return fmt::format(
        "io_uring: {}: a security policy (LSM) of this system refuses it; `ausearch -m avc` "
        "(SELinux) or `journalctl -k --grep apparmor` names it: allow io_uring there, or stay on "
        "epoll (RINGLET_BACKEND=epoll)",
        name);
}

}  // namespace

std::string explain_refusal(int error, unsigned sq_entries, unsigned cq_entries) {
    switch (error) {
        case EPERM:
        case EACCES: return refused_by_policy(error == EPERM ? "EPERM" : "EACCES");
        case ENOSYS:
            if (has_seccomp_filter()) return refused_by_policy("ENOSYS");
            return fmt::format("io_uring: ENOSYS: kernel {} has no io_uring; 6.1 or newer is needed",
                               kernel_release());
        case EINVAL:
            return fmt::format(
                "io_uring: EINVAL: kernel {} does not know the set-up ringlet needs; 6.1 or newer is "
                "needed",
                kernel_release());
        case ENOMEM: {
            const auto locked = sys::get_limit(sys::limit_kind::locked_memory);
            return fmt::format(
                "io_uring: ENOMEM: no locked memory left for a ring of {} + {} entries (about {} "
                "KiB), nor for smaller ones; the limit counts all rings of this user, now {} KiB: "
                "raise it with `ulimit -l unlimited` as root or LimitMEMLOCK=infinity (systemd), or "
                "use fewer cores",
                sq_entries, cq_entries, (sq_entries * 68 + cq_entries * 16) / 1024,
                locked.soft / 1024);
        }
        case EMFILE:
            return fmt::format(
                "io_uring: EMFILE: all {} descriptors of the process are in use; {}",
                sys::get_limit(sys::limit_kind::open_files).soft, raise_open_files);
        case ENFILE:
            return fmt::format("io_uring: ENFILE: the system's file table is full; {}",
                               raise_all_open_files);
        default:
            return fmt::format(
                "io_uring: {}: the kernel refuses a ring; RINGLET_BACKEND=epoll goes without",
                std::strerror(error));
    }
}

std::string explain_failure(std::string_view call, int error) {
    std::string_view cause;
    switch (error) {
        case EPERM:
        case EACCES:
        case ENOSYS:
            cause = has_seccomp_filter() ? "a seccomp filter refuses it: allow it there"
                                         : "a security policy (LSM) of this system refuses it";
            break;
        case EMFILE: cause = raise_open_files; break;
        case ENFILE: cause = raise_all_open_files; break;
        case ENOSPC: cause = "raise the sysctl fs.epoll.max_user_watches"; break;
        case EBADF:
            cause = "its descriptor was closed by somebody else (closefrom(3)?), or this is a "
                    "forked child, which must not use its parent's cores";
            break;
        case EBADR:
            cause = "the kernel had no memory for some of its answers, for which tasks would wait "
                    "for ever";
            break;
        default: break;
    }
    return fmt::format("{}: {}{}{}", call, std::strerror(error), cause.empty() ? "" : "; ", cause);
}

void end_refused(const char* call, int error) noexcept {
    const std::string why = explain_failure(call, error);
    std::fprintf(stderr, "ringlet: a core cannot go on: %s\n", why.c_str());
    std::abort();
}

std::string kernel_release() {
    std::array<char, 64> room{};
    sys::kernel_release(room.data(), room.size());
    return room.data();
}

std::string kernel_build() {
    std::array<char, 256> room{};
    const int size = sys::read_small_file("/proc/sys/kernel/version", room.data(), room.size());
    return size > 0 ? room.data() : std::string();
}

std::string known_bad_kernel(const std::string& release, const std::string& build) {
    int major = 0;
    int minor = 0;
    int patch = 0;
    const auto debian = build.find("Debian ");
    if (debian == std::string::npos || std::sscanf(build.c_str() + debian, "Debian %d.%d.%d",
                                                   &major, &minor, &patch) != 3) {
        major = minor = patch = 0;
        std::sscanf(release.c_str(), "%d.%d.%d", &major, &minor, &patch);
    }
    if (major < 6 || (major == 6 && minor == 0)) {
        return fmt::format(
            "kernel {} has io_uring, but not the deferred task work of 6.1 without which epoll is "
            "faster; RINGLET_BACKEND=uring insists",
            release);
    }
    // A process that waits in io_uring_enter may become unkillable (bottlerocket#4308, NixOS
    // nixpkgs#353709): stable releases of autumn 2024.
    const bool stuck = (minor == 1 && patch >= 113 && patch <= 118) ||
                       (minor == 6 && patch >= 57 && patch <= 59);
    if (major == 6 && stuck) {
        return fmt::format(
            "kernel {}.{}.{} can leave a process stuck in io_uring_enter; update it, or insist "
            "with RINGLET_BACKEND=uring",
            major, minor, patch);
    }
    return {};
}

}  // namespace ringlet::kernel
