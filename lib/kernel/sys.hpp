// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

struct epoll_event;
struct msghdr;
struct io_uring_params;

/// The seam: every system call that ringlet makes, once. Each returns what the kernel returned, or
/// -errno, and retries EINTR where repeating is right. A simulated kernel takes the place of this
/// file's source; nothing above makes a system call, reads a clock or draws a random number.
namespace ringlet::sys {

// Sockets. MSG_NOSIGNAL and MSG_DONTWAIT are always set, SOCK_CLOEXEC too.
[[nodiscard]] int recv(int fd, void* room, std::size_t size) noexcept;
[[nodiscard]] int send(int fd, const void* data, std::size_t size) noexcept;
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

// Descriptors.
void close(int fd) noexcept;
[[nodiscard]] int set_nonblocking(int fd) noexcept;
[[nodiscard]] int event_fd() noexcept;
/// Adds 1 to an eventfd; safe in a signal handler.
void ring_bell(int fd) noexcept;

// epoll.
[[nodiscard]] int epoll_create() noexcept;
[[nodiscard]] int epoll_add(int epoll, int fd, std::uint32_t events, void* data) noexcept;
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
[[nodiscard]] int process_id() noexcept;
/// CPUs this thread may use, at most `room` of them; their number.
[[nodiscard]] int allowed_cpus(int* cpus, int room) noexcept;
[[nodiscard]] int pin_thread(int cpu) noexcept;
/// This thread runs calls that block: signals are for the others. `name` has at most 15 characters.
void become_worker(const char* name) noexcept;
/// The text of a small file such as one under /proc/sys, without its last newline; its length or
/// -errno.
[[nodiscard]] int read_small_file(const char* path, char* room, std::size_t size) noexcept;
struct limit {
    std::uint64_t soft;
    std::uint64_t hard;
};
enum class limit_kind { open_files, locked_memory, processes };
[[nodiscard]] limit get_limit(limit_kind kind) noexcept;
/// Raises the soft limit to the hard one.
void raise_limit(limit_kind kind) noexcept;
/// `6.18.44`, from uname(2).
void kernel_release(char* room, std::size_t size) noexcept;

}  // namespace ringlet::sys
