// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <kernel/sys.hpp>

#include <kernel/fault.hpp>
#include <kernel/hot_calls.hpp>

#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

namespace ringlet::sys {

namespace {

namespace hot = kernel::hot;

/// -errno in place of -1.
int checked(long returned) noexcept { return returned < 0 ? -errno : static_cast<int>(returned); }

/// Of a call that gives -errno itself.
template <class Call>
int repeated(Call call) noexcept {
    for (;;) {
        const auto answer = static_cast<int>(call());
        if (answer != -EINTR) [[likely]] return answer;
    }
}
template <class Call>
int retried(Call call) noexcept {
    return repeated([&] { return checked(call()); });
}

constexpr int quiet = MSG_NOSIGNAL | MSG_DONTWAIT;

}  // namespace

int recv(int fd, void* room, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("recv")) return -error;
    return repeated([&] { return hot::recv(fd, room, size, MSG_DONTWAIT); });
}
int send(int fd, const void* data, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("send")) return -error;
    return repeated([&] { return hot::send(fd, data, size, quiet); });
}
int send_more(int fd, const void* data, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("send")) return -error;
    return repeated([&] { return hot::send(fd, data, size, quiet | MSG_MORE); });
}
int sendmsg(int fd, const msghdr* message) noexcept {
    if (const int error = kernel::fault::injected("sendmsg")) return -error;
    return repeated([&] { return hot::sendmsg(fd, message, quiet); });
}
int accept(int fd, bool nonblocking) noexcept {
    if (const int error = kernel::fault::injected("accept")) return -error;
    const int flags = SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
    return repeated([&] { return hot::accept(fd, flags); });
}
int connect(int fd, const void* address, unsigned size) noexcept {
    if (const int error = kernel::fault::injected("connect")) return -error;
    // Not retried: after EINTR the connection goes on by itself (connect(2)).
    return checked(::connect(fd, static_cast<const sockaddr*>(address), size));
}
int socket(int family, bool nonblocking) noexcept {
    if (const int error = kernel::fault::injected("socket")) return -error;
    const int type = SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0);
    return checked(::socket(family, type, 0));
}
int bind(int fd, const void* address, unsigned size) noexcept {
    if (const int error = kernel::fault::injected("bind")) return -error;
    return checked(::bind(fd, static_cast<const sockaddr*>(address), size));
}
int listen(int fd, int backlog) noexcept {
    if (const int error = kernel::fault::injected("listen")) return -error;
    return checked(::listen(fd, backlog));
}
int shutdown(int fd, int how) noexcept {
    if (const int error = kernel::fault::injected("shutdown")) return -error;
    return checked(::shutdown(fd, how));
}
int set_option(int fd, int level, int name, int value) noexcept {
    return checked(::setsockopt(fd, level, name, &value, sizeof value));
}
int set_option(int fd, int level, int name, const void* value, unsigned size) noexcept {
    return checked(::setsockopt(fd, level, name, value, size));
}
int get_option(int fd, int level, int name, int& value) noexcept {
    socklen_t size = sizeof value;
    return checked(::getsockopt(fd, level, name, &value, &size));
}
int peer_name(int fd, void* address, unsigned& size) noexcept {
    return checked(::getpeername(fd, static_cast<sockaddr*>(address), &size));
}
int local_name(int fd, void* address, unsigned& size) noexcept {
    return checked(::getsockname(fd, static_cast<sockaddr*>(address), &size));
}

static_assert(current_folder == AT_FDCWD);

