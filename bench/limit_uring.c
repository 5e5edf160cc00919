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
    max_rounds = 16,  // poll: reads in a row before others have their turn
    none = -1,        // no descriptor or no segment: the end of a list
};

// Younger than liburing 2.3, so under names of our own. The ring's flags are what 2.3 calls "pad".
enum {
    bundle = 1 << 4,               // IORING_RECVSEND_BUNDLE
    bundle_feature = 1 << 14,      // IORING_FEAT_RECVSEND_BUNDLE
    incremental = 2,               // IOU_PBUF_RING_INC
    completion_buf_more = 1 << 4,  // IORING_CQE_F_BUF_MORE
};

enum technique { multishot, single, polled };

enum operation {
    op_accept,
    op_resume,
    op_signal,
    op_receive,
    op_send,
    op_send_zc,
    op_cancel,
    op_close,
};

static const struct program program = {
    .name = "limit_uring",
    .backend = "io_uring",
    .techniques = {"multishot", "single", "poll"},
    .help = "usage: limit_uring [options]\n"
            "TCP echo server, hand-written with io_uring.\n"
            "  --listen HOST:PORT  numeric IPv4 address (127.0.0.1:7000); port 0 picks one\n"
            "  --technique NAME    multishot (default): receives into a shared buffer ring\n"
            "                      single: one receive at a time into a private buffer\n"
            "                      poll: recv(2) and send(2) on one shared buffer when the ring\n"
            "                      reports readiness\n"
            "  --buffer BYTES      size of a buffer (multishot 65536, single 4096, poll 262144)\n"
            "  --buffers N         multishot: buffers in the ring, a power of two (64)\n"
            "  --taskrun MODE      defer (default), coop, or none: a ring without flags\n"
            "  --direct            multishot, single: connections without descriptors, in the\n"
            "                      ring's file table\n"
            "  --inc               multishot: messages share a buffer until it is full\n"
            "  --bundle            multishot: one receive fills several buffers; not with --inc\n"
            "  --send-zc           multishot: zero-copy sends\n"
            "  --cpu N             run on this cpu only\n"
            "  --help              this text\n",
    .is_ring = true,
};

// Bytes to be echoed: a slice of a buffer, usually all of it that is filled.
struct segment {
    uint32_t start;
    uint32_t length;
    int next;
    uint16_t buffer;
};

// A buffer of the ring; its index is the buffer's id.
struct buffer {
    uint32_t filled;
    uint32_t references;  // segments, zero-copy sends, and the kernel while it may still write
    uint32_t position;    // in the ring, counted from the start of the program
};

// Only one of the techniques is in use, so they share the space.
struct connection {
    union {
        struct {         // single, poll
            char* data;  // poll: NULL while all is sent, which is nearly always
            uint32_t length;
            uint32_t sent;
        };
        struct {            // multishot
            uint32_t sent;  // bytes of the first segment that are gone already
            int first;
            int last;
            int next_starved;
        } queue;
    };
    int next_ready;
    bool is_receiving;  // poll: the poll for reading is armed
    bool is_sending;    // poll: the poll for writing is armed
    bool is_ready;      // on the list of those whose next send (poll: read) is to be started
    bool is_starved;    // on the list of those that wait for a buffer
    bool is_refused;    // the last zero-copy send was: the next one copies
    bool at_end;        // the peer has sent all
    bool is_broken;     // nothing more can be sent
};

struct list {
    int first;
    int last;
};

struct server {
    struct io_uring ring;
    struct counters counters;
    struct connection* connections;  // indexed by descriptor, or by slot of the file table
    size_t buffer_size;
    int listener;
    int signals;
    enum technique technique;
    bool is_direct;
    bool is_incremental;
    bool is_bundle;
    bool is_zero_copy;
    bool is_stopped;
    struct list ready;

    // poll only
    char* hot;  // the receive buffer of all connections

