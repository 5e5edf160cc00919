// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

namespace ringlet {

/// A place in an intrusive, circular, doubly linked list. The list's head is a link too, so that
/// leaving a list needs no knowledge of which list it is.
struct link {
    link* next = nullptr;
    link* prev = nullptr;

    link() noexcept = default;
    link(const link&) = delete;
    link& operator=(const link&) = delete;

    [[nodiscard]] bool linked() const noexcept { return prev != nullptr; }

    /// Leaves the list; `next` and `prev` are null afterwards.
    void unlink() noexcept {
        prev->next = next;
        next->prev = prev;
        next = nullptr;
        prev = nullptr;
    }
    void unlink_if_linked() noexcept {
        if (linked()) unlink();
    }
};

/// The head of such a list.
class link_list {
public:
    link_list() noexcept { head_.next = head_.prev = &head_; }

    [[nodiscard]] bool empty() const noexcept { return head_.next == &head_; }
    [[nodiscard]] link* front() noexcept { return head_.next; }
    [[nodiscard]] link* end() noexcept { return &head_; }

    void push_back(link& item) noexcept {
        item.next = &head_;
        item.prev = head_.prev;
        head_.prev->next = &item;
        head_.prev = &item;
    }
    [[nodiscard]] link& pop_front() noexcept {
        link& first = *head_.next;
        first.unlink();
        return first;
    }
    /// Takes everything out of `other`, in order; this list must be empty.
    void take(link_list& other) noexcept {
        if (other.empty()) return;
        head_.next = other.head_.next;
        head_.prev = other.head_.prev;
        head_.next->prev = head_.prev->next = &head_;
        other.head_.next = other.head_.prev = &other.head_;
    }

private:
    link head_;
};

}  // namespace ringlet
