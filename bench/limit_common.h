// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// What the limit servers share: command line, listener, signals, start and end lines.
// A header of static functions, so that each server stays one file to compile.
#ifndef RINGLET_BENCH_LIMIT_COMMON_H
#define RINGLET_BENCH_LIMIT_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // accept4, CPU_SET: so this header comes first
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    exit_failure = 1,
    exit_usage = 2,
    accept_pause_ms = 100,      // out of descriptors: how long the listener is left alone
    max_descriptors = 1 << 20,  // bounds the table where the hard limit is "infinity"
    max_buffer = 16 << 20,
    max_buffers = 1 << 15,  // the kernel's bound for a provided buffer ring
};

struct program {
    const char* name;
    const char* backend;
    const char* techniques[3];  // the first is the default; NULL: one less
    const char* modes[3];       // the same; all NULL: it only echoes
    const char* help;
    bool is_ring;  // accepts --buffers, --taskrun and the switches
    bool is_proxy;  // accepts --upstream
};

struct options {
    struct sockaddr_in address;
    struct sockaddr_in upstream;
    const char* technique;
    const char* mode;
    const char* taskrun;
    unsigned buffer;  // 0: not given, the server has its own default
    unsigned buffers;
    int cpu;  // -1: not pinned
    bool is_incremental;
    bool is_direct;
    bool is_zero_copy;
    bool is_bundle;
};

struct counters {
    unsigned long messages;  // receives that brought data
    unsigned long syscalls;  // made after the start line
    unsigned long copied;    // zero-copy sends that were refused, and so made by copying
};

__attribute__((noreturn, format(printf, 3, 4))) static inline void die(
    const struct program* program, int status, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program->name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(status);
}

// Digits only: strtoul alone would take "-1", " 7" and "7x".
static inline bool parse_number(const char* text, unsigned long low, unsigned long high,
                                unsigned long* value) {
    size_t length = strlen(text);
    if (length == 0 || length > 10 || strspn(text, "0123456789") != length) return false;
    *value = strtoul(text, NULL, 10);
    return *value >= low && *value <= high;
}

static inline unsigned number_or_die(const struct program* program, const char* option,
                                     const char* text, unsigned long low, unsigned long high) {
    unsigned long value;
    if (!parse_number(text, low, high, &value))
        die(program, exit_usage, "%s: '%s' is not a number from %lu to %lu", option, text, low,
            high);
    return (unsigned)value;
}

static inline void parse_address(const struct program* program, const char* option,
                                 const char* text, struct sockaddr_in* address) {
    char host[INET_ADDRSTRLEN];
    unsigned long port;
    const char* colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : sizeof(host);
    if (length >= sizeof(host) || !parse_number(colon + 1, 0, 65535, &port))
        die(program, exit_usage, "%s: '%s' is not HOST:PORT", option, text);
    memcpy(host, text, length);
    host[length] = '\0';
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address->sin_addr) != 1)
        die(program, exit_usage, "%s: '%s' is not a numeric IPv4 address", option, host);
}

static inline const char* one_of(const struct program* program, const char* option,
                                 const char* text, const char* const* choices, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (choices[i] && strcmp(text, choices[i]) == 0) return choices[i];
    die(program, exit_usage, "%s: unknown value '%s' (see --help)", option, text);
}

static inline unsigned parse_buffers(const struct program* program, const char* text) {
    unsigned count = number_or_die(program, "--buffers", text, 1, max_buffers);
    if (count & (count - 1)) die(program, exit_usage, "--buffers: %u is not a power of two", count);
    return count;
}

static inline void print_help(const struct program* program) {
    fputs(program->help, stdout);
    exit(fflush(stdout) == 0 ? EXIT_SUCCESS : exit_failure);
}