int open_at(int folder, const char* path, const open_how& how) noexcept {
    if (const int error = kernel::fault::injected("openat2")) return -error;
    return retried([&] { return ::syscall(SYS_openat2, folder, path, &how, sizeof how); });
}
int open_plain(int folder, const char* path, const open_how& how) noexcept {
    if (const int error = kernel::fault::injected("openat")) return -error;
    return retried([&] {
        return ::openat(folder, path, static_cast<int>(how.flags), static_cast<mode_t>(how.mode));
    });
}
int read_at(int fd, void* room, std::size_t size, std::uint64_t offset) noexcept {
    if (const int error = kernel::fault::injected("pread")) return -error;
    return retried([&] { return ::pread(fd, room, size, static_cast<off_t>(offset)); });
}
int try_read_at(int fd, void* room, std::size_t size, std::uint64_t offset) noexcept {
    if (const int error = kernel::fault::injected("preadv2")) return -error;
    const iovec part{.iov_base = room, .iov_len = size};
    const int got = retried(
        [&] { return ::preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT); });
    return got == -EOPNOTSUPP || got == -ENOSYS ? -EAGAIN : got;  // not with this file system
}
int write_at(int fd, const void* data, std::size_t size, std::uint64_t offset) noexcept {
    if (const int error = kernel::fault::injected("pwrite")) return -error;
    return retried([&] { return ::pwrite(fd, data, size, static_cast<off_t>(offset)); });
}
int sync(int fd, bool data_only) noexcept {
    if (const int error = kernel::fault::injected("fsync")) return -error;
    return checked(data_only ? ::fdatasync(fd) : ::fsync(fd));
}
int resize(int fd, std::uint64_t size) noexcept {
    if (const int error = kernel::fault::injected("ftruncate")) return -error;
    return retried([&] { return ::ftruncate(fd, static_cast<off_t>(size)); });
}
int status(int fd, int flags, unsigned mask, struct statx* room) noexcept {
    if (const int error = kernel::fault::injected("statx")) return -error;
    return checked(::statx(fd, "", AT_EMPTY_PATH | flags, mask, room));
}
int send_file(int to, int from, std::uint64_t& offset, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("sendfile")) return -error;
    auto at = static_cast<off_t>(offset);
    const int sent = retried([&] { return ::sendfile(to, from, &at, size); });
    offset = static_cast<std::uint64_t>(at);
    return sent;
}
int close_file(int fd) noexcept {
    const int error = kernel::fault::injected("close");
    const int closed = checked(::close(fd));
    return error != 0 ? -error : closed;
}

