// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/run/run.hpp>

#include <ringlet/core/core.hpp>
#include <ringlet/coro/block_on.hpp>
#include <ringlet/io/signals.hpp>
#include <ringlet/run/on_core.hpp>

#include <io/program.hpp>
#include <kernel/sys.hpp>

#include <array>
#include <atomic>
#include <csignal>
#include <exception>
#include <latch>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ringlet {

namespace {

constexpr int exit_failed = 1;
constexpr int exit_unusable = 2;
constexpr int max_cpus = 1024;

/// One run(): what its cores share, and how it is stopped.
struct runtime : program {
    runtime(const run_options& o, unsigned count, backend_choice c)
        : program(count, count > 1 && o.accept == run_options::accept_mode::one_core),
          options(o),
          choice(std::move(c)),
          made(static_cast<std::ptrdiff_t>(count)),
          running_bodies(count) {}

    const run_options& options;
    const backend_choice choice;
    std::latch made;
    std::atomic<bool> unusable{false};
    std::atomic<bool> failed{false};
    std::atomic<unsigned> running_bodies;
    std::atomic<unsigned> stops{0};  ///< how often a stop was asked for

    std::mutex cores_mutex;  ///< for wake_all() against a core's end

    void wake_all() noexcept {
        const std::lock_guard lock(cores_mutex);
        for (core* c : cores)
            if (c != nullptr) c->wake();
    }
};

/// One core's part in it.
struct core_run {
    explicit core_run(runtime& r) noexcept : all(r) {}

    runtime& all;
    root_task body;
    root_task supervisor;
    bool finished = false;
    unsigned stops_seen = 0;

    struct grace_timer : timer {
        explicit grace_timer(core_run& c) noexcept : timer(over), owner(&c) {}
        static void over(timer& t) noexcept { static_cast<grace_timer&>(t).owner->body.cancel(); }
        core_run* owner;
    } grace{*this};

    static inline thread_local core_run* mine = nullptr;

    /// Between two turns, after a wake-up.
    static void look(core& c) noexcept {
        core_run& self = *mine;
        self.finished = self.all.running_bodies.load() == 0;
        const unsigned asked = self.all.stops.load();
        if (asked == self.stops_seen) return;
        const bool first = self.stops_seen == 0;
        self.stops_seen = asked;
        if (first) {
            c.request_stop();
            const auto ns = self.all.options.grace.count();
            c.timers().arm_after(self.grace, ns > 0 ? static_cast<std::uint64_t>(ns) : 0);
        }
        if (asked > 1) self.body.cancel();
    }
};

/// Guards program::running against stop() from a thread of the user's.
std::mutex running_mutex;

void say(const char* what) noexcept { sys::tell("ringlet: %s\n", what); }

task<void> watch_signals(runtime& all) {
    signal_set signals{SIGINT, SIGTERM};
    while (co_await signals.next()) {
        all.stops.fetch_add(1);
        all.wake_all();
    }
}

void pin_to(const run_options& options, unsigned index, unsigned count) {
    std::array<int, max_cpus> cpus{};
    const int usable = sys::allowed_cpus(cpus.data(), max_cpus);
    const bool enough = count <= static_cast<unsigned>(usable);
    using mode = run_options::pin_mode;
    if (options.pin == mode::no || usable == 0) return;
    if (options.pin == mode::automatic && (count == 1 || !enough)) return;
    static_cast<void>(sys::pin_thread(cpus[index % static_cast<unsigned>(usable)]));
}

/// Runs `step` and says what it threw, unless another core has thrown before: the first stays.
template <class Step>
void guarded(runtime& all, Step step) noexcept {
    try {
        step();
        return;
    } catch (const std::exception& e) {
        if (!all.failed.exchange(true))
            sys::tell("ringlet: a task ended with an exception: %s\n", e.what());
    } catch (...) {
        if (!all.failed.exchange(true)) say("a task threw something that is no std::exception");
    }
    // Several that throw are one reason to stop: a second stop would skip the grace.
    unsigned none = 0;
    all.stops.compare_exchange_strong(none, 1);
    all.wake_all();
}

/// A core, or one line that says why there is none.
std::unique_ptr<core> make_core(runtime& all) noexcept {
    try {
        std::string why;
        core_options options = all.options.core;
        options.buffers.sharers = static_cast<std::uint32_t>(all.cores.size());
        auto made = core::make(options, all.choice, &why);
        if (made) return std::move(*made);
        if (!all.unusable.exchange(true)) say(why.c_str());
    } catch (const std::exception& e) {
        if (!all.unusable.exchange(true))
            sys::tell("ringlet: a core could not be made: %s\n", e.what());
    }
    return nullptr;
}

void run_core(runtime& all, unsigned index, const std::function<task<void>()>& body) {
    program::this_core = index;
    pin_to(all.options, index, static_cast<unsigned>(all.cores.size()));
    const std::unique_ptr<core> made = make_core(all);
    if (made != nullptr) {
        const std::lock_guard lock(all.cores_mutex);
        all.cores[index] = made.get();
    }
    all.made.arrive_and_wait();
    if (all.unusable) {
        // Another thread may be calling stop(), which wakes all that are named here.
        const std::lock_guard lock(all.cores_mutex);
        all.cores[index] = nullptr;
        return;
    }

    core& c = *made;
    core_run self(all);
    core_run::mine = &self;
    c.on_stop = core_run::look;
    c.wake();  // for a stop that came before this core was known
    guarded(all, [&] {
        if (index == 0 && all.options.handle_signals) self.supervisor.start(c, watch_signals(all));
        self.body.start(c, body());
        self.body.finish(c);
    });
    self.grace.disarm();
    // The loop goes on for the other cores' calls until the last body has ended.
    if (all.running_bodies.fetch_sub(1) == 1) all.wake_all();
    c.wake();
    c.called_out();
    c.run_until(self.finished);
    c.came_back();
    self.supervisor.cancel();
    guarded(all, [&] { self.supervisor.finish(c); });
    core_run::mine = nullptr;
    const std::lock_guard lock(all.cores_mutex);
    all.cores[index] = nullptr;
}

}  // namespace

