// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// The limit row for io_uring: an echo server as fast as a human writes it.
// One io_uring_enter per turn: reap every completion, then submit all that follows from them.
#include "limit_common.h"

#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>

enum {
    sq_entries = 256,
    cq_entries = 4096,
    max_gather = 64,    // segments in one SENDMSG
    arena_size = 1024,  // iovecs between two submissions
    buffer_group = 0,
    none = -1,           // no descriptor: the end of a list
    no_segment = 65535,  // no buffer: the end of a queue
};

enum operation { op_accept, op_resume, op_signal, op_receive, op_send };

static const struct program program = {
    .name = "limit_uring",
    .backend = "io_uring",
    .techniques = {"multishot", "single"},
    .help = "usage: limit_uring [options]\n"
            "TCP echo server, hand-written with io_uring.\n"
            "  --listen HOST:PORT  numeric IPv4 address (127.0.0.1:7000); port 0 picks one\n"
            "  --technique NAME    multishot (default): receives into a shared buffer ring\n"
            "                      single: one receive at a time into a private buffer\n"
            "  --buffer BYTES      size of a buffer (multishot 65536, single 4096)\n"
            "  --buffers N         multishot: buffers in the ring, a power of two (64)\n"
            "  --taskrun MODE      defer (default), coop, or none: a ring without flags\n"
            "  --cpu N             run on this cpu only\n"
            "  --help              this text\n",
    .is_ring = true,
};

// A buffer of the ring that holds bytes to be echoed; its index is the buffer's id.
struct segment {
    uint32_t length;
    uint16_t next;
};

// Only one of the two techniques is in use, so they share the space.
struct connection {
    union {
        struct {  // single
            char* data;
            uint32_t length;
            uint32_t sent;
        };
        struct {            // multishot
            uint32_t sent;  // bytes of the first segment that are gone already
            uint16_t first;
            uint16_t last;
            int next_ready;
            int next_starved;
        } queue;
    };
    bool is_receiving;
    bool is_sending;
    bool is_ready;    // on the list of those whose next send is to be started
    bool is_starved;  // on the list of those that wait for a buffer
    bool at_end;      // the peer has sent all
    bool is_broken;   // nothing more can be sent
};

struct list {
    int first;
    int last;
};

struct server {
    struct io_uring ring;
    struct counters counters;
    struct connection* connections;  // indexed by descriptor
    size_t buffer_size;
    int listener;
    int signals;
    bool is_multishot;
    bool is_stopped;

    // multishot only
    struct io_uring_buf_ring* pool;
    char* pool_data;
    struct segment* segments;
    unsigned pool_size;
    unsigned held;      // buffers that are in queues
    unsigned returned;  // buffers put back in this turn, not yet shown to the kernel
    struct list ready;
    struct list starved;
    struct iovec iovecs[arena_size];
    struct msghdr messages[arena_size / 2];  // a gathered send has two iovecs or more
    unsigned iovecs_used;
    unsigned messages_used;
};

// ---- the ring

static void check_submit(int result) {
    if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
        die(&program, exit_failure, "io_uring_enter: %s", strerror(-result));
}

// The kernel copies iovecs when it takes the entry, so the arena is free after a submission.
static void release_arena(struct server* server) {
    if (io_uring_sq_ready(&server->ring) == 0) server->iovecs_used = server->messages_used = 0;
}

static void submit_now(struct server* server) {
    server->counters.syscalls++;
    check_submit(io_uring_submit(&server->ring));
    release_arena(server);
}

static struct io_uring_sqe* next_entry(struct server* server) {
    struct io_uring_sqe* entry;
    while (!(entry = io_uring_get_sqe(&server->ring))) submit_now(server);
    return entry;
}

static void label(struct io_uring_sqe* entry, enum operation operation, int fd) {
    io_uring_sqe_set_data64(entry, (uint64_t)fd << 8 | operation);
}

static void start_accept(struct server* server) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_multishot_accept(entry, server->listener, NULL, NULL, SOCK_CLOEXEC);
    label(entry, op_accept, server->listener);
}

static void start_signal(struct server* server) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_poll_add(entry, server->signals, POLLIN);
    label(entry, op_signal, server->signals);
}

static void close_descriptor(struct server* server, int fd) {
    server->connections[fd] = (struct connection){0};
    server->counters.syscalls++;
    close(fd);
}

// ---- single: a private buffer, one operation in flight

static void start_single_receive(struct server* server, int fd) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_recv(entry, fd, server->connections[fd].data, server->buffer_size, 0);
    label(entry, op_receive, fd);
}

