// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "file_helpers.hpp"

#include <kernel/sys.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using net::bytes_of;

task<std::error_code> error_of_open(std::string path, open_options options = {}) {
    co_return (co_await file::open(path, options)).error();
}

/// Keeps the only thread of the pool until it is opened.
class plug {
public:
    task<> hold() {
        const auto held = co_await blocking([this] {
            in_.store(true);
            in_.notify_all();
            open_.wait(false);
        });
        CHECK(held);
    }
    void wait_until_held() { in_.wait(false); }
    void pull() {
        open_.store(true);
        open_.notify_all();
    }

private:
    std::atomic<bool> in_{false};
    std::atomic<bool> open_{false};
};

}  // namespace

TEST_CASE("what is written is read back, at any offset, also from another opening") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const std::string path = dir / "data";
        const auto data = net::pattern(300'000);
        auto made = co_await file::open(path, {.write = true, .create = true});
        REQUIRE(made);
        CHECK(co_await made->write_all_at(data, 0));
        std::vector<std::byte> room(400'000);
        const auto whole = co_await made->read_at(room, 0);
        REQUIRE(whole);
        CHECK(*whole == data.size());
        CHECK(std::equal(data.begin(), data.end(), room.begin()));

        auto again = co_await file::open(path);
        REQUIRE(again);
        for (const std::size_t offset : {0U, 1U, 4095U, 4096U, 123'456U, 299'999U}) {
            for (const std::size_t size : {1U, 100U, 4096U, 70'000U}) {
                const auto got = co_await again->read_at(std::span(room).first(size), offset);
                REQUIRE(got);
                CHECK(*got == std::min(size, data.size() - offset));
                CHECK(std::equal(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*got),
                                 data.begin() + static_cast<std::ptrdiff_t>(offset)));
            }
        }
        CHECK((co_await again->read_at(room, data.size())).error() == errc::end_of_stream);
        CHECK((co_await again->read_at(room, 1U << 30)).error() == errc::end_of_stream);
        const auto nothing = co_await again->read_at({}, 0);
        CHECK((nothing && *nothing == 0));

        const auto part = co_await made->write_at(bytes_of("XYZ"), 299'998);
        CHECK((part && *part == 3));
        CHECK(files::get(path).substr(299'998) == "XYZ");
        CHECK(files::get(path).size() == 300'001);
        CHECK(co_await made->write_all_at(bytes_of("after a gap"), 310'000));
        CHECK(files::get(path).substr(300'001, 4) == std::string(4, '\0'));
        // A file that was opened to be read is not written.
        CHECK((co_await again->write_at(bytes_of("no"), 0)).error() ==
              std::errc::bad_file_descriptor);
        CHECK((co_await again->write_all_at(bytes_of("no"), 0)).error() ==
              std::errc::bad_file_descriptor);
    });
}

TEST_CASE("a transfer of many megabytes is whole") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(5'000'001);
        auto f = (co_await file::open(dir / "large", {.write = true, .create = true})).value();
        CHECK(co_await f.write_all_at(data, 0));
        std::vector<std::byte> room(data.size() + 10);
        const auto got = co_await f.read_at(room, 0);
        REQUIRE(got);
        room.resize(*got);
        CHECK(room == data);
    });
}

TEST_CASE("what is not in the page cache is read as well") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const std::string path = dir / "cold";
        const auto data = net::pattern(1'000'000);
        files::put(path, data);
        auto f = (co_await file::open(path, {.write = true})).value();
        CHECK(co_await f.sync());
        for (const std::size_t offset : {0U, 500'000U}) {
            ::posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
            // A hot page before cold ones: the rest is fetched, not cut off.
            std::array<std::byte, 10> start{};
            const auto first = co_await f.read_at(start, offset);
            CHECK((first && *first == start.size()));
            std::vector<std::byte> room(data.size());
            const auto got = co_await f.read_at(room, offset);
            REQUIRE(got);
            CHECK(*got == data.size() - offset);
            CHECK(std::equal(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*got),
                             data.begin() + static_cast<std::ptrdiff_t>(offset)));
        }
    });
}

TEST_CASE("what is fetched is in the page cache afterwards") {
    flavours::each_task([](core&) -> task<> {
        constexpr std::uint64_t size = 3'000'000;
        constexpr std::uint64_t page = 4096;
        constexpr std::uint64_t sample = 128 * 1024;  // file::fetch()
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(size));
        auto f = (co_await file::open(dir / "f", {.write = true})).value();
        const auto cached = [&](std::uint64_t offset) {
            char byte = 0;
            return sys::try_read_at(f.native_handle(), &byte, 1, offset) == 1;
        };
        CHECK(co_await f.sync());
        ::posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
        // tmpfs keeps what it has, and a page that another core still holds stays. Only where
        // nothing is left do samples tell of everything.
        bool was_dropped = true;
        for (std::uint64_t at = 0; at < size; at += page) was_dropped = was_dropped && !cached(at);
        if (!was_dropped) MESSAGE("this file system does not drop all its pages");
        CHECK(co_await f.fetch(0, size));
        for (std::uint64_t at = 0; at < size; at += was_dropped ? page : sample) CHECK(cached(at));
        CHECK(cached(size - 1));
        for (int times = 0; times < 2; ++times) {
            CHECK(co_await f.fetch(0, 1));
            CHECK(co_await f.fetch(2'999'999, 2));
            CHECK(co_await f.fetch(5'000'000, 100));  // beyond the end there is nothing to fetch
            CHECK(co_await f.fetch(10, 0));
        }
        auto folder = (co_await file::open(dir.path())).value();
        CHECK((co_await folder.fetch(0, 10)).error() == std::errc::is_a_directory);
        for (const int turns : {-1, 0, 1}) {
            ::posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
            auto fetch = [&]() -> task<std::error_code> {
                co_return (co_await f.fetch(0, 3'000'000)).error();
            };
            const auto error = co_await net::cancelled_after(turns, fetch);
            CHECK((!error || error == errc::cancelled));
        }
    });
}

