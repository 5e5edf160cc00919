// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// A closed loop of HTTP requests for one file: every connection asks for it again when it has come,
// and every byte of it is compared with a copy. One thread, epoll.
#include "limit_common.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>

enum { max_events = 1024, room_size = 256 << 10, max_head = 1024 };

static const struct program program = {.name = "fetch"};

struct connection {
    int fd;
    bool in_body;
    unsigned head_length;
    size_t got;  // of the body
    char head[max_head];
};

struct client {
    struct connection* connections;
    const char* expected;
    size_t size;
    char request[512];
    size_t request_size;
    int epoll;
    bool is_over;
    unsigned idle;  // connections that ask no more
    unsigned long requests;
    unsigned long bytes;
};

static char room[room_size];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void ask(struct client* client, struct connection* c) {
    c->in_body = false;
    c->head_length = 0;
    c->got = 0;
    if (client->is_over) {
        client->idle++;
        return;
    }
    ssize_t sent = send(c->fd, client->request, client->request_size, MSG_NOSIGNAL);
    if (sent != (ssize_t)client->request_size)
        die(&program, exit_failure, "send: %s", sent < 0 ? strerror(errno) : "short");
}

static bool has_field(const char* head, const char* field, size_t value) {
    char text[64];
    snprintf(text, sizeof(text), "\r\n%s: %zu\r\n", field, value);
    return strcasestr(head, text) != NULL;
}

// Takes bytes of the head; how many of them were the head's.
static size_t take_head(struct client* client, struct connection* c, const char* data,
                        size_t size) {
    size_t taken = 0;
    while (taken < size && !c->in_body) {
        if (c->head_length + 1 == max_head) die(&program, exit_failure, "the head is too long");
        c->head[c->head_length++] = data[taken++];
        c->in_body =
            c->head_length >= 4 && memcmp(c->head + c->head_length - 4, "\r\n\r\n", 4) == 0;
    }
    if (c->in_body) {
        c->head[c->head_length] = '\0';
        if (memcmp(c->head, "HTTP/1.", 7) != 0 || memcmp(c->head + 8, " 200 ", 5) != 0 ||
            !has_field(c->head, "Content-Length", client->size))
            die(&program, exit_failure, "unexpected answer: %.200s", c->head);
    }
    return taken;
}

static void on_readable(struct client* client, struct connection* c) {
    for (;;) {
        ssize_t got = recv(c->fd, room, sizeof(room), 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0)
            die(&program, exit_failure, "recv: %s", got < 0 ? strerror(errno) : "the end");
        size_t at = c->in_body ? 0 : take_head(client, c, room, (size_t)got);
        size_t body = (size_t)got - at;
        if (body > client->size - c->got) die(&program, exit_failure, "more bytes than promised");
        if (memcmp(room + at, client->expected + c->got, body) != 0)
            die(&program, exit_failure, "wrong bytes near %zu", c->got);
        c->got += body;
        client->bytes += body;
        if (c->in_body && c->got == client->size) {
            client->requests++;
            ask(client, c);
            return;
        }
        if ((size_t)got < sizeof(room)) return;
    }
}

static const char* read_expected(const char* path, size_t* size) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        die(&program, exit_usage, "%s: %s", path, strerror(errno));
    char* content = malloc((size_t)status.st_size + 1);
    if (!content || read(fd, content, (size_t)status.st_size) != status.st_size)
        die(&program, exit_failure, "%s cannot be read", path);
    close(fd);
    *size = (size_t)status.st_size;
    return content;
}

int main(int argc, char** argv) {
    if (argc != 6)
        die(&program, exit_usage, "usage: fetch HOST:PORT /TARGET FILE CONNECTIONS MILLISECONDS");
    struct sockaddr_in address;
    static struct client client;
    parse_address(&program, "HOST:PORT", argv[1], &address);
    client.expected = read_expected(argv[3], &client.size);
    unsigned count = number_or_die(&program, "CONNECTIONS", argv[4], 1, 100000);
    unsigned ms = number_or_die(&program, "MILLISECONDS", argv[5], 1, 3600000);
    client.request_size = (size_t)snprintf(client.request, sizeof(client.request),
                                           "GET %.300s HTTP/1.1\r\nHost: bench\r\n\r\n", argv[2]);
    raise_descriptor_limit(&program);
    client.connections = calloc(count, sizeof(*client.connections));
    client.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!client.connections || client.epoll < 0) die(&program, exit_failure, "out of memory");
    for (unsigned i = 0; i < count; i++) {
        struct connection* c = &client.connections[i];
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (const struct sockaddr*)&address, sizeof(address)) != 0 ||
            fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
            die(&program, exit_failure, "connect: %s", strerror(errno));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(client.epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
            die(&program, exit_failure, "epoll_ctl: %s", strerror(errno));
    }
    const double began = now();
    for (unsigned i = 0; i < count; i++) ask(&client, &client.connections[i]);
    double seconds = 0;
    while (client.idle < count) {
        struct epoll_event events[max_events];
        int ready = epoll_wait(client.epoll, events, max_events, 10000);
        if (ready == 0) die(&program, exit_failure, "no answer for 10 s");
        for (int i = 0; i < ready; i++) on_readable(&client, events[i].data.ptr);
        seconds = now() - began;
        client.is_over = client.is_over || seconds * 1000 >= ms;
    }
    printf("{\"requests\": %lu, \"bytes\": %lu, \"seconds\": %.6f, \"rate\": %.1f}\n",
           client.requests, client.bytes, seconds, (double)client.requests / seconds);
    return EXIT_SUCCESS;
}
