// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Files by chunks: leases of the core's pool, by fixed operations where the buffer is registered.

#include "file_helpers.hpp"

#include <core/buffer_pool.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t page = 4096;
constexpr std::uint32_t limit = 4;  // buffers of a small pool

/// Few and small, so that they run out.
buffer_options few(std::uint32_t count) {
    buffer_options o;
    o.size = page;
    o.window = 1;
    o.limit = count;
    o.large_limit = 0;
    return o;
}

template <class Body>
void each_with(buffer_options buffers, Body body) {
    flavours::each(
        [&](core& c) {
            block_on(c, body(c));
            CHECK(c.buffers().leased() == 0);
            CHECK(c.in_flight == 0);
        },
        [&](core_options& o) { o.buffers = buffers; });
}

bool equal(const chunk& got, const std::vector<std::byte>& data, std::size_t offset) {
    return offset + got.size() <= data.size() &&
           std::memcmp(got.bytes().data(), data.data() + offset, got.size()) == 0;
}

/// Whether this core's chunks can be by fixed operations.
bool registers(core& c) { return c.register_buffers().bytes > 0; }

task<std::vector<chunk>> every_buffer(core& c, file& f, std::uint32_t count) {
    std::vector<chunk> held;
    for (std::uint32_t i = 0; i < count; ++i) held.push_back((co_await f.read_chunk(0)).value());
    CHECK(c.buffers().leased() == count);
    co_return held;
}

/// Buffers of the small pool that can be taken by hand.
std::uint32_t by_hand(core& c) { return limit - (c.buffers().provides() ? 1 : 0); }

}  // namespace

