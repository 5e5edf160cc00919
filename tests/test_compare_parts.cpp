// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "../bench/compare/disturbance.hpp"
#include "../bench/compare/load_answer.hpp"
#include "../bench/compare/plot.hpp"
#include "../bench/compare/ratios.hpp"
#include "../bench/compare/report_file.hpp"
#include "../bench/compare/statistics.hpp"
#include "../bench/compare/tables.hpp"
#include "../bench/compare/turns.hpp"
#include "../bench/compare/workloads.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace {

bench::row row_of(std::string server, std::string backend, std::string kind,
                  const std::vector<double>& cpu) {
    bench::row r{std::move(server), std::move(backend), std::move(kind), {}, {}};
    for (std::size_t i = 0; i < cpu.size(); ++i) {
        bench::run_result run;
        run.round = static_cast<unsigned>(i);
        run.messages = 1;
        run.cpu_us = cpu[i];
        run.rate = 1000 / cpu[i];
        r.runs.push_back(run);
    }
    return r;
}

/// Ours costs 1.5, 1.2 and 2 times the C server's, the machine being slower in the last round.
bench::report sample() {
    bench::report all;
    all.regime = "quiet";
    all.rounds = 3;
    all.facts = {{"kernel", "a \"quoted\" one"}};
    bench::cell c{"echo/64x64", "echo", 64, 0, 64, 1, 0, {}};
    c.rows = {row_of("ringlet epoll", "epoll", "ours", {3, 6, 20}),
              row_of("C epoll", "epoll", "C", {2, 5, 10}),
              row_of("C uring", "io_uring", "C", {1, 1, 1}),
              row_of("libuv", "epoll", "peer", {6, 12, 40})};
    all.cells = {c};
    c.name = "echo/8x64";
    c.connections = 8;
    all.cells.push_back(c);
    return all;
}

}  // namespace

TEST_CASE("compare: the median of an even number lies between the middle two") {
    CHECK_FALSE(bench::spread_of({}));
    const auto odd = bench::spread_of({3, 1, 2});
    CHECK(odd->median == 2);
    CHECK(odd->least == 1);
    CHECK(odd->most == 3);
    CHECK(bench::spread_of({4, 1, 2, 3})->median == 2.5);
}

TEST_CASE("compare: ratios are taken within a round, to the best rival of the same backend") {
    const bench::report all = sample();
    const bench::cell& c = all.cells[0];
    const auto to_c = bench::to_c(c, c.rows[0]);
    REQUIRE(to_c);
    CHECK(to_c->median == doctest::Approx(1.5));
    CHECK(to_c->least == doctest::Approx(1.2));
    CHECK(to_c->most == doctest::Approx(2));
    CHECK(bench::to_peer(c, c.rows[0])->median == doctest::Approx(0.5));
    CHECK(bench::to_ours(c, c.rows[3])->median == doctest::Approx(2));
    CHECK_FALSE(bench::to_c(c, c.rows[1]));
    CHECK_FALSE(bench::to_ours(c, c.rows[2]));
}

TEST_CASE("compare: for proxies and files the best C server counts, whatever it stands on") {
    bench::report all = sample();
    bench::cell& c = all.cells[0];
    CHECK(bench::to_c(c, c.rows[0])->median == doctest::Approx(1.5));
    for (const char* traffic : {"echo through a proxy", "file"}) {
        c.traffic = traffic;
        CHECK(bench::to_c(c, c.rows[0])->median == doctest::Approx(6));
    }
}

TEST_CASE("compare: a cell without C epoll has a yardstick of its own") {
    bench::report before = sample();
    for (bench::cell& c : before.cells) c.rows[1].server = "C file";
    bench::report now = before;
    for (bench::cell& c : now.cells)
        for (bench::row& r : c.rows)
            for (bench::run_result& run : r.runs) run.cpu_us *= 3;
    const auto changes = bench::changes_since(before, now, 1.1);
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].relative);
    CHECK(changes[0].ratio == doctest::Approx(1));
}

TEST_CASE("compare: fairness is shown where it was measured, and only there") {
    bench::report all = sample();
    bench::cell& c = all.cells[0];
    CHECK_FALSE(bench::median_of(c.rows[0], &bench::run_result::fairness));
    c.rows[0].runs[0].fairness = 0.7;
    c.rows[0].runs[1].fairness = 0.9;
    CHECK(*bench::median_of(c.rows[0], &bench::run_result::fairness) == doctest::Approx(0.8));
    CHECK(bench::cell_text(c).find("0.80") != std::string::npos);
    CHECK(*bench::load_answer_of("{\"fairness\": 0.5}").fairness == 0.5);
    CHECK_FALSE(bench::load_answer_of("{}").fairness);
}

