// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Files at their limits: offsets that no file has, lengths that add up to more than there are
// numbers, files that are none, and those that read in pieces.

#include "file_helpers.hpp"

#include <core/buffer_pool.hpp>
#include <kernel/ring.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using net::bytes_of;

constexpr std::array no_offsets{UINT64_MAX, std::uint64_t{INT64_MAX} + 1};

/// Everything of a file by one read of more than it has.
task<std::string> read_in_one(const std::string& path) {
    auto f = (co_await file::open(path)).value();
    std::vector<std::byte> room(512 * 1024);
    const std::size_t got = (co_await f.read_at(room, 0)).value();
    co_return net::text_of(std::span(room).first(got));
}

/// The kernel's own, and it has a record to be read: else a read would wait.
bool is_log_with_records(const file& f) {
    struct stat s {};
    if (::fstat(f.native_handle(), &s) != 0 || !S_ISCHR(s.st_mode) || s.st_rdev != makedev(1, 11))
        return false;
    pollfd asked{.fd = f.native_handle(), .events = POLLIN, .revents = 0};
    return ::poll(&asked, 1, 0) == 1 && (asked.revents & POLLIN) != 0;
}
/// Further lines of a record begin with a blank.
long records_in(std::string_view text) {
    long count = 0;
    for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
        if (text[at] != ' ') ++count;
        if (text.find('\n', at) == std::string_view::npos) return -1;  // cut off
    }
    return count;
}

}  // namespace

TEST_CASE("an offset that no file has is no position in it: nothing is read, written or sent") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", "what it was");
        auto f = (co_await file::open(dir / "f", {.write = true})).value();
        auto both = co_await flavours::connected();
        std::array<std::byte, 8> room{};
        for (const std::uint64_t offset : no_offsets) {
            CHECK((co_await f.read_at(room, offset)).error() == errc::end_of_stream);
            CHECK((co_await f.read_chunk(offset)).error() == errc::end_of_stream);
            CHECK((co_await f.write_at(bytes_of("overwritten"), offset)).error() ==
                  std::errc::invalid_argument);
            CHECK((co_await f.write_all_at(bytes_of("overwritten"), offset)).error() ==
                  std::errc::invalid_argument);
            CHECK((co_await f.fetch(offset, 100)).has_value());
            CHECK((co_await f.fetch(offset, UINT64_MAX)).has_value());
            CHECK((co_await both.client.send_file(f, offset, 5)).value_or(1) == 0);
            CHECK((co_await both.client.send_file(f, offset, 1'000'000)).value_or(1) == 0);
            CHECK(both.client.try_send_file(f, offset, 5).value_or(1) == 0);
        }
        CHECK((co_await f.fetch(3, UINT64_MAX)).has_value());
        CHECK((co_await both.client.send_file(f, INT64_MAX, 5)).value_or(1) == 0);
        CHECK(both.client.try_shutdown_send().has_value());
        CHECK((co_await both.server.recv(room)).error() == errc::end_of_stream);
        CHECK(files::get(dir / "f") == "what it was");
    });
}

TEST_CASE("a read that reaches past the last byte a file can have gives those before, or the end") {
    flavours::each_task([](core&) -> task<> {
        constexpr std::uint64_t last = INT64_MAX;
        const files::temp_folder dir;
        files::put(dir / "f", "short");
        auto f = (co_await file::open(dir / "f")).value();
        std::array<std::byte, 8> room{};
        for (const std::uint64_t offset : {last, last - 3, last - 8}) {
            CHECK((co_await f.read_at(room, offset)).error() == errc::end_of_stream);
            CHECK((co_await f.read_at({}, offset)).value_or(1) == 0);
            CHECK((co_await f.read_chunk(offset)).error() == errc::end_of_stream);
            CHECK((co_await f.read_chunk(offset, 2)).error() == errc::end_of_stream);
        }
        // One that has them all.
        const int fd = ::memfd_create("ringlet", MFD_CLOEXEC);
        REQUIRE(fd >= 0);
        const file full{owned_descriptor(fd)};
        REQUIRE(::pwrite(fd, "end", 3, INT64_MAX - 3) == 3);
        CHECK((co_await full.read_at(room, last - 3)).value_or(0) == 3);
        CHECK(net::text_of(std::span(room).first(3)) == "end");
        CHECK((co_await full.read_at(room, last)).error() == errc::end_of_stream);
        {
            const auto tail = co_await full.read_chunk(last - 3);
            REQUIRE(tail);
            CHECK(tail->text() == "end");
        }
        CHECK((co_await full.read_chunk(last)).error() == errc::end_of_stream);
    });
}

TEST_CASE("a head in front of all that a file may have") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", "what it has");
        auto f = (co_await file::open(dir / "f")).value();
        const auto head = net::pattern(20'000);
        for (const std::uint64_t length : {UINT64_MAX, UINT64_MAX - 10'000}) {
            auto both = co_await flavours::connected();
            // Not a small piece, so nothing goes at once.
            CHECK(both.client.try_send_file(f, 0, length, head).value_or(1) == 0);
            CHECK((co_await both.client.send_file(f, 0, length, head)).value_or(0) == 11);
            CHECK(both.client.try_shutdown_send().has_value());
            auto wanted = head;
            const auto tail = bytes_of("what it has");
            wanted.insert(wanted.end(), tail.begin(), tail.end());
            CHECK(co_await net::receive(both.server, SIZE_MAX) == wanted);
        }
    });
}

