// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Every way the kernel's calls can be refused, in a child process with a seccomp filter of its own; and
// what a process may do to its cores from below: close their descriptors, lower limits, fork.

#include "aborts.hpp"
#include "flavours.hpp"

#include <kernel/probe.hpp>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>

using namespace ringlet;

namespace {

constexpr int kill_process = -1;

/// From now on this process is refused system call `number`.
bool refuse(int number, int error) {
    const auto verdict = error == kill_process
                             ? static_cast<unsigned>(SECCOMP_RET_KILL_PROCESS)
                             : SECCOMP_RET_ERRNO | static_cast<unsigned>(error);
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{.len = 4, .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// What `body` returned in a child process; "died" when it did not return.
std::string in_child(const std::function<std::string()>& body) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(30);  // for one that does not end
        const std::string said = body();
        const auto written = write(ends[1], said.data(), said.size());
        _exit(written == static_cast<ssize_t>(said.size()) ? 0 : 1);
    }
    close(ends[1]);
    std::string said;
    char room[4096];
    for (ssize_t got = 0; (got = read(ends[0], room, sizeof room)) > 0;)
        said.append(room, static_cast<std::size_t>(got));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? said : "died";
}

task<bool> carries_bytes() {
    auto both = co_await flavours::connected();
    std::array<std::byte, 16> room{};
    const auto sent = co_await both.client.send_all("ping");
    const auto got = co_await both.server.recv(room).within(std::chrono::seconds(5));
    co_return sent && got && *got == 4;
}

task<bool> receives(tcp_stream& from) {
    std::array<std::byte, 16> room{};
    co_return (co_await from.recv(room).within(std::chrono::seconds(5))).value_or(0) == 4;
}
task<bool> sends_later(tcp_stream& to) {
    co_await yield();  // by then the other one waits, with its time limit
    co_return (co_await to.send_all("late")).has_value();
}

/// The backend a core got, whether it works, and why it is not io_uring.
std::string outcome(backend wanted) {
    core_options options;
    options.backend = wanted;
    std::string why;
    auto core = core::make(options, &why);
    if (!core) return "error: " + why;
    const bool works = block_on(**core, carries_bytes());
    return std::string(to_string((*core)->backend())) + (works ? " works: " : " fails: ") +
           (*core)->fallback_reason();
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

#ifdef SYS_epoll_wait
constexpr int waits_by_epoll = SYS_epoll_wait;
#else
constexpr int waits_by_epoll = SYS_epoll_pwait;
#endif

/// How a core ends that has bytes to wait for once `harm()` is done.
template <class Harm>
std::string end_after(const flavours::flavour& f, Harm harm) {
    return abort_message([&] {
        auto made = core::make(flavours::options_of(f)).value();
        const auto harms = [&]() -> task<> {
            co_await yield();
            harm();
        };
        const auto body = [&]() -> task<> {
            auto both = co_await flavours::connected();
            std::array<std::byte, 16> room{};
            static_cast<void>(co_await all_of(both.server.recv(room), harms()));
        };
        block_on(*made, body());
    });
}

bool can_be_had(const flavours::flavour& f) {
    std::string why;
    const bool can = choose_backend(flavours::options_of(f), &why).has_value();
    if (!can) flavours::left_out(f.name, why);
    return can;
}

/// Of this process alone: locked memory is counted per user, and root may have it without limit.
bool limit_locked_memory(rlim_t soft, rlim_t hard) {
    const rlimit few{.rlim_cur = soft, .rlim_max = hard};
    return setrlimit(RLIMIT_MEMLOCK, &few) == 0 &&
           (geteuid() != 0 || setuid(60'000 + static_cast<uid_t>(getpid()) % 5'000) == 0);
}

bool uring_can_be_had() {
    const std::string said = in_child([] { return outcome(backend::uring); });
    const bool can = said.rfind("io_uring", 0) == 0;
    if (!can) flavours::left_out("io_uring", said);
    return can;
}

}  // namespace

TEST_CASE("a refused io_uring_setup or io_uring_enter means epoll, with the reason and the remedy") {
    if (RINGLET_EPOLL_BY_DEFAULT) {
        MESSAGE("skipped: built with -Dio_backend=epoll, where automatic is epoll");
        return;
    }
    for (const int call : {SYS_io_uring_setup, SYS_io_uring_enter}) {
        for (const int error : {EPERM, ENOSYS}) {
            INFO("call ", call, " refused with ", error);
            const std::string said = in_child([&] {
                return refuse(call, error) ? outcome(backend::automatic) : "no filter";
            });
            CHECK(said.rfind("epoll works: ", 0) == 0);
            CHECK(contains(said, "seccomp"));
            CHECK(contains(said, "allow io_uring_setup"));
        }
    }
}

TEST_CASE("without io_uring_register the ring still works") {
    if (RINGLET_EPOLL_BY_DEFAULT) {
        MESSAGE("skipped: built with -Dio_backend=epoll, where automatic is epoll");
        return;
    }
    if (!uring_can_be_had()) return;
    const std::string said = in_child([] {
        return refuse(SYS_io_uring_register, EPERM) ? outcome(backend::automatic) : "no filter";
    });
    CHECK(said == "io_uring works: ");
}

TEST_CASE("without epoll_pwait2 a wait with a time limit still hears of data") {
    for (const int error : {ENOSYS, EPERM}) {
        INFO("epoll_pwait2 refused with ", error);
        const std::string said = in_child([&]() -> std::string {
            if (!refuse(SYS_epoll_pwait2, error)) return "no filter";
            core_options options;
            options.backend = backend::epoll;
            auto core = core::make(options, nullptr);
            if (!core) return "no core";
            const auto body = [](ringlet::core& c) -> task<std::string> {
                auto both = co_await flavours::connected();
                const auto turns = c.stats().turns;
                const auto [got, sent] =
                    co_await all_of(receives(both.server), sends_later(both.client));
                const bool spun = c.stats().turns - turns > 20;
                co_return got && sent && !spun ? "works" : "fails";
            };
            return block_on(**core, body(**core));
        });
        CHECK(said == "works");
    }
}

TEST_CASE("a program that insists on io_uring gets an error that explains, never epoll") {
    const std::string said = in_child([] {
        return refuse(SYS_io_uring_setup, EPERM) ? outcome(backend::uring) : "no filter";
    });
    CHECK(said.rfind("error: ", 0) == 0);
    CHECK(contains(said, "EPERM"));
    CHECK(contains(said, "seccomp"));
}

TEST_CASE("RINGLET_BACKEND=epoll makes no io_uring call at all") {
    const std::string said = in_child([] {
        setenv("RINGLET_BACKEND", "epoll", 1);
        return refuse(SYS_io_uring_setup, kill_process) ? outcome(backend::automatic) : "no filter";
    });
    CHECK(said.rfind("epoll works", 0) == 0);
    // The filter is one that would have been noticed.
    CHECK(in_child([] {
              return refuse(SYS_io_uring_setup, kill_process) ? outcome(backend::uring) : "no filter";
          }) == "died");
}

TEST_CASE("RINGLET_BACKEND overrides automatic and nothing else, and must be a backend") {
    CHECK(contains(in_child([] {
                       setenv("RINGLET_BACKEND", "sideways", 1);
                       return outcome(backend::automatic);
                   }),
                   "`sideways`"));
    CHECK(in_child([] {
              setenv("RINGLET_BACKEND", "uring", 1);
              return outcome(backend::epoll);
          }).rfind("epoll works", 0) == 0);
}

TEST_CASE("no descriptors left is an error, not a reason for epoll") {
    const std::string said = in_child([] {
        const rlimit few{.rlim_cur = 5, .rlim_max = 5};
        for (int fd = 0; fd >= 0 && fd < 5;) fd = dup(0);
        setrlimit(RLIMIT_NOFILE, &few);
        return outcome(backend::automatic);
    });
    CHECK(said.rfind("error: ", 0) == 0);
    CHECK(contains(said, "ulimit -Hn"));  // run() has raised the soft limit to it
}

TEST_CASE("a kernel that can leave a process stuck is known by its version, Debian's too") {
    const auto stuck = [](const char* release, const char* build) {
        return contains(kernel::known_bad_kernel(release, build), "stuck");
    };
    const char* const plain = "#1 SMP PREEMPT_DYNAMIC Mon Oct 21 12:00:00 UTC 2024";
    CHECK(stuck("6.1.113", plain));
    CHECK(stuck("6.1.118-cloud", plain));
    CHECK(stuck("6.6.57", ""));
    CHECK_FALSE(stuck("6.1.112", plain));
    CHECK_FALSE(stuck("6.1.119", plain));
    CHECK_FALSE(stuck("6.6.60", plain));
    CHECK_FALSE(stuck("6.12.58", plain));
    // Debian's release is the name of an ABI.
    const char* const abi = "6.1.0-27-amd64";
    CHECK(stuck(abi, "#1 SMP PREEMPT_DYNAMIC Debian 6.1.115-1 (2024-11-01)"));
    CHECK(contains(kernel::known_bad_kernel(
                       abi, "#1 SMP PREEMPT_DYNAMIC Debian 6.1.115-1 (2024-11-01)"),
                   "6.1.115"));
    CHECK_FALSE(stuck("6.1.0-28-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)"));
    CHECK_FALSE(stuck(abi, ""));
    // Others that build on Debian put an epoch before the version.
    CHECK(stuck("6.6.58+rpt-rpi-v8", "#1 SMP PREEMPT Debian 1:6.6.58-1+rpt1 (2024-10-30)"));
    CHECK(contains(kernel::known_bad_kernel("5.10.0-33-amd64",
                                            "#1 SMP Debian 5.10.226-1 (2024-10-03)"),
                   "deferred task work"));
    CHECK_FALSE(kernel::kernel_build().empty());
}

TEST_CASE("a core that is refused the call it waits by ends the program, and says so") {
    for (const flavours::flavour& f : flavours::all) {
        if (!can_be_had(f)) continue;
        INFO("on ", std::string(f.name));
        const bool ring = f.backend == backend::uring;
        const char* const name = ring ? "io_uring_enter" : "epoll_wait";
        for (const int error : {EPERM, ENOSYS}) {
            const std::string said = end_after(f, [&] {
                if (!refuse(ring ? SYS_io_uring_enter : waits_by_epoll, error)) _exit(0);
            });
            CHECK(says(said, name));
            CHECK(says(said, "a seccomp filter refuses it"));
        }
        if (ring) {  // as if answers were lost: it would wait for them for ever
            const std::string lost = end_after(f, [] {
                if (!refuse(SYS_io_uring_enter, EBADR)) _exit(0);
            });
            CHECK(says(lost, name));
            CHECK(says(lost, "had no memory for some of its answers"));
        }
        if (ring) continue;  // registered: it needs no descriptor
        const std::string said = end_after(f, [] {
            for (int fd = 3; fd < 100; ++fd) close(fd);
        });
        CHECK(says(said, name));
        CHECK(says(said, "its descriptor was closed"));
    }
}

TEST_CASE("a core that cannot be made says which call was refused, and by whom") {
    for (const int call : {SYS_eventfd2, SYS_epoll_create1}) {
        INFO("call ", call);
        const std::string said =
            in_child([&] { return refuse(call, EPERM) ? outcome(backend::epoll) : "no filter"; });
        CHECK(said.rfind("error: ", 0) == 0);
        CHECK(contains(said, call == SYS_eventfd2 ? "eventfd" : "epoll"));
        CHECK(contains(said, "a seccomp filter refuses it"));
        CHECK_FALSE(contains(said, "open files"));
    }
}

TEST_CASE("a low limit of locked memory makes no smaller ring where it can be raised, or suffices") {
    if (!uring_can_be_had()) return;
    const std::string raised = in_child([]() -> std::string {
        if (!limit_locked_memory(64 << 10, 1 << 20)) return "no limit";
        run_options options;
        options.cores = 1;
        options.core.backend = backend::uring;
        std::string said;
        const int code = run(options, [&]() -> task<> {
            said = here().describe();
            co_return;
        });
        return code == 0 ? said : "not run";
    });
    CHECK(contains(raised, "sq=256 cq=4096"));
    const std::string tight = in_child([]() -> std::string {
        if (!limit_locked_memory(128 << 10, 128 << 10)) return "no limit";
        core_options options;
        options.backend = backend::uring;
        std::string why;
        const auto made = core::make(options, &why);
        return made ? (*made)->describe() : why;
    });
    CHECK(contains(tight, "sq=256 cq=4096"));
}

TEST_CASE("what a forked child destroys is still its parent's") {
    flavours::each_task([](core& c) -> task<> {
        // A slot is given back by the ring, and so ends the child.
        if (c.direct()) co_return;
        auto both = co_await flavours::connected();
        CHECK(co_await both.client.send_all("once"));
        CHECK(co_await receives(both.server));
        const pid_t child = fork();
        if (child == 0) {
            both.server = tcp_stream();
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
        const auto [got, sent] = co_await all_of(receives(both.server), sends_later(both.client));
        CHECK(got);
        CHECK(sent);
    });
}

TEST_CASE("a forked child that waits by its parent's core ends with a sentence") {
    for (const flavours::flavour& f : flavours::all) {
        if (!can_be_had(f)) continue;
        INFO("on ", std::string(f.name));
        const std::string said = abort_message([&] {
            auto made = core::make(flavours::options_of(f)).value();
            const auto body = [&]() -> task<> {
                auto both = co_await flavours::connected();
                std::array<std::byte, 16> room{};
                const pid_t child = fork();
                if (child == 0) {
                    alarm(30);  // it has no part in its parent's
                    static_cast<void>(co_await both.server.recv(room));
                }
                int status = 0;
                if (child == 0 || waitpid(child, &status, 0) != child) _exit(1);
                if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) std::abort();
                _exit(0);
            };
            block_on(*made, body());
        });
        CHECK(says(said, f.backend == backend::uring ? "io_uring_enter" : "epoll_ctl"));
        CHECK(says(said, "a forked child"));
    }
}