void close(int fd) noexcept {
    // Not retried: Linux has released the number even after EINTR (close(2)).
    static_cast<void>(::close(fd));
}
int duplicate(int fd) noexcept { return checked(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }
int set_nonblocking(int fd) noexcept {
    if (const int error = kernel::fault::injected("set_nonblocking")) return -error;
    const int flags = checked(::fcntl(fd, F_GETFL));
    return flags < 0 ? flags : checked(::fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}
int set_blocking(int fd) noexcept {
    const int flags = checked(::fcntl(fd, F_GETFL));
    return flags < 0 ? flags : checked(::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK));
}
int has_offsets(int fd) noexcept {
    // Two questions: an eventfd takes a seek and refuses pread(2), a tun device the other way
    // round. Other errors say nothing of it: /dev/kmsg does not tell where it stands (EINVAL), what
    // is open for writing only is not read (EBADF). Without a buffer nothing is read.
    const bool none = (::lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE) ||
                      (::preadv2(fd, nullptr, 0, 0, 0) < 0 && errno == ESPIPE);
    return none ? -ESPIPE : 0;
}
int event_fd() noexcept {
    if (const int error = kernel::fault::injected("event_fd")) return -error;
    return checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}
int pipe(int* ends) noexcept {
    if (const int error = kernel::fault::injected("pipe")) return -error;
    return checked(::pipe2(ends, O_CLOEXEC | O_NONBLOCK));
}
int pipe_size(int fd, int size) noexcept {
    if (const int error = kernel::fault::injected("pipe_size")) return -error;
    return checked(size > 0 ? ::fcntl(fd, F_SETPIPE_SZ, size) : ::fcntl(fd, F_GETPIPE_SZ));
}
int splice(int from, int to, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("splice")) return -error;
    constexpr unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
    return repeated([&] { return hot::splice(from, to, size, flags); });
}
bool at_urgent_mark(int fd) noexcept {
    int at = 0;
    return checked(::ioctl(fd, SIOCATMARK, &at)) == 0 && at != 0;
}
int tee(int from, int to, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("tee")) return -error;
    return retried([&] { return ::tee(from, to, size, SPLICE_F_NONBLOCK); });
}
int read(int fd, void* room, std::size_t size) noexcept {
    if (const int error = kernel::fault::injected("read")) return -error;
    return retried([&] { return ::read(fd, room, size); });
}
bool identify(const char* path, file_id& out) noexcept {
    struct stat found{};
    if (::lstat(path, &found) != 0) return false;
    out = {.device = found.st_dev, .inode = found.st_ino};
    return true;
}
void remove_file(const char* path) noexcept { static_cast<void>(::unlink(path)); }
void ring_bell(int fd) noexcept {
    const int kept = errno;
    const std::uint64_t one = 1;
    while (::write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
    errno = kept;
}

int epoll_create() noexcept {
    if (const int error = kernel::fault::injected("epoll_create")) return -error;
    return checked(::epoll_create1(EPOLL_CLOEXEC));
}
int epoll_add(int epoll, int fd, std::uint32_t events, void* data) noexcept {
    if (const int error = kernel::fault::injected("epoll_add")) return -error;
    epoll_event event{};
    event.events = events;
    event.data.ptr = data;
    return checked(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}
int epoll_change(int epoll, int fd, std::uint32_t events, void* data) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.ptr = data;
    return checked(::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event));
}
int epoll_remove(int epoll, int fd) noexcept {
    epoll_event event{};
    return checked(::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event));
}
namespace {
constinit std::atomic<bool> has_epoll_pwait2 = true;
}  // namespace