TEST_CASE("chunks of a file are exact at any offset, with registered buffers and without") {
    for (const std::uint32_t registered : {0U, 2U << 20}) {
        buffer_options buffers;
        buffers.registered = registered;
        CAPTURE(registered);
        each_with(buffers, [registered](core& c) -> task<> {
            const files::temp_folder dir;
            const auto data = net::pattern(300'000);
            files::put(dir / "f", data);
            auto f = (co_await file::open(dir / "f")).value();
            for (const std::size_t offset : {0U, 1U, 4095U, 4096U, 123'456U, 299'999U}) {
                for (const std::uint32_t most : {1U, 100U, 4096U, 65'536U, 200'000U}) {
                    const auto got = co_await f.read_chunk(offset, most);
                    REQUIRE(got);
                    CHECK(got->size() == std::min<std::size_t>(most, data.size() - offset));
                    CHECK(equal(*got, data, offset));
                    CHECK(c.buffers().leased() == 1);
                }
            }
            std::size_t whole = 0;
            for (;;) {
                const auto got = co_await f.read_chunk(whole);
                if (!got) {
                    CHECK(got.error() == errc::end_of_stream);
                    break;
                }
                CHECK(got->size() <= buffer_options().size);
                CHECK(equal(*got, data, whole));
                whole += got->size();
            }
            CHECK(whole == data.size());
            CHECK((co_await f.read_chunk(300'000)).error() == errc::end_of_stream);
            CHECK((co_await f.read_chunk(1U << 30, 10)).error() == errc::end_of_stream);
            const auto nothing = co_await f.read_chunk(0, 0);
            CHECK((nothing && nothing->empty()));
            CHECK(c.buffers().leased() == 0);
            const bool fixed = c.ring() != nullptr && registered > 0 && registers(c);
            CHECK((c.stats().fixed_transfers > 0) == fixed);
        });
    }
}

TEST_CASE("a file is copied chunk by chunk, and written from a stream's chunks") {
    flavours::each_task([](core& c) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(700'001);
        files::put(dir / "from", data);
        auto from = (co_await file::open(dir / "from")).value();
        auto to = (co_await file::open(dir / "to", {.write = true, .create = true})).value();
        auto both = co_await flavours::connected();
        auto send = [&]() -> task<> {
            for (std::size_t at = 0;;) {
                auto piece = co_await from.read_chunk(at, 200'000);
                if (!piece) break;
                at += piece->size();
                CHECK(co_await both.client.send_all(std::move(*piece)));
            }
            CHECK(both.client.try_shutdown_send());
        };
        auto receive = [&]() -> task<> {
            for (std::size_t at = 0;;) {
                auto piece = co_await both.server.chunks().next();
                if (!piece) break;
                const std::size_t size = piece->size();
                CHECK(co_await to.write_all_at(std::move(*piece), at));
                at += size;
            }
        };
        co_await all_of(send(), receive());
        CHECK(files::get(dir / "to") == net::text_of(data));
        CHECK(c.buffers().leased() == 0);
    });
}

TEST_CASE("it is the memory that decides: spans of a chunk go by the fixed operation too") {
    flavours::each_task([](core& c) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(page);
        files::put(dir / "f", data);
        auto f = (co_await file::open(dir / "f", {.write = true})).value();
        std::vector<std::byte> own(page);
        CHECK((co_await f.read_at(own, 0)).value() == page);
        CHECK((co_await f.write_at(own, page)).value() == page);
        CHECK(c.stats().fixed_transfers == 0);
        auto lease = (co_await f.read_chunk(0, page)).value();
        std::fill(lease.bytes().begin(), lease.bytes().end(), std::byte{0});
        CHECK((co_await f.read_at(lease.bytes().subspan(10, 1000), 100)).value() == 1000);
        CHECK(std::memcmp(lease.bytes().data() + 10, data.data() + 100, 1000) == 0);
        CHECK(lease.bytes()[9] == std::byte{0});
        CHECK(lease.bytes()[1010] == std::byte{0});
        CHECK((co_await f.write_at(lease.bytes().subspan(10, 1000), 2 * page)).value() == 1000);
        CHECK(co_await f.write_all_at(lease.bytes().subspan(10, 1000), 3 * page));
        lease.drop_front(10);
        CHECK(co_await f.write_all_at(std::move(lease), 4 * page));
        const std::string after = files::get(dir / "f");
        for (const std::size_t at : {2 * page, 3 * page, 4 * page})
            CHECK(std::memcmp(after.data() + at, data.data() + 100, 1000) == 0);
        CHECK(after.size() == 5 * page - 10);
        const bool fixed = c.ring() != nullptr && registers(c);
        CHECK(c.stats().fixed_transfers == (fixed ? 5 : 0));
        CHECK(c.buffers().leased() == 0);
    });
}

TEST_CASE("without locked memory the same goes on by plain operations") {
    const auto body = [](core& c) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(100'000);
        files::put(dir / "f", data);
        auto f = (co_await file::open(dir / "f", {.write = true})).value();
        auto got = (co_await f.read_chunk(30'000)).value();
        CHECK(equal(got, data, 30'000));
        const std::size_t size = got.size();
        CHECK(co_await f.write_all_at(std::move(got), 100'000));
        CHECK(files::get(dir / "f").size() == 100'000 + size);
        CHECK(c.stats().fixed_transfers == 0);
        CHECK(c.buffers().registered().bytes == 0);
        CHECK(c.buffers().leased() == 0);
    };
    flavours::each([&](core& c) {
        const faults::soft_limit none(RLIMIT_MEMLOCK, 0);
        REQUIRE(none.value() == 0);
        block_on(c, body(c));
    });
#ifndef NDEBUG
    flavours::each([&](core& c) {
        const faults::failing none("register_buffers", ENOMEM);
        block_on(c, body(c));
    });
#endif
}

TEST_CASE("an error gives the buffer back") {
    flavours::each_task([](core& c) -> task<> {
        const files::temp_folder dir;
        REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
        auto fifo = (co_await file::open(dir / "fifo")).value();
        CHECK((co_await fifo.read_chunk(0)).error() == std::errc::invalid_seek);
        auto folder = (co_await file::open(dir.path(), {.folder = true})).value();
        CHECK((co_await folder.read_chunk(0)).error() == std::errc::is_a_directory);
        auto written = co_await file::open(dir / "w",
                                           {.read = false, .write = true, .create = true});
        REQUIRE(written);
        CHECK((co_await written->read_chunk(0)).error() == std::errc::bad_file_descriptor);
        auto zeros = (co_await file::open("/dev/zero")).value();
        auto full = (co_await file::open("/dev/full", {.write = true})).value();
        auto piece = (co_await zeros.read_chunk(0)).value();
        CHECK((co_await full.write_all_at(std::move(piece), 0)).error() ==
              std::errc::no_space_on_device);
        CHECK(c.buffers().leased() == 0);
    });
}

TEST_CASE("cancelled at any moment: one outcome, and no buffer is lost") {
    each_with(few(64), [](core& c) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(200'000);
        files::put(dir / "f", data);
        auto f = (co_await file::open(dir / "f", {.write = true})).value();
        CHECK(co_await f.sync());
        for (int round = 0; round < 20; ++round) {
            for (const int turns : {-1, 0, 1, 2, 3}) {
                ::posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
                const std::size_t at = static_cast<std::size_t>(round) * 9000;
                auto read = [&]() -> task<std::error_code> {
                    const auto got = co_await f.read_chunk(at);
                    if (got) CHECK(equal(*got, data, at));
                    co_return got.error();
                };
                auto error = co_await net::cancelled_after(turns, read);
                CHECK((!error || error == errc::cancelled));
                if (turns == -1) CHECK(error == errc::cancelled);
                auto piece = co_await f.read_chunk(at);
                REQUIRE(piece);
                auto write = [&]() -> task<std::error_code> {
                    co_return (co_await f.write_all_at(std::move(*piece), at)).error();
                };
                error = co_await net::cancelled_after(turns, write);
                CHECK((!error || error == errc::cancelled));
                *piece = chunk();
                CHECK(c.buffers().leased() == 0);
            }
        }
        CHECK(files::get(dir / "f") == net::text_of(data));
    });
}

TEST_CASE("where no buffer is free a read waits for one, in its turn") {
    each_with(few(limit), [](core& c) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(100 * page);
        files::put(dir / "f", data);
        auto f = (co_await file::open(dir / "f")).value();
        CHECK((co_await f.read_chunk(0)).value().size() == page);
        auto held = co_await every_buffer(c, f, by_hand(c));
        std::vector<std::size_t> order;
        auto one = [&](std::size_t at) -> task<> {
            const auto got = co_await f.read_chunk(at * page);
            REQUIRE(got);
            CHECK(equal(*got, data, at * page));
            order.push_back(at);
            co_await yield();  // with the lease
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (std::size_t i = 0; i < 100; ++i) s.start(one(i));
            for (int i = 0; i < 5; ++i) co_await yield();
            CHECK(order.empty());
            CHECK(c.stats().starvations == 100);
            held.clear();
        });
        CHECK(order.size() == 100);
        CHECK(order.front() < limit);
    });
}

TEST_CASE("a read that waits for a buffer is cancelled, and ends at its limit") {
    manual_clock clock;
    flavours::each(
        [&](core& c) {
            auto body = [&]() -> task<> {
                const files::temp_folder dir;
                files::put(dir / "f", net::pattern(page));
                auto f = (co_await file::open(dir / "f")).value();
                std::ignore = co_await f.read_chunk(0);
                auto held = co_await every_buffer(c, f, by_hand(c));
                CHECK((co_await f.read_chunk(0).within(1s)).error() == errc::timed_out);
                auto read = [&]() -> task<std::error_code> {
                    co_return (co_await f.read_chunk(0)).error();
                };
                for (const int turns : {-1, 0, 1, 3})
                    CHECK(co_await net::cancelled_after(turns, read) == errc::cancelled);
                // One is given back in the turn of the cancellation: it is there for the next.
                co_await with_scope([&](scope& s) -> task<> {
                    auto ignored = [&]() -> task<> { std::ignore = co_await f.read_chunk(0); };
                    s.start(ignored());
                    s.start(ignored());
                    co_await yield();
                    held.pop_back();
                    s.cancel();
                    co_await yield();
                });
                CHECK(c.buffers().leased() == held.size());
                CHECK(co_await f.read_chunk(0));
                // What is written does not wait: it brings its buffer.
                auto to = co_await file::open(dir / "to", {.write = true, .create = true});
                REQUIRE(to);
                CHECK(co_await to->write_all_at(std::move(held.back()), 0));
            };
            block_on(c, body());
            CHECK(c.buffers().leased() == 0);
            CHECK(c.in_flight == 0);
        },
        [&](core_options& o) {
            o.clock = &clock;
            o.buffers = few(limit);
        });
}

TEST_CASE("streams and files that wait for the same few buffers all get through") {
    each_with(few(limit), [](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(60 * page);
        files::put(dir / "f", data);
        auto f = (co_await file::open(dir / "f")).value();
        auto receive = [&](tcp_stream& from) -> task<> {
            std::size_t at = 0;
            while (auto got = co_await from.chunks().next()) {
                CHECK(equal(*got, data, at));
                at += got->size();
                co_await yield();  // with the lease
            }
            CHECK(at == data.size());
        };
        auto send = [&](tcp_stream& to) -> task<> {
            for (std::size_t at = 0; at < data.size();) {
                auto piece = (co_await f.read_chunk(at)).value();
                at += piece.size();
                // Not with the lease: who waits for room in a socket keeps it from its reader.
                const std::vector<std::byte> copy(piece.bytes().begin(), piece.bytes().end());
                piece.reset();
                CHECK(co_await to.send_all(copy));
            }
            CHECK(to.try_shutdown_send());
        };
        std::vector<flavours::pair> pairs;
        for (int i = 0; i < 6; ++i) pairs.push_back(co_await flavours::connected());
        co_await with_scope([&](scope& s) -> task<> {
            for (flavours::pair& p : pairs) {
                s.start(receive(p.server));
                s.start(send(p.client));
            }
            co_return;
        });
    });
}

TEST_CASE("a buffer that comes back goes to a file that waits for one before it goes to the ring") {
    each_with(few(limit), [](core& c) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(page));
        auto f = (co_await file::open(dir / "f")).value();
        auto both = co_await net::half_connected();
        CHECK(both.client.send("one"));
        CHECK((co_await both.server.chunks().next())->text() == "one");
        for (int i = 0; i < 3; ++i) co_await yield();
        std::uint32_t spare = limit - c.buffers().with_kernel() - c.buffers().leased();
        auto held = co_await every_buffer(c, f, spare);
        CHECK(both.client.send("two"));
        std::optional<chunk> from_ring;
        if (c.buffers().with_kernel() > 0) {
            from_ring.emplace((co_await both.server.chunks().next()).value());
        } else {
            from_ring.emplace(std::move(held.back()));
            held.pop_back();
        }
        bool served = false;
        const auto read = [&]() -> task<> {
            const auto got = co_await f.read_chunk(0);
            served = got && got->size() == page;
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(read());
            for (int i = 0; i < 3; ++i) co_await yield();
            CHECK_FALSE(served);
            from_ring.reset();
            CHECK(co_await net::come_true([&] { return served; }));
            held.clear();
        });
    });
}
