// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// libevent, both ways its users write: `plain` with events and system calls of one's own, `buffer`
// with bufferevents, whose input is moved to the output without a copy.
#include "peer.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

struct connection {
    struct event* readable;
    struct event* writable;
    char* rest;
    size_t size;
    size_t offset;  // in `rest`; in `block` when it is a source
    uint64_t count;
    int fd;
};

static struct peer_options options;
static struct event_base* base;
static char room[peer_buffer_size] __attribute__((aligned(4096)));
static _Alignas(source_block_alignment) unsigned char block[source_block_size];

// --- plain
// ----------------------------------------------------------------------------------------

static void close_it(struct connection* c) {
    event_free(c->readable);
    event_free(c->writable);
    close(c->fd);
    free(c->rest);
    free(c);
}

static ssize_t send_some(struct connection* c, const void* data, size_t size) {
    ssize_t sent = send(c->fd, data, size, MSG_NOSIGNAL);
    return sent < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : sent;
}

static void echo(struct connection* c, size_t size) {
    ssize_t sent = send_some(c, room, size);
    if (sent < 0) {
        close_it(c);
        return;
    }
    if ((size_t)sent == size) return;
    c->size = size - (size_t)sent;
    c->offset = 0;
    c->rest = (char*)malloc(c->size);
    if (!c->rest) abort();
    memcpy(c->rest, room + sent, c->size);
    event_del(c->readable);  // nothing more comes in while the peer is slow
    event_add(c->writable, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void* subject) {
    struct connection* c = (struct connection*)subject;
    ssize_t got = recv(fd, room, sizeof room, 0);
    (void)what;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got > 0 && options.mode == peer_sink) {
        c->count += (uint64_t)got;
    } else if (got > 0) {
        echo(c, (size_t)got);
    } else {
        if (got == 0 && options.mode == peer_sink) send_some(c, &c->count, sizeof c->count);
        close_it(c);
    }
}

static void on_writable(evutil_socket_t fd, short what, void* subject) {
    struct connection* c = (struct connection*)subject;
    const int gives = options.mode == peer_source;
    ssize_t sent = gives ? send_some(c, block + c->offset, sizeof block - c->offset)
                         : send_some(c, c->rest + c->offset, c->size - c->offset);
    (void)fd;
    (void)what;
    if (sent < 0) {
        close_it(c);
        return;
    }
    c->offset += (size_t)sent;
    if (gives) {
        c->offset %= sizeof block;
    } else if (c->offset == c->size) {
        free(c->rest);
        c->rest = NULL;
        event_del(c->writable);
        event_add(c->readable, NULL);
    }
}

static void begin_plain(int fd) {
    struct connection* c = (struct connection*)calloc(1, sizeof *c);
    if (!c) abort();
    c->fd = fd;
    c->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
    event_add(options.mode == peer_source ? c->writable : c->readable, NULL);
}

// --- bufferevents
// ---------------------------------------------------------------------------------

static void on_data(struct bufferevent* stream, void* subject) {
    struct evbuffer* input = bufferevent_get_input(stream);
    uint64_t* count = (uint64_t*)subject;
    if (options.mode == peer_sink) {
        *count += evbuffer_get_length(input);
        evbuffer_drain(input, evbuffer_get_length(input));
    } else {
        bufferevent_write_buffer(stream, input);
        // Nothing more comes in while the peer is slow; on_drained() goes on.
        if (evbuffer_get_length(bufferevent_get_output(stream)) > 4 * peer_buffer_size)
            bufferevent_disable(stream, EV_READ);
    }
}

static void on_drained(struct bufferevent* stream, void* subject) {
    uint64_t* ended = (uint64_t*)subject;
    if (options.mode == peer_source) {
        evbuffer_add_reference(bufferevent_get_output(stream), block, sizeof block, NULL, NULL);
    } else if (*ended == UINT64_MAX) {
        bufferevent_free(stream);
        free(ended);
    } else {
        bufferevent_enable(stream, EV_READ);
    }
}

static void on_event(struct bufferevent* stream, short what, void* subject) {
    uint64_t* count = (uint64_t*)subject;
    if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))) return;
    if ((what & BEV_EVENT_EOF) && options.mode == peer_sink)
        bufferevent_write(stream, count, sizeof *count);
    if ((what & BEV_EVENT_EOF) && options.mode != peer_source &&
        evbuffer_get_length(bufferevent_get_output(stream)) > 0) {
        *count = UINT64_MAX;  // ends when the last bytes have gone
        return;
    }
    bufferevent_free(stream);
    free(count);
}

static void begin_buffer(int fd) {
    uint64_t* count = (uint64_t*)calloc(1, sizeof *count);
    struct bufferevent* stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!count || !stream) abort();
    bufferevent_set_max_single_read(stream, peer_buffer_size);
    bufferevent_set_max_single_write(stream, 4 * peer_buffer_size);
    bufferevent_setcb(stream, on_data, on_drained, on_event, count);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
    if (options.mode == peer_source) on_drained(stream, count);
}

// --- both
// -----------------------------------------------------------------------------------------

static void on_connection(evutil_socket_t listener, short what, void* subject) {
    int fd;
    (void)what;
    (void)subject;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (strcmp(options.style, "plain") == 0)
            begin_plain(fd);
        else
            begin_buffer(fd);
    }
}

int main(int argc, char** argv) {
    static const char* const styles[] = {"plain", "buffer", NULL};
    struct event* door;
    options = peer_parse("event_echo", styles, argc, argv);
    fill_source_block(block);
    base = event_base_new();
    door = event_new(base, peer_listen("event_echo", &options), EV_READ | EV_PERSIST, on_connection,
                     NULL);
    event_add(door, NULL);
    return event_base_dispatch(base);
}
