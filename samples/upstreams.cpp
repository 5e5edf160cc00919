// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "upstreams.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace samples {

namespace {

/// Counts as one that tries a server which keeps failing, while it lives.
class probe {
public:
    explicit probe(upstream* of) noexcept : of_(of) {
        if (of_ != nullptr) ++of_->probes;
    }
    probe(const probe&) = delete;
    ~probe() {
        if (of_ != nullptr) --of_->probes;
    }

private:
    upstream* of_;
};

/// A Unix-domain socket whose backlog is full says EAGAIN at once, and nothing tells when there is
/// room: asked again and again, it is as slow as a TCP one, and no worse. The pauses grow, since a
/// thousand clients may be asking.
ringlet::task<ringlet::result<ringlet::tcp_stream>> connect_to(const ringlet::address& where,
                                                               ringlet::nanoseconds limit) {
    constexpr ringlet::nanoseconds shortest = std::chrono::milliseconds(5);
    constexpr ringlet::nanoseconds longest = std::chrono::milliseconds(160);
    ringlet::nanoseconds pause = shortest;
    const ringlet::time_point until = ringlet::now() + limit;
    for (;;) {
        auto stream = co_await ringlet::tcp_stream::connect(where).within(until - ringlet::now());
        if (stream || !where.is_unix() ||
            stream.error() != std::errc::resource_unavailable_try_again)
            co_return stream;
        const ringlet::nanoseconds left = until - shortest - ringlet::now();
        if (left <= ringlet::nanoseconds(0)) co_return make_error_code(ringlet::errc::timed_out);
        const auto slept = co_await ringlet::sleep_for(std::min(pause, left));
        if (!slept) co_return slept.error();
        pause = std::min(2 * pause, longest);
    }
}

}  // namespace

bool upstreams::keeps_failing(const upstream& u) const noexcept {
    return options_.eject_after != 0 && u.failed_in_a_row >= options_.eject_after;
}

bool upstreams::ejected(const upstream& u) const noexcept {
    return keeps_failing(u) && (u.probes > 0 || ringlet::now() < u.back_at);
}

upstream* upstreams::next(const std::vector<bool>& tried, bool ejected_too) noexcept {
    upstream* best = nullptr;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i < all_.size(); ++i) {
        const std::size_t at = (turn_ + i) % all_.size();
        upstream& u = all_[at];
        if (tried[at] || (!ejected_too && ejected(u))) continue;
        if (best != nullptr && (options_.by == balance::round_robin || best->active <= u.active))
            continue;
        best = &u;
        best_at = at;
    }
    if (best != nullptr) turn_ = best_at + 1;
    return best;
}

void upstreams::succeeded(upstream& u) {
    u.failed_in_a_row = 0;
    ++u.total;
    if (u.told) tell(fmt::format("tcp_proxy: upstream {} is back\n", u.where.to_string()));
    u.told = false;
}

void upstreams::failed(upstream& u, const std::error_code& error) {
    ++u.failures;
    ++u.failed_in_a_row;
    if (!keeps_failing(u)) return;
    if (u.failed_in_a_row == options_.eject_after) ++u.ejections;
    u.back_at = ringlet::now() + options_.eject_for;
    tell_ejected(u, error);
}

void upstreams::tell_ejected(upstream& u, const std::error_code& error) {
    const ringlet::time_point now = ringlet::now();
    const bool too_soon = u.ejections > 1 && now - u.told_at < options_.eject_for;
    if (u.told || too_soon) return;
    u.told = true;
    u.told_at = now;
    tell(fmt::format("tcp_proxy: upstream {} is left alone for {:g} s: connecting failed {} times "
                     "in a row, at last with: {}\n",
                     u.where.to_string(),
                     std::chrono::duration<double>(options_.eject_for).count(), u.failed_in_a_row,
                     error.message()));
}

void upstreams::lacked(upstream& u, const std::error_code& error) {
    ++u.shortages;
    if (!told_of_shortage_.is_due(ringlet::now())) return;
    tell(fmt::format("tcp_proxy: no connection to upstream {}: {}. It is this machine that lacks it: "
                     "`doctor` shows its limits\n",
                     u.where.to_string(), error.message()));
}

ringlet::task<ringlet::result<upstreams::connection>> upstreams::connect() {
    std::vector<bool> tried(all_.size());
    std::error_code last;
    for (std::size_t tries = 0; tries < all_.size(); ++tries) {
        upstream* u = next(tried, false);
        if (u == nullptr) u = next(tried, true);
        tried[static_cast<std::size_t>(u - all_.data())] = true;
        place at(*u);  // from now on: the next choice is to know of it
        const probe probing(keeps_failing(*u) ? u : nullptr);  // the others leave it alone
        auto stream = co_await connect_to(u->where, options_.connect_timeout);
        if (stream) {
            succeeded(*u);
            co_return connection{std::move(*stream), std::move(at)};
        }
        last = stream.error();
        if (last == ringlet::errc::cancelled) break;
        if (is_shortage(last))
            lacked(*u, last);
        else
            failed(*u, last);
    }
    co_return last;
}

}  // namespace samples
