// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/check.hpp>
#include <ringlet/base/link.hpp>
#include <ringlet/core/buffer_wait.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/descriptor.hpp>
#include <ringlet/core/options.hpp>

#include <core/buffer_slices.hpp>
#include <core/poison.hpp>
#include <kernel/fault.hpp>
#include <kernel/receive_self_test.hpp>
#include <kernel/ring.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ringlet {

/// A core's receive buffers. A window of them is provided to the ring, which picks one when data has
/// come; the rest is taken by hand (epoll, and streams that move much). A buffer that was given back
/// is the next to be used: it is still in the cache. Their memory is address space until it is
/// touched, so the limit costs nothing before it is reached.
///
/// A buffer is in exactly one place: free, with the kernel, or leased. When none is free, streams
/// wait in a FIFO; a buffer given back lets as many go on as there are buffers. Of a buffer that is
/// filled bit by bit the slices are leased, so it may be with the kernel and leased as well.
class buffer_pool {
public:
    struct room {
        std::byte* data = nullptr;
        std::uint32_t size = 0;
        std::uint32_t id = 0;
    };

    buffer_pool(core& home, const buffer_options& options) noexcept;
    ~buffer_pool();
    buffer_pool(const buffer_pool&) = delete;
    buffer_pool& operator=(const buffer_pool&) = delete;

    /// Maps the memory and provides the window, once; 0 or -errno. Where the ring refuses the
    /// window (Linux before 5.19, no locked memory left) the pool works by hand.
    [[nodiscard]] int open() noexcept {
        return opened_ ? 0 : open_now();
    }
    [[nodiscard]] bool opened() const noexcept { return opened_; }
    [[nodiscard]] bool provides() const noexcept { return providing_; }
    /// Buffers that one stream may have received unasked: `hold`, and one while more than a quarter of
    /// all are in use, so that streams which are not read leave some for the others.
    [[nodiscard]] std::uint32_t hold() const noexcept {
        const std::uint32_t in_use = options_.limit - spare() - with_kernel_;
        return in_use > options_.limit / 4 ? 1 : options_.hold;
    }
    /// Bytes after which a multishot receive ends by itself, so that the kernel gives one stream no
    /// more than hold() buffers before the loop is asked; 0: it knows no such limit.
    [[nodiscard]] std::uint32_t receive_limit() const noexcept {
        return hold() == 1 ? std::min(receive_limit_, options_.size) : receive_limit_;
    }
    /// How an answer of the ring tells of what it has received.
    enum class window_form : std::uint8_t { whole, bundles, slices };
    [[nodiscard]] window_form form() const noexcept { return form_; }
    /// What became of `bundles` and `incremental` if asked for, and of the window if it was refused,
    /// for core::describe().
    [[nodiscard]] std::string describe() const;
    /// What is registered, or may be, or why nothing is; never empty.
    [[nodiscard]] std::string describe_registration() const;
    [[nodiscard]] const buffer_options& options() const noexcept { return options_; }

    /// A buffer by hand; `data` is null when there is none. A large one where there is one left.
    [[nodiscard]] room take(bool large) noexcept {
        if (kernel::fault::injected("take_buffer") != 0) return {};
        if (large || free_count_ == 0) [[unlikely]] return take_otherwise(large);
        const std::uint32_t id = free_[--free_count_];
        ++leased_;
        std::byte* const memory = memory_ + std::size_t{id} * options_.size;
        unpoison(memory, options_.size);
        return {.data = memory, .size = options_.size, .id = id};
    }
    /// The kernel has filled this one: its memory.
    [[nodiscard]] std::byte* taken_by_kernel(std::uint32_t id, std::uint32_t used) noexcept {
        ++leased_;
        --with_kernel_;
        std::byte* const memory = memory_ + std::size_t{id} * options_.size;
        unpoison(memory, used);
        return memory;
    }
    /// Of a bundle: the most that this buffer holds of it, and which one comes after it.
    struct bundle_part {
        std::uint32_t most;
        std::uint32_t next;
    };
    [[nodiscard]] bundle_part part_of_bundle(std::uint32_t id) const noexcept {
        const std::uint16_t place = places_[id];
        // The kernel notes in the window itself where it has used less than the whole buffer.
        return {.most = ring_->bufs[place & (window_ - 1)].len,
                .next = ring_->bufs[(place + 1U) & (window_ - 1)].bid};
    }
    /// The kernel has filled so much more of this one, and `goes_on` with it: that as a slice. Its
    /// `data` is null when there are too many slices, and the bytes are lost.
    [[nodiscard]] room slice_taken(std::uint32_t buffer, std::uint32_t size, bool goes_on) noexcept;
    /// A lease is about to end here: its bytes must lie in this pool, which shares no memory with
    /// another core's.
    void must_be_ours(const std::byte* data) const noexcept {
        RINGLET_CHECK(points_into(data, memory_, small_bytes_) || is_in_a_large_one(data),
                      "a chunk was given back on another core than its own: copy its bytes, or move "
                      "the stream");
    }
    void give_back(std::uint32_t id) noexcept {
        --leased_;
#ifdef RINGLET_POISONS
        poison_all_of(id);
#endif
        if (id >= options_.limit || starving_) [[unlikely]] {
            give_back_otherwise(id);
        } else if (with_kernel_ < window_at_once_) {
            provide(id);
        } else {
            free_[free_count_++] = static_cast<std::uint16_t>(id);
        }
    }
    /// After the ring's answers have been dealt with. The window runs low only when many streams have
    /// something in one turn, or hold what they have: until then the same few buffers, still in the
    /// cache, go round.
    void refill_if_low() noexcept {
        if (with_kernel_ < low_) [[unlikely]] refill();
    }

