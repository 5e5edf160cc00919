// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// The limit row for epoll: an echo server as fast as a human writes it.
// One receive buffer for all connections stays hot in the cache; a connection owns memory only
// while its peer is slower than we are.
#include "limit_common.h"
#include "source_block.h"

#include <sys/epoll.h>
#include <time.h>

enum {
    max_events = 4096,
    max_accepts = 256,  // per event, so that a flood of connects cannot stop the echo
    max_rounds = 16,    // edge-triggered: reads in a row before others have their turn
};

static const struct program program = {
    .name = "limit_epoll",
    .backend = "epoll",
    .techniques = {"lt", "et"},
    .modes = {"echo", "sink", "source"},
    .help = "usage: limit_epoll [options]\n"
            "TCP echo server, hand-written with epoll.\n"
            "  --listen HOST:PORT  numeric IPv4 address (127.0.0.1:7000); port 0 picks one\n"
            "  --technique lt|et   level-triggered (default) or edge-triggered\n"
            "  --mode NAME         echo (default), sink (takes all, says how much at the end) or\n"
            "                      source (sends without end)\n"
            "  --buffer BYTES      the receive buffer of all connections (65536)\n"
            "  --cpu N             run on this cpu only\n"
            "  --help              this text\n",
};

// Unsent bytes; pending is NULL while all is sent, which is nearly always.
struct connection {
    char* pending;
    size_t length;
    size_t offset;
    uint64_t count;  // of a sink; in a source, what has been sent
};

struct server {
    struct counters counters;
    struct connection* connections;  // indexed by descriptor
    char* buffer;
    size_t buffer_size;
    int epoll;
    int listener;
    int signals;
    bool is_edge;
    bool is_sink;
    bool is_source;
    bool is_paused;  // out of descriptors
    struct timespec resume_at;
};

static void watch(struct server* server, int operation, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    server->counters.syscalls++;
    if (epoll_ctl(server->epoll, operation, fd, &event) != 0)
        die(&program, exit_failure, "epoll_ctl: %s", strerror(errno));
}

// RDHUP is needed where a short read ends the reading: it tells of an end behind the data.
static uint32_t read_events(const struct server* server) {
    if (server->is_source) return EPOLLIN | EPOLLOUT;
    return server->is_edge ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLIN;
}

// Closing takes the descriptor out of the epoll set: nobody else holds a copy of it.
static void drop(struct server* server, int fd) {
    free(server->connections[fd].pending);
    server->connections[fd] = (struct connection){0};
    server->counters.syscalls++;
    close(fd);
}

// Returns the number of bytes taken by the socket (0 if it is full), or -1 if it is broken.
static ssize_t send_some(struct server* server, int fd, const char* data, size_t length) {
    server->counters.syscalls++;
    ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return sent;
}

// The peer is slow: keep the rest, and read nothing more until it is gone.
static bool keep(struct server* server, int fd, const char* data, size_t length) {
    char* copy = malloc(length);
    if (!copy) return false;
    memcpy(copy, data, length);
    server->connections[fd] = (struct connection){.pending = copy, .length = length};
    watch(server, EPOLL_CTL_MOD, fd, EPOLLOUT);
    return true;
}

static bool echo(struct server* server, int fd, size_t length) {
    ssize_t sent = send_some(server, fd, server->buffer, length);
    if (sent < 0) return false;
    if ((size_t)sent == length) return true;
    return keep(server, fd, server->buffer + sent, length - (size_t)sent);
}

static void say_count(struct server* server, int fd) {
    const uint64_t count = server->connections[fd].count;
    send_some(server, fd, (const char*)&count, sizeof(count));
}

static void give(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    const size_t offset = connection->count % source_block_size;
    ssize_t sent = send_some(server, fd, server->buffer + offset, source_block_size - offset);
    if (sent < 0) drop(server, fd);
    else connection->count += (size_t)sent;
}

// The end is only ever seen with nothing pending, because a pending send stops the reading.
static void on_readable(struct server* server, int fd, uint32_t events) {
    // After an end or an error no further edge will come: then a short read is not the last.
    const bool is_last = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    const int rounds = server->is_edge ? max_rounds : 1;
    for (int i = 0; i < rounds; i++) {
        server->counters.syscalls++;
        ssize_t received = recv(fd, server->buffer, server->buffer_size, 0);
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (received <= 0) {
            if (received == 0 && server->is_sink) say_count(server, fd);
            drop(server, fd);
            return;
        }
        server->counters.messages++;
        if (server->is_sink) {
            server->connections[fd].count += (uint64_t)received;
            continue;
        }
        if (!echo(server, fd, (size_t)received)) {
            drop(server, fd);
            return;
        }
        if (server->connections[fd].pending) return;
        if ((size_t)received < server->buffer_size && !is_last) return;
    }
    if (server->is_edge)  // a modification reports what is still readable as a new edge
        watch(server, EPOLL_CTL_MOD, fd, read_events(server));
}

