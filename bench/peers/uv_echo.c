// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// libuv: one buffer for all reads, since a loop reads one stream at a time; uv_try_write first, and
// only what the socket did not take is copied and waited for.
#include "peer.h"

#include <uv.h>

struct connection {
    uv_tcp_t stream;
    uv_write_t write;
    uv_shutdown_t shutdown;
    char* rest;
    uint64_t count;
};

static struct peer_options options;
static char room[peer_buffer_size] __attribute__((aligned(4096)));
static _Alignas(source_block_alignment) unsigned char block[source_block_size];

static void on_read(uv_stream_t* stream, ssize_t got, const uv_buf_t* buffer);

static void on_closed(uv_handle_t* handle) {
    struct connection* c = (struct connection*)handle;
    free(c->rest);
    free(c);
}

static void close_it(struct connection* c) {
    if (!uv_is_closing((uv_handle_t*)c)) uv_close((uv_handle_t*)c, on_closed);
}

static void lend_room(uv_handle_t* handle, size_t wanted, uv_buf_t* buffer) {
    (void)handle;
    (void)wanted;
    *buffer = uv_buf_init(room, sizeof room);
}

static void on_written(uv_write_t* write, int status) {
    struct connection* c = (struct connection*)write->data;
    free(c->rest);
    c->rest = NULL;
    if (status < 0)
        close_it(c);
    else
        uv_read_start((uv_stream_t*)c, lend_room, on_read);
}

static void echo(struct connection* c, char* data, size_t size) {
    uv_buf_t all = uv_buf_init(data, (unsigned)size);
    int sent = uv_try_write((uv_stream_t*)c, &all, 1);
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0) {
        close_it(c);
        return;
    }
    if ((size_t)sent == size) return;
    const size_t left = size - (size_t)sent;
    c->rest = (char*)malloc(left);
    if (!c->rest) abort();
    memcpy(c->rest, data + sent, left);
    uv_buf_t rest = uv_buf_init(c->rest, (unsigned)left);
    uv_read_stop((uv_stream_t*)c);  // nothing more comes in while the peer is slow
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t*)c, &rest, 1, on_written) != 0) close_it(c);
}

static void on_shutdown(uv_shutdown_t* shutdown, int status) {
    (void)status;
    close_it((struct connection*)shutdown->data);
}

static void say_count(struct connection* c) {
    uv_buf_t count = uv_buf_init((char*)&c->count, sizeof c->count);
    uv_try_write((uv_stream_t*)c, &count, 1);
    c->shutdown.data = c;
    if (uv_shutdown(&c->shutdown, (uv_stream_t*)c, on_shutdown) != 0) close_it(c);
}

static void on_read(uv_stream_t* stream, ssize_t got, const uv_buf_t* buffer) {
    struct connection* c = (struct connection*)stream;
    if (got == UV_EOF && options.mode == peer_sink)
        say_count(c);
    else if (got < 0)
        close_it(c);
    else if (options.mode == peer_sink)
        c->count += (uint64_t)got;
    else if (got > 0)
        echo(c, buffer->base, (size_t)got);
}

static void give(uv_write_t* write, int status) {
    struct connection* c = (struct connection*)write->data;
    uv_buf_t all = uv_buf_init((char*)block, sizeof block);
    if (status < 0 || uv_write(write, (uv_stream_t*)c, &all, 1, give) != 0) close_it(c);
}

static void on_connection(uv_stream_t* listener, int status) {
    struct connection* c;
    if (status < 0) return;
    c = (struct connection*)calloc(1, sizeof *c);
    if (!c) abort();
    uv_tcp_init(listener->loop, &c->stream);
    if (uv_accept(listener, (uv_stream_t*)c) != 0) {
        close_it(c);
        return;
    }
    c->write.data = c;
    if (options.mode == peer_source)
        give(&c->write, 0);
    else
        uv_read_start((uv_stream_t*)c, lend_room, on_read);
}

int main(int argc, char** argv) {
    static const char* const styles[] = {"callbacks", NULL};
    uv_loop_t* loop = uv_default_loop();
    uv_tcp_t listener;
    options = peer_parse("uv_echo", styles, argc, argv);
    fill_source_block(block);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_open(&listener, peer_listen("uv_echo", &options)) != 0 ||
        uv_listen((uv_stream_t*)&listener, peer_backlog, on_connection) != 0)
        return 1;
    return uv_run(loop, UV_RUN_DEFAULT);
}