TEST_CASE("opening: each option, and each refusal, the same on both backends") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const std::string path = dir / "f";
        CHECK(co_await error_of_open(path) == std::errc::no_such_file_or_directory);
        CHECK(co_await error_of_open("") == std::errc::no_such_file_or_directory);
        CHECK(co_await error_of_open(path + std::string("\0x", 2)) == std::errc::invalid_argument);
        CHECK(co_await error_of_open(dir / std::string(300, 'n')) == std::errc::filename_too_long);
        CHECK(co_await error_of_open(std::string(5000, '/') + "x") == std::errc::filename_too_long);
        CHECK(co_await error_of_open(path, {.read = false}) == std::errc::invalid_argument);
        CHECK(co_await error_of_open(path, {.exclusive = true}) == std::errc::invalid_argument);
        CHECK(co_await error_of_open(path, {.truncate = true}) == std::errc::invalid_argument);

        const ::mode_t mask = ::umask(022);
        auto made = co_await file::open(
            path, {.write = true, .create = true, .exclusive = true, .mode = 0666});
        ::umask(mask);
        REQUIRE(made);
        CHECK(made->try_stat()->permissions == 0644);
        CHECK(co_await made->write_all_at(bytes_of("twelve bytes"), 0));
        CHECK(co_await error_of_open(path, {.write = true, .create = true, .exclusive = true}) ==
              std::errc::file_exists);
        CHECK(!co_await error_of_open(path, {.write = true, .create = true}));
        CHECK(files::get(path) == "twelve bytes");

        {
            auto log = (co_await file::open(path, {.append = true})).value();
            CHECK(co_await log.write_all_at(bytes_of(", and more"), 0));
        }
        CHECK(files::get(path) == "twelve bytes, and more");
        CHECK(!co_await error_of_open(path, {.write = true, .truncate = true}));
        CHECK(files::get(path).empty());

        CHECK(co_await error_of_open(path, {.folder = true}) == std::errc::not_a_directory);
        CHECK(co_await error_of_open(path + "/x") == std::errc::not_a_directory);
        CHECK(co_await error_of_open(dir.path(), {.write = true}) == std::errc::is_a_directory);
        CHECK(!co_await error_of_open(dir.path(), {.folder = true}));
        std::filesystem::create_symlink("loop", dir / "loop");
        CHECK(co_await error_of_open(dir / "loop") == std::errc::too_many_symbolic_link_levels);
    });
}

TEST_CASE("a FIFO is opened without waiting for its other end, and cannot be read by offset") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const std::string path = dir / "fifo";
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
        auto f = co_await file::open(path);
        REQUIRE(f);
        CHECK(f->try_stat()->kind == file_kind::fifo);
        std::array<std::byte, 10> room{};
        CHECK((co_await f->read_at(room, 0)).error() == std::errc::invalid_seek);
        CHECK(co_await error_of_open(path, {.read = false, .write = true}) == std::error_code());
        auto folder = (co_await file::open(dir.path(), {.folder = true})).value();
        CHECK((co_await folder.read_at(room, 0)).error() == std::errc::is_a_directory);
    });
}