TEST_CASE("compare: the greatest latency is that of all rounds") {
    bench::report all = sample();
    bench::cell& c = all.cells[0];
    for (unsigned i = 0; i < 3; ++i) {
        c.rows[0].runs[i].p50_us = 100 + i;
        c.rows[0].runs[i].max_us = 50000 + i;
    }
    const std::string text = bench::cell_text(c);
    CHECK(text.find(" 101 ") != std::string::npos);
    CHECK(text.find(" 50002 ") != std::string::npos);
}

TEST_CASE("compare: a round that a rival missed is left out") {
    bench::report all = sample();
    bench::cell& c = all.cells[0];
    c.rows[1].runs.erase(c.rows[1].runs.begin());
    CHECK(bench::to_c(c, c.rows[0])->median == doctest::Approx(1.6));
}

TEST_CASE("compare: over all cells the rival is the same, and no server is its own") {
    bench::report all = sample();
    CHECK(bench::standings_of(all).empty());  // two cells say little
    all.cells.push_back(all.cells[0]);
    all.cells[2].name = "echo/1x64";
    all.cells[2].rows[1] = row_of("C epoll", "epoll", "C", {3, 6, 20});
    const auto standings = bench::standings_of(all);
    REQUIRE(standings.size() == 3);
    CHECK(standings[0].against == "C epoll");
    CHECK(standings[0].mean == doctest::Approx(std::cbrt(1.5 * 1.5 * 1)));
    CHECK(standings[0].behind == 2);
    CHECK(standings[0].alike == 1);
    CHECK(standings[2].against == "libuv");
    CHECK(standings[2].mean == doctest::Approx(0.5));
    CHECK(standings[2].ahead == 3);
}

TEST_CASE("compare: a client that waits is disturbed, but for a proxy's upstream") {
    using bench::role;
    bench::run_result run;
    run.client_waits = 0.3;
    for (const role r : {role::echo, role::files}) {
        CHECK(is_disturbed(run, r));
    }
    CHECK_FALSE(is_disturbed(run, role::proxy));
    for (const role r : {role::echo, role::proxy, role::files}) {
        bench::run_result waits;
        waits.server_waits = 0.11;
        CHECK(is_disturbed(waits, r));
        bench::run_result stolen;
        stolen.stolen = 0.06;
        CHECK(is_disturbed(stolen, r));
        CHECK_FALSE(is_disturbed({}, r));
    }
}

TEST_CASE("compare: a generator that is late disturbs, where its lateness is the tail") {
    bench::run_result run;
    run.p99_us = 1000;
    run.late_p99_us = 201;
    CHECK(is_disturbed(run, bench::role::echo));
    run.p99_us = 1010;
    CHECK_FALSE(is_disturbed(run, bench::role::echo));
    run.p99_us = 100;
    run.late_p99_us = 199;
    CHECK_FALSE(is_disturbed(run, bench::role::echo));
}

