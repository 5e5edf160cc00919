// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <core/buffer_pool.hpp>

#include <ringlet/core/core.hpp>

#include <core/poison.hpp>
#include <kernel/sys.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

namespace ringlet {

namespace {

constexpr std::uint32_t page = 4096;
constexpr std::uint32_t most_ids = multishot_recv::none;

std::uint32_t whole_pages(std::uint32_t bytes) noexcept {
    return std::max((bytes + page - 1) / page, 1U) * page;
}

/// Ids have 16 bits, as in a CQE, and one value means none.
buffer_options sane(buffer_options o) noexcept {
    o.size = whole_pages(std::clamp(o.size, 64U, 1U << 24));
    o.large_size = whole_pages(std::clamp(o.large_size, o.size, 1U << 28));
    o.limit = std::clamp(o.limit, 2U, 32768U);
    o.large_limit = std::min(o.large_limit, 16384U);
    // The ring never has them all: streams that take by hand would wait for ever.
    o.window = std::bit_floor(std::clamp(o.window, 1U, o.limit / 2));
    o.hold = std::max(o.hold, 1U);
    return o;
}

/// Behind the buffers, and never touched: a chunk of which all has been dropped points to the end of
/// its buffer, which must not be the begin of another core's.
constexpr std::size_t gap = 4096;

}  // namespace

buffer_pool::buffer_pool(core& home, const buffer_options& options) noexcept
    : home_(home), options_(sane(options)) {}

buffer_pool::~buffer_pool() {
    if (!opened_) return;
    RINGLET_CHECK(leased_ == 0,
                  "a chunk outlives its core: it must be given back before the core ends");
    if (ring_ != nullptr) {
        home_.ring()->withdraw_buffers();
        sys::unmap_memory(ring_, ring_bytes_);
    }
    unpoison(memory_, small_bytes_);
    sys::unmap_memory(memory_, small_bytes_ + gap);
    if (large_memory_ == nullptr) return;
    const std::size_t large = std::size_t{options_.large_limit} * options_.large_size;
    unpoison(large_memory_, large);
    sys::unmap_memory(large_memory_, large + gap);
}

int buffer_pool::open_now() noexcept {
    choose_form();
    const std::size_t small = std::size_t{options_.limit} * options_.size;
    const std::size_t large = std::size_t{options_.large_limit} * options_.large_size;
    try {
        free_ = std::make_unique<std::uint16_t[]>(options_.limit);
        large_free_.reserve(options_.large_limit);
        use_form();
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    memory_ = static_cast<std::byte*>(sys::map_memory(small + gap));
    if (memory_ == nullptr) return -ENOMEM;
    small_bytes_ = small;
    poison(memory_, small);
    if (large > 0) large_memory_ = static_cast<std::byte*>(sys::map_memory(large + gap));
    if (large_memory_ == nullptr) {
        options_.large_limit = 0;
    } else {
        poison(large_memory_, large);
    }
    opened_ = true;
    if (home_.ring() != nullptr && options_.receive != receive_path::readiness) provide_window();
    return 0;
}

/// Bundles and slices are never on at once: core::make() refuses that.
void buffer_pool::choose_form() noexcept {
    kernel::ring* const ring = home_.ring();
    if (std::exchange(form_chosen_, true)) return;  // there was no memory when it was opened before
    if (!options_.bundles && !options_.incremental) return;
    if (ring == nullptr || options_.receive == receive_path::readiness) return;
    const kernel::receive_setup how{.ring_flags = ring->setup_flags(),
                                    .limits = ring->takes_receive_limit()};
    if (options_.bundles) {
        verdict_ = kernel::prove_bundles(how);
        if (verdict_.good) form_ = window_form::bundles;
    } else if (options_.incremental) {
        verdict_ = kernel::prove_incremental(how);
        if (verdict_.good) form_ = window_form::slices;
    }
}

/// What is kept of each buffer, and of each slice.
void buffer_pool::use_form() {
    const std::uint32_t buffers = options_.limit + options_.large_limit;
    const bool slices = form_ == window_form::slices;
    const std::uint32_t records = slices ? most_ids : buffers;
    segments_ = std::make_unique_for_overwrite<segment[]>(records);
    if (slices) slices_.open(buffers, records - buffers);
    if (form_ == window_form::bundles)
        places_ = std::make_unique_for_overwrite<std::uint16_t[]>(options_.limit);
}

std::string buffer_pool::describe() const {
    const bool asked = options_.bundles || options_.incremental;
    if (!opened_ || home_.ring() == nullptr) return {};
    const char* const refused = window_refusal_ != 0 ? std::strerror(window_refusal_) : nullptr;
    if (!asked) return refused ? fmt::format(" no-provided-buffers({})", refused) : std::string();
    const char* const name = options_.bundles ? "bundles" : "incremental-buffers";
    if (form_ != window_form::whole) return fmt::format(" {}", name);
    const bool tried = options_.receive != receive_path::readiness;
    const char* const why = !tried ? "readiness" : refused && verdict_.good ? refused : verdict_.why();
    return fmt::format(" no-{}({})", name, why);
}

void buffer_pool::provide_window() noexcept {
    const bool limits = home_.ring()->takes_receive_limit();
    if (!home_.ring()->takes_multishot_receive()) return;
    ring_bytes_ = whole_pages(options_.window * sizeof(io_uring_buf));
    auto* entries = static_cast<io_uring_buf_ring*>(sys::map_memory(ring_bytes_));
    window_refusal_ = ENOMEM;
    if (entries != nullptr)
        window_refusal_ = -home_.ring()->provide_buffers(entries, options_.window,
                                                         form_ == window_form::slices);
    if (window_refusal_ != 0) {
        if (entries != nullptr) sys::unmap_memory(entries, ring_bytes_);
        form_ = window_form::whole;
        return;
    }
    ring_ = entries;
    window_ = options_.window;
    const bool at_once = form_ == window_form::whole;
    window_at_once_ = at_once ? window_ : 0;
    low_ = at_once ? window_ / 4 : window_ + 1;
    providing_ = true;
    if (limits)
        receive_limit_ = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(std::uint64_t{options_.hold} * options_.size, INT_MAX));
    refill();
}

/// What this core may register, of the limit as it is now.
registered_memory buffer_pool::budget() const noexcept {
    const std::uint64_t limit = sys::get_limit(sys::limit_kind::locked_memory).soft;
    registered_memory b;
    b.wanted = options_.registered;
    b.limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, SIZE_MAX));
    b.most = b.limit / 4 / std::max(options_.sharers, 1U);
    return b;
}