TEST_CASE("beneath: nothing leads out of the folder, with openat2 and without it") {
    auto body = [](core& c) -> task<> {
        const files::temp_folder outer;
        std::filesystem::create_directories(outer / "root/sub/deep");
        files::put(outer / "secret", "outside");
        files::put(outer / "root/top", "top");
        files::put(outer / "root/sub/deep/low", "low");
        std::filesystem::create_symlink("sub/deep/low", outer / "root/inside");
        std::filesystem::create_symlink("../secret", outer / "root/out");
        std::filesystem::create_symlink(outer / "root/top", outer / "root/absolute");
        std::filesystem::create_symlink("..", outer / "root/up");
        std::filesystem::create_symlink("sub", outer / "root/alias");
        auto root = (co_await file::open(outer / "root", {.folder = true})).value();
        const auto opened = [&](std::string path) -> task<std::error_code> {
            co_return (co_await root.open_at(path, {.beneath = true})).error();
        };
#ifdef NDEBUG
        constexpr int ways = 1;
#else
        constexpr int ways = 2;
#endif
        for (int way = 0; way < ways; ++way) {
            const bool by_hand = way == 1 && c.ring() == nullptr;
#ifndef NDEBUG
            // A hook is its thread's: the loop tries, the worker walks.
            std::optional<faults::failing> refuse;
            if (way == 1) {
                refuse.emplace("openat2", ENOSYS);
                CHECK(co_await blocking(faults::failing::also_here));
            }
#endif
            INFO("way ", way);
            for (const char* good : {"top", "./top", "sub/deep/low", "sub//deep/./low", "sub", "."})
                CHECK_MESSAGE(!co_await opened(good), good);
            for (const char* bad : {"/etc/passwd", "//etc/passwd"})
                CHECK_MESSAGE(co_await opened(bad) == std::errc::cross_device_link, bad);
            for (const char* bad :
                 {"../secret", "..", "sub/../../secret", "sub/deep/../../../secret", "out",
                  "up/secret", "up", "absolute"})
                CHECK_MESSAGE(co_await opened(bad), bad);
            for (const char* through : {"inside", "alias/deep/low"})
                CHECK_MESSAGE(static_cast<bool>(co_await opened(through)) == by_hand, through);
            CHECK(co_await opened("nothing") == std::errc::no_such_file_or_directory);
            CHECK(co_await opened("top/") == std::errc::not_a_directory);
            CHECK(co_await opened("sub/nothing") == std::errc::no_such_file_or_directory);
            CHECK(co_await opened("") == std::errc::no_such_file_or_directory);
        }
    };
    flavours::each([&](core& c) { block_on(c, body(c)); },
                   [](core_options& o) { o.blocking.threads = 1; });
}

TEST_CASE("a status is the same awaited and at once") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", "0123456789");
        ::chmod((dir / "f").c_str(), 0640);
        auto f = (co_await file::open(dir / "f", {.write = true})).value();
        const auto told = co_await f.stat();
        const auto known = f.try_stat();
        REQUIRE(told);
        REQUIRE(known);
        for (const file_status& s : {*told, *known}) {
            CHECK(s.kind == file_kind::regular);
            CHECK(s.size == 10);
            CHECK(s.permissions == 0640);
            CHECK(s.inode != 0);
            const auto age = std::chrono::system_clock::now() - s.modified;
            CHECK(age > -1min);
            CHECK(age < 10min);
        }
        CHECK(told->inode == known->inode);
        CHECK(told->device == known->device);
        CHECK(told->modified == known->modified);
        CHECK(co_await f.resize(4));
        CHECK(f.try_stat()->size == 4);
        CHECK(files::get(dir / "f") == "0123");
        CHECK(co_await f.resize(6));
        CHECK((co_await f.stat())->size == 6);
        auto folder = (co_await file::open(dir.path())).value();
        CHECK((co_await folder.stat())->kind == file_kind::folder);
        CHECK((co_await folder.resize(0)).error() == std::errc::invalid_argument);
        auto null = (co_await file::open("/dev/null", {.write = true})).value();
        CHECK((co_await null.stat())->kind == file_kind::character_device);
        const auto gone = co_await null.write_at(bytes_of("gone"), 0);
        CHECK((gone && *gone == 4));
    });
}