    // multishot only
    struct io_uring_buf_ring* pool;
    char* pool_data;
    struct buffer* buffers;
    uint16_t* order;  // ids by position; twice the ring, for a completion may name an old position
    unsigned pool_size;
    unsigned position;  // where the next buffer is put
    unsigned held;      // buffers the kernel is done with, and we are not
    unsigned returned;  // buffers put back in this turn, not yet shown to the kernel
    struct segment* segments;
    int segments_size;
    int free_segment;
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

static uint64_t tag(enum operation operation, int fd) { return (uint64_t)fd << 8 | operation; }

static void label(struct io_uring_sqe* entry, enum operation operation, int fd) {
    io_uring_sqe_set_data64(entry, tag(operation, fd));
}

// The same for an operation on a connection, whose fd may be a slot of the file table.
static void label_connection(const struct server* server, struct io_uring_sqe* entry,
                             enum operation operation, int fd) {
    if (server->is_direct) entry->flags |= IOSQE_FIXED_FILE;
    label(entry, operation, fd);
}

// A slot of the table is never inherited, so CLOEXEC with it is an error.
static void start_accept(struct server* server) {
    struct io_uring_sqe* entry = next_entry(server);
    if (server->is_direct)
        io_uring_prep_multishot_accept_direct(entry, server->listener, NULL, NULL, 0);
    else
        io_uring_prep_multishot_accept(entry, server->listener, NULL, NULL, SOCK_CLOEXEC);
    label(entry, op_accept, server->listener);
}

static void start_signal(struct server* server) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_poll_add(entry, server->signals, POLLIN);
    label(entry, op_signal, server->signals);
}

// The slot is named in the entry's file_index: FIXED_FILE with it is an error.
static void close_slot(struct server* server, int slot) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_close_direct(entry, (unsigned)slot);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    label(entry, op_close, slot);
}

static void close_descriptor(struct server* server, int fd) {
    server->connections[fd] = (struct connection){0};
    if (server->is_direct) {
        close_slot(server, fd);
        return;
    }
    server->counters.syscalls++;
    close(fd);
}

// Ends what is in flight. There is no shutdown(2) for a slot, and that of the ring needs a worker
// thread, which may look up the slot when it is somebody else's.
static void end_operations(struct server* server, int fd) {
    if (server->is_direct) {
        struct io_uring_sqe* entry = next_entry(server);
        io_uring_prep_cancel_fd(entry, fd, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD_FIXED);
        label(entry, op_cancel, fd);
        return;
    }
    server->counters.syscalls++;
    shutdown(fd, SHUT_RDWR);
}

// Sends start after the reaping, so that all segments of a turn leave in one.
static void push_ready(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    connection->is_ready = true;
    connection->next_ready = none;
    if (server->ready.first == none)
        server->ready.first = fd;
    else
        server->connections[server->ready.last].next_ready = fd;
    server->ready.last = fd;
}

static int pop_ready(struct server* server) {
    const int fd = server->ready.first;
    server->ready.first = server->connections[fd].next_ready;
    server->connections[fd].is_ready = false;
    return fd;
}

// ---- single: a private buffer, one operation in flight

static void start_single_receive(struct server* server, int fd) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_recv(entry, fd, server->connections[fd].data, server->buffer_size, 0);
    label_connection(server, entry, op_receive, fd);
}

static void start_single_send(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_send(entry, fd, connection->data + connection->sent,
                       connection->length - connection->sent, MSG_WAITALL | MSG_NOSIGNAL);
    label_connection(server, entry, op_send, fd);
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

// ---- poll: readiness from the ring, one buffer that stays hot, system calls for the data

// Edge-triggered, and it stays armed. RDHUP tells of an end behind data that a short read took.
static void start_poll(struct server* server, int fd) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_poll_multishot(entry, fd, POLLIN | POLLRDHUP);
    label(entry, op_receive, fd);
    server->connections[fd].is_receiving = true;
}

static void start_poll_out(struct server* server, int fd) {
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_poll_add(entry, fd, POLLOUT);
    label(entry, op_send, fd);
    server->connections[fd].is_sending = true;
}

static void close_polled_if_done(struct server* server, int fd) {
    if (server->connections[fd].is_receiving || server->connections[fd].is_sending) return;
    free(server->connections[fd].data);
    close_descriptor(server, fd);
}