TEST_CASE("a pipe is no file, whoever has opened it") {
    flavours::each_task([](core&) -> task<> {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        ::close(ends[0]);
        const file f{owned_descriptor(ends[1])};
        std::array<std::byte, 8> room{};
        CHECK((co_await f.write_at(bytes_of("text"), 0)).error() == std::errc::invalid_seek);
        CHECK((co_await f.write_all_at(bytes_of("text"), 0)).error() == std::errc::invalid_seek);
        CHECK((co_await f.read_at(room, 0)).error() == std::errc::invalid_seek);
        CHECK((co_await f.read_chunk(0)).error() == std::errc::invalid_seek);
    });
}

TEST_CASE("nor is an eventfd, which can be seeked: a ring would read it as a stream, and wait") {
    flavours::each_task([](core&) -> task<> {
        const file f{owned_descriptor(::eventfd(7, EFD_CLOEXEC))};
        std::array<std::byte, 16> room{};
        CHECK((co_await f.read_at(room, 0).within(5s)).error() == std::errc::invalid_seek);
        CHECK((co_await f.read_chunk(0).within(5s)).error() == std::errc::invalid_seek);
        CHECK((co_await f.write_at(std::span(room).first(8), 0)).error() ==
              std::errc::invalid_seek);
        std::uint64_t count = 0;
        CHECK(::read(f.native_handle(), &count, sizeof count) == sizeof count);
        CHECK(count == 7);
    });
}

TEST_CASE("a device that gives records gives one, and does not wait for the next") {
    flavours::each_task([](core&) -> task<> {
        auto f = co_await file::open("/dev/kmsg");
        if (!f || !is_log_with_records(*f)) {
            MESSAGE("skipped: no kernel log to be read here");
            co_return;
        }
        std::vector<std::byte> room(64 * 1024);
        // Broken pipe: the oldest record was overwritten before it could be read.
        auto got = co_await f->read_at(room, 0).within(20s);
        for (int i = 0; i < 100 && !got && got.error() == std::errc::broken_pipe; ++i)
            got = co_await f->read_at(room, 0).within(20s);
        REQUIRE(got);
        CHECK(records_in(net::text_of(std::span(room).first(*got))) == 1);
        auto again = co_await file::open("/dev/kmsg");
        REQUIRE(again);
        auto one = co_await again->read_chunk(0).within(20s);
        for (int i = 0; i < 100 && !one && one.error() == std::errc::broken_pipe; ++i)
            one = co_await again->read_chunk(0).within(20s);
        REQUIRE(one);
        CHECK(records_in(one->text()) == 1);
    });
}

TEST_CASE("a file of somebody else's that was opened O_NONBLOCK is read and written as any other") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const std::string path = dir / "f";
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600);
        const file f{owned_descriptor(fd)};
        std::array<std::byte, 8> room{};
        CHECK((co_await f.write_all_at(bytes_of("text"), 0)).has_value());
        CHECK((co_await f.read_at(room, 0)).value_or(0) == 4);
        CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
    });
}

TEST_CASE("a file that reads in pieces is read until the room is full or it ends") {
    flavours::each_task([](core& c) -> task<> {
        // A line for each symbol of the kernel, a page or so at each read(2); does not change.
        const std::string path = "/proc/kallsyms";
        const std::string whole = co_await read_in_one(path);
        if (whole.size() < 512 * 1024) MESSAGE("few symbols: ", whole.size(), " bytes");
        std::string plainly(whole.size(), '\0');
        std::ifstream(path).read(plainly.data(), static_cast<std::streamsize>(plainly.size()));
        CHECK(whole == plainly);
        auto f = (co_await file::open(path)).value();
        auto some = co_await f.read_chunk(0);
        REQUIRE(some);
        CHECK(some->size() == c.buffers().options().size);
        CHECK(some->text() == std::string_view(whole).substr(0, some->size()));
        // To its end, which no size tells.
        const std::string mine = co_await read_in_one("/proc/filesystems");
        CHECK(mine == files::get("/proc/filesystems"));
    });
}

TEST_CASE("a regular file's end costs the ring no read more") {
    flavours::each_task([](core& c) -> task<> {
        if (c.ring() == nullptr) co_return;
        const files::temp_folder dir;
        files::put(dir / "f", "some text");
        auto f = (co_await file::open(dir / "f")).value();
        std::array<std::byte, 100> room{};
        CHECK((co_await f.read_at(room, 0)).value_or(0) == 9);
        const auto before = c.stats().submitted;
        CHECK((co_await f.read_at(room, 0)).value_or(0) == 9);
        CHECK(c.stats().submitted == before + 1);
    });
}

#ifndef NDEBUG
TEST_CASE("the loop looks for a bounded part of what is fetched, and a thread for the rest") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(16 * 1024 * 1024));
        auto f = (co_await file::open(dir / "f")).value();
        const faults::failing samples("preadv2", 0);  // counted, of this thread
        CHECK((co_await f.fetch(0, 16 * 1024 * 1024)).has_value());
        CHECK(samples.refused() > 0);
        CHECK(samples.refused() <= 64);
    });
}
#endif
