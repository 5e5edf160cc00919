// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "plot.hpp"

#include "ratios.hpp"
#include "report_file.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

namespace {

struct panel {
    std::string_view title;
    std::string_view unit;
    double run_result::*figure;
};
constexpr std::array panels{
    panel{"rate", "messages a second", &run_result::rate},
    panel{"server CPU", "us per message", &run_result::cpu_us},
    panel{"latency, median", "us", &run_result::p50_us},
    panel{"latency, 99 %", "us", &run_result::p99_us},
};

/// What is measured at several numbers of connections: traffic and size.
using family = std::pair<std::string, std::uint64_t>;

bool is_plain(const cell& c) { return c.pipeline == 1 && c.rate == 0 && c.active == 0; }
bool is_of(const family& f, const cell& c) {
    return is_plain(c) && c.traffic == f.first && c.size == f.second;
}

std::vector<family> families_of(const report& all) {
    std::map<family, std::set<unsigned>> seen;
    for (const cell& c : all.cells)
        if (is_plain(c)) seen[{c.traffic, c.size}].insert(c.connections);
    std::vector<family> families;
    for (const auto& [one, connections] : seen)
        if (connections.size() > 1) families.push_back(one);
    return families;
}

/// ringlet drawn thick, the C servers dashed, the peers thin.
std::string_view style_of(const std::string& kind) {
    if (kind == "ours") return "lw 3 pt 7";
    return kind == "C" ? "lw 2 dt 2 pt 6" : "lw 1 pt 4";
}

/// Between gnuplot's single quotes nothing is special but they themselves.
std::string quoted(std::string_view text) {
    std::string safe = "'";
    for (const char letter : text) {
        const bool control = static_cast<unsigned char>(letter) < ' ';
        safe += control ? ' ' : letter;
        if (letter == '\'') safe += '\'';
    }
    return safe + "'";
}

/// x and median of one server; empty when it has none.
std::string points(const report& all, const family& of, const std::string& server,
                   double run_result::*figure) {
    std::map<unsigned, spread> by_connections;
    for (const cell& c : all.cells) {
        if (!is_of(of, c)) continue;
        for (const row& r : c.rows)
            if (r.server == server)
                if (const auto value = over_rounds(r, figure); value && value->median > 0)
                    by_connections[c.connections] = *value;
    }
    std::string text;
    for (const auto& [x, y] : by_connections) text += fmt::format("{} {:.6g}\n", x, y.median);
    return text;
}

std::vector<row> servers_of(const report& all, const family& of) {
    std::vector<row> servers;
    std::set<std::string> seen;
    for (const cell& c : all.cells)
        for (const row& r : c.rows)
            if (r.kind != "ablation" && is_of(of, c) && seen.insert(r.server).second)
                servers.push_back({r.server, r.backend, r.kind, {}, {}});
    return servers;
}

std::string panel_script(const report& all, const panel& p, const family& of, std::size_t number) {
    std::string data;
    std::string curves;
    std::size_t n = 0;
    for (const row& s : servers_of(all, of)) {
        const std::string lines = points(all, of, s.server, p.figure);
        ++n;
        if (lines.empty()) continue;
        const std::string name = fmt::format("$d{}_{}", number, n);
        data += fmt::format("{} << EOD\n{}EOD\n", name, lines);
        curves +=
            fmt::format("{} {} using 1:2 with linespoints lc {} {} title {}",
                        curves.empty() ? "plot" : ",", name, n, style_of(s.kind), quoted(s.server));
    }
    if (curves.empty()) return "set multiplot next\n";  // a stream has no latency
    const std::string title = fmt::format("{}, {}, {} bytes", of.first, p.title, of.second);
    return fmt::format("{}set title {}\nset ylabel {}\n{}\n", data, quoted(title), quoted(p.unit),
                       curves);
}

}  // namespace

std::string plot_script(const report& all, const std::string& path) {
    const auto families = families_of(all);
    if (families.empty()) return {};
    const bool one = families.size() == 1;
    const std::size_t rows = one ? 2 : panels.size();
    const std::size_t columns = one ? 2 : families.size();
    std::string text = fmt::format(
        "set terminal {} size {},{} font 'sans,11' noenhanced background '#ffffff'\n"
        "set output {}\n"
        "set multiplot layout {},{} columnsfirst\nset logscale xy\nset grid\n"
        "set key outside right top samplen 2\nset xlabel 'connections'\nset offsets graph 0.05\n",
        path.ends_with(".png") ? "pngcairo" : "svg", columns * 620, rows * 380, quoted(path), rows,
        columns);
    std::size_t number = 0;
    for (const family& of : families)
        for (const panel& p : panels) text += panel_script(all, p, of, ++number);
    return text + "unset multiplot\n";
}

bool can_draw() { return std::system("command -v gnuplot >/dev/null 2>&1") == 0; }

void draw(const report& all, const std::string& path) {
    const std::string script = plot_script(all, path);
    if (script.empty()) throw file_error(fmt::format("{}: {}", path, nothing_to_draw));
    // What cannot go into its file it writes to stdout.
    std::FILE* gnuplot = popen("gnuplot >/dev/null", "w");
    if (gnuplot == nullptr) throw file_error(fmt::format("{}: gnuplot cannot be started", path));
    std::fputs(script.c_str(), gnuplot);
    if (pclose(gnuplot) != 0) throw file_error(fmt::format("{}: gnuplot failed, see above", path));
}

}  // namespace bench