TEST_CASE("compare: a server's threads that wait for each other are not disturbed by others") {
    bench::load_answer answer;
    answer.seconds = 1;
    answer.messages = 10;
    answer.connected = 1;
    answer.server.cpu_ns = 0.95e9;
    answer.server.wait_ns = 1.3e9;
    const bench::run_result busy = result_of(answer);
    CHECK(busy.cpu_us == doctest::Approx(95'000));
    CHECK_FALSE(is_disturbed(busy, bench::role::echo));
    answer.server.cpu_ns = 0.5e9;
    CHECK(is_disturbed(result_of(answer), bench::role::echo));
}

TEST_CASE("compare: a turn is short, and holds several round trips") {
    const auto all = bench::all_workloads();
    const auto plan = [&](const char* name) {
        const auto found = std::find_if(all.begin(), all.end(),
                                        [&](const bench::workload& w) { return w.name == name; });
        REQUIRE(found != all.end());
        const bench::turn_plan made = bench::plan_of(0.3, *found);
        CHECK(made.turns * made.seconds == doctest::Approx(0.3));
        return made;
    };
    CHECK(plan("echo/64x64").turns == 15);
    CHECK(plan("open20k/64x64").turns == 3);  // a stall shall keep many waiting
    CHECK(plan("echo/4096x64").seconds > 4096 * 4 * 5e-6);
    CHECK(plan("echo/4096x64").warmup > 4096 * 5e-6);
    CHECK(plan("idle4096/64x64").turns == 15);
    CHECK(plan("source/8x64K").warmup >= 0.1);
    CHECK(bench::plan_of(0.01, all.front()).turns == 1);
}

TEST_CASE("compare: one lucky round of many hides no regression") {
    bench::report before = sample();
    before.cells.resize(1);
    bench::report now = before;
    for (bench::report* all : {&before, &now})
        all->cells[0].rows = {row_of("ringlet epoll", "epoll", "ours", std::vector(15, 1.0)),
                              row_of("C epoll", "epoll", "C", std::vector(15, 1.0))};
    auto& ours = now.cells[0].rows[0].runs;
    for (bench::run_result& run : ours) run.cpu_us = 1.3;
    ours[7].cpu_us = 0.99;
    CHECK(bench::changes_since(before, now, 1.1).at(0).regressed);
    for (std::size_t i = 0; i < 5; ++i) ours[i].cpu_us = 0.99;
    CHECK_FALSE(bench::changes_since(before, now, 1.1).at(0).regressed);
}

TEST_CASE("compare: losses are listed, the worst first") {
    std::size_t compared = 0;
    const auto lost = bench::losses_of(sample(), compared);
    CHECK(compared == 4);
    REQUIRE(lost.size() == 2);
    CHECK(lost[0].against == "C epoll");
    CHECK(lost[0].ratio.median == doctest::Approx(1.5));
}

TEST_CASE("compare: a regression is relative to the yardstick, not to the clock") {
    const bench::report before = sample();
    bench::report now = sample();
    for (bench::cell& c : now.cells)
        for (bench::row& r : c.rows)
            for (bench::run_result& run : r.runs) run.cpu_us *= 3;  // a slower machine
    for (const bench::change& c : bench::changes_since(before, now, 1.1)) {
        CHECK(c.relative);
        CHECK(c.ratio == doctest::Approx(1));
        CHECK_FALSE(c.regressed);
    }
    for (bench::run_result& run : now.cells[0].rows[0].runs) run.cpu_us *= 1.5;
    const auto changes = bench::changes_since(before, now, 1.1);
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].regressed);
    CHECK(changes[0].ratio == doctest::Approx(1.5));
    CHECK_FALSE(changes[1].regressed);
}

TEST_CASE("compare: what failed has regressed, and what only one report has is not compared") {
    const bench::report before = sample();
    bench::report now = sample();
    now.cells[0].rows[0].runs.clear();
    now.cells[0].rows[0].failures = {{0, "it died"}, {1, "it died"}, {2, "it died"}};
    now.cells[1].rows[0].failures = {{3, "it died"}};
    auto changes = bench::changes_since(before, now, 1.1);
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].failed);
    CHECK(changes[0].regressed);
    CHECK(changes[1].failed);
    CHECK(changes[1].regressed);
    CHECK(bench::changes_text(changes, 1.1).find("none") != std::string::npos);
    CHECK(bench::changes_text(changes, 1.1).find("2 of 2 cells regressed") != std::string::npos);
    // What failed before as well says nothing new; what never ran cannot be compared.
    CHECK_FALSE(bench::changes_since(now, now, 1.1).at(0).regressed);
    CHECK(bench::changes_since(now, before, 1.1).size() == 1);
    for (bench::cell& c : now.cells) c.name = "another";
    CHECK(bench::changes_since(before, now, 1.1).empty());
}

TEST_CASE("compare: a report survives its file") {
    bench::report all = sample();
    all.cells[0].rows[0].runs[0].calls = 2.5;
    all.cells[0].rows[0].runs[0].fairness = 0.9;
    all.cells[0].rows[0].failures = {{1, "why \\ not"}};
    all.micro = {{"nop", "ns", 1, 2, 3, ""}};
    all.instructions = {{"libuv", 300}};
    const std::string json = bench::json_of(all);
    const bench::report back = bench::report_of(json);
    CHECK(bench::json_of(back) == json);
    CHECK(back.facts[0].value == "a \"quoted\" one");
    CHECK(*back.cells[0].rows[0].runs[0].calls == 2.5);
    CHECK(*back.cells[0].rows[0].runs[0].fairness == 0.9);
    CHECK_FALSE(back.cells[0].rows[0].runs[1].calls);
    CHECK(bench::markdown_of(back).find("LOSES to C") != std::string::npos);
}

