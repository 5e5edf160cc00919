// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "connect_any.hpp"

#include <cstdint>
#include <system_error>
#include <utility>

namespace samples {

ringlet::task<ringlet::result<ringlet::tcp_stream>> connect_any(std::vector<ringlet::address> where,
                                                                ringlet::time_point until) {
    std::error_code last = std::make_error_code(std::errc::host_unreachable);
    for (std::size_t i = 0; i < where.size(); ++i) {
        const auto part = (until - ringlet::now()) / static_cast<std::int64_t>(where.size() - i);
        auto stream = co_await ringlet::tcp_stream::connect(where[i]).within(part);
        if (stream) co_return std::move(*stream);
        last = stream.error();
    }
    co_return last;
}

}  // namespace samples