// An armed poll outlives close(2) and keeps the socket open, so it goes first. POLL_REMOVE would
// fail for a poll that is just about to report; a cancellation does not.
static void drop_polled(struct server* server, int fd) {
    server->connections[fd].is_broken = true;
    if (server->connections[fd].is_receiving) {
        struct io_uring_sqe* entry = next_entry(server);
        io_uring_prep_cancel64(entry, tag(op_receive, fd), 0);
        entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
        label(entry, op_cancel, fd);
    }
    close_polled_if_done(server, fd);
}

// Returns the number of bytes taken by the socket (0 if it is full), or -1 if it is broken.
static ssize_t send_some(struct server* server, int fd, const char* data, size_t length) {
    server->counters.syscalls++;
    ssize_t sent = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return sent;
}

// The peer is slow: keep the rest, and read nothing more until it is gone.
static bool keep(struct server* server, int fd, const char* data, size_t length) {
    struct connection* connection = &server->connections[fd];
    connection->data = malloc(length);
    if (!connection->data) return false;
    memcpy(connection->data, data, length);
    connection->length = (uint32_t)length;
    connection->sent = 0;
    start_poll_out(server, fd);
    return true;
}

static bool echo(struct server* server, int fd, size_t length) {
    ssize_t sent = send_some(server, fd, server->hot, length);
    if (sent < 0) return false;
    if ((size_t)sent == length) return true;
    return keep(server, fd, server->hot + sent, length - (size_t)sent);
}

// A short read means empty, so nothing is asked twice; except at the end, which has no later edge.
static void read_polled(struct server* server, int fd) {
    const struct connection* connection = &server->connections[fd];
    for (int i = 0; i < max_rounds; i++) {
        server->counters.syscalls++;
        ssize_t received = recv(fd, server->hot, server->buffer_size, MSG_DONTWAIT);
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (received > 0) server->counters.messages++;
        if (received <= 0 || !echo(server, fd, (size_t)received)) {
            drop_polled(server, fd);
            return;
        }
        if (connection->data) return;
        if ((size_t)received < server->buffer_size && !connection->at_end) return;
    }
    push_ready(server, fd);  // there may be more, and no edge will tell
}

// An edge that comes while bytes are kept is not lost: all is read when they are gone.
static void on_readable(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    struct connection* connection = &server->connections[fd];
    connection->is_receiving = cqe->flags & IORING_CQE_F_MORE;
    if (connection->is_broken) {
        if (!connection->is_receiving) close_polled_if_done(server, fd);
        return;
    }
    if (cqe->res < 0) {
        connection->is_broken = true;
        if (!connection->is_ready) close_polled_if_done(server, fd);
        return;
    }
    if (cqe->res & (POLLRDHUP | POLLHUP | POLLERR)) connection->at_end = true;
    if (!connection->is_receiving) start_poll(server, fd);
    if (!connection->data && !connection->is_ready) read_polled(server, fd);
}

static void on_writable(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    connection->is_sending = false;
    if (connection->is_broken) {
        close_polled_if_done(server, fd);
        return;
    }
    ssize_t sent = send_some(server, fd, connection->data + connection->sent,
                             connection->length - connection->sent);
    if (sent < 0) {
        drop_polled(server, fd);
        return;
    }
    connection->sent += (uint32_t)sent;
    if (connection->sent < connection->length) {
        start_poll_out(server, fd);
        return;
    }
    free(connection->data);
    connection->data = NULL;
    read_polled(server, fd);
}

// One pass: those that are not done afterwards wait until the others had their turn.
static void read_on(struct server* server) {
    const int last = server->ready.last;
    int fd = none;
    while (server->ready.first != none && fd != last) {
        fd = pop_ready(server);
        if (server->connections[fd].is_broken)
            close_polled_if_done(server, fd);
        else
            read_polled(server, fd);
    }
}

// ---- multishot: buffers