static void on_writable(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    ssize_t sent = send_some(server, fd, connection->pending + connection->offset,
                             connection->length - connection->offset);
    if (sent < 0) {
        drop(server, fd);
        return;
    }
    connection->offset += (size_t)sent;
    if (connection->offset < connection->length) return;
    free(connection->pending);
    *connection = (struct connection){0};
    watch(server, EPOLL_CTL_MOD, fd, read_events(server));
}

// A listener that is readable but cannot be accepted from would make the loop spin.
static void pause_accepting(struct server* server) {
    watch(server, EPOLL_CTL_MOD, server->listener, 0);
    clock_gettime(CLOCK_MONOTONIC, &server->resume_at);
    server->resume_at.tv_nsec += accept_pause_ms * 1000000L;
    if (server->resume_at.tv_nsec >= 1000000000L) {
        server->resume_at.tv_sec++;
        server->resume_at.tv_nsec -= 1000000000L;
    }
    server->is_paused = true;
}

static void resume_accepting(struct server* server) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec < server->resume_at.tv_sec ||
        (now.tv_sec == server->resume_at.tv_sec && now.tv_nsec < server->resume_at.tv_nsec))
        return;
    server->is_paused = false;
    watch(server, EPOLL_CTL_MOD, server->listener, EPOLLIN);
}

static void on_connect(struct server* server) {
    for (int i = 0; i < max_accepts; i++) {
        server->counters.syscalls++;
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            watch(server, EPOLL_CTL_ADD, fd, read_events(server));
        } else if (is_out_of_resources(errno)) {
            pause_accepting(server);
            return;
        } else if (errno == EAGAIN) {
            return;
        }  // anything else is the end of that one connection
    }
}

static void dispatch(struct server* server, const struct epoll_event* event) {
    const int fd = event->data.fd;
    if (fd == server->listener)
        on_connect(server);
    else if (server->is_source && !(event->events & ~(uint32_t)EPOLLOUT))
        give(server, fd);
    else if (server->connections[fd].pending)
        on_writable(server, fd);
    else
        on_readable(server, fd, event->events);
}

// A descriptor is in a batch once at most, and is closed only in its own turn: so a descriptor
// that is closed and accepted again within a batch never meets an event of its former life.
static void run(struct server* server) {
    static struct epoll_event events[max_events];
    for (;;) {
        server->counters.syscalls++;
        int count =
            epoll_wait(server->epoll, events, max_events, server->is_paused ? accept_pause_ms : -1);
        if (count < 0 && errno != EINTR)
            die(&program, exit_failure, "epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == server->signals) return;
            dispatch(server, &events[i]);
        }
        if (server->is_paused) resume_accepting(server);
    }
}

static void set_up(struct server* server, const struct options* options) {
    const size_t descriptors = raise_descriptor_limit(&program);
    server->is_edge = strcmp(options->technique, "et") == 0;
    server->is_sink = strcmp(options->mode, "sink") == 0;
    server->is_source = strcmp(options->mode, "source") == 0;
    server->buffer_size = options->buffer;
    // On a page: a copy of 16 KiB to an odd address costs 1.6 times as much.
    server->buffer = aligned_alloc(4096, (options->buffer + 4095UL) & ~4095UL);
    server->connections = calloc(descriptors, sizeof(*server->connections));
    if (!server->buffer || !server->connections) die(&program, exit_failure, "out of memory");
    if (server->is_source) fill_source_block((unsigned char*)server->buffer);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll < 0) die(&program, exit_failure, "epoll_create1: %s", strerror(errno));
    server->signals = open_signals(&program);
    server->listener = open_listener(&program, options, SOCK_NONBLOCK);
    watch(server, EPOLL_CTL_ADD, server->signals, EPOLLIN);
    watch(server, EPOLL_CTL_ADD, server->listener, EPOLLIN);
    server->counters.syscalls = 0;
}

int main(int argc, char** argv) {
    static struct server server;
    struct options options = parse_options(&program, argc, argv);
    if (options.buffer == 0) options.buffer = 65536;
    if (strcmp(options.mode, "source") == 0 && options.buffer < source_block_size)
        die(&program, exit_usage, "--mode source: needs a buffer of %d", source_block_size);
    pin(&program, options.cpu);
    set_up(&server, &options);
    print_start(&program, &options, server.listener);
    run(&server);
    print_end(&program, &server.counters);
    return EXIT_SUCCESS;
}
