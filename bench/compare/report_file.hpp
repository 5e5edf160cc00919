// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include "model.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// A file that cannot be read or written, or is not what it should be; the text names it.
class file_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

void write_json(const report& all, const std::string& path);
[[nodiscard]] report read_json(const std::string& path);
[[nodiscard]] std::string json_of(const report& all);
[[nodiscard]] report report_of(const std::string& json);

/// One line for each run.
[[nodiscard]] std::string csv_of(const report& all);
void write_text(const std::string& text, const std::string& path);
[[nodiscard]] std::string read_text(const std::string& path);

/// Lines of a document, between which a report is put.
inline constexpr std::string_view begin_mark = "<!-- report: begin -->";
inline constexpr std::string_view end_mark = "<!-- report: end -->";
void put_into(const std::string& text, const std::string& path);

[[nodiscard]] std::vector<micro_result> micro_of(const std::string& json);
[[nodiscard]] std::vector<instruction_result> instructions_of(const std::string& json);

}  // namespace bench