int epoll_wait(int epoll, epoll_event* events, int room, std::int64_t timeout_ns) noexcept {
    int answer = 0;
    if (timeout_ns <= 0) {
        answer = static_cast<int>(hot::epoll_wait(epoll, events, room, timeout_ns < 0 ? -1 : 0));
    } else if (has_epoll_pwait2.load(std::memory_order_relaxed)) {
        // Called by number: glibc wraps it from 2.35 on only.
        timespec limit{.tv_sec = timeout_ns / 1'000'000'000, .tv_nsec = timeout_ns % 1'000'000'000};
        answer = checked(::syscall(SYS_epoll_pwait2, epoll, events, room, &limit, nullptr, 0));
        if (answer < 0 && answer != -EINTR) {  // before Linux 5.11, or a filter's answer
            has_epoll_pwait2.store(false, std::memory_order_relaxed);
            return epoll_wait(epoll, events, room, timeout_ns);
        }
    } else {  // whole milliseconds, never early
        const std::int64_t ms = (timeout_ns + 999'999) / 1'000'000;
        const int limit_ms = ms > 60'000 ? 60'000 : static_cast<int>(ms);
        answer = static_cast<int>(hot::epoll_wait(epoll, events, room, limit_ms));
    }
    return answer == -EINTR ? 0 : answer;
}

void* map_memory(std::size_t size) noexcept {
    if (kernel::fault::injected("mmap") != 0) return nullptr;
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}
void unmap_memory(void* memory, std::size_t size) noexcept { ::munmap(memory, size); }

std::uint64_t monotonic_ns() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}
void pause_ns(std::uint64_t ns) noexcept {
    const timespec span{.tv_sec = static_cast<time_t>(ns / 1'000'000'000),
                        .tv_nsec = static_cast<long>(ns % 1'000'000'000)};
    ::nanosleep(&span, nullptr);
}
void call_in_children(void (*function)()) noexcept {
    static_cast<void>(::pthread_atfork(nullptr, nullptr, function));
}
int allowed_cpus(int* cpus, int room) noexcept {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) < 0) return 0;
    int count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < room; ++cpu)
        if (CPU_ISSET(cpu, &allowed)) cpus[count++] = cpu;
    return count;
}
namespace {
thread_local constinit cpu_mask before_pinning;
void use_cpus(const cpu_mask& cpus) noexcept {
    cpu_set_t set;
    static_assert(sizeof set == sizeof cpus.bits);
    std::memcpy(&set, cpus.bits.data(), sizeof set);
    if (cpus.known) static_cast<void>(::sched_setaffinity(0, sizeof set, &set));
}
}  // namespace
int pin_thread(int cpu) noexcept {
    cpu_mask& kept = before_pinning;
    cpu_set_t allowed;
    if (!kept.known && ::sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        std::memcpy(kept.bits.data(), &allowed, sizeof allowed);
        kept.known = true;
    }
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(cpu, &only);
    return checked(::sched_setaffinity(0, sizeof only, &only));
}
cpu_mask unpinned_cpus() noexcept { return before_pinning; }
void unpin_thread() noexcept { use_cpus(std::exchange(before_pinning, {})); }
void become_worker(const char* name, const cpu_mask& cpus) noexcept {
    use_cpus(cpus);
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    ::prctl(PR_SET_NAME, name);
}
bool hold_sigpipe() noexcept {
    sigset_t pipe;
    sigset_t before;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    return ::pthread_sigmask(SIG_BLOCK, &pipe, &before) == 0 && ::sigismember(&before, SIGPIPE) == 0;
}
void release_sigpipe() noexcept {
    sigset_t pipe;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    const timespec at_once{};
    while (::sigtimedwait(&pipe, nullptr, &at_once) == SIGPIPE) {}
    ::pthread_sigmask(SIG_UNBLOCK, &pipe, nullptr);
}
int read_small_file(const char* path, char* room, std::size_t size) noexcept {
    const int fd = checked(::open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0) return fd;
    const int length = retried([&] { return ::read(fd, room, size - 1); });
    close(fd);
    if (length < 0) return length;
    room[length] = '\0';
    if (length > 0 && room[length - 1] == '\n') room[length - 1] = '\0';
    return static_cast<int>(std::strlen(room));
}

namespace {
int resource(limit_kind kind) noexcept {
    switch (kind) {
        case limit_kind::open_files: return RLIMIT_NOFILE;
        case limit_kind::locked_memory: return RLIMIT_MEMLOCK;
    }
    return RLIMIT_NOFILE;
}
}  // namespace

limit get_limit(limit_kind kind) noexcept {
    rlimit now{};
    ::getrlimit(static_cast<__rlimit_resource_t>(resource(kind)), &now);
    return {now.rlim_cur, now.rlim_max};
}
void raise_limit(limit_kind kind) noexcept {
    const auto which = static_cast<__rlimit_resource_t>(resource(kind));
    rlimit now{};
    if (::getrlimit(which, &now) == 0 && now.rlim_cur < now.rlim_max) {
        now.rlim_cur = now.rlim_max;
        ::setrlimit(which, &now);
    }
}
void tell(const char* format, ...) noexcept {
    std::array<char, PIPE_BUF> text;  // a pipe that has room has it for these (pipe(7))
    std::va_list values;
    va_start(values, format);
    const int wanted = std::vsnprintf(text.data(), text.size(), format, values);
    va_end(values);
    if (wanted <= 0) return;
    const auto size = std::min(static_cast<std::size_t>(wanted), text.size() - 1);
    // No other thread takes the room between the question and the writing.
    ::flockfile(stderr);
    pollfd room{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    if (::poll(&room, 1, 0) > 0) static_cast<void>(!::write(room.fd, text.data(), size));
    ::funlockfile(stderr);
}
void kernel_release(char* room, std::size_t size) noexcept {
    utsname names{};
    ::uname(&names);
    std::strncpy(room, names.release, size - 1);
    room[size - 1] = '\0';
}

}  // namespace ringlet::sys
