// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>

struct epoll_event;
struct msghdr;
struct open_how;
struct statx;

/// The seam: every system call that ringlet makes, once. Each returns what the kernel returned, or
/// -errno, and retries EINTR where repeating is right. A simulated kernel takes the place of this
/// file's source; nothing above makes a system call, reads a clock or draws a random number.
namespace ringlet::sys {

// Sockets. MSG_NOSIGNAL and MSG_DONTWAIT are always set, SOCK_CLOEXEC too.
[[nodiscard]] int recv(int fd, void* room, std::size_t size) noexcept;
[[nodiscard]] int send(int fd, const void* data, std::size_t size) noexcept;
/// With more to come at once: what is sent now may wait for it, to share a packet.
[[nodiscard]] int send_more(int fd, const void* data, std::size_t size) noexcept;
[[nodiscard]] int sendmsg(int fd, const msghdr* message) noexcept;
[[nodiscard]] int accept(int fd, bool nonblocking) noexcept;
[[nodiscard]] int connect(int fd, const void* address, unsigned size) noexcept;
[[nodiscard]] int socket(int family, bool nonblocking) noexcept;
[[nodiscard]] int bind(int fd, const void* address, unsigned size) noexcept;
[[nodiscard]] int listen(int fd, int backlog) noexcept;
[[nodiscard]] int shutdown(int fd, int how) noexcept;
[[nodiscard]] int set_option(int fd, int level, int name, int value) noexcept;
[[nodiscard]] int set_option(int fd, int level, int name, const void* value, unsigned size) noexcept;
[[nodiscard]] int get_option(int fd, int level, int name, int& value) noexcept;
[[nodiscard]] int peer_name(int fd, void* address, unsigned& size) noexcept;
[[nodiscard]] int local_name(int fd, void* address, unsigned& size) noexcept;

// Files. `folder` may be current_folder. All may wait for a disk but what is called `try_`.
inline constexpr int current_folder = -100;  // AT_FDCWD
[[nodiscard]] int open_at(int folder, const char* path, const open_how& how) noexcept;
/// The older call, for where openat2 is refused: without `how.resolve`.
[[nodiscard]] int open_plain(int folder, const char* path, const open_how& how) noexcept;
[[nodiscard]] int read_at(int fd, void* room, std::size_t size, std::uint64_t offset) noexcept;
/// What is in the page cache: fewer bytes than asked for at its first gap, -EAGAIN when it has none.
[[nodiscard]] int try_read_at(int fd, void* room, std::size_t size, std::uint64_t offset) noexcept;
[[nodiscard]] int write_at(int fd, const void* data, std::size_t size,
                           std::uint64_t offset) noexcept;
[[nodiscard]] int sync(int fd, bool data_only) noexcept;
[[nodiscard]] int resize(int fd, std::uint64_t size) noexcept;
[[nodiscard]] int status(int fd, int flags, unsigned mask, struct statx* room) noexcept;
/// File to socket, which must be non-blocking; moves `offset`. Waits for the disk when the file is
/// not in the page cache.
[[nodiscard]] int send_file(int to, int from, std::uint64_t& offset, std::size_t size) noexcept;
[[nodiscard]] int close_file(int fd) noexcept;

// Descriptors.
void close(int fd) noexcept;
[[nodiscard]] int set_nonblocking(int fd) noexcept;
[[nodiscard]] int set_blocking(int fd) noexcept;
/// 0, or -ESPIPE for what has no offsets (FIFOs, sockets, terminals, eventfds).
[[nodiscard]] int has_offsets(int fd) noexcept;
[[nodiscard]] int event_fd() noexcept;
/// Both ends close-on-exec and non-blocking: ends[0] is read from, ends[1] written to.
[[nodiscard]] int pipe(int* ends) noexcept;
/// The pipe's size in bytes once it is asked to be `size`, or as it is with 0 (F_SETPIPE_SZ,
/// F_GETPIPE_SZ).
[[nodiscard]] int pipe_size(int fd, int size) noexcept;
/// SPLICE_F_MOVE | SPLICE_F_NONBLOCK, which says nothing of a socket: that waits unless it is
/// non-blocking itself.
[[nodiscard]] int splice(int from, int to, std::size_t size) noexcept;
/// The next byte of the socket is an urgent one (MSG_OOB), which splice(2) does not pass (tcp(7)).
[[nodiscard]] bool at_urgent_mark(int fd) noexcept;
[[nodiscard]] int tee(int from, int to, std::size_t size) noexcept;
[[nodiscard]] int read(int fd, void* room, std::size_t size) noexcept;
/// The descriptor once more, close-on-exec.
[[nodiscard]] int duplicate(int fd) noexcept;
/// Device and inode of a file itself, not of what a link points to; false when there is none.
struct file_id {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    friend bool operator==(const file_id&, const file_id&) = default;
};
[[nodiscard]] bool identify(const char* path, file_id& out) noexcept;
void remove_file(const char* path) noexcept;
/// Adds 1 to an eventfd; safe in a signal handler.
void ring_bell(int fd) noexcept;

// epoll.
[[nodiscard]] int epoll_create() noexcept;
[[nodiscard]] int epoll_add(int epoll, int fd, std::uint32_t events, void* data) noexcept;
[[nodiscard]] int epoll_change(int epoll, int fd, std::uint32_t events, void* data) noexcept;
[[nodiscard]] int epoll_remove(int epoll, int fd) noexcept;
/// EINTR counts as no event. `timeout_ns` < 0: no limit.
[[nodiscard]] int epoll_wait(int epoll, epoll_event* events, int room,
                             std::int64_t timeout_ns) noexcept;

// Memory: pages that are zero and not there before they are touched; null when refused.
[[nodiscard]] void* map_memory(std::size_t size) noexcept;
void unmap_memory(void* memory, std::size_t size) noexcept;

// Time and the process.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;
void pause_ns(std::uint64_t ns) noexcept;
/// In each child that fork(2) makes, on its only thread.
void call_in_children(void (*function)()) noexcept;
/// CPUs this thread may use, at most `room` of them; their number.
[[nodiscard]] int allowed_cpus(int* cpus, int room) noexcept;
[[nodiscard]] int pin_thread(int cpu) noexcept;
/// Lets this thread use the CPUs again that it might use before it was pinned.
void unpin_thread() noexcept;
/// The CPUs that a thread may use; `known` is false where it was not pinned.
struct cpu_mask {
    bool known = false;
    alignas(8) std::array<unsigned char, 128> bits{};
};
/// Those that this thread might use before it was pinned.
[[nodiscard]] cpu_mask unpinned_cpus() noexcept;
/// This thread runs calls that block: signals are for the others, and so is the one CPU of the pinned
/// thread that started it, which knows the `cpus`. `name` has at most 15 characters.
void become_worker(const char* name, const cpu_mask& cpus) noexcept;
/// Some calls (sendfile, splice) raise SIGPIPE and cannot be told not to: keeps it from this thread.
/// True when it was not kept from it before.
[[nodiscard]] bool hold_sigpipe() noexcept;
/// Lets it through again, without those that came meanwhile.
void release_sigpipe() noexcept;
/// The text of a small file such as one under /proc/sys, without its last newline; its length or
/// -errno.
[[nodiscard]] int read_small_file(const char* path, char* room, std::size_t size) noexcept;
struct limit {
    std::uint64_t soft;
    std::uint64_t hard;
};
enum class limit_kind { open_files, locked_memory };
[[nodiscard]] limit get_limit(limit_kind kind) noexcept;
/// Raises the soft limit to the hard one.
void raise_limit(limit_kind kind) noexcept;
/// Writes a line to stderr (by printf(3)'s rules, PIPE_BUF bytes at most), or drops it where there is
/// no room: no loop waits for a reader that has stalled.
[[gnu::format(printf, 1, 2)]] void tell(const char* format, ...) noexcept;
/// `6.18.44`, from uname(2).
void kernel_release(char* room, std::size_t size) noexcept;

}  // namespace ringlet::sys
