// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/socket_file.hpp>

namespace ringlet {

void socket_file::remove() noexcept {
    if (path_.empty()) return;
    sys::file_id now;
    if (sys::identify(path_.c_str(), now) && now == id_) sys::remove_file(path_.c_str());
    path_.clear();
}

}  // namespace ringlet
