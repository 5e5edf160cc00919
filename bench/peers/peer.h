// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// What the peers' echo servers share: the command line, one listener, the start line. Each is what
// a good user of its library would write: TCP_NODELAY, buffers of 64 KiB, no needless copies.
#ifndef RINGLET_BENCH_PEERS_PEER_H
#define RINGLET_BENCH_PEERS_PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "../source_block.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { peer_buffer_size = 65536, peer_backlog = 4096 };

enum peer_mode { peer_echo, peer_sink, peer_source };

struct peer_options {
    enum peer_mode mode;
    const char* style;  // of the library, where there are several; the first by default
    unsigned short port;
};

static inline void peer_misuse(const char* name, const char* word) {
    fprintf(stderr,
            "%s: bad option '%s'; known: --listen 127.0.0.1:PORT, --mode echo|sink|source,"
            " --style NAME\n",
            name, word);
    exit(2);
}

static inline struct peer_options peer_parse(const char* name, const char* const* styles, int argc,
                                             char** argv) {
    static const char* const modes[] = {"echo", "sink", "source"};
    struct peer_options options = {peer_echo, styles[0], 0};
    for (int i = 1; i < argc; i += 2) {
        const char* value = i + 1 < argc ? argv[i + 1] : "";
        int known = 0;
        if (strcmp(argv[i], "--listen") == 0 && strncmp(value, "127.0.0.1:", 10) == 0) {
            char* end;
            const unsigned long port = strtoul(value + 10, &end, 10);
            known = *end == '\0' && end != value + 10 && port < 65536;
            options.port = (unsigned short)port;
        } else if (strcmp(argv[i], "--mode") == 0) {
            for (int m = 0; m < 3; m++)
                if (strcmp(value, modes[m]) == 0) options.mode = (enum peer_mode)m, known = 1;
        } else if (strcmp(argv[i], "--style") == 0) {
            for (const char* const* s = styles; *s; s++)
                if (strcmp(value, *s) == 0) options.style = *s, known = 1;
        }
        if (!known) peer_misuse(name, argv[i]);
    }
    return options;
}

// A listening socket on 127.0.0.1, and the start line with the port it got.
static inline int peer_listen(const char* name, const struct peer_options* options) {
    const int one = 1;
    struct rlimit files;
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(options->port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        bind(fd, (const struct sockaddr*)&address, sizeof address) != 0 ||
        listen(fd, peer_backlog) != 0 || getsockname(fd, (struct sockaddr*)&address, &size) != 0) {
        fprintf(stderr, "%s: cannot listen: %s\n", name, strerror(errno));
        exit(1);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    printf("%s: listening on 127.0.0.1:%u style=%s\n", name, ntohs(address.sin_port),
           options->style);
    fflush(stdout);
    return fd;
}

#endif