static void start_single_send(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_send(entry, fd, connection->data + connection->sent,
                       connection->length - connection->sent, MSG_WAITALL | MSG_NOSIGNAL);
    label(entry, op_send, fd);
}

static void drop_single(struct server* server, int fd) {
    free(server->connections[fd].data);
    close_descriptor(server, fd);
}

static void open_single(struct server* server, int fd) {
    server->connections[fd].data = malloc(server->buffer_size);
    if (server->connections[fd].data)
        start_single_receive(server, fd);
    else
        close_descriptor(server, fd);
}

static void on_single_receive(struct server* server, int fd, int result) {
    if (result <= 0) {  // all that came before has been sent
        drop_single(server, fd);
        return;
    }
    server->counters.messages++;
    server->connections[fd].length = (uint32_t)result;
    server->connections[fd].sent = 0;
    start_single_send(server, fd);
}

static void on_single_send(struct server* server, int fd, int result) {
    struct connection* connection = &server->connections[fd];
    if (result <= 0) {
        drop_single(server, fd);
        return;
    }
    connection->sent += (uint32_t)result;
    if (connection->sent < connection->length)  // cut short in spite of MSG_WAITALL
        start_single_send(server, fd);
    else
        start_single_receive(server, fd);
}

// ---- multishot: buffers

// Put back now, shown to the kernel once per turn.
static void put_back(struct server* server, uint16_t id) {
    io_uring_buf_ring_add(server->pool, server->pool_data + id * server->buffer_size,
                          (unsigned)server->buffer_size, id,
                          io_uring_buf_ring_mask(server->pool_size), (int)server->returned);
    server->returned++;
}

static void push_segment(struct server* server, struct connection* connection, uint16_t id,
                         uint32_t length) {
    server->segments[id] = (struct segment){.length = length, .next = no_segment};
    if (connection->queue.first == no_segment)
        connection->queue.first = id;
    else
        server->segments[connection->queue.last].next = id;
    connection->queue.last = id;
    server->held++;
}

static void pop_segment(struct server* server, struct connection* connection) {
    const uint16_t id = connection->queue.first;
    connection->queue.first = server->segments[id].next;
    connection->queue.sent = 0;
    server->held--;
    put_back(server, id);
}

// What was sent is at the front: segments that came meanwhile are behind it.
static void pop_bytes(struct server* server, struct connection* connection, uint32_t count) {
    while (count > 0) {
        const uint32_t length = server->segments[connection->queue.first].length;
        const uint32_t left = length - connection->queue.sent;
        if (count < left) {
            connection->queue.sent += count;
            return;
        }
        count -= left;
        pop_segment(server, connection);
    }
}

// ---- multishot: connections

static void start_receive(struct server* server, int fd) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = buffer_group;
    label(entry, op_receive, fd);
    server->connections[fd].is_receiving = true;
}

static void open_multishot(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    connection->queue.first = connection->queue.last = no_segment;
    start_receive(server, fd);
}

// Closes as soon as no operation and no list knows the descriptor: then it may be used again.
static void close_if_done(struct server* server, int fd) {
    const struct connection* connection = &server->connections[fd];
    if (connection->is_receiving || connection->is_sending || connection->is_starved ||
        connection->is_ready)
        return;
    if (connection->is_broken || (connection->at_end && connection->queue.first == no_segment))
        close_descriptor(server, fd);
}

// Buffers go back at once, except under a send, which still reads them.
static void fail(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    if (!connection->is_broken && (connection->is_receiving || connection->is_sending)) {
        server->counters.syscalls++;
        shutdown(fd, SHUT_RDWR);  // ends the operation that is still in flight
    }
    connection->is_broken = true;
    while (!connection->is_sending && connection->queue.first != no_segment)
        pop_segment(server, connection);
}

// Sends start after the reaping, so that all segments of a turn leave in one.
static void mark_ready(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    if (connection->is_ready || connection->is_sending || connection->queue.first == no_segment)
        return;
    connection->is_ready = true;
    connection->queue.next_ready = none;
    if (server->ready.first == none)
        server->ready.first = fd;
    else
        server->connections[server->ready.last].queue.next_ready = fd;
    server->ready.last = fd;
}

static void mark_starved(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    connection->is_starved = true;
    connection->queue.next_starved = none;
    if (server->starved.first == none)
        server->starved.first = fd;
    else
        server->connections[server->starved.last].queue.next_starved = fd;
    server->starved.last = fd;
}

