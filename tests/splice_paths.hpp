// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "flavours.hpp"

#include <core/buffer_pool.hpp>
#include <core/pipe_pool.hpp>

#include <array>

/// flavours::each_task over every way to splice, which shall leave neither pipe nor buffer behind.
template <class Body>
void each_splice_path(Body body) {
    for (const auto path : {ringlet::splice_path::readiness, ringlet::splice_path::ring}) {
        INFO("splice path ", static_cast<int>(path));
        flavours::each(
            [&](ringlet::core& c) {
                ringlet::block_on(c, body(c));
                CHECK(c.pipes().leased() == 0);
                CHECK(c.buffers().leased() == 0);
            },
            [&](ringlet::core_options& o) { o.pipes.path = path; });
    }
}