std::string buffer_pool::describe_registration() const {
    if (home_.ring() == nullptr) return " no-registered-buffers(epoll)";
    const registered_memory r = registering_done_ ? registered_ : budget();
    if (r.bytes > 0) return fmt::format(" registered-buffers={}K", r.bytes / 1024);
    const std::string limit = r.limit == SIZE_MAX ? "unlimited" : fmt::format("{}K", r.limit / 1024);
    const std::size_t most = std::min(r.wanted, r.most);
    std::string why;
    if (r.wanted == 0) {
        why = "none wanted";
    } else if (r.refusal) {
        why = r.refusal.message();
    } else if (most / 2 < options_.size) {
        why = fmt::format("{}K, for this core, are less than two buffers", most / 1024);
    } else {
        return fmt::format(" registered-buffers=on-demand(at most {}K; RLIMIT_MEMLOCK {})",
                           most / 1024, limit);
    }
    return fmt::format(" no-registered-buffers({}; RLIMIT_MEMLOCK {})", why, limit);
}

/// Halved as long as the kernel says ENOMEM: the limit counts what all processes of the user hold.
void buffer_pool::register_now() noexcept {
    if (registering_done_ || home_.ring() == nullptr || open() != 0) return;
    registering_done_ = true;
    registered_ = budget();
    std::size_t bytes = std::min(registered_.wanted, registered_.most);
    for (int error = -ENOMEM; error == -ENOMEM && bytes / 2 >= options_.size; bytes /= 2) {
        error = try_register(bytes);
        registered_.refusal = {-error, std::system_category()};
    }
}

