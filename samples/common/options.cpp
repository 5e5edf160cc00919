// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "options.hpp"

#include "tell.hpp"

#include <ringlet/config.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace samples {

namespace {

/// The whole of `text` as a number; false when it is none.
template <class Number>
bool read_number(std::string_view text, Number& out) noexcept {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

template <class Number>
std::string take_number(std::string_view text, Number& into, Number least, Number most) {
    Number value{};
    if (!read_number(text, value) || value < least || value > most)
        return fmt::format("it must be a number from {} to {}", least, most);
    into = value;
    return {};
}

std::string take_bytes(std::string_view text, std::size_t& into, std::size_t least,
                       std::size_t most) {
    std::size_t unit = 1;
    std::string_view digits = text;
    if (!digits.empty() && (digits.back() == 'K' || digits.back() == 'M')) {
        unit = digits.back() == 'K' ? 1024 : 1024 * 1024;
        digits.remove_suffix(1);
    }
    std::size_t value = 0;
    if (!read_number(digits, value) || value > most / unit || value * unit < least)
        return fmt::format("it must be a number of bytes from {} to {}, like 64, 4K or 1M", least,
                           most);
    into = value * unit;
    return {};
}

std::string take_seconds(std::string_view text, ringlet::nanoseconds& into, double least,
                         double most) {
    double value = 0;
    if (!read_number(text, value) || !std::isfinite(value) || value < least || value > most)
        return fmt::format("it must be a number of seconds from {} to {}", least, most);
    into = ringlet::nanoseconds(static_cast<std::int64_t>(value * 1e9));
    return {};
}

}  // namespace

command_line::command_line(std::string program, std::string summary)
    : program_(std::move(program)), summary_(std::move(summary)) {}

void command_line::flag(std::string name, bool& into, std::string help) {
    options_.push_back({std::move(name), "", std::move(help), [&into](std::string_view) {
                            into = true;
                            return std::string();
                        }});
}

void command_line::number(std::string name, unsigned& into, unsigned least, unsigned most,
                          std::string help) {
    options_.push_back({std::move(name), "N", std::move(help), [=, &into](std::string_view text) {
                            return take_number(text, into, least, most);
                        }});
}

void command_line::number(std::string name, std::uint64_t& into, std::uint64_t least,
                          std::uint64_t most, std::string help) {
    options_.push_back({std::move(name), "N", std::move(help), [=, &into](std::string_view text) {
                            return take_number(text, into, least, most);
                        }});
}

void command_line::bytes(std::string name, std::size_t& into, std::size_t least, std::size_t most,
                         std::string help) {
    options_.push_back({std::move(name), "BYTES", std::move(help),
                        [=, &into](std::string_view text) {
                            return take_bytes(text, into, least, most);
                        }});
}

void command_line::seconds(std::string name, ringlet::nanoseconds& into, double least, double most,
                           std::string help) {
    options_.push_back({std::move(name), "SECONDS", std::move(help),
                        [=, &into](std::string_view text) {
                            return take_seconds(text, into, least, most);
                        }});
}

void command_line::text(std::string name, std::string& into, std::string value,
                        std::string help) {
    options_.push_back({std::move(name), std::move(value), std::move(help),
                        [&into](std::string_view text) {
                            if (text.empty()) return std::string("it must not be empty");
                            into = text;
                            return std::string();
                        }});
}

void command_line::address(std::string name, ringlet::address& into, std::string help) {
    options_.push_back({std::move(name), "HOST:PORT", std::move(help),
                        [&into](std::string_view text) {
                            const auto parsed = ringlet::address::parse(text);
                            if (!parsed) return ringlet::address::explain(text);
                            into = *parsed;
                            return std::string();
                        }});
}

void command_line::addresses(std::string name, std::vector<ringlet::address>& into,
                             std::string help) {
    options_.push_back({std::move(name), "HOST:PORT", std::move(help),
                        [&into](std::string_view text) {
                            const auto parsed = ringlet::address::parse(text);
                            if (!parsed) return ringlet::address::explain(text);
                            into.push_back(*parsed);
                            return std::string();
                        }});
}

void command_line::backend(ringlet::backend& into) {
    options_.push_back({"backend", "NAME",
                        "auto, uring or epoll (default auto: io_uring where the kernel grants it; "
                        "RINGLET_BACKEND overrides auto)",
                        [&into](std::string_view text) {
                            using ringlet::backend;
                            if (text == "auto") return into = backend::automatic, std::string();
                            if (text == "uring") return into = backend::uring, std::string();
                            if (text == "epoll") return into = backend::epoll, std::string();
                            return std::string("it may be auto, uring or epoll");
                        }});
}

void command_line::choice(std::string name, std::vector<std::string> words, unsigned& into,
                          std::string help) {
    std::string value = fmt::format("{}", fmt::join(words, "|"));
    options_.push_back({std::move(name), std::move(value), std::move(help),
                        [&into, words = std::move(words)](std::string_view text) {
                            const auto found = std::find(words.begin(), words.end(), text);
                            if (found == words.end())
                                return fmt::format("it may be {}", fmt::join(words, " or "));
                            into = static_cast<unsigned>(found - words.begin());
                            return std::string();
                        }});
}

void command_line::parse(int argc, char** argv) {
    constexpr int first_value = 1000;  // beyond every short option
    constexpr int help = 'h';
    constexpr int version = first_value - 1;
    std::vector<::option> table;
    for (std::size_t i = 0; i < options_.size(); ++i)
        table.push_back({options_[i].name.c_str(),
                         options_[i].value.empty() ? no_argument : required_argument, nullptr,
                         first_value + static_cast<int>(i)});
    table.push_back({"help", no_argument, nullptr, help});
    table.push_back({"version", no_argument, nullptr, version});
    table.push_back({});
    opterr = 0;  // this one line of our own instead
    for (int found = 0; (found = getopt_long(argc, argv, ":h", table.data(), nullptr)) != -1;) {
        std::string_view shown = argv[optind - 1];
        // An unknown letter that others follow behind one dash: getopt is still at that word.
        if (const char letter[] = {'-', static_cast<char>(optopt), '\0'};
            found == '?' && optopt != 0 && optopt != help && optopt < version && shown != letter)
            shown = argv[optind];
        if (found == help) {
            print_help();
            std::exit(0);
        }
        if (found == version) {
            fmt::print("{} {}\n", program_, RINGLET_VERSION_STRING);
            std::exit(0);
        }
        if (found == ':') refuse(fmt::format("the value behind {} is missing", shown));
        // Short options have no value to be given: this is `--help=foo`.
        if (found == '?' && (optopt >= version || (optopt == help && shown.starts_with("--"))))
            refuse(fmt::format("`{}`: this option takes no value", shown));
        if (found == '?')
            refuse(fmt::format("unknown option `{}`; see {} --help", shown, program_));
        const option& o = options_[static_cast<std::size_t>(found - first_value)];
        const std::string problem = o.take(optarg != nullptr ? optarg : "");
        if (!problem.empty()) refuse(fmt::format("--{} `{}`: {}", o.name, optarg, problem));
    }
    if (optind < argc)
        refuse(fmt::format("unexpected argument `{}`; see {} --help", argv[optind], program_));
}

void command_line::refuse(std::string_view problem) const {
    tell(fmt::format("{}: {}\n", program_, problem));
    std::exit(exit_bad_input);
}

void command_line::print_help() const {
    fmt::print("usage: {} [OPTIONS]\n{}\n\n", program_, summary_);
    const auto line = [](std::string_view name, std::string_view value, std::string_view help) {
        const std::string left = fmt::format("--{} {}", name, value);
        const std::string gap = left.size() > 26 ? "\n" + std::string(29, ' ') : " ";
        fmt::print("  {:<26}{}{}\n", left, gap, help);
    };
    for (const option& o : options_) line(o.name, o.value, o.help);
    line("help", "", "this text");
    line("version", "", "the version");
}

}  // namespace samples
