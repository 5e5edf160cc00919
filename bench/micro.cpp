// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// What the library's own steps cost: awaiting, starting and joining tasks, timers, a no-op through
/// the ring, a file read by a plain and by a fixed operation, a call to another core. Each is
/// repeated; the median and the range are shown.

#include "../samples/common/options.hpp"
#include "compare/statistics.hpp"
#include "raw_wakes.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <liburing.h>
#include <sched.h>
#include <time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <span>
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
    using bench_function = task<double> (*)(std::size_t);

    explicit stand(const settings& set) noexcept : set_(set) {}

    /// `bench` is a plain function that makes a task, so that nothing of it can die too early.
    task<> run(const char* name, bench_function bench, std::size_t argument,
               const char* neighbour) {
        if (!wanted(name)) co_return;
        std::vector<double> values;
        static_cast<void>(co_await bench(argument));  // warms up
        for (unsigned i = 0; i < set_.repeats; ++i) values.push_back(co_await bench(argument));
        if (auto all = bench::spread_of(std::move(values)); all && all->least > 0)
            lines_.push_back({name, *all, neighbour});
    }
    /// Two of them in turn, the second beside the first in the same round.
    task<> run_both(const char* name, bench_function bench, const char* other_name,
                    bench_function other, std::size_t argument) {
        if (!wanted(name) && !wanted(other_name)) co_return;
        std::vector<double> firsts;
        std::vector<double> seconds;
        std::vector<double> ratios;
        for (unsigned i = 0; i <= set_.repeats; ++i) {
            // Who goes first has the colder cache.
            const double early = co_await (i % 2 == 0 ? bench : other)(argument);
            const double late = co_await (i % 2 == 0 ? other : bench)(argument);
            if (early <= 0 || late <= 0) co_return;
            if (i == 0) continue;  // warms up
            firsts.push_back(i % 2 == 0 ? early : late);
            seconds.push_back(i % 2 == 0 ? late : early);
            ratios.push_back(seconds.back() / firsts.back());
        }
        const auto ratio = bench::spread_of(std::move(ratios));
        if (!ratio) co_return;
        lines_.push_back({name, *bench::spread_of(std::move(firsts)), ""});
        lines_.push_back({other_name, *bench::spread_of(std::move(seconds)),
                          fmt::format("{:.3f} of the one above, by rounds ({:.3f} to {:.3f})",
                                      ratio->median, ratio->least, ratio->most)});
    }
    [[nodiscard]] const std::vector<line>& lines() const noexcept { return lines_; }

private:
    [[nodiscard]] bool wanted(std::string_view name) const noexcept {
        return name.find(set_.only) != std::string_view::npos;
    }

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

// --- files
// ----------------------------------------------------------------------------------------

/// CPU time of this thread: another program on the CPU is not charged to a read.
double thread_ns() noexcept {
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

constexpr std::size_t cached_bytes = 4 << 20;

/// An open file without a name, all of it in the page cache; empty when none can be made.
task<ringlet::file> cached_file() {
    std::string path = (std::filesystem::temp_directory_path() / "ringlet.XXXXXX").string();
    ringlet::unique_fd made(::mkstemp(path.data()));
    if (made.get() < 0) co_return ringlet::file();
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    ringlet::file f(ringlet::owned_descriptor(made.release()));
    const std::vector<std::byte> data(cached_bytes, std::byte{'x'});
    const auto written = co_await f.write_all_at(data, 0);
    co_return written ? std::move(f) : ringlet::file();
}

/// Through a cached file, into the same memory each time. Whether that is the program's or the
/// pool's decides what the ring is asked.
task<double> read_all(const ringlet::file& from, std::span<std::byte> room) {
    constexpr std::size_t rounds = 4;
    const double before = thread_ns();
    for (std::size_t i = 0; i < rounds; ++i)
        for (std::size_t at = 0; at < cached_bytes; at += room.size())
            if (!co_await from.read_at(room, at)) co_return 0;
    co_return (thread_ns() - before) / static_cast<double>(rounds * cached_bytes / room.size());
}
task<double> read_plain(std::size_t size) {
    if (ringlet::here().ring() == nullptr) co_return 0;
    const auto from = co_await cached_file();
    if (!from) co_return 0;
    std::vector<std::byte> room(size);
    co_return co_await read_all(from, room);
}
task<double> read_fixed(std::size_t size) {
    if (ringlet::here().register_buffers().bytes == 0) co_return 0;
    const auto from = co_await cached_file();
    if (!from) co_return 0;
    auto lease = co_await from.read_chunk(0, static_cast<std::uint32_t>(size));
    if (!lease) co_return 0;
    co_return co_await read_all(from, lease->bytes());
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
    co_await all.run_both("file read, 4 KiB, plain, CPU", read_plain, "file read, 4 KiB, fixed, CPU",
                          read_fixed, 4096);
    co_await all.run_both("file read, 16 KiB, plain, CPU", read_plain,
                          "file read, 16 KiB, fixed, CPU", read_fixed, 16384);
    co_await all.run_both("file read, 64 KiB, plain, CPU", read_plain,
                          "file read, 64 KiB, fixed, CPU", read_fixed, 65536);
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
