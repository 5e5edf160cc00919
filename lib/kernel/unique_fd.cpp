// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/base/unique_fd.hpp>

#include <kernel/sys.hpp>

void ringlet::unique_fd::reset(int fd) noexcept {
    const int old = std::exchange(fd_, fd);
    if (old >= 0) sys::close(old);
}