static inline struct options parse_options(const struct program* program, int argc, char** argv) {
    const bool is_ring = program->is_ring;
    struct option known[] = {
        {"listen", required_argument, NULL, 'l'},
        {"technique", required_argument, NULL, 't'},
        {"buffer", required_argument, NULL, 'b'},
        {"cpu", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {program->is_proxy ? "upstream" : is_ring ? "buffers" : "mode", required_argument, NULL,
         program->is_proxy ? 's' : is_ring ? 'n' : 'm'},
        {is_ring ? "taskrun" : NULL, required_argument, NULL, 'r'},
        {"inc", no_argument, NULL, 'i'},
        {"direct", no_argument, NULL, 'd'},
        {"send-zc", no_argument, NULL, 'z'},
        {"bundle", no_argument, NULL, 'u'},
        {NULL, 0, NULL, 0},
    };
    static const char* const taskruns[] = {"defer", "coop", "none"};
    struct options options = {.technique = program->techniques[0],
                              .mode = "echo",
                              .taskrun = "defer",
                              .buffers = 64,
                              .cpu = -1};
    parse_address(program, "--listen", "127.0.0.1:7000", &options.address);
    parse_address(program, "--upstream", "127.0.0.1:7001", &options.upstream);
    opterr = 0;  // one line in our own form instead
    for (;;) {
        const char* word = argv[optind];  // "+" below keeps the order, so this is what fails
        const int letter = getopt_long(argc, argv, "+:", known, NULL);
        if (letter == -1) break;
        switch (letter) {
            case 'l': parse_address(program, "--listen", optarg, &options.address); break;
            case 's': parse_address(program, "--upstream", optarg, &options.upstream); break;
            case 't':
                options.technique = one_of(program, "--technique", optarg, program->techniques, 3);
                break;
            case 'b':
                options.buffer = number_or_die(program, "--buffer", optarg, 1, max_buffer);
                break;
            case 'c':
                options.cpu = (int)number_or_die(program, "--cpu", optarg, 0, CPU_SETSIZE - 1);
                break;
            case 'm': options.mode = one_of(program, "--mode", optarg, program->modes, 3); break;
            case 'n': options.buffers = parse_buffers(program, optarg); break;
            case 'r': options.taskrun = one_of(program, "--taskrun", optarg, taskruns, 3); break;
            case 'i': options.is_incremental = true; break;
            case 'd': options.is_direct = true; break;
            case 'z': options.is_zero_copy = true; break;
            case 'u': options.is_bundle = true; break;
            case 'h': print_help(program); break;
            case ':': die(program, exit_usage, "%s needs a value", word);
            default: die(program, exit_usage, "bad option '%s' (see --help)", word);
        }
    }
    if (optind < argc)
        die(program, exit_usage, "unexpected argument '%s' (see --help)", argv[optind]);
    return options;
}

static inline void pin(const struct program* program, int cpu) {
    cpu_set_t set;
    if (cpu < 0) return;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        die(program, exit_usage, "--cpu: cannot run on cpu %d: %s", cpu, strerror(errno));
}

// Returns the size a table indexed by descriptor must have.
static inline size_t raise_descriptor_limit(const struct program* program) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die(program, exit_failure, "getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max < max_descriptors ? limit.rlim_max : max_descriptors;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die(program, exit_failure, "setrlimit: %s", strerror(errno));
    return limit.rlim_cur;
}

// Accepted sockets inherit TCP_NODELAY: one call here instead of one per connection.
static inline int open_listener(const struct program* program, const struct options* options,
                                int flags) {
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr*)&options->address, sizeof(options->address)) != 0 ||
        listen(fd, SOMAXCONN) != 0)
        die(program, exit_failure, "cannot listen on port %u: %s", ntohs(options->address.sin_port),
            strerror(errno));
    return fd;
}

// A descriptor instead of a handler: the end is an event like any other, without races.
static inline int open_signals(const struct program* program) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) die(program, exit_failure, "signalfd: %s", strerror(errno));
    return fd;
}

static inline void print_start(const struct program* program, const struct options* options,
                               int listener) {
    char host[INET_ADDRSTRLEN];
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    if (getsockname(listener, (struct sockaddr*)&address, &length) != 0)
        die(program, exit_failure, "getsockname: %s", strerror(errno));
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof(host));
    printf("%s: listening on %s:%u backend=%s technique=%s%s%s%s%s buffer=%u\n", program->name,
           host, ntohs(address.sin_port), program->backend, options->technique,
           options->is_incremental ? "+inc" : "", options->is_direct ? "+direct" : "",
           options->is_zero_copy ? "+send-zc" : "", options->is_bundle ? "+bundle" : "",
           options->buffer);
    if (fflush(stdout) != 0) die(program, exit_failure, "stdout: %s", strerror(errno));
}

static inline long long microseconds(struct timeval time) {
    return time.tv_sec * 1000000LL + time.tv_usec;
}

static inline void print_end(const struct program* program, const struct counters* counters) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%s: messages=%lu syscalls=%lu user_us=%lld system_us=%lld", program->name,
           counters->messages, counters->syscalls, microseconds(usage.ru_utime),
           microseconds(usage.ru_stime));
    if (counters->copied > 0) printf(" copied=%lu", counters->copied);
    putchar('\n');
    fflush(stdout);
}

// The errors of accept that repeat at once until somebody gives a resource back.
static inline bool is_out_of_resources(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

#endif