TEST_CASE("errors of the disk are told: a full device, and one that cannot be synced") {
    flavours::each_task([](core&) -> task<> {
        auto full = co_await file::open("/dev/full", {.write = true});
        REQUIRE(full);
        CHECK((co_await full->write_at(bytes_of("x"), 0)).error() == std::errc::no_space_on_device);
        CHECK((co_await full->write_all_at(bytes_of("x"), 0)).error() ==
              std::errc::no_space_on_device);
        CHECK((co_await full->sync()).error() == std::errc::invalid_argument);
        CHECK((co_await full->sync_data()).error() == std::errc::invalid_argument);
        const files::temp_folder dir;
        auto f = (co_await file::open(dir / "f", {.write = true, .create = true})).value();
        CHECK(co_await f.write_all_at(bytes_of("kept"), 0));
        CHECK(co_await f.sync());
        CHECK(co_await f.sync_data());
    });
}

TEST_CASE("many operations on one file at once") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        auto f = (co_await file::open(dir / "f", {.write = true, .create = true})).value();
        constexpr std::size_t parts = 200;
        constexpr std::size_t size = 1000;
        auto one = [&](std::size_t i) -> task<> {
            const auto data = net::pattern(size, static_cast<unsigned>(i));
            CHECK(co_await f.write_all_at(data, i * size));
            std::vector<std::byte> room(size);
            const auto got = co_await f.read_at(room, i * size);
            CHECK((got && *got == size));
            CHECK(room == data);
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (std::size_t i = 0; i < parts; ++i) s.start(one(i));
            co_return;
        });
        CHECK(f.try_stat()->size == parts * size);
    });
}

TEST_CASE("requests that came together are all read before the first file is at hand") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", "x");
        const std::string path = dir / "f";
        CHECK(!co_await error_of_open(path));
        std::vector<net::half_plain> peers;
        for (int i = 0; i < 3; ++i) peers.push_back(co_await net::half_connected());
        std::string order;
        auto serve = [&](tcp_stream& peer) -> task<> {
            std::array<std::byte, 8> room{};
            CHECK(co_await peer.recv(room));
            order += 'r';
            CHECK(co_await file::open(path));
            order += 'o';
        };
        co_await with_scope([&](scope& s) -> task<> {
            for (auto& peer : peers) s.start(serve(peer.server));
            for (int i = 0; i < 3; ++i) co_await yield();
            for (auto& peer : peers) CHECK(peer.client.send("?"));
        });
        CHECK(order == "rrrooo");
    });
}

TEST_CASE("closing says how it went, leaves nothing, and cannot be cancelled") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", "x");
        const std::size_t before = net::open_files();
        auto f = (co_await file::open(dir / "f")).value();
        CHECK(net::open_files() == before + 1);
        CHECK(co_await f.close());
        CHECK(!f);
        CHECK(co_await f.close());  // an empty one: nothing to do
        CHECK(net::open_files() == before);
        for (const int turns : {-1, 0, 1, 2, 3}) {
            auto opened = (co_await file::open(dir / "f")).value();
            auto closing = [&]() -> task<std::error_code> {
                co_return (co_await opened.close()).error();
            };
            CHECK(!co_await net::cancelled_after(turns, closing));
            CHECK(net::open_files() == before);
        }
        {
            auto dropped = (co_await file::open(dir / "f")).value();
            CHECK(net::open_files() == before + 1);
        }
        CHECK(net::open_files() == before);
    });
}

TEST_CASE("an open that is cancelled at any moment loses no descriptor") {
    flavours::each_task([](core& c) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "old", "x");
        const std::size_t before = net::open_files();
        int opened = 0;
        int refused = 0;
        for (int round = 0; round < 60; ++round) {
            for (const int turns : {-1, 0, 1, 2, 3}) {
                // One that exists in the cache, and one that a worker must make.
                const bool makes = round % 2 == 0;
                const std::string path =
                    makes ? dir / ("new" + std::to_string(round)) : dir / "old";
                auto one = [&]() -> task<std::error_code> {
                    auto f = co_await file::open(path, {.write = makes, .create = makes});
                    ++(f ? opened : refused);
                    co_return f.error();
                };
                const auto error = co_await net::cancelled_after(turns, one);
                CHECK((!error || error == errc::cancelled));
                if (turns == -1) CHECK(error == errc::cancelled);
            }
        }
        CHECK(opened + refused == 300);
        CHECK(c.descriptors().open() == 0);
        CHECK(net::open_files() == before);
    });
}

