// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "../samples/common/histogram.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

using samples::histogram;

TEST_CASE("histogram: an empty one answers zero to everything") {
    const histogram h;
    CHECK(h.count() == 0);
    CHECK(h.min() == 0);
    CHECK(h.max() == 0);
    CHECK(h.mean() == 0);
    CHECK(h.percentile(50) == 0);
    CHECK(h.percentile(100) == 0);
}

TEST_CASE("histogram: buckets follow each other without gap or overlap, over all 64 bits") {
    CHECK(histogram::index_of(0) == 0);
    CHECK(histogram::index_of(UINT64_MAX) < histogram::buckets);
    for (std::size_t i = 0; i < histogram::index_of(UINT64_MAX); ++i) {
        const std::uint64_t top = histogram::highest_of(i);
        REQUIRE(histogram::index_of(top) == i);
        REQUIRE(histogram::index_of(top + 1) == i + 1);
    }
    CHECK(histogram::highest_of(histogram::index_of(UINT64_MAX)) == UINT64_MAX);
}

TEST_CASE("histogram: a value is known exactly below 64 and to 1/32 above") {
    for (std::uint64_t v = 0; v < 64; ++v)
        CHECK(histogram::highest_of(histogram::index_of(v)) == v);
    std::mt19937_64 random(1);
    for (int n = 0; n < 100'000; ++n) {
        const std::uint64_t v = random() >> (random() % 64);
        const std::uint64_t top = histogram::highest_of(histogram::index_of(v));
        REQUIRE(top >= v);
        REQUIRE(top - v <= v / 32);
    }
}

TEST_CASE("histogram: percentiles are those of the sorted values, to a bucket's width") {
    std::mt19937_64 random(2);
    std::vector<std::uint64_t> values;
    histogram h;
    for (int n = 0; n < 20'000; ++n) {
        values.push_back(random() >> (20 + random() % 40));
        h.record(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double percent : {0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
        const auto rank = std::max<std::size_t>(
            1, static_cast<std::size_t>(std::ceil(percent / 100 * 20'000 - 1e-9)));
        const std::uint64_t exact = values[rank - 1];
        const std::uint64_t told = h.percentile(percent);
        CAPTURE(percent);
        CHECK(told >= exact);
        CHECK(told - exact <= exact / 32);
    }
    CHECK(h.percentile(100) == values.back());
    CHECK(h.max() == values.back());
    CHECK(h.min() == values.front());
}

TEST_CASE("histogram: the rank of a percentile is not off by one") {
    histogram h;
    for (std::uint64_t v = 1; v <= 10; ++v) h.record(v);
    CHECK(h.percentile(0) == 1);
    CHECK(h.percentile(10) == 1);
    CHECK(h.percentile(10.1) == 2);
    CHECK(h.percentile(50) == 5);
    CHECK(h.percentile(90) == 9);
    CHECK(h.percentile(99) == 10);
    CHECK(h.percentile(1000) == 10);
    CHECK(h.mean() == doctest::Approx(5.5));
}

TEST_CASE("histogram: no percentile is above the maximum") {
    histogram h;
    h.record(1'000'003);
    CHECK(h.percentile(50) == 1'000'003);
    CHECK(h.percentile(99.9) == 1'000'003);
}

TEST_CASE("histogram: merging is the same as recording in one") {
    std::mt19937_64 random(3);
    histogram one;
    histogram two;
    histogram all;
    for (int n = 0; n < 5'000; ++n) {
        const std::uint64_t v = random() >> (random() % 60);
        (n % 3 == 0 ? one : two).record(v);
        all.record(v);
    }
    one.merge(two);
    one.merge(histogram());
    CHECK(one.count() == all.count());
    CHECK(one.min() == all.min());
    CHECK(one.max() == all.max());
    CHECK(one.mean() == doctest::Approx(all.mean()));
    for (double p = 0; p <= 100; p += 0.5) REQUIRE(one.percentile(p) == all.percentile(p));
}

TEST_CASE("histogram: one value many times") {
    histogram h;
    h.record(7, 1'000'000);
    h.record(9, 0);
    CHECK(h.count() == 1'000'000);
    CHECK(h.percentile(99.9999) == 7);
    CHECK(h.max() == 7);
}

TEST_CASE("histogram: the table has HdrHistogram's columns and ends at all values") {
    histogram h;
    h.record(1000, 99);
    h.record(2000);
    const std::string table = h.percentile_table(1000);
    CHECK(table.find("Value     Percentile TotalCount 1/(1-Percentile)") != std::string::npos);
    CHECK(table.find("0.990000000000         99         100.00\n") != std::string::npos);
    CHECK(table.find("2.000 1.000000000000        100\n") != std::string::npos);
    CHECK(table.find("Total count = 100]") != std::string::npos);
}