    /// What a stream has received and nobody has asked for yet hangs together by these.
    struct segment {
        std::uint32_t offset;
        std::uint32_t size;
        std::uint16_t next;
    };
    [[nodiscard]] segment& of(std::uint32_t id) noexcept { return segments_[id]; }
    [[nodiscard]] std::byte* data(std::uint32_t id) noexcept;

    /// Who needs a buffer: a stream that takes it by hand, or one for which the ring picks it.
    enum class taker : std::uint8_t { hand, ring };
    /// Calls `again` for the stream when there is a buffer for it. False from `again`: it did not
    /// need one after all.
    void wait(descriptor& d, taker who, bool (*again)(core&, descriptor&)) noexcept;
    /// Calls `served` when there is a buffer: files' reads and the streams take turns.
    void wait(buffer_wait& w) noexcept;
    /// True when streams wait although there are buffers: the loop must not sleep.
    [[nodiscard]] bool can_feed() const noexcept {
        return starving_ &&
               ((!(waiting_hands_.empty() && waiting_files_.empty()) && spare() > 0) ||
                (!waiting_rings_.empty() &&
                 (with_kernel_ > 0 || (spare() > 0 && !slices_.scarce()))));
    }
    [[nodiscard]] bool starving() const noexcept { return starving_; }
    /// Once a turn, after the kernel was asked and edges were followed: whoever was fed before has
    /// taken its buffer by now, or needs none.
    void new_turn() noexcept {
        fed_hands_ = fed_rings_ = 0;
        feed();
    }

    /// Which of the ring's registered buffers holds this one; -1: none. Registers at the first call.
    [[nodiscard]] int fixed_index(std::uint32_t id) noexcept {
        if (!registering_done_) register_now();
        if (id - fixed_first_ < fixed_small_) return 0;
        return id >= options_.limit && id - options_.limit < fixed_large_ ? 1 : -1;
    }
    /// The same of memory by its address, which need not be the pool's.
    [[nodiscard]] int fixed_index_of(const std::byte* data, std::size_t size) noexcept;
    void register_now() noexcept;
    [[nodiscard]] const registered_memory& registered() const noexcept { return registered_; }

    [[nodiscard]] std::uint32_t leased() const noexcept { return leased_; }
    [[nodiscard]] std::uint32_t with_kernel() const noexcept { return with_kernel_; }
    std::uint64_t starvations = 0;

private:
    [[nodiscard]] int open_now() noexcept;
    void provide_window() noexcept;
    void choose_form() noexcept;
    void use_form();
    void refill_otherwise() noexcept;
    void take_back_window() noexcept;
    /// Writes the entries at the window's end; publish() is to follow. With copies of what it needs,
    /// which its stores might be taken to change.
    class writer {
    public:
        explicit writer(const buffer_pool& p) noexcept
            : entries_(p.ring_->bufs), mask_(p.window_ - 1), memory_(p.memory_),
              size_(p.options_.size), place_(p.ring_tail_) {}
        void enter(std::uint32_t id) noexcept {
            io_uring_buf& entry = entries_[place_++ & mask_];
            entry.addr = reinterpret_cast<std::uint64_t>(memory_ + std::size_t{id} * size_);
            entry.len = size_;
            entry.bid = static_cast<std::uint16_t>(id);
        }

