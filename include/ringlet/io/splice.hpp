// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/io/operation.hpp>
#include <ringlet/io/splice_pipe.hpp>

#include <cstddef>

namespace ringlet {

/// Receives what there is, at least one byte and at most `most`, into an empty pipe: their number. A
/// pipe is held only once there is something in it. errc::end_of_stream when the peer has sent
/// everything; too_many_files_open when the core has no pipe to give; device_or_resource_busy when
/// the stream has been read by chunks() and the ring has received more for it, which comes first, or
/// when the next byte is an urgent one (MSG_OOB), which splice(2) does not pass and a receive does;
/// invalid_argument where the kernel cannot splice this socket. In all these cases the bytes are
/// still to be had by chunks(). A `most` of 0 gives 0, at once.
///
/// splice(2) on the core's thread, once the socket is known to have something; or, by
/// pipe_options::path, IORING_OP_SPLICE, which runs on a worker thread of the kernel (figures in
/// docs/design/relay.md).
class [[nodiscard]] splice_to_op : public operation<splice_to_op, side::read> {
public:
    splice_to_op(descriptor& d, splice_pipe& into, std::size_t most) noexcept
        : descriptor_(&d), pipe_(&into), most_(most) {}

    static constexpr bool tries_first = true;
    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    [[nodiscard]] int get_ready(core& c) noexcept;
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int answer) noexcept;
    [[nodiscard]] bool more(int& answer, unsigned flags) noexcept;
    [[nodiscard]] result<std::size_t> finish(int answer) noexcept {
        if (answer > 0) [[likely]] return static_cast<std::size_t>(answer);
        pipe_->reset();  // the ring may have had it
        if (answer == 0 && most_ == 0) return std::size_t{0};
        if (answer == 0) return errc::end_of_stream;
        return answer::to_error(answer);
    }

private:
    descriptor* descriptor_;
    splice_pipe* pipe_;
    std::size_t most_;
    // By splice_path::ring:
    bool ready_ = false;      // what is asked for next is the splice, not a poll
    bool splicing_ = false;   // what is in the ring is the splice

    [[nodiscard]] bool start_at_rest(core& c, cancel_scope& context) noexcept;
    [[nodiscard]] int received(core& c, int moved) noexcept;
    [[nodiscard]] bool at_mark(int moved) const noexcept;
};

/// Sends what the socket takes of the bytes in a pipe now, at least one: their number. The pipe must
/// not be empty.
class [[nodiscard]] splice_from_op : public operation<splice_from_op, side::write> {
public:
    splice_from_op(descriptor& d, splice_pipe& from) noexcept : descriptor_(&d), pipe_(&from) {}

    static constexpr bool tries_first = true;
    [[nodiscard]] descriptor& target() const noexcept { return *descriptor_; }
    [[nodiscard]] int get_ready(core& c) noexcept;
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] int advance(int answer) noexcept;
    [[nodiscard]] bool more(int answer, unsigned flags) noexcept;
    [[nodiscard]] result<std::size_t> finish(int answer) const noexcept {
        if (answer < 0) return answer::to_error(answer);
        return static_cast<std::size_t>(answer);
    }

private:
    descriptor* descriptor_;
    splice_pipe* pipe_;
    bool ready_ = false;      // as above
    bool splicing_ = false;

    [[nodiscard]] int sent(core& c, int moved) noexcept;
};

extern template class operation<splice_to_op, side::read>;
extern template class operation<splice_from_op, side::write>;

}  // namespace ringlet