// Put back now, shown to the kernel once per turn.
static void put_back(struct server* server, uint16_t id) {
    server->buffers[id] = (struct buffer){.references = 1, .position = server->position};
    server->order[server->position & (2 * server->pool_size - 1)] = id;
    server->position++;
    io_uring_buf_ring_add(server->pool, server->pool_data + id * server->buffer_size,
                          (unsigned)server->buffer_size, id,
                          io_uring_buf_ring_mask(server->pool_size), (int)server->returned);
    server->returned++;
}

// The kernel is done with a buffer before its bytes are sent, so the last reference is ours.
static void release(struct server* server, uint16_t id) {
    if (--server->buffers[id].references > 0) return;
    server->held--;
    put_back(server, id);
}

static void release_for_kernel(struct server* server, uint16_t id) {
    server->held++;
    release(server, id);
}

static void grow_segments(struct server* server) {
    const int size = server->segments_size ? 2 * server->segments_size : 256;
    server->segments = realloc(server->segments, (size_t)size * sizeof(*server->segments));
    if (!server->segments) die(&program, exit_failure, "out of memory");
    for (int i = server->segments_size; i < size; i++)
        server->segments[i].next = i + 1 < size ? i + 1 : none;
    server->free_segment = server->segments_size;
    server->segments_size = size;
}

static int take_segment(struct server* server, struct segment value) {
    if (server->free_segment == none) grow_segments(server);
    const int index = server->free_segment;
    server->free_segment = server->segments[index].next;
    server->segments[index] = value;
    server->buffers[value.buffer].references++;
    return index;
}

// Returns the next one.
static int drop_segment(struct server* server, int index) {
    const struct segment segment = server->segments[index];
    server->segments[index].next = server->free_segment;
    server->free_segment = index;
    release(server, segment.buffer);
    return segment.next;
}

// With --inc a connection's next bytes are often right behind its last ones. That a send with the
// old length may be in flight is no matter: what it has not taken stays in the queue.
static bool extend_segment(struct server* server, const struct connection* connection, uint16_t id,
                           uint32_t length) {
    if (connection->queue.first == none) return false;
    struct segment* last = &server->segments[connection->queue.last];
    if (last->buffer != id || last->start + last->length != server->buffers[id].filled)
        return false;
    last->length += length;
    return true;
}

static void push_segment(struct server* server, struct connection* connection, uint16_t id,
                         uint32_t length) {
    if (extend_segment(server, connection, id, length)) return;
    const struct segment segment = {
        .start = server->buffers[id].filled, .length = length, .next = none, .buffer = id};
    const int index = take_segment(server, segment);
    if (connection->queue.first == none)
        connection->queue.first = index;
    else
        server->segments[connection->queue.last].next = index;
    connection->queue.last = index;
}

static void pop_segment(struct server* server, struct connection* connection) {
    connection->queue.first = drop_segment(server, connection->queue.first);
    connection->queue.sent = 0;
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
    if (server->is_bundle) entry->ioprio |= bundle;
    entry->flags |= IOSQE_BUFFER_SELECT;
    entry->buf_group = buffer_group;
    label_connection(server, entry, op_receive, fd);
    server->connections[fd].is_receiving = true;
}

static void open_multishot(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    connection->queue.first = connection->queue.last = none;
    start_receive(server, fd);
}

// Closes as soon as no operation and no list knows the descriptor: then it may be used again.
static void close_if_done(struct server* server, int fd) {
    const struct connection* connection = &server->connections[fd];
    if (connection->is_receiving || connection->is_sending || connection->is_starved ||
        connection->is_ready)
        return;
    if (connection->is_broken || (connection->at_end && connection->queue.first == none))
        close_descriptor(server, fd);
}

// Buffers go back at once, except under a send, which still reads them.
static void fail(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    if (!connection->is_broken && (connection->is_receiving || connection->is_sending))
        end_operations(server, fd);
    connection->is_broken = true;
    while (!connection->is_sending && connection->queue.first != none)
        pop_segment(server, connection);
}

static void mark_ready(struct server* server, int fd) {
    const struct connection* connection = &server->connections[fd];
    if (connection->is_ready || connection->is_sending || connection->queue.first == none) return;
    push_ready(server, fd);
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
    int index = connection->queue.first;
    for (; index != none && count < max_gather; count++) {
        const struct segment* segment = &server->segments[index];
        const size_t start = segment->buffer * server->buffer_size + segment->start;
        iovecs[count].iov_base = server->pool_data + start + skip;
        iovecs[count].iov_len = segment->length - skip;
        skip = 0;
        index = segment->next;
    }
    return count;
}