    private:
        io_uring_buf* entries_;
        std::uint32_t mask_;
        std::byte* memory_;
        std::uint32_t size_;
        std::uint16_t place_;
    };
    /// The kernel sees them at once: a store to memory that it reads at its next receive.
    void publish(std::uint32_t count) noexcept {
        ring_tail_ = static_cast<std::uint16_t>(ring_tail_ + count);
        std::atomic_ref(ring_->tail).store(ring_tail_, std::memory_order_release);
        with_kernel_ += count;
    }
    void provide(std::uint32_t id) noexcept {
        writer(*this).enter(id);
        publish(1);
    }
    [[nodiscard]] room take_otherwise(bool large) noexcept;
    void refill() noexcept;
    void feed() noexcept;
    [[nodiscard]] bool pop_free(std::uint32_t& id) noexcept;
    void give_back_otherwise(std::uint32_t id) noexcept;
    /// Its end is within too: all of a chunk may have been dropped.
    [[nodiscard]] static bool points_into(const std::byte* data, const std::byte* begin,
                                          std::size_t size) noexcept {
        return reinterpret_cast<std::uintptr_t>(data) - reinterpret_cast<std::uintptr_t>(begin) <=
               size;
    }
    [[nodiscard]] bool is_in_a_large_one(const std::byte* data) const noexcept;
    [[nodiscard]] std::uint32_t room_of(std::uint32_t id) const noexcept {
        return id < options_.limit ? options_.size : options_.large_size;
    }
#ifdef RINGLET_POISONS
    void poison_all_of(std::uint32_t id) noexcept {
        if (!slices_.holds(id)) return poison(data(id), room_of(id));
        // Whole words only: what lies beside it in its first and last may be leased.
        const buffer_slices::place& p = slices_.place_of(id);
        poison(data(id) + p.offset, p.size);
    }
#endif
    [[nodiscard]] std::uint32_t spare() const noexcept {
        return free_count_ + (options_.limit - fresh_);
    }

    [[nodiscard]] registered_memory budget() const noexcept;
    [[nodiscard]] int try_register(std::size_t bytes) noexcept;

    core& home_;
    buffer_options options_;
    bool opened_ = false;
    bool providing_ = false;
    bool starving_ = false;  // somebody is in one of the two lists, or was when last looked
    io_uring_buf_ring* ring_ = nullptr;
    std::size_t ring_bytes_ = 0;
    std::uint16_t ring_tail_ = 0;
    std::uint32_t window_ = 0;  // how many the ring should have; 0: it takes none
    // The same, for a buffer that is given back. 0 with bundles and slices: their window changes
    // only when every answer has been dealt with.
    std::uint32_t window_at_once_ = 0;
    std::uint32_t with_kernel_ = 0;
    std::uint32_t receive_limit_ = 0;  // with `hold` buffers
    std::uint32_t low_ = 0;  // fewer than this with the kernel: refill
    std::uint32_t leased_ = 0;
    std::uint32_t fed_hands_ = 0;
    std::uint32_t fed_rings_ = 0;
    std::byte* memory_ = nullptr;
    std::size_t small_bytes_ = 0;
    std::byte* large_memory_ = nullptr;
    // Given back, last on top; what has never been used comes after that.
    std::unique_ptr<std::uint16_t[]> free_;
    std::uint32_t free_count_ = 0;
    std::vector<std::uint16_t> large_free_;
    std::uint32_t fresh_ = 0;
    std::uint32_t large_fresh_ = 0;
    std::unique_ptr<segment[]> segments_;
    window_form form_ = window_form::whole;
    kernel::receive_verdict verdict_;
    bool form_chosen_ = false;
    int window_refusal_ = 0;  // errno: why the ring has no window
    std::unique_ptr<std::uint16_t[]> places_;  // of a buffer in the window, for bundles
    buffer_slices slices_;
    bool registering_done_ = false;
    std::uint32_t fixed_first_ = 0;  // buffers that are registered: of the small from this one on
    std::uint32_t fixed_small_ = 0;
    std::uint32_t fixed_large_ = 0;
    registered_memory registered_;
    link_list waiting_hands_;
    link_list waiting_rings_;
    link_list waiting_files_;
    bool files_turn_ = false;
    bool (*again_)(core&, descriptor&) = nullptr;
};

}  // namespace ringlet
