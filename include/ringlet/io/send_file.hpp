// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/io/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace ringlet {

class file;

/// Sends a part of a file, which does not pass through the program's memory: sendfile(2) on the
/// loop's thread, as much as the socket takes, at most a turn's share at a time.
class [[nodiscard]] send_file_op : public operation<send_file_op, side::write> {
public:
    send_file_op(descriptor& socket, const file& from, std::uint64_t offset, std::uint64_t length,
                 std::span<const std::byte> head) noexcept;

    static constexpr bool takes_turns = true;
    static constexpr bool never_at_once = true;  ///< a stop ends it: there is nothing to receive
    [[nodiscard]] descriptor& target() const noexcept { return *socket_; }
    [[nodiscard]] descriptor* shared() const noexcept { return file_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int) noexcept { return attempt(); }
    [[nodiscard]] result<std::uint64_t> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return sent_;
    }

private:
    [[nodiscard]] int send_copy() noexcept;
    [[nodiscard]] int send_head() noexcept;
    [[nodiscard]] int send_pages(std::uint64_t size) noexcept;
    [[nodiscard]] int ended() noexcept;
    void gone(std::size_t size) noexcept;

    descriptor* socket_;
    descriptor* file_;
    std::uint64_t offset_;
    std::uint64_t left_;
    std::uint64_t sent_ = 0;
    std::span<const std::byte> head_;
};

extern template class operation<send_file_op, side::write>;

}  // namespace ringlet
