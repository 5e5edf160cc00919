// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// Both ends of a proxy under bulk load: writes of 64 KiB into connections to the proxy, and takes
// them at the upstream's side. Checks the first and last byte of what it reads, counts the rest.
//
// usage: bulk_load CONNECTIONS SECONDS
// It prints the upstream's HOST:PORT, reads the proxy's HOST:PORT from stdin, and prints
// "BYTES NANOSECONDS" of what came through.
#include "limit_common.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <time.h>

enum { write_size = 65536, read_size = 1 << 18, max_connections = 4096, is_sink = 1 << 30 };

static const struct program program = {.name = "bulk_load"};
static char written[write_size + 256];
static char room[read_size];
static unsigned long sent[1 << 16];
static unsigned long taken[1 << 16];

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void add(int epoll, int fd, uint32_t events, unsigned tag) {
    struct epoll_event event = {.events = events, .data.u32 = (unsigned)fd | tag};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die(&program, exit_failure, "epoll_ctl: %s", strerror(errno));
}

static void give(int fd) {
    ssize_t n = send(fd, written + sent[fd] % 256, write_size, MSG_NOSIGNAL);
    if (n > 0) sent[fd] += (unsigned long)n;
    if (n < 0 && errno != EAGAIN) die(&program, exit_failure, "send: %s", strerror(errno));
}

static unsigned long take(int fd) {
    errno = 0;
    ssize_t n = recv(fd, room, read_size, 0);
    if (n <= 0 && taken[fd] == 0 && errno != EAGAIN) {  // somebody looked whether we listen
        close(fd);
        return 0;
    }
    if (n == 0) die(&program, exit_failure, "the proxy closed a connection");
    if (n < 0 && errno != EAGAIN) die(&program, exit_failure, "recv: %s", strerror(errno));
    if (n <= 0) return 0;
    if ((unsigned char)room[0] != taken[fd] % 256 ||
        (unsigned char)room[n - 1] != (taken[fd] + (unsigned long)n - 1) % 256)
        die(&program, exit_failure, "the bytes are not those that were sent");
    taken[fd] += (unsigned long)n;
    return (unsigned long)n;
}

int main(int argc, char** argv) {
    char line[64];
    if (argc != 3) die(&program, exit_usage, "usage: bulk_load CONNECTIONS SECONDS");
    const unsigned connections =
        number_or_die(&program, "CONNECTIONS", argv[1], 1, max_connections);
    const double seconds = atof(argv[2]);
    struct options options = {0};
    raise_descriptor_limit(&program);
    for (size_t i = 0; i < sizeof(written); i++) written[i] = (char)(unsigned char)i;
    parse_address(&program, "", "127.0.0.1:0", &options.address);
    int listener = open_listener(&program, &options, SOCK_NONBLOCK);
    struct sockaddr_in name;
    socklen_t length = sizeof(name);
    getsockname(listener, (struct sockaddr*)&name, &length);
    printf("127.0.0.1:%u\n", ntohs(name.sin_port));
    fflush(stdout);
    if (!fgets(line, sizeof(line), stdin)) return EXIT_SUCCESS;
    line[strcspn(line, "\n")] = '\0';
    struct sockaddr_in proxy;
    parse_address(&program, "stdin", line, &proxy);

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    add(epoll, listener, EPOLLIN, 0);
    for (unsigned i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr*)&proxy, sizeof(proxy)) != 0)
            die(&program, exit_failure, "connect: %s", strerror(errno));
        fcntl(fd, F_SETFL, O_NONBLOCK);
        add(epoll, fd, EPOLLOUT, 0);
    }
    unsigned long total = 0;
    const long long begin = now_ns();
    const long long end = begin + (long long)(seconds * 1e9);
    static struct epoll_event events[256];
    while (now_ns() < end) {
        int count = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < count; i++) {
            const int fd = (int)(events[i].data.u32 & ~(unsigned)is_sink);
            if (fd == listener) {
                int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (accepted >= 0) add(epoll, accepted, EPOLLIN, is_sink);
            } else if (events[i].data.u32 & is_sink) {
                total += take(fd);
            } else {
                give(fd);
            }
        }
    }
    printf("%lu %lld\n", total, now_ns() - begin);
    return EXIT_SUCCESS;
}
