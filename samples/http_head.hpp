// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// Just enough of HTTP for a server of files: the head of a request without a body.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace http {

enum class method { get, head };

/// What a request asks for. The texts are parts of the head, which has been changed in place.
struct request {
    http::method method = http::method::get;
    const char* path = "";   ///< below the root, decoded, ends with a NUL; "." for the root
    std::string_view range;  ///< the value of Range, empty without one
    bool keep_alive = true;
};

/// How far the head at the front of `received` goes, with its empty line; 0 while it has not ended.
[[nodiscard]] std::size_t head_size(std::string_view received) noexcept;

/// Reads a whole head: 0, or the status code that refuses it. Decodes the path where it stands.
[[nodiscard]] int read_head(std::span<char> head, request& into) noexcept;

/// The bytes [first, first + length) of a file.
struct part {
    std::uint64_t first = 0;
    std::uint64_t length = 0;
};
/// What a Range asks for of `size` bytes; nothing when it is to be ignored: none, malformed, or of
/// several parts (RFC 9110, 14.2). A length of 0: it cannot be satisfied.
[[nodiscard]] std::optional<part> read_range(std::string_view range, std::uint64_t size) noexcept;

[[nodiscard]] std::string_view reason(int status) noexcept;
/// By the name's ending.
[[nodiscard]] std::string_view content_type(std::string_view path) noexcept;
/// `Sun, 06 Nov 1994 08:49:37 GMT`, of seconds since 1970, into 29 characters.
void write_date(std::int64_t seconds, char* out) noexcept;

}  // namespace http
