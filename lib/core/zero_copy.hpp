// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/core/completion.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/descriptor.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace ringlet {

/// A core's zero-copy sends whose bytes the kernel may still read. The kernel answers twice: when the
/// send is in order, and when nobody reads its memory any more (the notification), which may be as
/// late as the peer's acknowledgement. The sender goes on with the first; its buffer goes back to the
/// pool with the second, so it belongs to a record of its own meanwhile.
class zero_copy_sends {
public:
    struct record : ring_target {
        record() noexcept;
        descriptor* stream = nullptr;  ///< null once that is closed
        completion* sender = nullptr;  ///< null once it has what it wanted
        std::uint32_t buffer = 0;
        std::uint32_t index = 0;
        bool notified = false;
        bool sent = false;   ///< something, by the first answer
        bool fixed = false;  ///< from registered memory
        bool in_use = false;
        record* next_free = nullptr;
    };

    explicit zero_copy_sends(core& home) noexcept : home_(home) {}
    ~zero_copy_sends();

    /// Takes over the buffer of a send that is about to be submitted as `record`. Null when too much
    /// of the pool is held that way already (peers that acknowledge nothing must not starve the
    /// others), or no memory: send it the other way.
    [[nodiscard]] record* begin(descriptor& stream, completion& sender,
                                std::uint32_t buffer) noexcept;
    /// Whose buffer this is.
    [[nodiscard]] record& of(std::uint32_t buffer) noexcept;
    /// The sender has ended.
    void ended(record& r) noexcept;
    /// The stream is being closed.
    void forget(descriptor& stream) noexcept;
    [[nodiscard]] std::uint32_t held() const noexcept { return held_; }

private:
    static void answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept;
    static const completion_kind kind_;
    [[nodiscard]] bool grow() noexcept;
    void release(record& r) noexcept;

    core& home_;
    static constexpr std::uint32_t block = 32;
    std::vector<std::unique_ptr<record[]>> blocks_;
    record* free_ = nullptr;
    std::uint32_t held_ = 0;
};

}  // namespace ringlet
