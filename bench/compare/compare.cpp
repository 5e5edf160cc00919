// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Compares servers over a matrix of loads: ringlet on io_uring and on epoll, each of its
/// techniques switched off in turn, hand-written C, other libraries, and for proxies and files
/// haproxy and nginx. See docs/benchmarks.md.

#include "../../samples/common/options.hpp"
#include "machine.hpp"
#include "measure.hpp"
#include "model.hpp"
#include "neighbour.hpp"
#include "network.hpp"
#include "plot.hpp"
#include "process.hpp"
#include "progress.hpp"
#include "ratios.hpp"
#include "report_file.hpp"
#include "say.hpp"
#include "scene.hpp"
#include "servers.hpp"
#include "tables.hpp"
#include "workloads.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using bench::cell;
using bench::level;
using bench::report;
using bench::row;
using bench::run_result;
using bench::server;
using bench::workload;

constexpr int exit_regressed = 1;
constexpr int exit_not_compared = 2;
constexpr int exit_not_written = 2;
constexpr int exit_interrupted = 130;
constexpr double repeat_budget = 0.5;  // of the turns there are, for disturbed ones
constexpr double start_and_stop_seconds = 0.4;

struct settings {
    bool quick = false;
    bool full = false;
    bool list = false;
    bool micro = false;
    bool instructions = false;
    bool realtime = false;
    std::string only;
    std::string servers;
    std::string json;
    std::string csv;
    std::string plot;
    std::string baseline;
    std::string render;
    std::string into;
    std::string congestion;
    unsigned rounds = 0;
    unsigned retries = 2;
    unsigned threshold_percent = 10;
    unsigned beside = 0;
    ringlet::nanoseconds seconds = 0s;

    [[nodiscard]] bool keeps_something() const noexcept {
        return !json.empty() || !csv.empty() || !plot.empty() || !baseline.empty();
    }
    [[nodiscard]] level wanted() const noexcept {
        return full ? level::full : quick ? level::quick : level::standard;
    }
};

const std::vector<std::string>& neighbours() {
    static const std::vector<std::string> names{"nobody", "hog", "compiler", "server"};
    return names;
}

// --- what is measured
// -----------------------------------------------------------------------------

std::vector<workload> chosen_workloads(const settings& set) {
    std::vector<workload> chosen;
    for (workload& w : bench::all_workloads()) {
        // Who names a cell gets it, whatever the level.
        const bool named = !set.only.empty() && bench::matches(set.only, w.name);
        if (named || (set.only.empty() && w.least <= set.wanted())) chosen.push_back(std::move(w));
    }
    return chosen;
}

std::vector<server> chosen_servers(const settings& set) {
    std::vector<server> chosen;
    for (server& s : bench::all_servers()) {
        const bool named = !set.servers.empty() && bench::matches(set.servers, s.name);
        if (named || (set.servers.empty() && s.least <= set.wanted()))
            chosen.push_back(std::move(s));
    }
    return chosen;
}

std::vector<const server*> servers_for(const settings& set, const std::vector<server>& all,
                                       const workload& w) {
    std::vector<const server*> some;
    for (const server& s : all) {
        const level l = set.servers.empty() ? set.wanted() : level::full;
        if (is_installed(s) && takes_part(s, w, l)) some.push_back(&s);
    }
    return some;
}

/// A line that names those who would take part and are not there; empty when all are.
std::string missing_text(const settings& set) {
    const auto cells = chosen_workloads(set);
    const level l = set.servers.empty() ? set.wanted() : level::full;
    std::string names;
    for (const server& s : chosen_servers(set))
        if (!is_installed(s) && std::any_of(cells.begin(), cells.end(), [&](const workload& w) {
                return takes_part(s, w, l);
            }))
            names += (names.empty() ? "" : ", ") + s.name;
    return names.empty() ? names : "Not measured, since its package is missing: " + names + "\n\n";
}

bool anything_to_measure(const settings& set) {
    if (!set.only.empty() && bench::matches(set.only, "micro")) return true;
    const auto servers = chosen_servers(set);
    const auto cells = chosen_workloads(set);
    return std::any_of(cells.begin(), cells.end(),
                       [&](const workload& w) { return !servers_for(set, servers, w).empty(); });
}

