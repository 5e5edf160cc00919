// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/result.hpp>
#include <ringlet/core/blocking_job.hpp>
#include <ringlet/io/operation.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

namespace ringlet {

class file;

/// The path given to open(): a text that ends with a NUL and lives until the operation has ended.
class file_path {
public:
    file_path(const char* text) noexcept : text_(text) {}  // NOLINT: implicit by design
    file_path(const std::string& text) noexcept            // NOLINT
        : text_(text.find('\0') == std::string::npos ? text.c_str() : nullptr) {}
    /// Null for one with a NUL in it, which names no file.
    [[nodiscard]] const char* text() const noexcept { return text_; }

private:
    const char* text_;
};

/// How a file is opened; see open(2).
struct open_options {
    bool read = true;
    bool write = false;
    /// Every write goes to the end, wherever that is by then; implies `write`.
    bool append = false;
    /// Makes the file when there is none, with the permissions `mode` less the umask.
    bool create = false;
    /// With `create`: file_exists when there is one.
    bool exclusive = false;
    bool truncate = false;
    /// not_a_directory for anything but a folder.
    bool folder = false;
    /// No part of the path leads out of the folder it starts from: neither `..` nor a symbolic link
    /// nor a leading slash (cross_device_link). By openat2(2)'s RESOLVE_BENEATH. On epoll, where a
    /// seccomp filter refuses that call, the path is walked by hand, and any symbolic link in it is
    /// refused (too_many_symbolic_link_levels).
    bool beneath = false;
    unsigned mode = 0666;
};
static_assert(std::is_trivially_copyable_v<open_options>);  // see core_options

/// Opens a file. When it has been opened in spite of a cancellation, the file is given.
class [[nodiscard]] open_op : public operation<open_op> {
public:
    open_op(descriptor* folder, const file_path& path, const open_options& options) noexcept
        : folder_(folder), path_(path.text()), options_(options) {}

    static constexpr bool never_at_once = true;
    [[nodiscard]] descriptor* shared() const noexcept { return folder_; }
    [[nodiscard]] blocking_job& job() noexcept { return job_; }
    [[nodiscard]] bool start(core& c, cancel_scope& context) noexcept;
    void prepare(io_uring_sqe& sqe) noexcept;
    [[nodiscard]] int try_now() noexcept;
    [[nodiscard]] int attempt() noexcept;
    [[nodiscard]] result<file> finish(int answer) noexcept;

private:
    [[nodiscard]] int folder() const noexcept;
    [[nodiscard]] int open_by_hand() const noexcept;

    descriptor* folder_;
    const char* path_;
    open_options options_;
    alignas(8) std::array<std::byte, 24> how_{};  // struct open_how
    blocking_job job_;
};

extern template class operation<open_op>;

}  // namespace ringlet