// Before the entry is taken: a submission in between would submit it half-made.
static void reserve_arena(struct server* server) {
    if (server->iovecs_used + max_gather > arena_size) submit_now(server);
}

static unsigned gather(const struct server* server, const struct connection* connection,
                       struct iovec* iovecs) {
    unsigned count = 0;
    uint32_t skip = connection->queue.sent;
    uint16_t id = connection->queue.first;
    for (; id != no_segment && count < max_gather; count++) {
        const struct segment* segment = &server->segments[id];
        iovecs[count].iov_base = server->pool_data + id * server->buffer_size + skip;
        iovecs[count].iov_len = segment->length - skip;
        skip = 0;
        id = segment->next;
    }
    return count;
}

static void start_send(struct server* server, int fd) {
    const int flags = MSG_WAITALL | MSG_NOSIGNAL;
    reserve_arena(server);
    struct io_uring_sqe* entry = next_entry(server);  // may empty the arena, so it comes first
    struct iovec* iovecs = &server->iovecs[server->iovecs_used];
    const unsigned count = gather(server, &server->connections[fd], iovecs);
    if (count == 1) {
        io_uring_prep_send(entry, fd, iovecs->iov_base, iovecs->iov_len, flags);
    } else {
        struct msghdr* message = &server->messages[server->messages_used++];
        *message = (struct msghdr){.msg_iov = iovecs, .msg_iovlen = count};
        server->iovecs_used += count;
        io_uring_prep_sendmsg(entry, fd, message, (unsigned)flags);
    }
    label(entry, op_send, fd);
    server->connections[fd].is_sending = true;
}

static void start_ready_sends(struct server* server) {
    while (server->ready.first != none) {
        const int fd = server->ready.first;
        struct connection* connection = &server->connections[fd];
        server->ready.first = connection->queue.next_ready;
        connection->is_ready = false;
        if (connection->queue.first != no_segment) start_send(server, fd);
        close_if_done(server, fd);
    }
}

// Re-arming more receives than there are buffers would only make them fail again, over and
// over. Where no buffer is held none will come back either: then all are there to be taken.
static void feed_starved(struct server* server) {
    unsigned budget = server->held == 0 ? server->pool_size : server->returned;
    if (server->returned > 0) io_uring_buf_ring_advance(server->pool, (int)server->returned);
    server->returned = 0;
    while (budget > 0 && server->starved.first != none) {
        const int fd = server->starved.first;
        struct connection* connection = &server->connections[fd];
        server->starved.first = connection->queue.next_starved;
        connection->is_starved = false;
        if (connection->is_broken) {
            close_if_done(server, fd);
            continue;
        }
        start_receive(server, fd);
        budget--;
    }
}

static void take_data(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    struct connection* connection = &server->connections[fd];
    const uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    if (cqe->res <= 0 || connection->is_broken) {  // an end can carry a buffer, too
        put_back(server, id);
        return;
    }
    server->counters.messages++;
    push_segment(server, connection, id, (uint32_t)cqe->res);
    mark_ready(server, fd);
}

// A missing F_MORE says that the receive is over; nothing else does.
static void on_receive(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    struct connection* connection = &server->connections[fd];
    connection->is_receiving = cqe->flags & IORING_CQE_F_MORE;
    if (cqe->flags & IORING_CQE_F_BUFFER) take_data(server, fd, cqe);
    if (cqe->res == 0)
        connection->at_end = true;
    else if (cqe->res < 0 && cqe->res != -ENOBUFS)
        fail(server, fd);
    if (!connection->is_receiving && !connection->at_end && !connection->is_broken) {
        if (cqe->res == -ENOBUFS)
            mark_starved(server, fd);
        else
            start_receive(server, fd);
    }
    close_if_done(server, fd);
}

static void on_send(struct server* server, int fd, int result) {
    struct connection* connection = &server->connections[fd];
    connection->is_sending = false;
    if (result > 0) pop_bytes(server, connection, (uint32_t)result);
    if (result <= 0 || connection->is_broken) fail(server, fd);
    mark_ready(server, fd);
    close_if_done(server, fd);
}

// ---- the loop

// Accepting again at once would make the loop spin until somebody closes a descriptor.
static void pause_accepting(struct server* server) {
    static struct __kernel_timespec pause = {.tv_nsec = accept_pause_ms * 1000000L};
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_timeout(entry, &pause, 0, 0);
    label(entry, op_resume, server->listener);
}

