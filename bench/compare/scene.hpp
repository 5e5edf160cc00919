// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "process.hpp"
#include "servers.hpp"
#include "workloads.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// A folder of our own, removed with everything in it.
class scratch_folder {
public:
    scratch_folder();
    scratch_folder(const scratch_folder&) = delete;
    ~scratch_folder();
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

/// What stands around a server while it is measured: the upstream of a proxy, the files to serve,
/// the configuration of a program that takes no options.
class scene {
public:
    /// `folder` is for files; an upstream runs at `beside`.
    scene(const server& s, const workload& w, const std::string& folder, const place& beside);

    /// The command of the server, with its program's path.
    [[nodiscard]] const std::vector<std::string>& command() const noexcept { return command_; }
    /// Where the server is to be started.
    [[nodiscard]] const std::string& folder() const noexcept { return files_; }
    /// Waits until it listens, and tells where. `start_line` gets what it said first, if it speaks.
    [[nodiscard]] std::string address_of(child& started, std::string& start_line) const;

private:
    void put_file(std::uint64_t size) const;
    [[nodiscard]] std::string address() const;
    [[nodiscard]] std::string configuration(const server& s) const;

    std::string files_;
    std::string upstream_address_;
    std::optional<child> upstream_;
    std::uint16_t port_ = 0;  // of a server that does not tell it
    std::string name_;        // of its files: several stand in the folder at once
    std::vector<std::string> command_;
};

/// HOST:PORT of a start line; throws run_failure when there is none.
[[nodiscard]] std::string address_in(const std::string& start_line);

}  // namespace bench
