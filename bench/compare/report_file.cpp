// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "report_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

template <>
struct nlohmann::adl_serializer<std::optional<double>> {
    static void to_json(json& j, const std::optional<double>& value) {
        if (value)
            j = *value;
        else
            j = nullptr;
    }
    static void from_json(const json& j, std::optional<double>& value) {
        if (j.is_null())
            value.reset();
        else
            value = j.get<double>();
    }
};

namespace bench {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(run_result, round, messages, seconds, rate,
                                                mb_per_second, cpu_us, user_ticks, system_ticks,
                                                sleeps, preemptions, calls, p50_us, p90_us, p99_us,
                                                p99_9_us, max_us, fairness, late_p99_us, memory,
                                                server_busy, client_busy, server_waits,
                                                client_waits, stolen, disturbed, turns, repeated)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(failure, round, why)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(row, server, backend, kind, start, runs, failures)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(cell, name, traffic, connections, active, size,
                                                pipeline, rate, rows)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(fact, name, value)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(micro_result, name, unit, median, least, most,
                                                neighbour)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(instruction_result, server, instructions)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(report, facts, level, regime, rounds, seconds,
                                                interrupted, cells, micro, instructions)

namespace {
/// Six digits say more than any clock knows, and keep the file small.
void shorten(nlohmann::json& value) {
    if (value.is_number_float())
        value = std::stod(fmt::format("{:.6g}", value.get<double>()));
    else if (value.is_structured())
        for (auto& part : value) shorten(part);
}
}  // namespace

std::string json_of(const report& all) {
    nlohmann::json value = all;
    shorten(value);
    // What a server said when it failed may be any bytes; dump() alone would throw.
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

report report_of(const std::string& json) {
    try {
        const auto parsed = nlohmann::json::parse(json);
        if (!parsed.contains("cells")) throw file_error("it is no report of compare");
        return parsed.get<report>();
    } catch (const nlohmann::json::exception& error) {
        throw file_error(fmt::format("it is no report of compare: {}", error.what()));
    }
}

std::string read_text(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw file_error(fmt::format("{}: {}", path, std::strerror(errno)));
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

report read_json(const std::string& path) {
    const std::string text = read_text(path);
    try {
        return report_of(text);
    } catch (const file_error& error) {
        throw file_error(fmt::format("{}: {}", path, error.what()));
    }
}

namespace {
/// A link stays, and what it names is replaced.
std::string real_path(const std::string& path) {
    std::error_code none;
    const auto real = std::filesystem::canonical(path, none);
    return none ? path : real.string();
}
}  // namespace

void write_text(const std::string& text, const std::string& path) {
    // Beside it first: whoever ends us meanwhile, or a full disk, leaves the old one. What is no
    // file (/dev/stdout) cannot be replaced.
    std::error_code none;
    const bool replaced =
        !std::filesystem::exists(path, none) || std::filesystem::is_regular_file(path, none);
    const std::string target = replaced ? real_path(path) + ".new" : path;
    std::ofstream file(target, std::ios::trunc);
    file << text << std::flush;
    if (!file) throw file_error(fmt::format("{}: {}", path, std::strerror(errno)));
    file.close();
    if (replaced && std::rename(target.c_str(), real_path(path).c_str()) != 0)
        throw file_error(fmt::format("{}: {}", path, std::strerror(errno)));
}

void put_into(const std::string& text, const std::string& path) {
    std::string all = read_text(path);
    const std::size_t begin = all.find(begin_mark);
    const std::size_t end = all.find(end_mark);
    if (begin == std::string::npos || end == std::string::npos || end < begin)
        throw file_error(
            fmt::format("{}: it has no lines `{}` and `{}`", path, begin_mark, end_mark));
    const std::size_t from = begin + begin_mark.size();
    all.replace(from, end - from, "\n\n" + text + "\n");
    write_text(all, path);
}

void write_json(const report& all, const std::string& path) { write_text(json_of(all), path); }

namespace {
/// As RFC 4180 has it, where that is needed.
std::string csv_field(const std::string& text) {
    if (text.find_first_of(",\"\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char letter : text) {
        if (letter == '"') quoted += '"';
        quoted += letter;
    }
    return quoted + '"';
}
}  // namespace

std::string csv_of(const report& all) {
    // The columns are the members of a run, in the order of the JSON file's names.
    const nlohmann::json members = run_result();
    std::string text = "regime,cell,traffic,connections,active,size,pipeline,offered,server,"
                       "backend,kind";
    for (const auto& member : members.items()) text.append(",").append(member.key());
    text += '\n';
    for (const cell& c : all.cells)
        for (const row& r : c.rows)
            for (const run_result& run : r.runs) {
                text += fmt::format("{},{},{},{},{},{},{},{},{},{},{}", csv_field(all.regime),
                                    csv_field(c.name), csv_field(c.traffic), c.connections,
                                    c.active, c.size, c.pipeline, c.rate, csv_field(r.server),
                                    csv_field(r.backend), csv_field(r.kind));
                const nlohmann::json values = run;
                for (const auto& member : values.items())
                    text.append(",").append(member.value().is_null() ? "" : member.value().dump());
                text += '\n';
            }
    return text;
}

namespace {
template <class T>
std::vector<T> list_of(const std::string& json) {
    try {
        return nlohmann::json::parse(json).get<std::vector<T>>();
    } catch (const nlohmann::json::exception&) {
        throw file_error("its answer is not JSON");
    }
}
}  // namespace

std::vector<micro_result> micro_of(const std::string& json) { return list_of<micro_result>(json); }
std::vector<instruction_result> instructions_of(const std::string& json) {
    return list_of<instruction_result>(json);
}

}  // namespace bench
