// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// The limit row for proxies: bytes from one socket to another as fast as a human writes it.
// copy: level-triggered epoll and one hot buffer for all. splice: the same through a pipe for each
// direction. ring: edges from multishot polls in an io_uring, and splice(2).
#include "limit_common.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>

enum {
    max_events = 4096,
    ring_entries = 4096,
    most_spliced = 1 << 20,
    max_rounds = 16,  // with edges: transfers in a row before others have their turn
};

static const struct program program = {
    .name = "limit_proxy",
    .backend = "by hand",
    .techniques = {"copy", "splice", "ring"},
    .is_proxy = true,
    .help = "usage: limit_proxy [options]\n"
            "TCP proxy, hand-written.\n"
            "  --listen HOST:PORT           numeric IPv4 address (127.0.0.1:7000); port 0 picks one\n"
            "  --upstream HOST:PORT         where connections go (127.0.0.1:7001)\n"
            "  --technique copy|splice|ring epoll and a buffer (default), epoll and splice(2), or\n"
            "                               polls of an io_uring and splice(2)\n"
            "  --buffer BYTES               of copy: the one buffer (65536); else: each pipe's size\n"
            "  --cpu N                      run on this cpu only\n"
            "  --help                       this text\n",
};

// One socket, and the direction from it to its peer.
struct end {
    int peer;  // -1: not in use
    int pipe[2];
    size_t piped;   // in the pipe, not sent yet
    char* pending;  // copied, not sent yet
    size_t length;
    size_t offset;
    uint32_t watched;
    bool is_over;      // the end of the stream has been passed on
    bool is_readable;  // ring: since the last EAGAIN
    bool is_queued;    // ring: has more to do in the next turn
};

struct proxy {
    struct counters counters;
    struct end* ends;  // indexed by descriptor
    struct sockaddr_in upstream;
    char* buffer;
    size_t buffer_size;
    int pipe_size;
    int epoll;
    int listener;
    int signals;
    bool is_splicing;
    bool is_ring;
    struct io_uring ring;
    int* queue;  // ring: descriptors that had their share
    unsigned queued;
};

static bool is_blocked(const struct end* end) { return end->pending || end->piped > 0; }

// ---- which events are wanted --------------------------------------------------------------------

static void arm_poll(struct proxy* proxy, int fd) {
    struct io_uring_sqe* sqe = io_uring_get_sqe(&proxy->ring);
    if (!sqe) {
        proxy->counters.syscalls++;
        io_uring_submit(&proxy->ring);
        sqe = io_uring_get_sqe(&proxy->ring);
    }
    io_uring_prep_poll_multishot(sqe, fd, POLLIN | POLLOUT | POLLRDHUP);
    io_uring_sqe_set_data64(sqe, (uint64_t)fd);
}

static void watch(struct proxy* proxy, int fd) {
    if (proxy->is_ring) return;
    struct end* end = &proxy->ends[fd];
    const uint32_t wanted = (end->is_over || is_blocked(end) ? 0U : EPOLLIN) |
                            (is_blocked(&proxy->ends[end->peer]) ? EPOLLOUT : 0U);
    if (wanted == end->watched) return;
    struct epoll_event event = {.events = wanted, .data.fd = fd};
    proxy->counters.syscalls++;
    if (epoll_ctl(proxy->epoll, EPOLL_CTL_MOD, fd, &event) != 0)
        die(&program, exit_failure, "epoll_ctl: %s", strerror(errno));
    end->watched = wanted;
}

// ---- moving bytes -------------------------------------------------------------------------------

static void drop(struct proxy* proxy, int fd) {
    const int both[2] = {fd, proxy->ends[fd].peer};
    for (int i = 0; i < 2; i++) {
        struct end* end = &proxy->ends[both[i]];
        free(end->pending);
        if (end->pipe[0] >= 0) {
            close(end->pipe[0]);
            close(end->pipe[1]);
        }
        *end = (struct end){.peer = -1};
        if (proxy->is_ring) shutdown(both[i], SHUT_RDWR);  // ends its poll, which holds the socket
        close(both[i]);
    }
}

