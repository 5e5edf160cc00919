// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <io/deal.hpp>

#include <ringlet/core/core.hpp>

#include <io/acceptor.hpp>
#include <io/program.hpp>
#include <kernel/sys.hpp>

#include <algorithm>

namespace ringlet {

dealer::dealer(acceptor& owner, dealing& all, unsigned limit, bool accepts) noexcept
    : timer([](timer& t) noexcept {
          auto& d = static_cast<dealer&>(t);
          d.tell_of_room();
          d.owner_.give_the_rest();
      }),
      owner_(owner),
      all_(all),
      mine_(all.places[program::this_core]),
      limit_(limit),
      // From the first wait on, of whichever core; who waits already has told a former acceptor.
      accepting_(accepts && anyone_has(0, UINT_MAX)) {
    mine_.listener = this;
    mine_.open.store(true);
    if (!accepts) return;
    all_.accepts_on.store(program::this_core);
    all_.full.store(!accepting_);
}

void dealer::leave(std::size_t left) noexcept {
    mine_.open.store(false);
    mine_.listener = nullptr;
    mine_.waiting.fetch_sub(static_cast<unsigned>(left));
}

bool dealer::give(int fd) noexcept {
    const auto count = static_cast<unsigned>(all_.places.size());
    for (unsigned tried = 0; tried < count; ++tried) {
        const unsigned to = next_++ % count;
        dealing::place& there = all_.places[to];
        if (!there.open.load()) continue;  // not yet, or no more
        if (there.waiting.load() >= limit_) continue;
        if (&there == &mine_) break;
        there.waiting.fetch_add(1);
        // A listener that stops says so first, and then looks at what is under way.
        if (there.open.load() && post(to, dealt, static_cast<std::uintptr_t>(fd))) return true;
        there.waiting.fetch_sub(1);
    }
    mine_.waiting.fetch_add(1);
    return false;
}

void dealer::took_one() noexcept {
    mine_.waiting.fetch_sub(1);
    tell_of_room();
}

/// Room is half of the limit: else the accepting core would be told of each.
void dealer::tell_of_room() noexcept {
    if (!all_.full.load()) return;
    if (mine_.waiting.load() > limit_ / 2 || !all_.full.exchange(false)) return;
    const unsigned accepting = all_.accepts_on.load();
    if (accepting == program::this_core) return owner_.go_on();
    if (post(accepting, told)) return;
    all_.full.store(true);  // its inbox is full
    once_more();
}

void dealer::once_more() noexcept {
    constexpr std::uint64_t again_ns = 10'000'000;
    if (!linked()) here().timers().arm_after(*this, again_ns);
}

/// It comes by the inbox; or give() has taken back what it counted, which nobody is told of.
bool dealer::under_way() noexcept {
    if (mine_.waiting.load() <= owner_.ready()) return false;
    once_more();
    return true;
}

bool dealer::say_full() noexcept {
    accepting_ = false;
    all_.full.store(true);
    // A core that took one before it could see that is not going to tell.
    return !anyone_has(0, limit_ / 2) || !all_.full.exchange(false);
}

void dealer::say_open() noexcept {
    accepting_ = true;
    all_.full.store(false);
}

/// Whether so many wait at any of the cores that listen.
bool dealer::anyone_has(unsigned least, unsigned most) const noexcept {
    return std::any_of(all_.places.begin(), all_.places.end(), [=](const dealing::place& p) {
        const unsigned waiting = p.waiting.load();
        return p.open.load() && least <= waiting && waiting <= most;
    });
}

/// `run` is called on that core; false when its inbox is full, or it has ended.
bool dealer::post(unsigned to, decltype(message::run) run, std::uintptr_t word) noexcept {
    core* const there = program::running.load(std::memory_order_acquire)->cores[to];
    return there != nullptr &&
           there->post({.run = run, .subject = &all_, .word = word}).has_value();
}

void dealer::dealt(void* all, std::uintptr_t fd) noexcept {
    dealing::place& place = static_cast<dealing*>(all)->places[program::this_core];
    if (place.listener != nullptr) return place.listener->owner_.deliver(static_cast<int>(fd));
    place.waiting.fetch_sub(1);
    sys::close(static_cast<int>(fd));
}

void dealer::told(void* all, std::uintptr_t) noexcept {
    dealer* const listener = static_cast<dealing*>(all)->places[program::this_core].listener;
    if (listener != nullptr) listener->owner_.go_on();
}

}  // namespace ringlet
