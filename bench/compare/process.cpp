// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace bench {

namespace {

using clock = std::chrono::steady_clock;

int signals = -1;
constexpr int cannot_run = 127;

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int which : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, which);
    return set;
}

int milliseconds_until(clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock::now()).count();
    return static_cast<int>(std::clamp<long>(left, 0, 60'000));
}
clock::time_point after(seconds limit) {
    return clock::now() + std::chrono::duration_cast<clock::duration>(limit);
}

/// In the child: everything that must hold before it runs anything else.
void bind_to(pid_t parent, const place& where) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (where.cpu >= 0) {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(where.cpu, &only);
        if (sched_setaffinity(0, sizeof only, &only) != 0) _exit(cannot_run);
    }
    if (!where.folder.empty() && chdir(where.folder.c_str()) != 0) _exit(cannot_run);
    if (where.fifo) {
        sched_param priority{};
        priority.sched_priority = 1;
        if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0) _exit(cannot_run);
    }
}

std::string ending_of(int status) {
    if (WIFSIGNALED(status))
        return fmt::format("killed by signal {} ({})", WTERMSIG(status),
                           strsignal(WTERMSIG(status)));
    return fmt::format("ended with {}", WEXITSTATUS(status));
}

}  // namespace

void take_over_signals() {
    const sigset_t set = ending_signals();
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void check_signals() {
    signalfd_siginfo info{};
    if (read(signals, &info, sizeof info) == sizeof info) throw interrupted();
}

child::child(const std::vector<std::string>& command, const place& where)
    : name_(std::filesystem::path(command.front()).filename()) {
    std::array<int, 2> in{-1, -1};
    std::array<int, 2> pipe_ends{};
    err_ = memfd_create("stderr", MFD_CLOEXEC);
    if (where.listens && pipe2(in.data(), O_CLOEXEC) != 0)
        throw run_failure(fmt::format("{}: {}", name_, std::strerror(errno)));
    in_ = in[1];
    if (err_ < 0 || pipe2(pipe_ends.data(), O_CLOEXEC) != 0)
        throw run_failure(fmt::format("{}: {}", name_, std::strerror(errno)));
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) {
        bind_to(parent, where);
        dup2(where.listens ? in[0] : open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(pipe_ends[1], STDOUT_FILENO);
        dup2(err_, STDERR_FILENO);
        execv(arguments[0], arguments.data());
        _exit(cannot_run);
    }
    const int error = errno;
    if (in[0] >= 0) close(in[0]);
    close(pipe_ends[1]);
    out_ = pipe_ends[0];
    if (pid_ < 0) throw run_failure(fmt::format("{}: {}", name_, std::strerror(error)));
    setpgid(pid_, pid_);  // here too, since either may come first
}

child::child(child&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      in_(std::exchange(other.in_, -1)),
      out_(std::exchange(other.out_, -1)),
      err_(std::exchange(other.err_, -1)),
      status_(other.status_) {}

child::~child() {
    if (pid_ > 0 && !status_) kill_group(pid_);
    for (const int fd : {in_, out_, err_})
        if (fd >= 0) close(fd);
}

bool child::wait_for_output(clock::time_point deadline) {
    for (;;) {
        std::array<pollfd, 2> both{{{out_, POLLIN, 0}, {signals, POLLIN, 0}}};
        const int count = poll(both.data(), both.size(), milliseconds_until(deadline));
        check_signals();
        if (count > 0 && both[0].revents != 0) return true;
        if (clock::now() >= deadline) return false;
    }
}

std::string child::read_line(seconds limit) {
    const auto deadline = after(limit);
    std::string line;
    while (line.empty() || line.back() != '\n') {
        if (!wait_for_output(deadline))
            throw run_failure(fmt::format("{}: said nothing within {:g} s", name_, limit.count()));
        char letter = 0;
        if (read(out_, &letter, 1) != 1) {
            static_cast<void>(wait_for_end(seconds(1)));
            throw run_failure(fmt::format("{}: ended: {}", name_, last_words()));
        }
        line += letter;
    }
    line.pop_back();
    return line;
}

void child::write_line(const std::string& line) {
    const std::string text = line + "\n";
    static_cast<void>(write(in_, text.data(), text.size()));
}

std::string child::read_all(seconds limit) {
    const auto deadline = after(limit);
    std::string text;
    std::array<char, 65536> room{};
    for (;;) {
        if (!wait_for_output(deadline))
            throw run_failure(fmt::format("{}: did not end within {:g} s", name_, limit.count()));
        const ssize_t got = read(out_, room.data(), room.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        text.append(room.data(), static_cast<std::size_t>(got));
    }
    if (!wait_for_end(seconds(5)))
        throw run_failure(fmt::format("{}: closed its output and did not end", name_));
    if (WIFEXITED(*status_) && WEXITSTATUS(*status_) > 1)
        throw run_failure(fmt::format("{}: {}", name_, last_words()));
    if (WIFSIGNALED(*status_)) throw run_failure(fmt::format("{}: {}", name_, last_words()));
    return text;
}

bool child::wait_for_end(seconds limit) {
    if (status_) return true;
    const auto deadline = after(limit);
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    int status = 0;
    for (;;) {
        const pid_t got = waitpid(pid_, &status, WNOHANG);
        if (got == pid_) break;
        if (clock::now() >= deadline) {
            if (pidfd >= 0) close(pidfd);
            return false;
        }
        std::array<pollfd, 2> both{{{pidfd, POLLIN, 0}, {signals, POLLIN, 0}}};
        poll(both.data(), both.size(), pidfd >= 0 ? milliseconds_until(deadline) : 1);
    }
    if (pidfd >= 0) close(pidfd);
    status_ = status;
    kill(-pid_, SIGKILL);  // whatever it left behind
    return true;
}

std::string child::last_words() {
    std::string text(4096, '\0');
    const ssize_t got = pread(err_, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    std::replace(text.begin(), text.end(), '\n', ';');
    const std::string end = status_ ? ending_of(*status_) : "it runs";
    return text.empty() ? end : fmt::format("{}: {}", end, text);
}

void child::end(int signal, seconds limit) {
    kill(pid_, signal);
    if (!wait_for_end(limit))
        throw run_failure(fmt::format("{}: did not stop within {:g} s", name_, limit.count()));
    const bool good =
        WIFEXITED(*status_) ? WEXITSTATUS(*status_) == 0 : WTERMSIG(*status_) == signal;
    if (!good) throw run_failure(fmt::format("{}: {}", name_, last_words()));
}

std::optional<std::string> child::death() {
    if (!wait_for_end(seconds(0.2))) return std::nullopt;
    return fmt::format("{}: {}", name_, last_words());
}

pid_t fork_bound(const place& where, void (*body)(const void*), const void* subject) {
    const pid_t parent = getpid();
    const pid_t made = fork();
    if (made == 0) {
        bind_to(parent, where);
        body(subject);
        _exit(0);
    }
    if (made < 0) throw run_failure(fmt::format("fork: {}", std::strerror(errno)));
    setpgid(made, made);
    return made;
}

void kill_group(pid_t leader) noexcept {
    kill(-leader, SIGKILL);
    kill(leader, SIGKILL);  // in case it had no group yet
    while (waitpid(leader, nullptr, 0) < 0 && errno == EINTR) {}
}

namespace {
std::filesystem::path folder() {
    std::error_code error;
    return std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
}
}  // namespace

bool has_sibling(const std::string& name) { return access((folder() / name).c_str(), X_OK) == 0; }

std::string sibling(const std::string& name) {
    if (!has_sibling(name))
        throw run_failure(
            fmt::format("{} is not there: build it first", (folder() / name).string()));
    return folder() / name;
}

}  // namespace bench
