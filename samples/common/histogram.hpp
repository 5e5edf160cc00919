// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include <fmt/format.h>

namespace samples {

/// Counts of 64-bit values in log-linear buckets: 32 per power of two, so that a value is known to
/// 1/32 (3.1 %) whatever its size, and values below 64 exactly. 16 KiB, no allocation; one per
/// core, merged at the end. Percentiles are HdrHistogram's: the highest value of the bucket in
/// which the count is reached, and never above the maximum.
class histogram {
public:
    void record(std::uint64_t value) noexcept { record(value, 1); }
    void record(std::uint64_t value, std::uint64_t times) noexcept {
        if (times == 0) return;
        counts_[index_of(value)] += times;
        count_ += times;
        sum_ += static_cast<double>(value) * static_cast<double>(times);
        min_ = std::min(min_, value);
        max_ = std::max(max_, value);
    }
    void merge(const histogram& other) noexcept {
        for (std::size_t i = 0; i < buckets; ++i) counts_[i] += other.counts_[i];
        count_ += other.count_;
        sum_ += other.sum_;
        min_ = std::min(min_, other.min_);
        max_ = std::max(max_, other.max_);
    }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] std::uint64_t min() const noexcept { return count_ == 0 ? 0 : min_; }
    [[nodiscard]] std::uint64_t max() const noexcept { return max_; }
    [[nodiscard]] double mean() const noexcept {
        return count_ == 0 ? 0 : sum_ / static_cast<double>(count_);
    }

    /// The value that `percent` of the values do not exceed; 0 when there is none.
    [[nodiscard]] std::uint64_t percentile(double percent) const noexcept {
        const double part = std::clamp(percent, 0.0, 100.0) / 100;
        const auto wanted =
            std::max<std::uint64_t>(1, static_cast<std::uint64_t>(
                                           std::ceil(part * static_cast<double>(count_) - 1e-9)));
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < buckets; ++i) {
            seen += counts_[i];
            if (seen >= wanted) return std::min(highest_of(i), max_);
        }
        return max_;
    }

    /// HdrHistogram's percentile table, values divided by `unit`; plotters read it.
    [[nodiscard]] std::string percentile_table(double unit) const {
        std::string text = fmt::format("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile",
                                       "TotalCount", "1/(1-Percentile)");
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < buckets; ++i) {
            if (counts_[i] == 0) continue;
            seen += counts_[i];
            const double value = static_cast<double>(std::min(highest_of(i), max_)) / unit;
            const double part = static_cast<double>(seen) / static_cast<double>(count_);
            text += fmt::format("{:12.3f} {:2.12f} {:10}", value, part, seen);
            text += seen < count_ ? fmt::format(" {:14.2f}\n", 1 / (1 - part)) : "\n";
        }
        text += fmt::format("#[Mean    = {:12.3f}, Max     = {:12.3f}, Total count = {}]\n",
                            mean() / unit, static_cast<double>(max_) / unit, count_);
        return text;
    }

    static constexpr unsigned linear_bits = 5;
    static constexpr std::size_t buckets = 64 << linear_bits;

    [[nodiscard]] static std::size_t index_of(std::uint64_t value) noexcept {
        const unsigned width = static_cast<unsigned>(std::bit_width(value));
        const unsigned shift = width > linear_bits + 1 ? width - (linear_bits + 1) : 0;
        return (static_cast<std::size_t>(shift) << linear_bits) +
               static_cast<std::size_t>(value >> shift);
    }
    /// The highest value that falls into a bucket.
    [[nodiscard]] static std::uint64_t highest_of(std::size_t index) noexcept {
        constexpr std::size_t per_power = std::size_t{1} << linear_bits;
        if (index < 2 * per_power) return index;
        const std::size_t shift = (index >> linear_bits) - 1;
        const std::uint64_t top = per_power + (index & (per_power - 1));
        return ((top + 1) << shift) - 1;  // wraps to the largest number at the very end
    }

private:
    std::array<std::uint64_t, buckets> counts_{};
    std::uint64_t count_ = 0;
    double sum_ = 0;
    std::uint64_t min_ = UINT64_MAX;
    std::uint64_t max_ = 0;
};

}  // namespace samples