static void on_connect(struct server* server, const struct io_uring_cqe* cqe) {
    if (cqe->res >= 0 && server->is_multishot)
        open_multishot(server, cqe->res);
    else if (cqe->res >= 0)
        open_single(server, cqe->res);
    if (cqe->flags & IORING_CQE_F_MORE) return;
    if (cqe->res == -EINVAL) die(&program, exit_failure, "this kernel has no multishot accept");
    if (cqe->res < 0 && is_out_of_resources(-cqe->res))
        pause_accepting(server);
    else
        start_accept(server);
}

static void dispatch(struct server* server, const struct io_uring_cqe* cqe) {
    const int fd = (int)(cqe->user_data >> 8);
    switch ((enum operation)(cqe->user_data & 0xff)) {
        case op_accept: on_connect(server, cqe); break;
        case op_resume: start_accept(server); break;
        case op_signal: server->is_stopped = true; break;
        case op_receive:
            if (server->is_multishot)
                on_receive(server, fd, cqe);
            else
                on_single_receive(server, fd, cqe->res);
            break;
        case op_send:
            if (server->is_multishot)
                on_send(server, fd, cqe->res);
            else
                on_single_send(server, fd, cqe->res);
            break;
    }
}

static void run(struct server* server) {
    while (!server->is_stopped) {
        struct io_uring_cqe* cqe;
        unsigned head, count = 0;
        server->counters.syscalls++;
        check_submit(io_uring_submit_and_wait(&server->ring, 1));
        release_arena(server);
        io_uring_for_each_cqe(&server->ring, head, cqe) {
            dispatch(server, cqe);
            count++;
        }
        io_uring_cq_advance(&server->ring, count);
        if (server->is_multishot) {
            start_ready_sends(server);
            feed_starved(server);
        }
    }
}

// ---- set-up

static unsigned ring_flags(const char* taskrun) {
    const unsigned flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
    if (strcmp(taskrun, "defer") == 0)
        return flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    if (strcmp(taskrun, "coop") == 0)
        return flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
    return flags;
}

// No fall-back: a limit row must not measure something else than what was asked for.
static void set_up_ring(struct server* server, const struct options* options) {
    struct io_uring_params params = {.flags = ring_flags(options->taskrun),
                                     .cq_entries = cq_entries};
    int result = io_uring_queue_init_params(sq_entries, &server->ring, &params);
    if (result < 0)
        die(&program, exit_failure, "io_uring_setup (taskrun=%s): %s", options->taskrun,
            strerror(-result));
    io_uring_register_ring_fd(&server->ring);  // a bonus: without it all works the same
}

static void* map_or_die(size_t size) {
    void* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die(&program, exit_failure, "cannot map %zu bytes: %s", size, strerror(errno));
    return memory;
}

static void set_up_pool(struct server* server, unsigned count) {
    server->pool_size = count;
    server->pool = map_or_die(count * sizeof(struct io_uring_buf));  // page-aligned, as it must be
    server->pool_data = map_or_die(count * server->buffer_size);
    server->segments = map_or_die(count * sizeof(*server->segments));
    server->ready.first = server->starved.first = none;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)server->pool, .ring_entries = count, .bgid = buffer_group};
    int result = io_uring_register_buf_ring(&server->ring, &registration, 0);
    if (result < 0)
        die(&program, exit_failure, "cannot register the buffer ring: %s", strerror(-result));
    for (unsigned id = 0; id < count; id++) put_back(server, (uint16_t)id);
    feed_starved(server);
}

static void set_up(struct server* server, const struct options* options) {
    const size_t descriptors = raise_descriptor_limit(&program);
    server->buffer_size = options->buffer;
    server->is_multishot = strcmp(options->technique, "multishot") == 0;
    server->connections = calloc(descriptors, sizeof(*server->connections));
    if (!server->connections) die(&program, exit_failure, "out of memory");
    set_up_ring(server, options);
    if (server->is_multishot) set_up_pool(server, options->buffers);
    server->signals = open_signals(&program);
    server->listener = open_listener(&program, options, 0);
    start_signal(server);
    start_accept(server);
}

int main(int argc, char** argv) {
    static struct server server;
    struct options options = parse_options(&program, argc, argv);
    if (options.buffer == 0)
        options.buffer = strcmp(options.technique, "single") == 0 ? 4096 : 65536;
    pin(&program, options.cpu);
    set_up(&server, &options);
    print_start(&program, &options, server.listener);
    run(&server);
    print_end(&program, &server.counters);
    return EXIT_SUCCESS;
}