// A zero-copy send has references of its own, for it outlives the segments it was made from.
static int hold_buffers(struct server* server, const struct connection* connection,
                        unsigned count) {
    int chain = none;
    int index = connection->queue.first;
    for (; count > 0; count--) {
        const struct segment segment = {.buffer = server->segments[index].buffer, .next = chain};
        index = server->segments[index].next;
        chain = take_segment(server, segment);
    }
    return chain;
}

// SEND_ZC and SENDMSG_ZC take the arguments of SEND and SENDMSG, apart from the opcode.
static void make_zero_copy(struct server* server, struct io_uring_sqe* entry, int fd,
                           unsigned count) {
    const int chain = hold_buffers(server, &server->connections[fd], count);
    entry->opcode = count == 1 ? IORING_OP_SEND_ZC : IORING_OP_SENDMSG_ZC;
    entry->user_data = (uint64_t)chain << 32 | tag(op_send_zc, fd);
}

static void start_send(struct server* server, int fd) {
    const int flags = MSG_WAITALL | MSG_NOSIGNAL;
    struct connection* connection = &server->connections[fd];
    reserve_arena(server);
    struct io_uring_sqe* entry = next_entry(server);  // may empty the arena, so it comes first
    struct iovec* iovecs = &server->iovecs[server->iovecs_used];
    const unsigned count = gather(server, connection, iovecs);
    if (count == 1) {
        io_uring_prep_send(entry, fd, iovecs->iov_base, iovecs->iov_len, flags);
    } else {
        struct msghdr* message = &server->messages[server->messages_used++];
        *message = (struct msghdr){.msg_iov = iovecs, .msg_iovlen = count};
        server->iovecs_used += count;
        io_uring_prep_sendmsg(entry, fd, message, (unsigned)flags);
    }
    label_connection(server, entry, op_send, fd);
    if (server->is_zero_copy && !connection->is_refused) make_zero_copy(server, entry, fd, count);
    connection->is_refused = false;
    connection->is_sending = true;
}