void print_list(const settings& set) {
    bench::say(stdout, "cells\n");
    for (const workload& w : bench::all_workloads())
        bench::say(stdout, fmt::format("  {:<18} {}\n", w.name, to_string(w.least)));
    bench::say(stdout, fmt::format("  {:<18} {}\n", "micro", to_string(level::standard)));
    bench::say(stdout, "\nservers\n");
    for (const server& s : bench::all_servers())
        bench::say(stdout, fmt::format("  {:<22} {:<9} {:<9} {:<8} {}\n", s.name, s.backend, s.kind,
                                       to_string(s.least),
                                       is_installed(s) ? "" : "not there: its package is missing"));
    bench::say(stdout, fmt::format("\n{} level: {} cells\n", to_string(set.wanted()),
                                   chosen_workloads(set).size()));
}

// --- one cell
// -------------------------------------------------------------------------------------

cell cell_of(const workload& w, const std::vector<const server*>& servers) {
    cell c{w.name, traffic_of(w), w.connections, w.active, w.size, w.pipeline, w.rate, {}};
    for (const server* s : servers) c.rows.push_back({s->name, s->backend, s->kind, {}, {}, {}});
    return c;
}

class comparison {
public:
    /// `shown` gets how many cells have been printed.
    comparison(const settings& set, bench::method how, report& all, std::size_t& shown)
        : set_(set),
          how_(std::move(how)),
          all_(all),
          shown_(shown),
          servers_(chosen_servers(set)) {}

    /// Servers on io_uring are left out for this reason.
    void without_uring() {
        std::erase_if(servers_, [](const server& s) { return s.backend == "io_uring"; });
    }

    void run(const std::vector<workload>& workloads) {
        double guess = 0;
        double turns = 0;
        for (const workload& w : workloads) {
            const double runs =
                static_cast<double>(servers_for(set_, servers_, w).size()) * all_.rounds;
            guess +=
                runs * (start_and_stop_seconds + turn_seconds(w) * plan_of(how_.seconds, w).turns);
            turns += runs * plan_of(how_.seconds, w).turns;
        }
        repeats_left_ = static_cast<std::size_t>(turns * repeat_budget);
        bar_ = bench::progress(guess);
        for (const workload& w : workloads) {
            const auto servers = servers_for(set_, servers_, w);
            if (servers.empty()) continue;
            bar_.show_cell(w.name);
            all_.cells.push_back(cell_of(w, servers));
            for (unsigned round = 0; round < all_.rounds; ++round)
                run_round(w, servers, round, all_.cells.back());
            keep();
            bar_.clear();
            shown_ = all_.cells.size();
            bench::say(stdout, cell_text(all_.cells.back()) + "\n");
            std::fflush(stdout);
            // Nobody reads it, and nothing else would remain of it.
            if (std::ferror(stdout) != 0 && !set_.keeps_something()) throw bench::interrupted();
        }
    }

private:
    /// A machine that goes down in the last cell of many does not take the others along.
    void keep() {
        if (set_.json.empty()) return;
        all_.interrupted = true;
        try {
            write_json(all_, set_.json);
        } catch (const bench::file_error&) {}  // told at the end, where it is written again
        all_.interrupted = false;
    }

    using subjects = std::vector<std::unique_ptr<bench::subject>>;

    [[nodiscard]] double turn_seconds(const workload& w) const {
        const bench::turn_plan plan = plan_of(how_.seconds, w);
        return plan.seconds + plan.warmup;
    }

    /// Every server is started, takes its turns with the others, and ends. What had its turns
    /// before an interruption counts.
    void run_round(const workload& w, const std::vector<const server*>& servers, unsigned round,
                   cell& c) {
        subjects all(servers.size());
        const auto attempt = [&](std::size_t which, auto action) {
            try {
                action();
            } catch (const std::runtime_error& why) {
                c.rows[which].failures.push_back({round, why.what()});
                all[which].reset();
            }
        };
        const auto end_all = [&] {
            for (std::size_t i = 0; i < servers.size(); ++i)
                if (all[i] && all[i]->has_result())
                    attempt(i, [&] {
                        run_result result = all[i]->end();
                        result.round = round;
                        c.rows[i].runs.push_back(result);
                        all[i].reset();
                    });
        };
        try {
            for (std::size_t i = 0; i < servers.size(); ++i) {
                show(w, *servers[i], round, "starts");
                attempt(i, [&] {
                    all[i] = std::make_unique<bench::subject>(how_, *servers[i], w);
                    c.rows[i].start = all[i]->start_line();
                });
                bar_.step(start_and_stop_seconds);
            }
            take_turns(w, servers, round, all, attempt);
        } catch (const bench::interrupted&) {
            end_all();
            throw;
        }
        end_all();
    }