int buffer_pool::fixed_index_of(const std::byte* data, std::size_t size) noexcept {
    const auto whole_is_in = [=](const std::byte* begin, std::size_t bytes) {
        const auto at = reinterpret_cast<std::uintptr_t>(data) -
                        reinterpret_cast<std::uintptr_t>(begin);
        return at < bytes && size <= bytes - at;
    };
    const std::size_t small = options_.size;
    const std::size_t large = options_.large_size;
    if (!opened_ || !(whole_is_in(memory_, options_.limit * small) ||
                      whole_is_in(large_memory_, options_.large_limit * large)))
        return -1;
    if (!registering_done_) register_now();
    if (whole_is_in(memory_ + fixed_first_ * small, fixed_small_ * small)) return 0;
    return whole_is_in(large_memory_, fixed_large_ * large) ? 1 : -1;
}

/// Half of it from the large buffers as far as there are so many, the rest from the small. Of the
/// small ones those that follow the window: what is taken by hand is given back first and so taken
/// again, while the ring goes round all of its window.
int buffer_pool::try_register(std::size_t bytes) noexcept {
    const auto large = std::min<std::size_t>(options_.large_limit, bytes / 2 / options_.large_size);
    const auto small = std::min<std::size_t>(
        options_.limit - window_, (bytes - large * options_.large_size) / options_.size);
    const std::array<iovec, 2> memory{
        iovec{.iov_base = memory_ + std::size_t{window_} * options_.size,
              .iov_len = small * options_.size},
        iovec{.iov_base = large_memory_, .iov_len = large * options_.large_size}};
    const int error = home_.ring()->register_buffers(memory.data(), large > 0 ? 2 : 1);
    if (error != 0) return error;
    fixed_first_ = window_;
    fixed_small_ = static_cast<std::uint32_t>(small);
    fixed_large_ = static_cast<std::uint32_t>(large);
    registered_.bytes = memory[0].iov_len + memory[1].iov_len;
    return 0;
}

void buffer_pool::refill() noexcept {
    if (form_ != window_form::whole) return refill_otherwise();
    if (with_kernel_ == window_) return;
    const std::uint32_t missing = window_ - with_kernel_;
    const std::uint32_t used = std::min(missing, free_count_);
    const std::uint32_t fresh = std::min(missing - used, options_.limit - fresh_);
    writer window(*this);
    // Those that were given back last first: they are in the cache.
    const std::uint16_t* last = free_.get() + free_count_;
    for (std::uint32_t i = 0; i < used; ++i) window.enter(*--last);
    for (std::uint32_t i = 0; i < fresh; ++i) window.enter(fresh_ + i);
    free_count_ -= used;
    fresh_ += fresh;
    publish(used + fresh);
}

void buffer_pool::refill_otherwise() noexcept {
    if (slices_.scarce()) return take_back_window();
    for (std::uint32_t id = 0; with_kernel_ < window_ && pop_free(id);) {
        if (form_ == window_form::bundles) places_[id] = ring_tail_;
        if (form_ == window_form::slices) slices_.begin(id);
        provide(id);
    }
}

/// With many slices out the kernel gets no room for more, so that streams wait (ENOBUFS) until some
/// are given back. The window's end is ours to move: the kernel reads it at each receive, on this
/// thread. Its beginning is known only when no answer is held back or has not been read.
void buffer_pool::take_back_window() noexcept {
    if (with_kernel_ == 0 || home_.ring()->overflown() || home_.ring()->has_completions()) return;
    for (; with_kernel_ > 0; --with_kernel_) {
        const std::uint32_t id = ring_->bufs[--ring_tail_ & (window_ - 1)].bid;
        if (slices_.let_go(id)) free_[free_count_++] = static_cast<std::uint16_t>(id);
    }
    std::atomic_ref(ring_->tail).store(ring_tail_, std::memory_order_release);
}

