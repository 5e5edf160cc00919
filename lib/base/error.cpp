// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/base/error.hpp>

#include <string>

namespace ringlet {

namespace {

class own_category final : public std::error_category {
public:
    [[nodiscard]] const char* name() const noexcept override { return "ringlet"; }
    [[nodiscard]] std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
            case errc::cancelled: return "cancelled";
            case errc::timed_out: return "timed out";
            case errc::stopping: return "the program is stopping";
            case errc::end_of_stream: return "end of stream";
            case errc::unsupported: return "not supported by this backend or kernel";
            case errc::bad_address: return "not an address";
            case errc::inbox_full: return "the core's inbox is full";
            case errc::core_stopped: return "the core has stopped";
            case errc::pool_full: return "the queue of the blocking pool is full";
        }
        return "unknown ringlet error";
    }
    [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
        switch (static_cast<errc>(value)) {
            case errc::cancelled: return std::errc::operation_canceled;
            case errc::timed_out: return std::errc::timed_out;
            case errc::unsupported: return std::errc::operation_not_supported;
            case errc::bad_address: return std::errc::invalid_argument;
            case errc::inbox_full:
            case errc::pool_full: return std::errc::resource_unavailable_try_again;
            default: return {value, *this};
        }
    }
};

}  // namespace

const std::error_category& category() noexcept {
    static const own_category instance;
    return instance;
}

std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

std::error_code answer::to_error(int negative) noexcept {
    if (negative <= own_base) return {own_base - negative, category()};
    return {-negative, std::system_category()};
}

}  // namespace ringlet