unsigned core_index() noexcept { return program::this_core; }
unsigned core_count() noexcept {
    const program* p = program::running.load(std::memory_order_acquire);
    return p != nullptr ? static_cast<unsigned>(p->cores.size()) : 1;
}

core* detail::core_at(unsigned index) noexcept {
    const program* p = program::running.load(std::memory_order_acquire);
    return p != nullptr && index < p->cores.size() ? p->cores[index] : nullptr;
}

void stop() noexcept {
    const std::lock_guard lock(running_mutex);
    auto* all = static_cast<runtime*>(program::running.load(std::memory_order_acquire));
    if (all == nullptr) return;
    all->stops.fetch_add(1);
    all->wake_all();
}

int detail::run_on_cores(const run_options& options, const std::function<task<void>()>& body) {
    RINGLET_CHECK(program::running.load() == nullptr, "run() was called while another run() goes on");
    sys::raise_limit(sys::limit_kind::open_files);
    sys::raise_limit(sys::limit_kind::locked_memory);  // rings count
    std::array<int, max_cpus> cpus{};
    const int usable = sys::allowed_cpus(cpus.data(), max_cpus);
    const unsigned count =
        options.cores != 0 ? options.cores : static_cast<unsigned>(usable > 0 ? usable : 1);

    std::string why;
    auto choice = choose_backend(options.core, &why);
    if (!choice) {
        say(why.c_str());
        return exit_unusable;
    }
    runtime all(options, count, std::move(*choice));
    std::vector<std::thread> threads;
    threads.reserve(count);
    program::running.store(&all, std::memory_order_release);
    for (unsigned i = 1; i < count; ++i) {
        try {
            threads.emplace_back(run_core, std::ref(all), i, std::cref(body));
        } catch (const std::exception& e) {
            // The threads that do run wait at the latch for all: stand in for the missing ones.
            sys::tell("ringlet: thread for core %u: %s; lower run_options::cores (--cores) or "
                      "raise `ulimit -u`\n",
                      i, e.what());
            all.unusable = true;
            all.made.count_down(static_cast<std::ptrdiff_t>(count - i));
            break;
        }
    }
    run_core(all, 0, body);
    sys::unpin_thread();
    for (std::thread& t : threads) t.join();
    const std::lock_guard lock(running_mutex);
    program::running.store(nullptr, std::memory_order_release);
    if (all.unusable) return exit_unusable;
    return all.failed ? exit_failed : 0;
}

}  // namespace ringlet
