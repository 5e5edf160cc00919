// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>

namespace bench {

namespace {

using line = std::vector<std::string>;

std::string number(const std::optional<double>& value, std::string_view form) {
    return value ? fmt::format(fmt::runtime(form), *value) : "n/a";
}
std::string median(const std::optional<spread>& value, std::string_view form) {
    return value ? fmt::format(fmt::runtime(form), value->median) : "-";
}
std::string range(const std::optional<spread>& value, std::string_view form) {
    if (!value) return "-";
    return fmt::format("{}..{}", fmt::format(fmt::runtime(form), value->least),
                       fmt::format(fmt::runtime(form), value->most));
}

/// Three figures that matter, whatever the unit: 0.123, 4.56, 78.9, 1234.
std::string_view cpu_form(const std::optional<spread>& value) {
    if (!value || value->median >= 100) return "{:.0f}";
    return value->median >= 10 ? "{:.1f}" : value->median >= 1 ? "{:.2f}" : "{:.3f}";
}

std::string micros(const row& r, double run_result::*figure) {
    const auto value = over_rounds(r, figure);
    return value && value->most > 0 ? fmt::format("{:.0f}", value->median) : "-";
}

/// The greatest of the rounds: a median of maxima would hide the one that hurt.
std::string most_micros(const row& r, double run_result::*figure) {
    const auto value = over_rounds(r, figure);
    return value && value->most > 0 ? fmt::format("{:.0f}", value->most) : "-";
}

std::size_t disturbed(const row& r) {
    return static_cast<std::size_t>(std::count_if(
        r.runs.begin(), r.runs.end(), [](const run_result& run) { return run.disturbed; }));
}

std::string remarks_of(const cell& c, const row& r) {
    std::string text;
    const auto add = [&text](const std::string& remark) {
        text += text.empty() ? remark : ", " + remark;
    };
    const auto c_ratio = to_c(c, r);
    const auto peer_ratio = to_peer(c, r);
    if (r.kind == "ours" && c_ratio && c_ratio->median > losing) add("LOSES to C");
    if (r.kind == "ours" && peer_ratio && peer_ratio->median > losing) add("LOSES to a peer");
    const auto client = over_rounds(r, &run_result::client_busy);
    const auto server = over_rounds(r, &run_result::server_busy);
    // With a rate the client spins until the next message is due.
    if (c.rate == 0 && client && client->median > 0.95 && server->median < 0.9) add("client-bound");
    const auto late = over_rounds(r, &run_result::late_p99_us);
    if (c.rate > 0 && late && late->median > 0) add(fmt::format("load late {:.0f}", late->median));
    if (disturbed(r) > 0) add(fmt::format("{} disturbed", disturbed(r)));
    if (!r.failures.empty()) add(fmt::format("{} FAILED", r.failures.size()));
    return text;
}

line line_of(const cell& c, const row& r) {
    const auto cpu = over_rounds(r, &run_result::cpu_us);
    const auto form = cpu_form(cpu);
    const auto user = user_share(r);
    const auto fairness = median_of(r, &run_result::fairness);
    return {r.server,
            median(over_rounds(r, &run_result::rate), "{:.0f}"),
            median(cpu, form),
            range(cpu, form),
            user ? fmt::format("{:.0f}%", *user * 100) : "-",
            median(to_c(c, r), "{:.2f}"),
            range(to_c(c, r), "{:.2f}"),
            median(to_peer(c, r), "{:.2f}"),
            median(to_ours(c, r), "{:.2f}"),
            number(median_of(r, &run_result::calls), "{:.2f}"),
            median(over_rounds(r, &run_result::sleeps), "{:.3f}"),
            median(over_rounds(r, &run_result::preemptions), "{:.3f}"),
            micros(r, &run_result::p50_us),
            micros(r, &run_result::p90_us),
            micros(r, &run_result::p99_us),
            micros(r, &run_result::p99_9_us),
            most_micros(r, &run_result::max_us),
            fairness ? fmt::format("{:.2f}", *fairness) : "-",
            median(over_rounds(r, &run_result::memory), "{:.0f}"),
            remarks_of(c, r)};
}

const line& head_line() {
    static const line head{"server", "op/s",  "CPU us", "min..max", "user",    "/C",  "min..max",
                           "/peer",  "/ours", "calls",  "sleeps",   "preempt", "p50", "p90",
                           "p99",    "p99.9", "max",    "fair",     "B/conn",  ""};
    return head;
}

std::vector<line> lines_of(const cell& c) {
    std::vector<line> lines{head_line()};
    for (const row& r : c.rows) lines.push_back(line_of(c, r));
    return lines;
}

std::string failures_text(const cell& c, std::string_view form) {
    std::string text;
    for (const row& r : c.rows)
        for (const failure& f : r.failures)
            text += fmt::format(fmt::runtime(form), r.server, f.round + 1, f.why);
    return text;
}

std::string title_of(const cell& c) {
    std::string text = fmt::format("{}: {}, {} connection{}", c.name, c.traffic, c.connections,
                                   c.connections == 1 ? "" : "s");
    if (c.active > 0) text += fmt::format(" of which {} talk", c.active);
    text += fmt::format(", messages of {} bytes", c.size);
    if (c.pipeline > 1) text += fmt::format(", {} on their way", c.pipeline);
    if (c.rate > 0) text += fmt::format(", {} a second whatever comes back", c.rate);
    return text;
}

std::vector<line> micro_lines(const report& all) {
    std::vector<line> lines{{"micro bench", "median", "min..max", "unit", "a neighbour's figure"}};
    for (const micro_result& m : all.micro)
        lines.push_back({m.name, fmt::format("{:.1f}", m.median),
                         fmt::format("{:.1f}..{:.1f}", m.least, m.most), m.unit, m.neighbour});
    return lines;
}

std::vector<line> instruction_lines(const report& all) {
    std::vector<line> lines{{"server", "user instructions per echo", ""}};
    for (const instruction_result& i : all.instructions)
        lines.push_back({i.server, fmt::format("{:.0f}", i.instructions), ""});
    return lines;
}

std::string loss_sentence(const report& all) {
    std::size_t compared = 0;
    const auto lost = losses_of(all, compared);
    if (compared == 0) return {};
    return fmt::format("ringlet loses (CPU per message more than {:.0f} % above the best) in {} of "
                       "{} comparisons{}\n",
                       (losing - 1) * 100, lost.size(), compared, lost.empty() ? "." : ":");
}

std::vector<line> loss_lines(const report& all) {
    std::size_t compared = 0;
    std::vector<line> lines{{"ringlet", "cell", "against", "ratio", "min..max", "in every round"}};
    for (const loss& l : losses_of(all, compared))
        lines.push_back({l.server, l.cell, l.against, fmt::format("{:.2f}", l.ratio.median),
                         fmt::format("{:.2f}..{:.2f}", l.ratio.least, l.ratio.most),
                         l.ratio.least > 1 ? "yes" : ""});
    return lines;
}

std::vector<line> standing_lines(const report& all) {
    std::vector<line> lines{
        {"ringlet", "against", "cells", "mean", "ahead", "alike", "behind", ""}};
    for (const standing& s : standings_of(all))
        lines.push_back({s.server, s.against, std::to_string(s.ahead + s.alike + s.behind),
                         fmt::format("{:.2f}", s.mean), std::to_string(s.ahead),
                         std::to_string(s.alike), std::to_string(s.behind), ""});
    return lines;
}

constexpr std::string_view standing_legend =
    "Over all cells: the geometric mean of the ratios of CPU per message, and in how many cells "
    "ringlet is ahead by more than 3 %, alike, or behind. The rival is the same in every cell; the "
    "best of each cell is partly chosen by noise.\n";

/// BBR paces on loopback too, and then so do the cells that only move bytes.
std::string pacing_text(const report& all) {
    const bool paced = std::any_of(all.facts.begin(), all.facts.end(), [](const fact& f) {
        return f.name == "congestion" && f.value.starts_with("bbr");
    });
    if (!paced || all.regime.find(", bbr") != std::string::npos) return {};
    return "The system's congestion control is bbr: bulk cells measure its pacing; the remedy is "
           "--congestion cubic.\n";
}

std::string trust_text(const report& all) {
    std::size_t runs = 0;
    std::size_t bad = 0;
    std::size_t failed = 0;
    for (const cell& c : all.cells)
        for (const row& r : c.rows) {
            runs += r.runs.size();
            bad += disturbed(r);
            failed += r.failures.size();
        }
    std::string text =
        fmt::format("{} runs, {} disturbed by others on the CPUs, {} failed.", runs, bad, failed);
    if (runs > 0 && bad * 10 > runs)
        text += " That is a busy machine: trust ratios more than microseconds, and few of either.";
    if (all.interrupted) text += " It was interrupted: what follows the last cell is missing.";
    return text + "\n" + pacing_text(all);
}

constexpr std::string_view legend =
    "CPU us: the server's user and system time per message, median and range over the rounds. /C, "
    "/peer, /ours: CPU per message relative to the best C server of the same backend, the best "
    "peer, and ringlet on the same backend (the best by its median), within a round; for proxies "
    "and files, and where C has none on that backend, the best C server of any. calls: system calls per message. sleeps, preempt: "
    "voluntary and involuntary context switches per message. p50 to max: latency in us, max the "
    "greatest of all rounds; `load late`: how late 1 % of a rate's messages or more went out, by "
    "the generator's fault. fair: what the slowest connection got of what the fastest got. B/conn: "
    "the server's memory per "
    "connection.\n";

}  // namespace

std::string text_table(const std::vector<line>& lines) {
    std::vector<std::size_t> widths;
    for (const line& l : lines) {
        widths.resize(std::max(widths.size(), l.size()));
        for (std::size_t i = 0; i < l.size(); ++i) widths[i] = std::max(widths[i], l[i].size());
    }
    std::string text;
    for (const line& l : lines) {
        std::string one;
        for (std::size_t i = 0; i < l.size(); ++i)
            one += i == 0 || i + 1 == l.size() ? fmt::format("{:<{}}  ", l[i], widths[i])
                                               : fmt::format("{:>{}}  ", l[i], widths[i]);
        one.erase(one.find_last_not_of(' ') + 1);
        text += one + "\n";
    }
    return text;
}

std::string markdown_table(const std::vector<line>& lines) {
    std::string text;
    for (std::size_t n = 0; n < lines.size(); ++n) {
        text += "|";
        for (const std::string& word : lines[n]) text += fmt::format(" {} |", word);
        text += "\n";
        if (n > 0) continue;
        text += "|---|";
        for (std::size_t i = 1; i < lines[n].size(); ++i) text += "---:|";
        text += "\n";
    }
    return text;
}

std::string head_text(const report& all) {
    std::string text;
    for (const fact& f : all.facts) text += fmt::format("{:<14} {}\n", f.name, f.value);
    text += fmt::format("{:<14} {}, {} rounds of {:g} s\n", "method", all.level, all.rounds,
                        all.seconds);
    text += fmt::format("{:<14} {}\n", "regime", all.regime);
    return text + pacing_text(all);
}

std::string cell_text(const cell& c) {
    return fmt::format("{}\n{}{}\n", title_of(c), text_table(lines_of(c)),
                       failures_text(c, "  {}, round {}: {}\n"));
}

std::string tail_text(const report& all) {
    std::string text;
    if (!all.cells.empty()) text += std::string(legend) + "\n";
    if (!all.micro.empty()) text += text_table(micro_lines(all)) + "\n";
    if (!all.instructions.empty()) text += text_table(instruction_lines(all)) + "\n";
    if (const std::string lost = loss_sentence(all); !lost.empty()) {
        text += lost;
        if (lost.back() == '\n' && lost[lost.size() - 2] == ':')
            text += text_table(loss_lines(all));
    }
    if (const auto lines = standing_lines(all); lines.size() > 1)
        text += std::string(standing_legend) + text_table(lines);
    return text + trust_text(all);
}

std::string changes_text(const std::vector<change>& changes, double threshold) {
    std::vector<line> lines{{"ringlet", "cell", "before", "now", "now/before", ""}};
    std::size_t regressed = 0;
    for (const change& c : changes) {
        const std::string_view form = c.relative ? "{:.3f} x C" : "{:.3f} us";
        const bool none = c.failed && c.now == 0;
        lines.push_back({c.server, c.cell, fmt::format(fmt::runtime(form), c.before),
                         none ? "none" : fmt::format(fmt::runtime(form), c.now),
                         none ? "-" : fmt::format("{:.2f}", c.ratio),
                         c.failed      ? "REGRESSED: it failed"
                         : c.regressed ? "REGRESSED"
                                       : ""});
        regressed += c.regressed;
    }
    return text_table(lines) +
           fmt::format(
               "{} of {} cells regressed (failed, or CPU per message beyond {:g} x the baseline's "
               "and three quarters of the rounds above its median).\n",
               regressed, changes.size(), threshold);
}

std::string markdown_of(const report& all) {
    std::vector<line> head{{"what", "value"}};
    for (const fact& f : all.facts) head.push_back({f.name, f.value});
    head.push_back(
        {"method", fmt::format("{}, {} rounds of {:g} s", all.level, all.rounds, all.seconds)});
    head.push_back({"regime", all.regime});
    std::string text = markdown_table(head) + "\n" + trust_text(all) +
                       "\n### What ringlet loses\n\n" + loss_sentence(all) + "\n";
    std::size_t compared = 0;
    if (!losses_of(all, compared).empty()) text += markdown_table(loss_lines(all)) + "\n";
    if (const auto lines = standing_lines(all); lines.size() > 1)
        text += "### Over all cells\n\n" + std::string(standing_legend) + "\n" +
                markdown_table(lines) + "\n";
    text += "### Cells\n\n" + std::string(legend) + "\n";
    for (const cell& c : all.cells)
        text += fmt::format("**{}**\n\n{}{}\n", title_of(c), markdown_table(lines_of(c)),
                            failures_text(c, "\n{}, round {}: {}\n"));
    if (!all.instructions.empty())
        text += "### Instructions\n\n" + markdown_table(instruction_lines(all)) + "\n";
    if (!all.micro.empty())
        text += "### Micro benches\n\n" + markdown_table(micro_lines(all)) + "\n";
    return text;
}

}  // namespace bench
