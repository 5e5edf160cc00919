// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <core/blocking_pool.hpp>

#include <ringlet/core/core.hpp>

#include <kernel/fault.hpp>
#include <kernel/sys.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>

namespace ringlet {

std::shared_ptr<blocking_pool> blocking_pool::of_process(const blocking_options& options) {
    static std::mutex mutex;
    static std::weak_ptr<blocking_pool> current;
    const std::lock_guard lock(mutex);
    auto pool = current.lock();
    if (pool == nullptr) {
        pool = std::make_shared<blocking_pool>(options);
        current = pool;
    }
    return pool;
}

blocking_pool::blocking_pool(const blocking_options& options)
    : max_threads_(std::clamp(options.threads, 1U, 1024U)),
      max_queued_(std::max(options.queue, 1U)) {
    threads_.reserve(max_threads_);
}

blocking_pool::~blocking_pool() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    something_.notify_all();
    for (std::thread& t : threads_) t.join();
}

int blocking_pool::submit(blocking_job& job) noexcept {
    {
        const std::lock_guard lock(mutex_);
        if (queued_ == max_queued_) return answer::own_base - static_cast<int>(errc::pool_full);
        // An idle thread counts as such until it has taken something, so each one that is woken has
        // a job of its own.
        if (queued_ >= idle_ && threads_.size() < max_threads_)
            if (const int error = start_thread(); error != 0 && threads_.empty()) return error;
        queue_.push_back(job);
        ++queued_;
    }
    something_.notify_one();
    return 0;
}

bool blocking_pool::withdraw(blocking_job& job) noexcept {
    const std::lock_guard lock(mutex_);
    if (!job.linked()) return false;
    job.unlink();
    --queued_;
    return true;
}

int blocking_pool::start_thread() noexcept {
    if (const int error = kernel::fault::injected("thread")) return -error;
    try {
        threads_.emplace_back([this, cpus = sys::unpinned_cpus()] { work(cpus); });
        return 0;
    } catch (const std::system_error& e) {
        return -e.code().value();  // EAGAIN: the limit on threads (pthread_create(3))
    } catch (const std::exception&) {
        return -ENOMEM;
    }
}

void blocking_pool::work(const sys::cpu_mask& cpus) noexcept {
    sys::become_worker("ringlet-block", cpus);
    std::unique_lock lock(mutex_);
    for (;;) {
        ++idle_;
        something_.wait(lock, [this] { return !queue_.empty() || ending_; });
        --idle_;
        if (queue_.empty()) return;
        auto& job = static_cast<blocking_job&>(queue_.pop_front());
        --queued_;
        lock.unlock();
        core& home = *job.home;
        job.run(job);
        home.end_blocking(job);
        lock.lock();
    }
}

}  // namespace ringlet
