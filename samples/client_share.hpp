// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "common/v4_in_v6.hpp"

#include <ringlet/ringlet.hpp>

#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>

namespace samples {

/// So many turns at a time for each client of a core, so that one does not take all of what there
/// is little of. Holds a record of who has or awaits a turn, and of nobody else.
class client_share {
    struct record;
    using records = std::map<std::string, record>;

public:
    explicit client_share(std::size_t each) noexcept : each_(each) {}
    client_share(const client_share&) = delete;
    client_share& operator=(const client_share&) = delete;

    /// A client while it wants turns; lives no longer than the share, and longer than its turns.
    class guest {
    public:
        guest(client_share& of, const ringlet::address& who)
            : of_(of), at_(of.records_.try_emplace(name_of(who), of.each_).first) {
            ++at_->second.guests;
        }
        ~guest() {
            if (--at_->second.guests == 0) of_.records_.erase(at_);
        }
        guest(const guest&) = delete;
        guest& operator=(const guest&) = delete;

        [[nodiscard]] ringlet::semaphore& turns() noexcept { return at_->second.turns; }

    private:
        client_share& of_;
        records::iterator at_;
    };

    [[nodiscard]] std::size_t clients() const noexcept { return records_.size(); }

private:
    struct record {
        explicit record(std::size_t each) noexcept : turns(each) {}
        ringlet::semaphore turns;
        std::size_t guests = 0;
    };

    /// The IPv4 address, or the first 64 bits of the IPv6 one: who has one address of such a
    /// network has all of them. All clients of a Unix-domain socket are one.
    static std::string name_of(const ringlet::address& who) {
        constexpr std::size_t network = 8;
        const auto* raw = static_cast<const char*>(who.data());
        if (who.is_v4()) return {raw + offsetof(sockaddr_in, sin_addr), sizeof(in_addr)};
        if (!who.is_v6()) return {};
        const char* bytes = raw + offsetof(sockaddr_in6, sin6_addr);
        if (std::equal(v4_in_v6.begin(), v4_in_v6.end(), bytes)) return {bytes + 12, 4};
        return {bytes, network};
    }

    std::size_t each_;
    records records_;
};

}  // namespace samples
