// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>
#include <ringlet/core/completion.hpp>
#include <ringlet/core/core.hpp>

namespace ringlet {

/// A node in a core's tree of cancellation: the operations that wait under it, and the scopes
/// below. Cancelling asks all of them to end and makes later ones end at once. One thread, no
/// atomics; a waiting operation costs four pointer writes to link and four to unlink.
class cancel_scope {
public:
    /// The root of a tree (what shield() uses).
    cancel_scope() noexcept = default;
    explicit cancel_scope(cancel_scope& parent) noexcept : reason_(parent.reason_) {
        parent.children_.push_back(sibling_);
    }
    ~cancel_scope() {
        RINGLET_DEBUG_CHECK(waits_.empty() && children_.empty(),
                            "a cancel scope ended before what ran in it");
        sibling_.unlink_if_linked();
    }
    cancel_scope(const cancel_scope&) = delete;
    cancel_scope& operator=(const cancel_scope&) = delete;

    /// Asks everything in this scope and below to end; returns at once. The first reason stays.
    void cancel(errc reason = errc::cancelled) noexcept;

    [[nodiscard]] bool cancelled() const noexcept { return reason_ != 0; }
    /// The answer for operations that would start now; 0 while not cancelled.
    [[nodiscard]] int refusal() const noexcept { return answer::own_base - reason_; }

    void link(completion& c) noexcept { waits_.push_back(c); }

private:
    struct sibling_link : ringlet::link {
        explicit sibling_link(cancel_scope& s) noexcept : scope(&s) {}
        cancel_scope* scope;
    };

    link_list waits_;
    link_list children_;
    sibling_link sibling_{*this};
    int reason_ = 0;
};

}  // namespace ringlet
