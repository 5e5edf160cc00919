// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// What every server sends in the workload `source`, over and over: the client knows it and checks
// it. It begins with a page in each of them: the kernel copies with `rep movsb`, and where the source
// lies 1 to 63 bytes behind the target's place in its page, as a block from malloc may by chance, some
// processors copy three times as slowly (measured: docs/tuning.md).
#ifndef RINGLET_BENCH_SOURCE_BLOCK_H
#define RINGLET_BENCH_SOURCE_BLOCK_H

#include <stddef.h>
#include <stdint.h>

enum { source_block_size = 65536, source_block_alignment = 4096 };

static inline void fill_source_block(unsigned char* block) {
    for (size_t i = 0; i < source_block_size; i++)
        block[i] = (unsigned char)(((uint32_t)i * 2654435761U) >> 24);
}

#endif