    /// A B C, C B A: who comes before whom is not always the same, nor who comes first.
    template <class Attempt>
    void take_turns(const workload& w, const std::vector<const server*>& servers, unsigned round,
                    const subjects& all, Attempt attempt) {
        const unsigned turns = plan_of(how_.seconds, w).turns;
        for (unsigned turn = 0; turn < turns; ++turn)
            for (std::size_t i = 0; i < servers.size(); ++i) {
                const std::size_t which = (turn + round) % 2 == 0 ? i : servers.size() - 1 - i;
                bench::check_signals();
                if (all[which]) {
                    show(w, *servers[which], round, fmt::format("{}/{}", turn + 1, turns));
                    attempt(which, [&] { take_turn(*all[which]); });
                }
                bar_.step(turn_seconds(w));
            }
    }

    /// Again when others had the CPUs meanwhile, as often as is allowed.
    void take_turn(bench::subject& one) {
        one.take_turn(false);
        for (unsigned tries = 0; one.was_disturbed() && tries < set_.retries; ++tries) {
            if (repeats_left_ == 0) return;
            --repeats_left_;
            one.take_turn(true);
        }
    }

    void show(const workload& w, const server& s, unsigned round, const std::string& where) {
        bar_.show(fmt::format("{} {}, round {} of {}, {}", w.name, s.name, round + 1, all_.rounds,
                              where));
    }

    const settings& set_;
    const bench::method how_;
    report& all_;
    std::size_t& shown_;
    std::vector<server> servers_;
    std::size_t repeats_left_ = 0;
    bench::progress bar_{0};
};

// --- the rest of the report
// -----------------------------------------------------------------------

/// What the ring of ringlet got, or why there is none.
std::string describe_ring(const bench::cpu_pair& cpus, bool& refused) {
    try {
        bench::child probe(
            {bench::sibling("echo_bench"), "--backend", "uring", "--listen", "127.0.0.1:0"},
            bench::place{cpus.server});
        const std::string line = probe.read_line(bench::seconds(10));
        const std::size_t at = line.find("backend=io_uring ");
        probe.end(SIGTERM, bench::seconds(10));
        return at == std::string::npos ? line : line.substr(at + 17);
    } catch (const bench::run_failure& why) {
        refused = true;
        return fmt::format("refused, so only epoll is measured: {}", why.what());
    }
}

/// False when there are none, and why has been said.
bool run_micro(report& all, const settings& set) {
    try {
        bench::place anywhere;
        anywhere.fifo = set.realtime;
        bench::child micro({bench::sibling("micro"), "--json"}, anywhere);
        all.micro = bench::micro_of(micro.read_all(bench::seconds(120)));
        return true;
    } catch (const std::runtime_error& why) {
        bench::say(stderr, fmt::format("compare: micro benches: {}\n", why.what()));
        return false;
    }
}

/// As a shell reads it as one word.
std::string shell_word(const std::string& text) {
    std::string word = "'";
    for (const char letter : text)
        word += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
    return word + "'";
}

/// One line for each server that echoes, in its own words under callgrind. False when one is
/// missing, and why has been said.
bool count_instructions(report& all, const settings& set) {
    std::vector<std::string> command{"/usr/bin/env", "python3", bench::sibling("instructions.py"),
                                     "--json"};
    std::size_t asked = 0;
    for (const server& s : chosen_servers(set)) {
        if (s.kind == "ablation" || s.role != bench::role::echo || !is_installed(s)) continue;
        const workload echo{.name = "", .traffic = "echo", .connections = 64, .size = 64};
        std::string text = s.name + "=";
        for (const std::string& word : bench::command_of(s, echo)) text += shell_word(word) + " ";
        command.push_back("--server");
        command.push_back(text);
        ++asked;
    }
    try {
        bench::child counting(command, bench::place{});
        all.instructions = bench::instructions_of(counting.read_all(bench::seconds(600)));
        if (const auto end = counting.death(); end && all.instructions.size() < asked)
            bench::say(stderr, fmt::format("compare: instructions: {}\n", *end));
    } catch (const std::runtime_error& why) {
        bench::say(stderr, fmt::format("compare: instructions: {}\n", why.what()));
    }
    return all.instructions.size() == asked;
}

