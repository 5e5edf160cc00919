// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

namespace ringlet::kernel {

#ifdef NDEBUG
/// Debug builds keep one.
class ledger {
public:
    void submitted(const io_uring_sqe*, unsigned, unsigned) noexcept {}
    void answered(std::uint64_t, std::int32_t, std::uint32_t) noexcept {}
    void forget() noexcept {}
    [[nodiscard]] std::string names(std::uint64_t) const { return {}; }
};
#else
/// What the kernel has of a ring's operations, by the user_data it will answer with: from the
/// submission to the last answer. An answer for anything else would be written to memory that is
/// somebody else's by now, so it ends the program here. Entered where entries go to the kernel, so
/// that no operation can be forgotten.
class ledger {
public:
    /// The entries of a submission queue before `tail`, from where the last call ended.
    void submitted(const io_uring_sqe* queue, unsigned mask, unsigned tail) noexcept;
    void submitted(const io_uring_sqe& sqe) noexcept;
    void answered(std::uint64_t user_data, std::int32_t result, std::uint32_t flags) noexcept;
    /// In a forked child, whose queue begins anew.
    void forget() noexcept { *this = ledger(); }
    /// What has not been answered for the last time, without `except`: "2 RECV, ACCEPT".
    [[nodiscard]] std::string names(std::uint64_t except) const;

private:
    /// One that has ended stays until the table grows, to be named.
    struct entry {
        std::uint64_t user_data = 0;  // 0: none
        std::int32_t file = -1;
        std::uint8_t operation = 0;
        bool in_table = false;  // `file` is a slot of the ring's own table
        bool in_flight = false;
    };
    struct freed {
        void operator()(entry* entries) const noexcept { std::free(entries); }
    };
    [[nodiscard]] entry* find(std::uint64_t user_data) const noexcept;
    [[nodiscard]] bool grow() noexcept;
    [[nodiscard]] static std::string name(const entry& e);

    // By hashing, at most half full. Not from operator new: tests count and fail its calls.
    std::unique_ptr<entry[], freed> entries_;
    std::size_t capacity_ = 0;  // a power of two
    std::size_t used_ = 0;
    unsigned noted_ = 0;  // entries of the queue before this one are known
    bool blind_ = false;  // there was no memory: nothing is known any more
};
#endif

}  // namespace ringlet::kernel