static void start_ready_sends(struct server* server) {
    while (server->ready.first != none) {
        const int fd = pop_ready(server);
        if (server->connections[fd].queue.first != none) start_send(server, fd);
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

// Without BUF_MORE the kernel is done with the buffer; only --inc ever sets it.
static void take_buffer(struct server* server, int fd, uint16_t id, uint32_t length, bool is_more) {
    struct connection* connection = &server->connections[fd];
    if (length > 0 && !connection->is_broken) push_segment(server, connection, id, length);
    server->buffers[id].filled += length;
    if (!is_more) release_for_kernel(server, id);
}

// The completion names the first buffer; the others are next to it in the ring, whatever their
// ids. The kernel may have shortened an entry, so how much is in a buffer is to be read there.
static void take_bundle(struct server* server, int fd, uint16_t id, uint32_t length) {
    unsigned position = server->buffers[id].position;
    while (length > 0) {
        const unsigned slot = position & (server->pool_size - 1);
        const uint32_t room = server->pool->bufs[slot].len;
        const uint32_t share = length < room ? length : room;
        id = server->order[position & (2 * server->pool_size - 1)];
        take_buffer(server, fd, id, share, false);
        length -= share;
        position++;
    }
}

static void take_data(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    const uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    const uint32_t length =
        cqe->res > 0 ? (uint32_t)cqe->res : 0;  // an end can carry a buffer, too
    if (length > 0 && !server->connections[fd].is_broken) server->counters.messages++;
    if (server->is_bundle && length > 0)
        take_bundle(server, fd, id, length);
    else
        take_buffer(server, fd, id, length, cqe->flags & completion_buf_more);
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

// Not enough memory may be pinned at the moment: copying is slower, but needs none.
static void retry_by_copy(struct server* server, int fd) {
    struct connection* connection = &server->connections[fd];
    connection->is_sending = false;
    connection->is_refused = true;
    server->counters.copied++;
    if (connection->is_broken) fail(server, fd);
    mark_ready(server, fd);
    close_if_done(server, fd);
}

// Two completions: the first says what is sent, so that the next send can start; the second that
// the kernel no longer reads the buffers. The connection may be gone by then.
static void on_zero_copy_send(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    if (!(cqe->flags & IORING_CQE_F_NOTIF)) {
        if (cqe->res == -ENOMEM)
            retry_by_copy(server, fd);
        else
            on_send(server, fd, cqe->res);
    }
    if (cqe->flags & IORING_CQE_F_MORE) return;
    for (int chain = (int)(cqe->user_data >> 32); chain != none;)
        chain = drop_segment(server, chain);
}

// ---- the loop

// Accepting again at once would make the loop spin until somebody closes a descriptor.
static void pause_accepting(struct server* server) {
    static struct __kernel_timespec pause = {.tv_nsec = accept_pause_ms * 1000000L};
    struct io_uring_sqe* entry = next_entry(server);
    io_uring_prep_timeout(entry, &pause, 0, 0);
    label(entry, op_resume, server->listener);
}

static void open_connection(struct server* server, int fd) {
    switch (server->technique) {
        case multishot: open_multishot(server, fd); break;
        case single: open_single(server, fd); break;
        case polled: start_poll(server, fd); break;
    }
}

static void on_connect(struct server* server, const struct io_uring_cqe* cqe) {
    if (cqe->res >= 0) open_connection(server, cqe->res);
    if (cqe->flags & IORING_CQE_F_MORE) return;
    if (cqe->res == -EINVAL) die(&program, exit_failure, "this kernel has no multishot accept");
    if (cqe->res < 0 && is_out_of_resources(-cqe->res))
        pause_accepting(server);
    else
        start_accept(server);
}

static void dispatch_receive(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    switch (server->technique) {
        case multishot: on_receive(server, fd, cqe); break;
        case single: on_single_receive(server, fd, cqe->res); break;
        case polled: on_readable(server, fd, cqe); break;
    }
}

static void dispatch_send(struct server* server, int fd, const struct io_uring_cqe* cqe) {
    switch (server->technique) {
        case multishot: on_send(server, fd, cqe->res); break;
        case single: on_single_send(server, fd, cqe->res); break;
        case polled: on_writable(server, fd); break;
    }
}

static void dispatch(struct server* server, const struct io_uring_cqe* cqe) {
    const int fd = (int)(cqe->user_data >> 8 & 0xffffff);  // above it the chain of a SEND_ZC
    switch ((enum operation)(cqe->user_data & 0xff)) {
        case op_accept: on_connect(server, cqe); break;
        case op_resume: start_accept(server); break;
        case op_signal: server->is_stopped = true; break;
        case op_receive: dispatch_receive(server, fd, cqe); break;
        case op_send: dispatch_send(server, fd, cqe); break;
        case op_send_zc: on_zero_copy_send(server, fd, cqe); break;
        case op_cancel: break;  // what was cancelled tells of its end itself
        case op_close: die(&program, exit_failure, "close of slot %d: %s", fd, strerror(-cqe->res));
    }
}

// No event will tell of what a poll has left unread; nor of the starved, if those that were fed
// have nothing to receive and so leave all buffers where they are.
static bool has_work_left(const struct server* server) {
    switch (server->technique) {
        case multishot: return server->starved.first != none && server->held == 0;
        case single: return false;
        case polled: return server->ready.first != none;
    }
    return false;
}

static void submit_and_wait(struct server* server) {
    server->counters.syscalls++;
    if (has_work_left(server))
        check_submit(io_uring_submit_and_get_events(&server->ring));
    else
        check_submit(io_uring_submit_and_wait(&server->ring, 1));
    release_arena(server);
}

static void end_turn(struct server* server) {
    switch (server->technique) {
        case multishot:
            start_ready_sends(server);
            feed_starved(server);
            break;
        case single: break;
        case polled: read_on(server); break;
    }
}

static void run(struct server* server) {
    while (!server->is_stopped) {
        struct io_uring_cqe* cqe;
        unsigned head, count = 0;
        submit_and_wait(server);
        io_uring_for_each_cqe(&server->ring, head, cqe) {
            dispatch(server, cqe);
            count++;
        }
        io_uring_cq_advance(&server->ring, count);
        end_turn(server);
    }
}

// ---- set-up

static enum technique technique_of(const struct options* options) {
    for (int i = multishot; i < polled; i++)
        if (strcmp(options->technique, program.techniques[i]) == 0) return (enum technique)i;
    return polled;
}

static unsigned default_buffer(enum technique technique) {
    static const unsigned sizes[] = {[multishot] = 65536, [single] = 4096, [polled] = 262144};
    return sizes[technique];
}

static void check_options(const struct options* options) {
    const enum technique technique = technique_of(options);
    const char* alien = options->is_incremental ? "--inc"
                        : options->is_bundle    ? "--bundle"
                        : options->is_zero_copy ? "--send-zc"
                                                : NULL;
    if (alien && technique != multishot)
        die(&program, exit_usage, "%s: needs --technique multishot", alien);
    if (options->is_direct && technique == polled)
        die(&program, exit_usage, "--direct: poll makes system calls, which need descriptors");
    if (options->is_incremental && options->is_bundle)
        die(&program, exit_usage, "--bundle: not with --inc");
}

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
    if (options->is_bundle && !(params.features & bundle_feature))
        die(&program, exit_failure, "--bundle: this kernel has none");
    io_uring_register_ring_fd(&server->ring);  // a bonus: without it all works the same
}

// Mapped, as malloc's 16 bytes past a page boundary make the kernel's copies much slower.
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
    server->buffers = map_or_die(count * sizeof(*server->buffers));
    server->order = map_or_die(2 * count * sizeof(*server->order));
    server->free_segment = server->starved.first = none;
    struct io_uring_buf_reg registration = {.ring_addr = (uintptr_t)server->pool,
                                            .ring_entries = count,
                                            .bgid = buffer_group,
                                            .pad = server->is_incremental ? incremental : 0};
    int result = io_uring_register_buf_ring(&server->ring, &registration, 0);
    if (result < 0)
        die(&program, exit_failure, "cannot register the buffer ring: %s", strerror(-result));
    for (unsigned id = 0; id < count; id++) put_back(server, (uint16_t)id);
    feed_starved(server);
}

// The table has slots instead of descriptors, but may not be larger than their limit.
static void set_up_files(struct server* server, size_t count) {
    int result = io_uring_register_files_sparse(&server->ring, (unsigned)count);
    if (result < 0)
        die(&program, exit_failure, "cannot register a table of %zu files: %s", count,
            strerror(-result));
}

static void set_up(struct server* server, const struct options* options) {
    const size_t descriptors = raise_descriptor_limit(&program);
    server->buffer_size = options->buffer;
    server->technique = technique_of(options);
    server->is_direct = options->is_direct;
    server->is_incremental = options->is_incremental;
    server->is_bundle = options->is_bundle;
    server->is_zero_copy = options->is_zero_copy;
    server->ready.first = none;
    server->connections = calloc(descriptors, sizeof(*server->connections));
    if (!server->connections) die(&program, exit_failure, "out of memory");
    set_up_ring(server, options);
    if (server->technique == multishot) set_up_pool(server, options->buffers);
    if (server->technique == polled) server->hot = map_or_die(server->buffer_size);
    if (server->is_direct) set_up_files(server, descriptors);
    server->signals = open_signals(&program);
    server->listener = open_listener(&program, options, 0);
    start_signal(server);
    start_accept(server);
}

int main(int argc, char** argv) {
    static struct server server;
    struct options options = parse_options(&program, argc, argv);
    check_options(&options);
    if (options.buffer == 0) options.buffer = default_buffer(technique_of(&options));
    pin(&program, options.cpu);
    set_up(&server, &options);
    print_start(&program, &options, server.listener);
    run(&server);
    print_end(&program, &server.counters);
    return EXIT_SUCCESS;
}