/// False when one of them could not be written; the others were.
bool write_files(const settings& set, const report& all) {
    bool all_written = true;
    const auto attempt = [&all_written](const std::string& path, auto write) {
        try {
            if (!path.empty()) write(path);
        } catch (const bench::file_error& why) {
            bench::say(stderr, fmt::format("compare: {}\n", why.what()));
            all_written = false;
        }
    };
    attempt(set.json, [&](const std::string& path) { write_json(all, path); });
    attempt(set.csv, [&](const std::string& path) { bench::write_text(csv_of(all), path); });
    if (set.plot.empty() || bench::can_draw())
        attempt(set.plot, [&](const std::string& path) { draw(all, path); });
    else  // not a failure: a file of --json is all that is needed to draw it elsewhere
        bench::say(stderr, fmt::format("compare: --plot {}: not drawn, gnuplot is not installed: "
                                       "apt-get install gnuplot-nox\n",
                                       set.plot));
    return all_written;
}

std::string regime_of(const settings& set) {
    std::string name = set.beside == 0 ? "quiet" : "beside a " + neighbours()[set.beside];
    if (set.realtime) name += ", SCHED_FIFO";
    return set.congestion.empty() ? name : name + ", " + set.congestion;
}

bench::method method_of(const settings& set) {
    bench::method how;
    how.cpus = bench::choose_cpus();
    how.seconds = set.seconds > 0s ? std::chrono::duration<double>(set.seconds).count()
                  : set.quick      ? 0.2
                                   : 0.3;
    how.fifo = set.realtime;
    how.alone = set.beside == 0;
    how.tracepoint = bench::syscall_tracepoint();
    return how;
}

void describe(report& all, const bench::method& how, const std::string& ring) {
    all.facts = bench::machine_facts(how.cpus);
    all.facts.push_back(
        {"CPUs used", fmt::format("server {}, client {}", how.cpus.server, how.cpus.client)});
    all.facts.push_back({"ring", ring});
    all.facts.push_back({"system calls", how.tracepoint
                                             ? "counted by raw_syscalls:sys_enter, after "
                                               "the measured window"
                                             : "not counted: tracefs cannot be had; run "
                                               "as root"});
}

/// The exit code of --baseline. What was not compared has not passed.
int verdict(const settings& set, const report& baseline, const report& all) {
    const double threshold = 1 + set.threshold_percent / 100.0;
    const auto changes = changes_since(baseline, all, threshold);
    if (changes.empty()) {
        bench::say(stderr,
                   fmt::format("compare: --baseline `{}`: it has nothing of what was measured\n",
                               set.baseline));
        return exit_not_compared;
    }
    bench::say(stdout, "\n" + changes_text(changes, threshold));
    const bool worse = std::any_of(changes.begin(), changes.end(),
                                   [](const bench::change& c) { return c.regressed; });
    return worse ? exit_regressed : 0;
}

/// Without a ring there is nothing to set beside a baseline's servers on it.
void refuse_without_ring(const settings& set, const report& baseline) {
    const auto servers = chosen_servers(set);
    const auto is_chosen = [&](const row& r) {
        return r.kind == "ours" && r.backend == "io_uring" && !r.runs.empty() &&
               std::any_of(servers.begin(), servers.end(),
                           [&](const server& s) { return s.name == r.server; });
    };
    for (const cell& c : baseline.cells)
        if (std::any_of(c.rows.begin(), c.rows.end(), is_chosen))
            throw std::runtime_error("--baseline: io_uring is refused, so what stands on it cannot "
                                     "be compared; leave it out with --servers '* epoll'");
}

