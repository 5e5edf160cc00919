// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// The command line of the samples: long options over getopt_long(3). A bad one ends the program
/// with one line on stderr and exit code 2, before anything has been opened.

#include <ringlet/base/address.hpp>
#include <ringlet/base/backend.hpp>
#include <ringlet/core/time.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace samples {

inline constexpr int exit_bad_input = 2;
/// What to do when a process has no descriptor left; run() has raised the soft limit already.
inline constexpr std::string_view raise_open_files =
    "raise the hard limit of open files: `ulimit -Hn 1048576` as root before the start, "
    "`prlimit --pid PID --nofile=1048576:1048576` while it runs, LimitNOFILE= (systemd), "
    "--ulimit nofile= (docker)";

class command_line {
public:
    command_line(std::string program, std::string summary);

    void flag(std::string name, bool& into, std::string help);
    void number(std::string name, unsigned& into, unsigned least, unsigned most, std::string help);
    void number(std::string name, std::uint64_t& into, std::uint64_t least, std::uint64_t most,
                std::string help);
    /// A number of bytes, with K and M for 1024 and 1024 x 1024.
    void bytes(std::string name, std::size_t& into, std::size_t least, std::size_t most,
               std::string help);
    void seconds(std::string name, ringlet::nanoseconds& into, double least, double most,
                 std::string help);
    void text(std::string name, std::string& into, std::string value, std::string help);
    void address(std::string name, ringlet::address& into, std::string help);
    /// May be given several times.
    void addresses(std::string name, std::vector<ringlet::address>& into, std::string help);
    /// auto, uring or epoll.
    void backend(ringlet::backend& into);
    /// One of a few words; `into` gets its place among them.
    void choice(std::string name, std::vector<std::string> words, unsigned& into, std::string help);

    /// Takes all options, or prints and exits: 0 after --help and --version, 2 after a bad one.
    void parse(int argc, char** argv);
    /// Ends the program with `program: problem` on stderr and exit code 2.
    [[noreturn]] void refuse(std::string_view problem) const;

private:
    /// Keeps the value; what is wrong with it, or nothing.
    using taker = std::function<std::string(std::string_view)>;
    struct option {
        std::string name;
        std::string value;  ///< what the help calls it; empty for a flag
        std::string help;
        taker take;
    };
    void print_help() const;

    std::string program_;
    std::string summary_;
    std::vector<option> options_;
};

}  // namespace samples