TEST_CASE("compare: what is no report is refused") {
    CHECK_THROWS_AS(static_cast<void>(bench::report_of("")), bench::file_error);
    CHECK_THROWS_AS(static_cast<void>(bench::report_of("{}")), bench::file_error);
    CHECK_THROWS_AS(static_cast<void>(bench::report_of("{\"cells\": 1}")), bench::file_error);
    CHECK_THROWS_AS(static_cast<void>(bench::read_json("/nowhere")), bench::file_error);
    CHECK_THROWS_AS(static_cast<void>(bench::load_answer_of("no")), bench::file_error);
}

TEST_CASE("compare: that bbr paces is said where it was not asked for") {
    bench::report all = sample();
    const auto said = [&all] {
        const bool head = bench::head_text(all).find("--congestion cubic") != std::string::npos;
        const bool tail = bench::markdown_of(all).find("--congestion cubic") != std::string::npos;
        CHECK(head == tail);
        return head;
    };
    CHECK_FALSE(said());
    all.facts.push_back({"congestion", "bbr"});
    CHECK(said());
    all.regime = "quiet, bbr";
    CHECK_FALSE(said());
    all.regime = "quiet, cubic";
    all.facts.back().value = "cubic";
    CHECK_FALSE(said());
}

TEST_CASE("compare: every line of the CSV has as many fields as its head") {
    bench::report all = sample();
    all.regime = "quiet, \"SCHED_FIFO\"";
    const std::string csv = bench::csv_of(all);
    CHECK(csv.find("\n\"quiet, \"\"SCHED_FIFO\"\"\",echo/64x64,") != std::string::npos);
    // Between quotes a comma parts no fields.
    const auto fields = [](const std::string& line) {
        bool quoted = false;
        return std::count_if(line.begin(), line.end(), [&quoted](char letter) {
            if (letter == '"') quoted = !quoted;
            return letter == ',' && !quoted;
        });
    };
    std::vector<std::ptrdiff_t> commas;
    for (std::size_t at = 0; at < csv.size(); at = csv.find('\n', at) + 1)
        commas.push_back(fields(csv.substr(at, csv.find('\n', at) - at)));
    CHECK(commas.size() == 1 + 2 * 4 * 3);
    CHECK(std::all_of(commas.begin(), commas.end(), [&](auto n) { return n == commas[0]; }));
}

TEST_CASE("compare: curves need two numbers of connections") {
    bench::report all = sample();
    CHECK(bench::plot_script(all, "a.svg").find("terminal svg") != std::string::npos);
    CHECK(bench::plot_script(all, "a.png").find("pngcairo") != std::string::npos);
    CHECK(bench::plot_script(all, "a.svg").find("echo, rate, 64 bytes") != std::string::npos);
    bench::report one = all;
    one.cells.pop_back();
    CHECK(bench::plot_script(one, "a.svg").empty());
    // Another traffic is another family, and what has no latency no curve of it.
    for (const bench::cell& c : sample().cells) {
        all.cells.push_back(c);
        all.cells.back().traffic = "source through a proxy";
    }
    const std::string script = bench::plot_script(all, "a.svg");
    CHECK(script.find("source through a proxy, server CPU, 64 bytes") != std::string::npos);
    CHECK(script.find("layout 4,2") != std::string::npos);
    CHECK(script.find("set multiplot next") != std::string::npos);
    // A report may come from anybody, and gnuplot runs what it is told.
    all.cells[0].rows[0].server = "x'\nsystem 'id";
    const std::string safe = bench::plot_script(all, "it's.svg");
    CHECK(safe.find("title 'x'' system ''id'") != std::string::npos);
    CHECK(safe.find("set output 'it''s.svg'") != std::string::npos);
}

TEST_CASE("compare: patterns are the shell's, separated by commas") {
    CHECK(bench::matches("", "echo/64x64"));
    CHECK(bench::matches("churn/*,echo/64*", "echo/64x16K"));
    CHECK_FALSE(bench::matches("echo/64", "echo/64x16K"));
    CHECK_FALSE(bench::matches("churn/*,", "echo/64x16K"));
}

TEST_CASE("compare: the levels hold each other") {
    std::vector<std::string> names;
    std::size_t quick = 0;
    std::size_t standard = 0;
    for (const bench::workload& w : bench::all_workloads()) {
        names.push_back(w.name);
        quick += w.least == bench::level::quick;
        standard += w.least == bench::level::standard;
    }
    CHECK(quick == 6);
    CHECK(standard == 15);
    std::sort(names.begin(), names.end());
    CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
}
