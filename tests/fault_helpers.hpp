// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <kernel/fault.hpp>

#include <sys/resource.h>

#include <climits>
#include <mutex>
#include <string_view>

/// What the tests that make something fail share. What they change comes back however they end.
namespace faults {

#ifndef NDEBUG  // the seam is not in release builds
/// A hook of the test's own, on this thread until the object goes.
class hooked {
public:
    explicit hooked(int (*hook)(const char* call) noexcept) noexcept
        : before_(ringlet::kernel::fault::hook) {
        ringlet::kernel::fault::hook = hook;
    }
    ~hooked() { ringlet::kernel::fault::hook = before_; }
    hooked(const hooked&) = delete;
    hooked& operator=(const hooked&) = delete;

private:
    int (*before_)(const char* call) noexcept;
};

/// Fails `times` uses of a system call, or answers of the ring, after the first `passed`, until it
/// goes. The youngest is asked first; where it lets one pass, the next is. With error 0 it counts.
class failing {
public:
    failing(const char* call, int error, long passed = 0, long times = LONG_MAX) noexcept
        : call_(call), error_(error), passed_(passed), times_(times), here_(ask) {
        const std::lock_guard lock(mutex_);
        older_ = youngest_;
        youngest_ = this;
    }
    ~failing() {
        const std::lock_guard lock(mutex_);
        failing** at = &youngest_;
        while (*at != this) at = &(*at)->older_;
        *at = older_;
    }
    failing(const failing&) = delete;
    failing& operator=(const failing&) = delete;

    /// How often it has failed something.
    [[nodiscard]] long refused() const noexcept {
        const std::lock_guard lock(mutex_);
        return refused_;
    }
    /// Called on another thread: from now on, what fails does there as well. For threads that end
    /// before the test does.
    static void also_here() noexcept { ringlet::kernel::fault::hook = ask; }

private:
    static int ask(const char* call) noexcept {
        const std::lock_guard lock(mutex_);
        for (failing* f = youngest_; f != nullptr; f = f->older_) {
            if (f->call_ != call || f->uses_++ < f->passed_ || f->refused_ == f->times_) continue;
            ++f->refused_;
            if (f->error_ != 0) return f->error_;
        }
        return 0;
    }

    static inline std::mutex mutex_;
    static inline failing* youngest_ = nullptr;

    std::string_view call_;
    int error_;
    long passed_;
    long times_;
    long uses_ = 0;
    long refused_ = 0;
    failing* older_ = nullptr;
    hooked here_;
};
#endif

/// Another soft limit of a resource, never above the hard one, until it goes.
class soft_limit {
public:
    soft_limit(int resource, rlim_t wanted) noexcept : resource_(resource) {
        ::getrlimit(resource_, &before_);
        now_ = before_;
        now_.rlim_cur = wanted < before_.rlim_max ? wanted : before_.rlim_max;
        if (::setrlimit(resource_, &now_) != 0) now_ = before_;
    }
    ~soft_limit() { ::setrlimit(resource_, &before_); }
    soft_limit(const soft_limit&) = delete;
    soft_limit& operator=(const soft_limit&) = delete;

    [[nodiscard]] rlim_t value() const noexcept { return now_.rlim_cur; }

private:
    int resource_;
    rlimit before_{};
    rlimit now_{};
};

}  // namespace faults