buffer_pool::room buffer_pool::slice_taken(std::uint32_t buffer, std::uint32_t size,
                                           bool goes_on) noexcept {
    const buffer_slices::slice s = slices_.cut(buffer, size);
    if (!goes_on) {
        --with_kernel_;
        if (slices_.let_go(buffer)) free_[free_count_++] = static_cast<std::uint16_t>(buffer);
    }
    if (s.id == buffer_slices::none) return {};
    ++leased_;
    std::byte* const bytes = data(buffer) + s.offset;
    unpoison(bytes, size);
    return {.data = bytes, .size = size, .id = s.id};
}

bool buffer_pool::pop_free(std::uint32_t& id) noexcept {
    if (free_count_ > 0) {
        id = free_[--free_count_];
        return true;
    }
    if (fresh_ == options_.limit) return false;
    id = fresh_++;
    return true;
}

std::byte* buffer_pool::data(std::uint32_t id) noexcept {
    if (slices_.holds(id)) id = slices_.buffer_of(id);
    if (id < options_.limit) return memory_ + std::size_t{id} * options_.size;
    return large_memory_ + std::size_t{id - options_.limit} * options_.large_size;
}

buffer_pool::room buffer_pool::take_otherwise(bool large) noexcept {
    // After a stop what has come is taken by an attempt alone, without a start.
    if (open() != 0) return {};
    std::uint32_t id = 0;
    if (large && !large_free_.empty()) {
        id = large_free_.back();
        large_free_.pop_back();
    } else if (large && large_fresh_ < options_.large_limit) {
        id = options_.limit + large_fresh_++;
    } else if (!pop_free(id)) {
        return {};
    }
    ++leased_;
    std::byte* const memory = data(id);
    unpoison(memory, room_of(id));
    return {.data = memory, .size = room_of(id), .id = id};
}

bool buffer_pool::is_in_a_large_one(const std::byte* data) const noexcept {
    return large_memory_ != nullptr &&
           points_into(data, large_memory_,
                       std::size_t{options_.large_limit} * options_.large_size);
}

void buffer_pool::give_back_otherwise(std::uint32_t id) noexcept {
    if (slices_.holds(id)) {
        const std::uint32_t buffer = slices_.buffer_of(id);
        if (slices_.give_back(id)) {
            poison(data(buffer), options_.size);
            free_[free_count_++] = static_cast<std::uint16_t>(buffer);
        }
    } else if (id >= options_.limit) {
        large_free_.push_back(static_cast<std::uint16_t>(id));
    } else if (with_kernel_ < window_at_once_ && waiting_hands_.empty() &&
               waiting_files_.empty()) {
        provide(id);
    } else {
        free_[free_count_++] = static_cast<std::uint16_t>(id);
    }
    if (starving_) feed();
}

void buffer_pool::wait(descriptor& d, taker who, bool (*again)(core&, descriptor&)) noexcept {
    again_ = again;
    ++starvations;
    if (d.starved().linked()) return;
    starving_ = true;
    (who == taker::hand ? waiting_hands_ : waiting_rings_).push_back(d.starved());
}

void buffer_pool::wait(buffer_wait& w) noexcept {
    ++starvations;
    starving_ = true;
    waiting_files_.push_back(w);
}

/// Never more than there are buffers: each of the others would only be told so once more.
void buffer_pool::feed() noexcept {
    const auto next = [this](link_list& waiting) {
        auto& first = static_cast<starved_link&>(waiting.pop_front());
        return again_(home_, static_cast<descriptor&>(first)) ? 1U : 0U;
    };
    while (fed_hands_ < spare() && !(waiting_hands_.empty() && waiting_files_.empty())) {
        files_turn_ = !files_turn_;
        if (waiting_hands_.empty() || (files_turn_ && !waiting_files_.empty())) {
            auto& first = static_cast<buffer_wait&>(waiting_files_.pop_front());
            first.served(home_, *first.owner);
        } else {
            fed_hands_ += next(waiting_hands_);
        }
    }
    if (!waiting_rings_.empty() && with_kernel_ == 0) refill();
    while (!waiting_rings_.empty() && fed_rings_ < with_kernel_) fed_rings_ += next(waiting_rings_);
    starving_ = !waiting_hands_.empty() || !waiting_rings_.empty() || !waiting_files_.empty();
}

}  // namespace ringlet