int compare(const settings& set, const std::optional<report>& baseline) {
    report all;
    const bench::scratch_folder scratch;
    bench::method how = method_of(set);
    how.folder = scratch.path();
    all.level = to_string(set.wanted());
    all.regime = regime_of(set);
    all.rounds = set.rounds > 0 ? set.rounds : set.quick ? 2 : 3;
    all.seconds = how.seconds;
    bool no_ring = false;
    bool complete = true;
    std::size_t shown = 0;
    std::string trouble;
    try {
        describe(all, how, describe_ring(how.cpus, no_ring));
        bench::say(stdout, head_text(all) + "\n");
        if (!how.cpus.warning.empty())
            bench::say(stdout, fmt::format("WARNING: {}\n\n", how.cpus.warning));
        bench::say(stdout, missing_text(set));
        std::fflush(stdout);
        if (no_ring && baseline) refuse_without_ring(set, *baseline);
        bench::neighbour beside(neighbours()[set.beside], how.cpus);
        comparison all_cells(set, how, all, shown);
        if (no_ring) all_cells.without_uring();
        all_cells.run(chosen_workloads(set));
        beside.check_alive();
        const bool micro =
            set.only.empty() ? set.wanted() != level::quick : bench::matches(set.only, "micro");
        if (micro || set.micro) complete = run_micro(all, set);
        if (set.full || set.instructions) complete = count_instructions(all, set) && complete;
    } catch (const bench::interrupted&) {
        all.interrupted = true;
    } catch (const std::runtime_error& why) {
        if (all.cells.empty()) throw;
        trouble = why.what();
    }
    if (all.interrupted && all.cells.empty()) return exit_interrupted;  // and what was there stays
    const bool written = write_files(set, all);  // first: whoever reads may have gone
    if (all.interrupted) {
        bench::say(stderr, "\ncompare: interrupted; this is what was measured so far\n");
        if (shown < all.cells.size()) bench::say(stdout, cell_text(all.cells.back()) + "\n");
    }
    bench::say(stdout, tail_text(all));
    if (!trouble.empty()) throw std::runtime_error(trouble);
    if (all.interrupted) return exit_interrupted;
    if (!written) return exit_not_written;
    const int judged = baseline ? verdict(set, *baseline, all) : 0;
    return judged == 0 && !complete ? exit_not_compared : judged;
}

// --- the command line
// -----------------------------------------------------------------------------

/// Whether what is chosen gives --plot a curve.
bool anything_to_draw(const settings& set) {
    report all;
    const auto servers = chosen_servers(set);
    for (const workload& w : chosen_workloads(set))
        if (const auto some = servers_for(set, servers, w); !some.empty())
            all.cells.push_back(cell_of(w, some));
    return !plot_script(all, set.plot).empty();
}

/// Refused before anything is measured, rather than after a quarter of an hour.
void check_files(const samples::command_line& line, const settings& set) {
    if (!set.plot.empty() && !set.plot.ends_with(".svg") && !set.plot.ends_with(".png"))
        line.refuse(fmt::format("--plot `{}`: it must end with .svg or .png", set.plot));
    for (const auto& [name, path] :
         {std::pair{"json", set.json}, {"csv", set.csv}, {"plot", set.plot}}) {
        if (path.empty()) continue;
        std::error_code none;
        const bool was_there = exists(std::filesystem::symlink_status(path, none));
        std::FILE* file = std::fopen(path.c_str(), "a");
        if (file == nullptr) line.refuse(fmt::format("--{} `{}`: cannot be written", name, path));
        std::fclose(file);
        if (!was_there) std::remove(path.c_str());
    }
}

/// And this too.
void check(const samples::command_line& line, const settings& set) {
    if (set.quick && set.full) line.refuse("--quick and --full exclude each other");
    if (chosen_workloads(set).empty() && !bench::matches(set.only, "micro"))
        line.refuse(fmt::format("--only `{}`: no cell matches; see --list", set.only));
    if (chosen_servers(set).empty())
        line.refuse(fmt::format("--servers `{}`: no server matches; see --list", set.servers));
    if (!anything_to_measure(set))
        line.refuse(fmt::format("--servers `{}`: none of them takes part in --only `{}`, or its "
                                "package is missing; see --list",
                                set.servers, set.only));
    if (!set.plot.empty() && !anything_to_draw(set))
        line.refuse(fmt::format("--plot `{}`: {}", set.plot, bench::nothing_to_draw));
    if (set.realtime && !bench::may_use_fifo())
        line.refuse("--realtime: SCHED_FIFO is refused here; it needs CAP_SYS_NICE");
    if (set.realtime && set.beside != 0)
        line.refuse("--realtime with --beside: a server at SCHED_FIFO leaves a neighbour nothing");
    for (const char* program : {"load", "echo_bench", "limit_epoll", "limit_uring"})
        if (!bench::has_sibling(program))
            line.refuse(fmt::format("{} is not built beside this program", program));
}

void enter_network(const samples::command_line& line, const settings& set) {
    if (set.congestion.empty()) return;
    try {
        bench::enter_network(set.congestion);
    } catch (const bench::network_failure& why) {
        line.refuse(fmt::format("--congestion `{}`: {}", set.congestion, why.what()));
    }
    if (set.realtime && !bench::may_use_fifo())
        line.refuse("--realtime with --congestion: SCHED_FIFO is refused in a user namespace; run "
                    "as root");
}

