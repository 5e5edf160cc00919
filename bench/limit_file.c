// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// The limit row for files: a server of static files as fast as a human writes it, with epoll and
// sendfile(2). Of HTTP it knows what a load generator sends: GET, no body, connections that stay.
#include "limit_common.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

enum {
    max_events = 1024,
    max_accepts = 256,
    max_request = 4096,
    max_head = 256,
    shared = 64 << 10,  // up to here the head shares a packet; before more it costs 1.2 times
    copied = 16 << 10,  // with --technique copy: up to here a file is read and sent in one call
};

static const struct program program = {
    .name = "limit_file",
    .backend = "epoll",
    .techniques = {"sendfile", "copy"},
    .help =
        "usage: limit_file [options]\n"
        "Serves the current folder over HTTP, hand-written with epoll.\n"
        "  --listen HOST:PORT         numeric IPv4 address (127.0.0.1:7000); port 0 picks one\n"
        "  --technique sendfile|copy  sendfile(2) for every file (default), or read and send for\n"
        "                             those of up to 16 KiB\n"
        "  --buffer BYTES             sent of one file before others have their turn (1048576)\n"
        "  --cpu N                    run on this cpu only\n"
        "  --help                     this text\n",
};

struct connection {
    int file;  // -1: between two requests
    off_t offset;
    off_t end;
    unsigned length;  // of what has been received of the next request
    unsigned head_length;
    unsigned head_sent;
    char head[max_head];
    char request[max_request];
};

struct server {
    struct counters counters;
    struct connection** connections;  // indexed by descriptor
    size_t share;
    int epoll;
    int listener;
    int signals;
    bool is_copying;
    char small[max_head + copied];
};

static void drop(struct server* server, int fd) {
    struct connection* c = server->connections[fd];
    if (c->file >= 0) close(c->file);
    free(c);
    server->connections[fd] = NULL;
    close(fd);
}

enum progress { done, blocked, more, broken };

// A small file: what is read goes out with its head in one call.
static enum progress send_copy(struct server* server, int fd, struct connection* c) {
    size_t length = (size_t)(c->end - c->offset);
    memcpy(server->small, c->head, c->head_length);
    ssize_t got = pread(c->file, server->small + c->head_length, length, c->offset);
    if (got != (ssize_t)length) return broken;
    ssize_t sent = send(fd, server->small, c->head_length + length, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? blocked : broken;
    c->head_sent = (unsigned)sent < c->head_length ? (unsigned)sent : c->head_length;
    c->offset += sent - c->head_sent;
    return c->offset == c->end && c->head_sent == c->head_length ? done : blocked;
}

static enum progress send_some(struct server* server, int fd, struct connection* c) {
    if (server->is_copying && c->head_sent == 0 && c->end - c->offset <= copied)
        return send_copy(server, fd, c);
    if (c->head_sent < c->head_length) {
        ssize_t sent = send(fd, c->head + c->head_sent, c->head_length - c->head_sent,
                            MSG_NOSIGNAL | (c->end > 0 && c->end <= shared ? MSG_MORE : 0));
        if (sent < 0) return errno == EAGAIN ? blocked : broken;
        c->head_sent += (unsigned)sent;
        if (c->head_sent < c->head_length) return blocked;
    }
    size_t share = server->share;
    while (c->offset < c->end) {
        size_t piece = (size_t)(c->end - c->offset);
        if (piece > share) piece = share;
        if (piece == 0) return more;
        ssize_t sent = sendfile(fd, c->file, &c->offset, piece);
        if (sent < 0) return errno == EAGAIN ? blocked : broken;
        if (sent == 0) return broken;  // the file has become shorter
        share -= (size_t)sent;
    }
    return done;
}

// Opens what the request at the front names and writes the head of the answer; false: close.
static bool begin_answer(struct connection* c, unsigned size) {
    struct stat status;
    char* path = c->request + 4;
    char* end = memchr(path, ' ', size - 4);
    if (memcmp(c->request, "GET /", 5) != 0 || !end || memmem(path, (size_t)(end - path), "..", 2))
        return false;
    *end = '\0';
    while (*path == '/') path++;
    c->file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (c->file < 0 || fstat(c->file, &status) != 0 || !S_ISREG(status.st_mode)) return false;
    c->offset = 0;
    c->end = status.st_size;
    c->head_sent = 0;
    c->head_length =
        (unsigned)snprintf(c->head, sizeof(c->head),
                           "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                           "Content-Length: %lld\r\nConnection: keep-alive\r\n\r\n",
                           (long long)status.st_size);
    c->length -= size;
    memmove(c->request, c->request + size, c->length);
    return true;
}

// Goes on with a connection until it has to wait; true: it has had its share and could go on.
static bool serve(struct server* server, int fd) {
    struct connection* c = server->connections[fd];
    for (;;) {
        while (c->file < 0) {
            char* end = memmem(c->request, c->length, "\r\n\r\n", 4);
            if (end) {
                if (!begin_answer(c, (unsigned)(end + 4 - c->request)))
                    return drop(server, fd), false;
                break;
            }
            size_t room = sizeof(c->request) - c->length;
            if (room == 0) return drop(server, fd), false;
            ssize_t got = recv(fd, c->request + c->length, room, 0);
            if (got < 0 && errno == EAGAIN) return false;
            if (got <= 0) return drop(server, fd), false;
            c->length += (unsigned)got;
            server->counters.messages++;
            // A short read has emptied the socket: a whole request is answered, then it waits.
            if ((size_t)got < room && !memmem(c->request, c->length, "\r\n\r\n", 4)) return false;
        }
        switch (send_some(server, fd, c)) {
            case done:
                close(c->file);
                c->file = -1;
                if (c->length == 0) return false;
                break;
            case blocked: return false;
            case more: return true;
            case broken: return drop(server, fd), false;
        }
    }
}

static void accept_all(struct server* server) {
    for (int i = 0; i < max_accepts; i++) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        struct connection* c = malloc(sizeof(*c));
        if (!c) {
            close(fd);
            return;
        }
        c->file = -1;
        c->length = 0;
        server->connections[fd] = c;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.fd = fd};
        if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            die(&program, exit_failure, "epoll_ctl: %s", strerror(errno));
    }
}

