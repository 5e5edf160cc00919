// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// What the library's own steps cost: awaiting, starting and joining tasks, timers, a no-op through
/// the ring, a call to another core. Each is repeated; the median and the range are shown.

#include "../samples/common/options.hpp"
#include "compare/statistics.hpp"
#include "raw_wakes.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <liburing.h>
#include <sched.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;
using ringlet::task;

constexpr std::size_t pending_timers = 1'000'000;

struct settings {
    unsigned repeats = 7;
    std::string only;
    bool json = false;
    ringlet::run_options run;
};

struct line {
    std::string name;
    bench::spread ns;
    std::string neighbour;
};

/// Calls a bench a few times; it returns the ns of one step.
class stand {
public:
    explicit stand(const settings& set) noexcept : set_(set) {}

    /// `bench` is a plain function that makes a task, so that nothing of it can die too early.
    task<> run(const char* name, task<double> (*bench)(std::size_t), std::size_t argument,
               const char* neighbour) {
        if (std::string_view(name).find(set_.only) == std::string_view::npos) co_return;
        std::vector<double> values;
        static_cast<void>(co_await bench(argument));  // warms up
        for (unsigned i = 0; i < set_.repeats; ++i) values.push_back(co_await bench(argument));
        if (auto all = bench::spread_of(std::move(values)); all && all->least > 0)
            lines_.push_back({name, *all, neighbour});
    }
    [[nodiscard]] const std::vector<line>& lines() const noexcept { return lines_; }

private:
    const settings& set_;
    std::vector<line> lines_;
};

class stopwatch {
public:
    [[nodiscard]] double ns_each(std::size_t count) const {
        const auto spent = std::chrono::duration<double, std::nano>(clock_type::now() - began_);
        return spent.count() / static_cast<double>(count);
    }

private:
    clock_type::time_point began_ = clock_type::now();
};

// --- tasks
// ----------------------------------------------------------------------------------------

task<std::uint64_t> ready_at_once(std::uint64_t value) { co_return value; }

task<double> await_ready_tasks(std::size_t count) {
    const stopwatch watch;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += co_await ready_at_once(i);
    const double each = watch.ns_each(count);
    co_return sum == count*(count - 1) / 2 ? each : 0;
}

task<> nothing() { co_return; }

/// `at_once` children in each scope; the cost of one child with its part of the scope.
task<double> spawn_and_join(std::size_t at_once) {
    constexpr std::size_t children = 100'000;
    const stopwatch watch;
    for (std::size_t done = 0; done < children; done += at_once) {
        co_await ringlet::with_scope([at_once](ringlet::scope& s) -> task<> {
            for (std::size_t i = 0; i < at_once; ++i) s.start(nothing());
            co_return;
        });
    }
    co_return watch.ns_each(children);
}

// --- timers
// ---------------------------------------------------------------------------------------

void never_fires(ringlet::timer&) noexcept {}

std::uint64_t random_time(std::uint64_t& state) noexcept {
    state = state * 6364136223846793005 + 1442695040888963407;
    return 60'000'000'000 + (state >> 33) * 400;  // 1 to 58 minutes
}

/// Armed, placed in the wheel and cancelled again, with `pending` others there.
task<double> arm_and_cancel(std::size_t pending) {
    constexpr std::size_t steps = 100'000;
    std::uint64_t state = 1;
    ringlet::timer_wheel& wheel = ringlet::here().timers();
    const std::unique_ptr<std::byte[]> room(new std::byte[pending * sizeof(ringlet::timer)]);
    auto* const others = reinterpret_cast<ringlet::timer*>(room.get());
    for (std::size_t i = 0; i < pending; ++i)
        wheel.arm_after(*new (others + i) ringlet::timer(never_fires), random_time(state));
    wheel.place_fresh(ringlet::here().now_ns());
    ringlet::timer one(never_fires);
    const std::uint64_t now = ringlet::here().now_ns();
    const stopwatch watch;
    for (std::size_t i = 0; i < steps; ++i) {
        wheel.arm_after(one, random_time(state));
        wheel.place_fresh(now);
        one.disarm();
    }
    const double each = watch.ns_each(steps);
    for (std::size_t i = 0; i < pending; ++i) {
        others[i].disarm();
        others[i].~timer();
    }
    co_return each;
}

// --- the ring
// -------------------------------------------------------------------------------------

constexpr auto fill_nop = [](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); };

task<> nops(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        if (!co_await ringlet::uring(fill_nop)) co_return;
}

/// `batch` tasks that each wait for a no-op: so many go through every io_uring_enter.
task<double> nops_in_batches(std::size_t batch) {
    if (ringlet::here().ring() == nullptr) co_return 0;
    constexpr std::size_t total = 131'072;
    const std::size_t each = (batch == 1 ? total / 4 : total) / batch;
    const stopwatch watch;
    co_await ringlet::with_scope([batch, each](ringlet::scope& s) -> task<> {
        for (std::size_t i = 0; i < batch; ++i) s.start(nops(each));
        co_return;
    });
    co_return watch.ns_each(each * batch);
}

