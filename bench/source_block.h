// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// What every server sends in the workload `source`, over and over: the client knows it and checks
// it.
#ifndef RINGLET_BENCH_SOURCE_BLOCK_H
#define RINGLET_BENCH_SOURCE_BLOCK_H

#include <stddef.h>
#include <stdint.h>

enum { source_block_size = 65536 };

static inline void fill_source_block(unsigned char* block) {
    for (size_t i = 0; i < source_block_size; i++)
        block[i] = (unsigned char)(((uint32_t)i * 2654435761U) >> 24);
}

#endif