static void run(struct server* server, size_t table) {
    static struct epoll_event events[max_events];
    int* again = malloc(table * sizeof(*again));  // those that have had their share
    int* now = malloc(table * sizeof(*now));
    bool* listed = calloc(table, sizeof(*listed));
    if (!again || !now || !listed) die(&program, exit_failure, "out of memory");
    size_t waiting = 0;
    for (;;) {
        int count = epoll_wait(server->epoll, events, max_events, waiting ? 0 : -1);
        size_t ready = 0;
        for (size_t i = 0; i < waiting; i++) now[ready++] = again[i];
        waiting = 0;
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == server->signals) return;
            if (fd == server->listener) {
                accept_all(server);
            } else if (!listed[fd]) {
                listed[fd] = true;
                now[ready++] = fd;
            }
        }
        for (size_t i = 0; i < ready; i++) {
            int fd = now[i];
            listed[fd] = server->connections[fd] && serve(server, fd);
            if (listed[fd]) again[waiting++] = fd;
        }
    }
}

int main(int argc, char** argv) {
    static struct server server;
    struct options options = parse_options(&program, argc, argv);
    if (options.buffer == 0) options.buffer = 1 << 20;
    pin(&program, options.cpu);
    size_t table = raise_descriptor_limit(&program);
    signal(SIGPIPE, SIG_IGN);  // sendfile(2) has no MSG_NOSIGNAL
    server.share = options.buffer;
    server.is_copying = strcmp(options.technique, "copy") == 0;
    server.connections = calloc(table, sizeof(*server.connections));
    if (!server.connections) die(&program, exit_failure, "out of memory");
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0) die(&program, exit_failure, "epoll: %s", strerror(errno));
    server.signals = open_signals(&program);
    server.listener = open_listener(&program, &options, SOCK_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = server.signals};
    epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.signals, &event);
    event.data.fd = server.listener;
    epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event);
    print_start(&program, &options, server.listener);
    run(&server, table);
    print_end(&program, &server.counters);
    return EXIT_SUCCESS;
}