std::optional<report> read_baseline(const samples::command_line& line, const settings& set,
                                    const std::string& regime) {
    if (set.baseline.empty()) return std::nullopt;
    try {
        report before = bench::read_json(set.baseline);
        if (before.regime != regime)
            line.refuse(fmt::format("--baseline `{}`: it was measured {}, this is {}; regimes "
                                    "are not compared",
                                    set.baseline, before.regime, regime));
        return before;
    } catch (const bench::file_error& why) {
        line.refuse(fmt::format("--baseline {}", why.what()));
    }
}

int render(const samples::command_line& line, const settings& set) {
    try {
        const report all = bench::read_json(set.render);
        const auto baseline = read_baseline(line, set, all.regime);
        const bool written = write_files(set, all);
        if (set.into.empty())
            bench::say(stdout, markdown_of(all));
        else
            bench::put_into(markdown_of(all), set.into);
        std::fflush(stdout);
        if (!written) return exit_not_written;
        return baseline ? verdict(set, *baseline, all) : 0;
    } catch (const bench::file_error& why) {
        line.refuse(fmt::format("--render {}", why.what()));
    }
}

void describe_options(samples::command_line& line, settings& set) {
    line.flag("quick", set.quick, "six cells, under a minute");
    line.flag("full", set.full,
              "every cell, server and technique, and instructions; an hour or so");
    line.text("only", set.only, "PATTERN", "cells whose name matches, as in 'echo/64*,churn/*'");
    line.text("servers", set.servers, "PATTERN",
              "servers whose name matches, as in 'ringlet*,C *'");
    line.number("rounds", set.rounds, 1, 1000, "runs of each server in each cell (default 3)");
    line.seconds("seconds", set.seconds, 0.01, 3600,
                 "of each run, in short turns with the cell's other servers (default 0.3)");
    line.number("retries", set.retries, 0, 100,
                "of a turn during which others had the CPUs (default 2)");
    line.choice("beside", neighbours(), set.beside, "who else is on the server's CPU");
    line.flag("realtime", set.realtime, "server and client at SCHED_FIFO: a regime of its own");
    line.text("congestion", set.congestion, "NAME",
              "TCP's congestion control, in a network namespace of its own, as in cubic: a regime "
              "of its own");
    line.text("json", set.json, "FILE", "everything that was measured");
    line.text("csv", set.csv, "FILE", "one line for each run");
    line.text("plot", set.plot, "FILE",
              "curves against connections, as .svg or .png; without gnuplot a line says so");
    line.text("baseline", set.baseline, "FILE",
              "a --json of before: what has become slower; exit 1 when something has");
    line.number("threshold", set.threshold_percent, 1, 1000,
                "percent of CPU per message that --baseline lets pass (default 10)");
    line.flag("micro", set.micro, "the micro benches too");
    line.flag("instructions", set.instructions, "count user-space instructions with callgrind too");
    line.flag("list", set.list, "what there is to measure");
    line.text("render", set.render, "FILE",
              "measures nothing: prints the --json FILE as markdown, draws --plot, writes --csv, "
              "judges by "
              "--baseline");
    line.text("into", set.into, "FILE",
              "with --render: puts it into this document, between its two marks");
}

}  // namespace

int main(int argc, char** argv) {
    settings set;
    samples::command_line line("compare",
                               "Compares servers, honestly: CPU per message, rate, latency, over a "
                               "matrix of loads.\nEnds with 1 when something is slower than "
                               "--baseline, 2 when something was refused, not compared or\nnot "
                               "written, 130 when interrupted.");
    describe_options(line, set);
    line.parse(argc, argv);
    if (set.list) return print_list(set), 0;
    check_files(line, set);
    signal(SIGPIPE, SIG_IGN);
    if (!set.render.empty()) return render(line, set);
    if (!set.into.empty()) line.refuse("--into: needs --render");
    check(line, set);
    const auto baseline = read_baseline(line, set, regime_of(set));
    enter_network(line, set);
    bench::take_over_signals();
    try {
        return compare(set, baseline);
    } catch (const bench::interrupted&) {
        return exit_interrupted;
    } catch (const std::runtime_error& why) {
        bench::say(stderr, fmt::format("compare: {}\n", why.what()));
        return 2;
    }
}
