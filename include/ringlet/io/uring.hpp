// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/io/operation.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

namespace ringlet {

/// Any operation of io_uring, by the function that fills its SQE: result<int>, the CQE's `res`.
/// Memory that the SQE names must live until the operation has ended; it ends, also when cancelled
/// or timed out, with its last CQE (for a zero-copy send: with its notification), and gives the
/// first one's `res`. What a cancelled operation had done all the same is given, not lost.
/// errc::unsupported on epoll.
///
/// A misuse that aborts: IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_IO_DRAIN
/// and IOSQE_BUFFER_SELECT, since the ring has other tasks' entries in it and the core's own; and
/// the multishot forms (of accept, receive, read, poll and timeout), since one answer is told.
class [[nodiscard]] uring_op : public operation<uring_op> {
public:
    /// `fill` is kept by value: pointers and references, no owners.
    template <class Fill>
    explicit uring_op(const Fill& fill, std::uint32_t* flags = nullptr) noexcept
        : fill_([](void* f, io_uring_sqe& sqe) { (*static_cast<Fill*>(f))(sqe); }),
          flags_(flags) {
        static_assert(std::is_trivially_copyable_v<Fill> && sizeof(Fill) <= sizeof(room_),
                      "the function that fills an SQE captures at most 48 bytes, by reference or "
                      "as plain values");
        new (room_.data()) Fill(fill);
    }

    static constexpr bool never_at_once = true;
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() const noexcept { return first_; }
    /// True while more answers come, of which the first is the one that counts.
    [[nodiscard]] bool more(int& result, std::uint32_t cqe_flags) noexcept;
    [[nodiscard]] result<int> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return answer;
    }

private:
    void (*fill_)(void*, io_uring_sqe&);
    std::uint32_t* flags_;
    int first_ = 0;
    bool has_first_ = false;
    alignas(std::max_align_t) std::array<std::byte, 48> room_{};
};

/// `co_await uring([&](io_uring_sqe& sqe) { io_uring_prep_fsync(&sqe, fd, 0); })`, with liburing.h
/// included by the caller. user_data is the library's. For one on a stream prepare it with -1 as the
/// descriptor and then call `stream.aim(sqe)`.
template <class Fill>
[[nodiscard]] uring_op uring(const Fill& fill) noexcept {
    return uring_op(fill);
}
/// The same, and in `flags` those of the CQE that gave the result (IORING_CQE_F_SOCK_NONEMPTY, and
/// F_MORE where more answers came); untouched if there was none. It must live as long as the wait.
template <class Fill>
[[nodiscard]] uring_op uring(const Fill& fill, std::uint32_t& flags) noexcept {
    return uring_op(fill, &flags);
}

extern template class operation<uring_op>;

}  // namespace ringlet
