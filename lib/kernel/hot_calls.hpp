// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <fcntl.h>

#include <cerrno>
#include <cstddef>

// Sanitizers watch libc's functions: what they fill, and whom they wake.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RINGLET_CALLS_LIBC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RINGLET_CALLS_LIBC 1
#endif
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#define RINGLET_CALLS_LIBC 1
#endif

/// The system calls that are made for each message, without libc between: in a program with threads
/// glibc makes each of them a point of cancellation (pthread_cancel(3)), 50 instructions with two
/// atomic exchanges, and nobody cancels a core's thread. Each returns what the kernel returned, or
/// -errno.
namespace ringlet::kernel::hot {

#ifdef RINGLET_CALLS_LIBC

inline long checked(long returned) noexcept { return returned < 0 ? -errno : returned; }

inline long recv(int fd, void* room, std::size_t size, int flags) noexcept {
    return checked(::recv(fd, room, size, flags));
}
inline long send(int fd, const void* data, std::size_t size, int flags) noexcept {
    return checked(::send(fd, data, size, flags));
}
inline long sendmsg(int fd, const msghdr* message, int flags) noexcept {
    return checked(::sendmsg(fd, message, flags));
}
inline long accept(int fd, int flags) noexcept {
    return checked(::accept4(fd, nullptr, nullptr, flags));
}
inline long splice(int from, int to, std::size_t size, unsigned flags) noexcept {
    return checked(::splice(from, nullptr, to, nullptr, size, flags));
}
inline long epoll_wait(int epoll, epoll_event* events, int room, int timeout_ms) noexcept {
    return checked(::epoll_wait(epoll, events, room, timeout_ms));
}

#else

inline long word(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }
inline long word(std::size_t size) noexcept { return static_cast<long>(size); }

#ifdef __x86_64__
inline long call(long number, long a, long b, long c, long d, long e, long f) noexcept {
    long answer;
    register long fourth asm("r10") = d;
    register long fifth asm("r8") = e;
    register long sixth asm("r9") = f;
    asm volatile("syscall"
                 : "=a"(answer)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
                 : "rcx", "r11", "memory");
    return answer;
}
#else
inline long call(long number, long a, long b, long c, long d, long e, long f) noexcept {
    register long which asm("x8") = number;
    register long first asm("x0") = a;
    register long second asm("x1") = b;
    register long third asm("x2") = c;
    register long fourth asm("x3") = d;
    register long fifth asm("x4") = e;
    register long sixth asm("x5") = f;
    asm volatile("svc 0"
                 : "+r"(first)
                 : "r"(which), "r"(second), "r"(third), "r"(fourth), "r"(fifth), "r"(sixth)
                 : "memory");
    return first;
}
#endif

inline long recv(int fd, void* room, std::size_t size, int flags) noexcept {
    return call(SYS_recvfrom, fd, word(room), word(size), flags, 0, 0);
}
inline long send(int fd, const void* data, std::size_t size, int flags) noexcept {
    return call(SYS_sendto, fd, word(data), word(size), flags, 0, 0);
}
inline long sendmsg(int fd, const msghdr* message, int flags) noexcept {
    return call(SYS_sendmsg, fd, word(message), flags, 0, 0, 0);
}
inline long accept(int fd, int flags) noexcept {
    return call(SYS_accept4, fd, 0, 0, flags, 0, 0);
}
inline long splice(int from, int to, std::size_t size, unsigned flags) noexcept {
    return call(SYS_splice, from, 0, to, 0, word(size), flags);
}
inline long epoll_wait(int epoll, epoll_event* events, int room, int timeout_ms) noexcept {
#ifdef SYS_epoll_wait  // as libc calls it: a seccomp filter may know only this one
    constexpr long number = SYS_epoll_wait;
#else
    constexpr long number = SYS_epoll_pwait;
#endif
    return call(number, epoll, word(events), room, timeout_ms, 0, 0);
}

#endif

}  // namespace ringlet::kernel::hot