// All of these: 1 when something has moved, 0 when the socket is not ready, -1 when it is broken.
static int send_rest(struct proxy* proxy, struct end* end) {
    ssize_t sent;
    proxy->counters.syscalls++;
    if (end->piped > 0) {
        sent = splice(end->pipe[0], NULL, end->peer, NULL, end->piped,
                      SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (sent > 0) end->piped -= (size_t)sent;
    } else {
        sent = send(end->peer, end->pending + end->offset, end->length - end->offset, MSG_NOSIGNAL);
        if (sent > 0) end->offset += (size_t)sent;
        if (end->offset == end->length) {
            free(end->pending);
            end->pending = NULL;
        }
    }
    if (sent > 0) return 1;
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static int receive_some(struct proxy* proxy, int fd) {
    struct end* end = &proxy->ends[fd];
    ssize_t got;
    proxy->counters.syscalls++;
    if (proxy->is_splicing) {
        got = splice(fd, NULL, end->pipe[1], NULL, most_spliced, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (got > 0) end->piped = (size_t)got;
    } else {
        got = recv(fd, proxy->buffer, proxy->buffer_size, 0);
    }
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0) {
        end->is_over = true;
        proxy->counters.syscalls++;
        shutdown(end->peer, SHUT_WR);
        return proxy->ends[end->peer].is_over ? -1 : 0;
    }
    proxy->counters.messages++;
    if (proxy->is_splicing) return send_rest(proxy, end) < 0 ? -1 : 1;
    proxy->counters.syscalls++;
    ssize_t sent = send(end->peer, proxy->buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent == got) return 1;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return -1;
    if (sent < 0) sent = 0;
    end->length = (size_t)(got - sent);
    end->offset = 0;
    end->pending = malloc(end->length);
    if (!end->pending) return -1;
    memcpy(end->pending, proxy->buffer + sent, end->length);
    return 1;
}

// ---- connections --------------------------------------------------------------------------------

static int connect_upstream(const struct proxy* proxy) {
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    // Blocking: on loopback this is no wait, and this is not a server for strangers.
    if (connect(fd, (const struct sockaddr*)&proxy->upstream, sizeof(proxy->upstream)) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool add_end(struct proxy* proxy, int fd, int peer) {
    struct end* end = &proxy->ends[fd];
    *end = (struct end){.peer = peer, .pipe = {-1, -1}, .watched = EPOLLIN};
    if (proxy->is_splicing) {
        if (pipe2(end->pipe, O_CLOEXEC | O_NONBLOCK) != 0) return false;
        if (proxy->pipe_size > 0) fcntl(end->pipe[1], F_SETPIPE_SZ, proxy->pipe_size);
    }
    if (proxy->is_ring) {
        arm_poll(proxy, fd);
        return true;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void on_connect(struct proxy* proxy) {
    for (;;) {
        int client = accept4(proxy->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) return;
        int server = connect_upstream(proxy);
        if (server < 0) {
            close(client);
            continue;
        }
        if (!add_end(proxy, client, server) || !add_end(proxy, server, client))
            die(&program, exit_failure, "no more connections: %s", strerror(errno));
    }
}

// ---- epoll --------------------------------------------------------------------------------------

static void on_event(struct proxy* proxy, int fd, uint32_t events) {
    struct end* end = &proxy->ends[fd];
    if (end->peer < 0) return;  // dropped earlier in this batch
    int peer = end->peer;
    if (events & EPOLLOUT && is_blocked(&proxy->ends[peer]) &&
        send_rest(proxy, &proxy->ends[peer]) < 0) {
        drop(proxy, fd);
        return;
    }
    if (events & ~(uint32_t)EPOLLOUT && !is_blocked(end) && !end->is_over &&
        receive_some(proxy, fd) < 0) {
        drop(proxy, fd);
        return;
    }
    if (events & (EPOLLERR | EPOLLHUP) && end->is_over) {
        drop(proxy, fd);
        return;
    }
    watch(proxy, fd);
    watch(proxy, peer);
}

static void run_epoll(struct proxy* proxy) {
    static struct epoll_event events[max_events];
    for (;;) {
        proxy->counters.syscalls++;
        int count = epoll_wait(proxy->epoll, events, max_events, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == proxy->signals) return;
            if (events[i].data.fd == proxy->listener)
                on_connect(proxy);
            else
                on_event(proxy, events[i].data.fd, events[i].events);
        }
    }
}

// ---- ring ---------------------------------------------------------------------------------------

static void pump(struct proxy* proxy, int fd) {
    struct end* end = &proxy->ends[fd];
    for (int i = 0; i < max_rounds; i++) {
        if (is_blocked(end)) {
            int sent = send_rest(proxy, end);
            if (sent < 0) drop(proxy, fd);
            if (sent <= 0) return;  // a poll tells when there is room
            continue;
        }
        if (end->is_over || !end->is_readable) return;
        int got = receive_some(proxy, fd);
        if (got < 0) {
            drop(proxy, fd);
            return;
        }
        if (got == 0) end->is_readable = false;
    }
    if (end->is_queued) return;
    end->is_queued = true;
    proxy->queue[proxy->queued++] = fd;
}

static void pump_queued(struct proxy* proxy) {
    unsigned count = proxy->queued;
    proxy->queued = 0;
    for (unsigned i = 0; i < count; i++) {
        int fd = proxy->queue[i];
        if (proxy->ends[fd].peer < 0 || !proxy->ends[fd].is_queued) continue;
        proxy->ends[fd].is_queued = false;
        pump(proxy, fd);
    }
}

static bool on_answer(struct proxy* proxy, const struct io_uring_cqe* cqe) {
    int fd = (int)cqe->user_data;
    if (fd == proxy->signals) return false;
    struct end* end = &proxy->ends[fd];
    if (fd == proxy->listener) {
        on_connect(proxy);
    } else if (end->peer >= 0 && cqe->res > 0) {
        int peer = end->peer;
        if (cqe->res & ~POLLOUT) {
            end->is_readable = true;
            pump(proxy, fd);
        }
        if (cqe->res & POLLOUT && end->peer >= 0 && is_blocked(&proxy->ends[peer]))
            pump(proxy, peer);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE) && (fd == proxy->listener || end->peer >= 0))
        arm_poll(proxy, fd);
    return true;
}

static void run_ring(struct proxy* proxy) {
    arm_poll(proxy, proxy->signals);
    arm_poll(proxy, proxy->listener);
    for (;;) {
        proxy->counters.syscalls++;
        io_uring_submit_and_wait(&proxy->ring, proxy->queued > 0 ? 0 : 1);
        if (proxy->queued > 0) {
            io_uring_get_events(&proxy->ring);
            pump_queued(proxy);
        }
        struct io_uring_cqe* cqe;
        unsigned head;
        unsigned count = 0;
        io_uring_for_each_cqe(&proxy->ring, head, cqe) {
            count++;
            if (!on_answer(proxy, cqe)) return;
        }
        io_uring_cq_advance(&proxy->ring, count);
    }
}

// ---- the program --------------------------------------------------------------------------------

static void set_up(struct proxy* proxy, const struct options* options) {
    const size_t descriptors = raise_descriptor_limit(&program);
    signal(SIGPIPE, SIG_IGN);  // splice(2) has no MSG_NOSIGNAL
    proxy->is_ring = strcmp(options->technique, "ring") == 0;
    proxy->is_splicing = strcmp(options->technique, "copy") != 0;
    proxy->upstream = options->upstream;
    if (proxy->is_splicing) proxy->pipe_size = (int)options->buffer;
    proxy->buffer_size = options->buffer > 0 ? options->buffer : 65536;
    proxy->buffer = aligned_alloc(4096, (proxy->buffer_size + 4095UL) & ~4095UL);
    proxy->ends = calloc(descriptors, sizeof(*proxy->ends));
    proxy->queue = calloc(descriptors, sizeof(*proxy->queue));
    if (!proxy->buffer || !proxy->ends || !proxy->queue)
        die(&program, exit_failure, "out of memory");
    for (size_t i = 0; i < descriptors; i++) proxy->ends[i].peer = -1;
    proxy->signals = open_signals(&program);
    proxy->listener = open_listener(&program, options, SOCK_NONBLOCK);
    if (proxy->is_ring) {
        struct io_uring_params setup = {
            .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
        int error = io_uring_queue_init_params(ring_entries, &proxy->ring, &setup);
        if (error != 0) die(&program, exit_failure, "io_uring: %s", strerror(-error));
        return;
    }
    proxy->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (proxy->epoll < 0) die(&program, exit_failure, "epoll_create1: %s", strerror(errno));
    const int others[2] = {proxy->signals, proxy->listener};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = others[i]};
        if (epoll_ctl(proxy->epoll, EPOLL_CTL_ADD, others[i], &event) != 0)
            die(&program, exit_failure, "epoll_ctl: %s", strerror(errno));
    }
}

int main(int argc, char** argv) {
    static struct proxy proxy;
    struct options options = parse_options(&program, argc, argv);
    pin(&program, options.cpu);
    set_up(&proxy, &options);
    print_start(&program, &options, proxy.listener);
    if (proxy.is_ring)
        run_ring(&proxy);
    else
        run_epoll(&proxy);
    print_end(&program, &proxy.counters);
    return EXIT_SUCCESS;
}