TEST_CASE("reads, writes and syncs are cancelled at any moment with one outcome") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        auto f = (co_await file::open(dir / "f", {.write = true, .create = true})).value();
        const auto data = net::pattern(200'000);
        CHECK(co_await f.write_all_at(data, 0));
        std::vector<std::byte> room(data.size());
        for (const int turns : {-1, 0, 1, 2, 3}) {
            ::posix_fadvise(f.native_handle(), 0, 0, POSIX_FADV_DONTNEED);
            auto read = [&]() -> task<std::error_code> {
                co_return (co_await f.read_at(room, 0)).error();
            };
            auto write = [&]() -> task<std::error_code> {
                co_return (co_await f.write_all_at(data, 0)).error();
            };
            auto sync = [&]() -> task<std::error_code> { co_return (co_await f.sync()).error(); };
            auto stat = [&]() -> task<std::error_code> { co_return (co_await f.stat()).error(); };
            for (int kind = 0; kind < 4; ++kind) {
                std::error_code error;
                if (kind == 0) error = co_await net::cancelled_after(turns, read);
                if (kind == 1) error = co_await net::cancelled_after(turns, write);
                if (kind == 2) error = co_await net::cancelled_after(turns, sync);
                if (kind == 3) error = co_await net::cancelled_after(turns, stat);
                INFO("kind ", kind, " turns ", turns, ": ", error.message());
                CHECK((!error || error == errc::cancelled));
                if (turns == -1) CHECK(error == errc::cancelled);
            }
        }
        std::fill(room.begin(), room.end(), std::byte{0});
        const auto got = co_await f.read_at(room, 0);
        CHECK((got && *got == data.size()));
        CHECK(room == data);
    });
}

TEST_CASE("without a ring, what waits for a thread obeys its limit, and a cached file needs none") {
    manual_clock clock;
    flavours::each(
        [&](core& c) {
            if (c.ring() != nullptr) return;
            auto body = [&]() -> task<> {
                const files::temp_folder dir;
                files::put(dir / "f", "hot");
                plug p;
                auto f = (co_await file::open(dir / "f", {.write = true})).value();
                int done = 0;
                auto late = [&]() -> task<> {
                    const auto slow = co_await f.write_at(bytes_of("x"), 0).within(1h);
                    CHECK(slow.error() == errc::timed_out);
                    ++done;
                };
                auto refused = [&]() -> task<> {
                    const auto none = co_await f.sync();
                    CHECK(none.error() == errc::pool_full);
                };
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(p.hold());
                    co_await yield();
                    p.wait_until_held();
                    s.start(late());
                    co_await yield();
                    co_await refused();
                    // The cache has the name and the bytes: answered on the loop.
                    auto hot = (co_await file::open(dir / "f")).value();
                    std::array<std::byte, 10> room{};
                    const auto got = co_await hot.read_at(room, 0);
                    CHECK((got && *got == 3));
                    clock.advance(2h);
                    while (done == 0) co_await yield();
                    p.pull();
                });
                CHECK(files::get(dir / "f") == "hot");
            };
            block_on(c, body());
        },
        [&](core_options& o) {
            o.clock = &clock;
            o.blocking.threads = 1;
            o.blocking.queue = 1;
        });
}

TEST_CASE("a file that ends while an operation on it goes on is a bug that is named") {
    const std::string said = abort_message_on_core([](core& c) {
        auto body = []() -> task<> {
            auto f = (co_await file::open("/dev/null", {.write = true})).value();
            auto write = [&]() -> task<> {
                const auto written = co_await f.write_at(bytes_of("x"), 0);
                CHECK(written);
            };
            auto end = [&]() -> task<> {
                f = file();
                co_return;
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(write());
                s.start(end());  // in the same turn: the ring may have written by the next
                co_return;
            });
        };
        block_on(c, body());
    });
    CHECK_MESSAGE(says(said, "while an operation on it was in flight"), said);
}

#ifndef NDEBUG
TEST_CASE("each call of the kernel that fails is told, and nothing is lost") {
    flavours::each_task([](core& c) -> task<> {
        if (c.ring() != nullptr) co_return;  // there the answers of the ring are failed: test_faults
        const files::temp_folder dir;
        files::put(dir / "f", "x");
        const std::size_t before = net::open_files();
        {
            const faults::failing none("openat2", EMFILE);
            CHECK((co_await file::open(dir / "f")).error() == std::errc::too_many_files_open);
        }
        auto f = (co_await file::open(dir / "f")).value();
        std::array<std::byte, 4> room{};
        {
            const faults::failing broken("preadv2", EIO);
            CHECK((co_await f.read_at(room, 0)).error() == std::errc::io_error);
        }
        f = file();
        CHECK(net::open_files() == before);
    });
}
#endif
