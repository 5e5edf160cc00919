// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/link.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/core/options.hpp>

#include <kernel/sys.hpp>

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ringlet {

/// The threads of a process for calls that block: few, started when there is something to do, fed
/// from one bounded queue, first come first served. The cores that have used it own it together;
/// the last one ends and joins the threads.
class blocking_pool {
public:
    /// The process's, made with `options` when no core has it yet. Throws std::bad_alloc.
    [[nodiscard]] static std::shared_ptr<blocking_pool> of_process(const blocking_options& options);

    explicit blocking_pool(const blocking_options& options);
    ~blocking_pool();
    blocking_pool(const blocking_pool&) = delete;
    blocking_pool& operator=(const blocking_pool&) = delete;

    /// 0; a negative answer when the queue is full (errc::pool_full) or no thread can be had. Once
    /// it has returned 0 the job may have ended: touch it no more.
    [[nodiscard]] int submit(blocking_job& job) noexcept;
    /// True when the job had not begun: it will not, and is the caller's again.
    [[nodiscard]] bool withdraw(blocking_job& job) noexcept;

private:
    [[nodiscard]] int start_thread() noexcept;
    void work(const sys::cpu_mask& cpus) noexcept;

    const std::size_t max_threads_;
    const std::size_t max_queued_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable something_;
    link_list queue_;
    std::size_t queued_ = 0;
    std::size_t idle_ = 0;
    bool ending_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace ringlet