// --- two cores
// ------------------------------------------------------------------------------------

int answer() noexcept { return 1; }
int current_cpu() noexcept { return ::sched_getcpu(); }

/// To core 1 and back; both sleep in between and are woken by their bells (eventfd).
task<double> call_other_core(std::size_t count) {
    if (ringlet::core_count() < 2) co_return 0;
    const stopwatch watch;
    for (std::size_t i = 0; i < count; ++i)
        if (!co_await ringlet::on_core(1, answer)) co_return 0;
    co_return watch.ns_each(count);
}

task<> call_in_turn(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        if (!co_await ringlet::on_core(1, answer)) co_return;
}

/// 64 calls on their way at any time: the bells are shared by many.
task<double> call_other_core_64(std::size_t count) {
    if (ringlet::core_count() < 2) co_return 0;
    const stopwatch watch;
    co_await ringlet::with_scope([count](ringlet::scope& s) -> task<> {
        for (std::size_t i = 0; i < 64; ++i) s.start(call_in_turn(count / 64));
        co_return;
    });
    co_return watch.ns_each(count / 64 * 64);
}

/// The same without the library; see raw_wakes.hpp.
template <double (*RoundTrips)(int, std::size_t)>
task<double> raw_wakes(std::size_t count) {
    const auto far = co_await ringlet::on_core(1, current_cpu);
    co_return far ? RoundTrips(*far, count) : 0;
}

// --- all of them
// ----------------------------------------------------------------------------------

task<> run_all(stand& all) {
    co_await all.run("co_await of a task that is ready", await_ready_tasks, 1'000'000,
                     "2 ns: what symmetric transfer would save (docs/design/trampoline.md)");
    co_await all.run("spawn and join, one at a time", spawn_and_join, 1, "");
    co_await all.run("spawn and join, 64 in a scope", spawn_and_join, 64, "");
    co_await all.run("timer armed and cancelled, none pending", arm_and_cancel, 0, "");
    co_await all.run("timer armed and cancelled, a million pending", arm_and_cancel, pending_timers,
                     "");
    const char* const cycles = "raw ring in C: 1324 cycles (vldb26-iouring, bench_nop3)";
    co_await all.run("nop through the ring, batch 1", nops_in_batches, 1, cycles);
    co_await all.run("nop through the ring, batch 16", nops_in_batches, 16,
                     "raw ring in C: 283 cycles (the same)");
    co_await all.run("nop through the ring, batch 256", nops_in_batches, 256,
                     "raw ring in C: about 225 cycles (the same)");
    co_await all.run("call to another core and back, eventfd", call_other_core, 2'000, "");
    co_await all.run("the same, 64 on their way", call_other_core_64, 100'000, "");
    const char* const raw = "two threads in C, both asleep in between";
    co_await all.run("round trip by eventfd and a ring's poll",
                     raw_wakes<bench::eventfd_round_trips>, 2'000, raw);
    co_await all.run("round trip by eventfd and epoll", raw_wakes<bench::epoll_round_trips>, 2'000,
                     raw);
    co_await all.run("round trip by MSG_RING", raw_wakes<bench::msg_ring_round_trips>, 2'000, raw);
}

void print_json(const std::vector<line>& lines) {
    std::string text;
    for (const line& l : lines)
        text += fmt::format("{}{{\"name\": \"{}\", \"unit\": \"ns\", \"median\": {:.3f}, "
                            "\"least\": {:.3f}, \"most\": {:.3f}, \"neighbour\": \"{}\"}}",
                            text.empty() ? "" : ",\n ", l.name, l.ns.median, l.ns.least, l.ns.most,
                            l.neighbour);
    fmt::print("[{}]\n", text);
}

void print_text(const std::vector<line>& lines) {
    fmt::print("{:<46} {:>9} {:>9} {:>9}\n", "ns each", "median", "least", "most");
    for (const line& l : lines)
        fmt::print("{:<46} {:>9.1f} {:>9.1f} {:>9.1f}  {}\n", l.name, l.ns.median, l.ns.least,
                   l.ns.most, l.neighbour);
}

settings read_command_line(int argc, char** argv) {
    settings set;
    set.run.cores = 2;
    samples::command_line line("micro", "What the library's own steps cost, in ns.");
    line.backend(set.run.core.backend);
    line.number("repeats", set.repeats, 1, 1000, "of each (default 7)");
    line.text("only", set.only, "WORDS", "those whose name has these words in it");
    line.flag("json", set.json, "as JSON");
    line.parse(argc, argv);
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    stand all(set);
    const int code = ringlet::run(set.run, [&]() -> task<> {
        if (ringlet::core_index() == 0) co_await run_all(all);
    });
    if (code != 0) return code;
    if (all.lines().empty()) {
        fmt::print(stderr, "micro: nothing here is called '{}'; --only takes part of a name\n",
                   set.only);
        return samples::exit_bad_input;
    }
    if (set.json)
        print_json(all.lines());
    else
        print_text(all.lines());
    return 0;
}
