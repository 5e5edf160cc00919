// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "common/tell.hpp"

#include <ringlet/ringlet.hpp>

#include <cstddef>
#include <cstdint>
#include <system_error>
#include <utility>
#include <vector>

namespace samples {

/// One server behind the proxy, as one core sees it.
struct upstream {
    explicit upstream(const ringlet::address& a) : where(a) {}

    ringlet::address where;
    std::uint64_t active = 0;     ///< connections, those on their way included
    std::uint64_t total = 0;      ///< connections that came about
    std::uint64_t failures = 0;   ///< and those that did not
    std::uint64_t shortages = 0;  ///< and those for which this machine lacked something
    std::uint64_t ejections = 0;  ///< times it began to be left alone, not what it failed since
    unsigned failed_in_a_row = 0;
    unsigned probes = 0;          ///< connects on their way though it fails: whether it is back
    ringlet::time_point back_at;  ///< ejected until then
    bool told = false;            ///< that it is left alone, and not yet that it is back
    ringlet::time_point told_at;
    ringlet::relay_totals moved;
};

/// Which server is next, and which ones are left alone because connecting to them keeps failing.
/// That one is left alone, and that it is back, is a line on stderr each, at most once per
/// `eject_for`; what this machine lacks is one at most once a second.
class upstreams {
public:
    enum class balance : std::uint8_t { round_robin, least_connections };
    struct options {
        balance by = balance::round_robin;
        unsigned eject_after = 3;  ///< failures in a row; 0: never
        ringlet::nanoseconds eject_for = std::chrono::seconds(10);
        ringlet::nanoseconds connect_timeout = std::chrono::seconds(5);
    };

    upstreams(const std::vector<ringlet::address>& where, const options& o)
        : options_(o), all_(where.begin(), where.end()) {}

    /// Counts as one of a server's connections while it lives. Not longer than the server.
    class place {
    public:
        explicit place(upstream& u) noexcept : at_(&u) { ++u.active; }
        place(place&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
        place& operator=(place&&) = delete;
        ~place() {
            if (at_ != nullptr) --at_->active;
        }
        [[nodiscard]] upstream& server() const noexcept { return *at_; }

    private:
        upstream* at_;
    };
    struct connection {
        ringlet::tcp_stream stream;
        place at;
    };
    /// A connection to the next server, or to one of the others when that fails; the last error when
    /// all fail. An ejected one is tried only when its time is over, by one connection at a time, or
    /// when nobody else is left. What this machine lacks (descriptors, ports, memory) is no failure
    /// of a server.
    [[nodiscard]] ringlet::task<ringlet::result<connection>> connect();

    [[nodiscard]] const std::vector<upstream>& all() const noexcept { return all_; }
    [[nodiscard]] bool ejected(const upstream& u) const noexcept;

private:
    [[nodiscard]] bool keeps_failing(const upstream& u) const noexcept;
    [[nodiscard]] upstream* next(const std::vector<bool>& tried, bool ejected_too) noexcept;
    void succeeded(upstream& u);
    void failed(upstream& u, const std::error_code& error);
    void tell_ejected(upstream& u, const std::error_code& error);
    void lacked(upstream& u, const std::error_code& error);

    options options_;
    std::vector<upstream> all_;
    std::size_t turn_ = 0;
    seldom told_of_shortage_;
};

}  // namespace samples
