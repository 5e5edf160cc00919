// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/coro/parked.hpp>
#include <ringlet/coro/promise.hpp>

#include <coroutine>
#include <cstddef>
#include <utility>

namespace ringlet {

/// A number of permits that tasks of one core take and give back; first come, first served.
class semaphore {
public:
    explicit semaphore(std::size_t permits) noexcept : free_(permits) {}
    ~semaphore() {
        RINGLET_CHECK(waiting_.empty() && granted_.empty(),
                      "a semaphore ended while tasks waited for it");
    }
    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;

    /// One permit; given back by its destruction. Lives no longer than the semaphore.
    class permit {
    public:
        permit() noexcept = default;
        permit(permit&& other) noexcept : from_(std::exchange(other.from_, nullptr)) {}
        permit& operator=(permit&& other) noexcept {
            if (this != &other) {
                give_back();
                from_ = std::exchange(other.from_, nullptr);
            }
            return *this;
        }
        ~permit() { give_back(); }
        void give_back() noexcept {
            if (from_ != nullptr) std::exchange(from_, nullptr)->release();
        }

    private:
        friend class semaphore;
        explicit permit(semaphore& s) noexcept : from_(&s) {}
        semaphore* from_ = nullptr;
    };

    class [[nodiscard]] acquire_op : public detail::stoppable_wait<acquire_op> {
    public:
        explicit acquire_op(semaphore& s) noexcept : from_(&s) {}
        acquire_op(acquire_op&& unstarted) noexcept
            : stoppable_wait(std::move(unstarted)), from_(unstarted.from_) {}

        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <ringlet_promise Promise>
        [[nodiscard]] bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
            cancel_scope& context = handle.promise().context();
            if (refused(context)) return detail::answered_at_once(*this, handle);
            if (from_->free_ > 0) {
                --from_->free_;
                const bool later = detail::answered_at_once(*this, handle);
                if (later) from_->granted_.push_back(place_);
                return later;
            }
            if (stopped()) return detail::answered_at_once(*this, handle);
            park(context, handle);
            place_.waiting = this;
            from_->waiting_.push_back(place_);
            return true;
        }
        result<permit> await_resume() noexcept {
            place_.unlink_if_linked();
            leave();
            if (answer < 0) return answer::to_error(answer);
            return permit(*from_);
        }

    private:
        friend class semaphore;
        struct place : link {
            completion* waiting = nullptr;
        };
        semaphore* from_;
        place place_;
    };
    /// A permit, or errc::cancelled; errc::timed_out where a with_deadline() around it has passed.
    [[nodiscard]] acquire_op acquire() noexcept { return acquire_op(*this); }
    [[nodiscard]] std::size_t available() const noexcept { return free_; }

private:
    void release() noexcept {
        while (!waiting_.empty()) {
            auto& place = static_cast<acquire_op::place&>(waiting_.pop_front());
            granted_.push_back(place);  // until it has left, which one that was cancelled does too
            if (place.waiting->at != completion::phase::parked) continue;
            here().answer(*place.waiting, 0);
            return;
        }
        ++free_;
    }

    std::size_t free_;
    link_list waiting_;
    link_list granted_;  ///< those whose wait is over, and who have not been resumed yet
};

}  // namespace ringlet
