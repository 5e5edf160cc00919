// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Any operation of the ring, awaited by the function that fills its SQE.

#include "aborts.hpp"
#include "net_helpers.hpp"

#include <kernel/ring.hpp>

#include <liburing.h>

#include <fcntl.h>
#include <poll.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

/// Runs on the ring's flavours; on epoll the operation is unsupported, and that is checked.
template <class Body>
void each_ring(Body body) {
    flavours::each_task([&](core& c) -> task<> {
        if (c.backend() == backend::epoll) {
            const auto refused = co_await uring([](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); });
            CHECK(refused.error() == errc::unsupported);
            co_return;
        }
        co_await body(c);
        for (int i = 0; i < 1000 && c.in_flight > 0; ++i) co_await yield();
        CHECK(c.in_flight == 0);
    });
}

}  // namespace

TEST_CASE("an entry that is used again has nothing of its last use") {
    for (const flavours::flavour& f : flavours::all) {
        if (f.backend == backend::epoll) continue;
        INFO("on ", std::string(f.name));
        kernel::ring::failure why;
        const auto ring =
            kernel::ring::make({.flavour = f.ring, .submission_entries = 4}, why);
        if (ring == nullptr) {
            MESSAGE("skipped on ", f.name, ": ", why.explanation);
            continue;
        }
        static_cast<void>(ring->reap([](std::uint64_t, std::int32_t, std::uint32_t) {}));
        for (int i = 0; i < 4; ++i) {
            io_uring_sqe& used = ring->take();
            std::memset(&used, 0x55, sizeof used);
            io_uring_prep_nop(&used);
            // What a no-op may have; the rest is as if it had been of another operation.
            used.flags = 0;
            used.ioprio = 0;
            used.rw_flags = 0;
            used.personality = 0;
            used.file_index = 0x55;
            used.addr3 = 0x5555;
            used.user_data = static_cast<std::uint64_t>(kernel::tag::nobody);
        }
        REQUIRE(ring->enter(0, 0, 0) == 0);
        const auto succeeded = [](std::uint64_t, std::int32_t res, std::uint32_t) {
            CHECK(res == 0);
        };
        CHECK(ring->reap(succeeded) == 4);
        for (int i = 0; i < 4; ++i) {
            io_uring_sqe fresh{};
            io_uring_prep_recv(&fresh, 7, nullptr, 10, 0);
            fresh.user_data = 0;
            io_uring_sqe& again = ring->take();
            io_uring_prep_recv(&again, 7, nullptr, 10, 0);
            again.user_data = 0;
            CHECK(std::memcmp(&again, &fresh, sizeof fresh) == 0);
        }
    }
}

TEST_CASE("a no-op, and a write and a read at an offset") {
    each_ring([](core&) -> task<> {
        CHECK((co_await uring([](io_uring_sqe& sqe) { io_uring_prep_nop(&sqe); })).value() == 0);
        const unique_fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
        REQUIRE(file.get() >= 0);
        const int fd = file.get();
        const std::string text = "by hand";
        const auto written = co_await uring([&](io_uring_sqe& sqe) {
            io_uring_prep_write(&sqe, fd, text.data(), static_cast<unsigned>(text.size()), 100);
        });
        CHECK(written.value() == 7);
        std::array<char, 16> room{};
        const auto read = co_await uring([&](io_uring_sqe& sqe) {
            io_uring_prep_read(&sqe, fd, room.data(), room.size(), 100);
        });
        CHECK(std::string(room.data(), static_cast<std::size_t>(read.value())) == text);
    });
}

TEST_CASE("the flags of the answer come along where they are asked for") {
    flavours::each_task([](core& c) -> task<> {
        auto both = co_await flavours::connected();
        CHECK(co_await both.client.send_all("12345678"));
        std::array<char, 5> room{};
        const auto receive = [&](io_uring_sqe& sqe) {
            io_uring_prep_recv(&sqe, -1, room.data(), room.size(), 0);
            both.server.aim(sqe);
        };
        constexpr std::uint32_t untouched = 0xffffffff;
        std::uint32_t flags = untouched;
        const auto part = co_await uring(receive, flags);
        if (c.backend() == backend::epoll) {
            CHECK(part.error() == errc::unsupported);
            CHECK(flags == untouched);
            co_return;
        }
        CHECK(part.value() == 5);
        CHECK(flags == IORING_CQE_F_SOCK_NONEMPTY);  // three more are there (Linux 5.19)
        const auto rest = co_await uring(receive, flags).within(10s);
        CHECK(rest.value() == 3);
        CHECK(flags == 0);
    });
}

TEST_CASE("of several answers the flags are the first one's, as the result is") {
    each_ring([](core&) -> task<> {
        auto both = co_await flavours::connected();
        const auto bytes = net::pattern(5000);
        std::uint32_t flags = 0;
        const auto sent = co_await uring(
            [&](io_uring_sqe& sqe) {
                io_uring_prep_send_zc(&sqe, -1, bytes.data(), bytes.size(), MSG_WAITALL, 0);
                both.client.aim(sqe);
            },
            flags);
        if (!sent && sent.error() == std::errc::invalid_argument) {
            flavours::left_out("send_zc", sent.error().message(), {6, 0});
            co_return;
        }
        CHECK(sent.value() == 5000);
        CHECK(flags == IORING_CQE_F_MORE);
    });
}

TEST_CASE("the kernel's errors come as they are") {
    each_ring([](core&) -> task<> {
        const auto bad = co_await uring([](io_uring_sqe& sqe) { io_uring_prep_fsync(&sqe, -1, 0); });
        CHECK(bad.error() == std::errc::bad_file_descriptor);
    });
}

TEST_CASE("a time limit, a cancellation and a stop end it; its memory is free then") {
    each_ring([](core& c) -> task<> {
        auto both = co_await net::half_connected();
        std::array<char, 16> room{};
        const auto receive = [&](io_uring_sqe& sqe) {
            io_uring_prep_recv(&sqe, -1, room.data(), room.size(), 0);
            both.server.aim(sqe);
        };
        CHECK((co_await uring(receive).within(5ms)).error() == errc::timed_out);
        const auto wait = [&]() -> task<std::error_code> {
            co_return (co_await uring(receive)).error();
        };
        for (int turns = -1; turns < 4; ++turns)
            CHECK((co_await net::cancelled_after(turns, wait)) == errc::cancelled);
        CHECK(both.client.send("after all"));
        CHECK((co_await uring(receive).or_stop()).value() == 9);
        c.request_stop();
        CHECK((co_await uring(receive).or_stop()).error() == errc::stopping);
    });
}

TEST_CASE("an operation of several answers ends with the last and gives the first") {
    each_ring([](core&) -> task<> {
        auto both = co_await flavours::connected();
        const auto bytes = net::pattern(5000);
        // Zero-copy: one answer for the bytes, one that says the memory is free.
        const auto sent = co_await uring([&](io_uring_sqe& sqe) {
            io_uring_prep_send_zc(&sqe, -1, bytes.data(), bytes.size(), MSG_WAITALL, 0);
            both.client.aim(sqe);
        });
        if (!sent && sent.error() == std::errc::invalid_argument) {
            flavours::left_out("send_zc", sent.error().message(), {6, 0});
            co_return;
        }
        CHECK(sent.value() == 5000);
        const auto received = co_await net::receive(both.server, bytes.size());
        CHECK(received == bytes);
    });
}

namespace {
/// What it says of such an entry; nothing else of it matters.
std::string refusal(const core_options& options, void (*fill)(io_uring_sqe&)) {
    return abort_message([&] {
        const auto c = core::make(options).value();
        const auto ask = [&]() -> task<> { std::ignore = co_await uring(fill).within(100ms); };
        block_on(*c, ask());
    });
}
template <unsigned flag>
void nop_with(io_uring_sqe& sqe) {
    io_uring_prep_nop(&sqe);
    sqe.flags |= flag;
}
}  // namespace

TEST_CASE("what would hang, or take what is others', is refused by name") {
    using fill = void (*)(io_uring_sqe&);
    const std::pair<fill, const char*> bad[] = {
        {nop_with<IOSQE_CQE_SKIP_SUCCESS>, "IOSQE_CQE_SKIP_SUCCESS: a success would never be told"},
        {nop_with<IOSQE_IO_LINK>, "IOSQE_IO_LINK: the next entry is whatever task's"},
        {nop_with<IOSQE_IO_HARDLINK>, "IOSQE_IO_HARDLINK: the next entry is whatever task's"},
        {nop_with<IOSQE_IO_DRAIN>, "IOSQE_IO_DRAIN: it waits for all that is in the ring"},
        {[](io_uring_sqe& sqe) {
             io_uring_prep_recv(&sqe, -1, nullptr, 0, 0);
             sqe.flags |= IOSQE_BUFFER_SELECT;
         },
         "IOSQE_BUFFER_SELECT: the buffer would be lost"},
        {[](io_uring_sqe& sqe) { io_uring_prep_multishot_accept(&sqe, -1, nullptr, nullptr, 0); },
         "a multishot operation"},
        {[](io_uring_sqe& sqe) { io_uring_prep_recv_multishot(&sqe, -1, nullptr, 0, 0); },
         "a multishot operation"},
        {[](io_uring_sqe& sqe) { io_uring_prep_recvmsg_multishot(&sqe, -1, nullptr, 0); },
         "a multishot operation"},
        {[](io_uring_sqe& sqe) { io_uring_prep_poll_multishot(&sqe, -1, POLLIN); },
         "a multishot operation"},
        {[](io_uring_sqe& sqe) {
             io_uring_prep_timeout(&sqe, nullptr, 0, 1U << 6);  // IORING_TIMEOUT_MULTISHOT
         },
         "a multishot operation"},
        {[](io_uring_sqe& sqe) {
             io_uring_prep_rw(49, &sqe, -1, nullptr, 0, 0);  // IORING_OP_READ_MULTISHOT
         },
         "a multishot operation"},
    };
    for (const flavours::flavour& f : flavours::all) {
        const core_options options = flavours::options_of(f);
        if (f.backend == backend::epoll) continue;
        INFO("on ", std::string(f.name));
        if (!flavours::made(options)) continue;
        for (const auto& [prepare, part] : bad) {
            const std::string said = refusal(options, prepare);
            INFO(said);
            CHECK(says(said, part));
        }
    }
    // And what they are made of is not: one answer each.
    each_ring([](core&) -> task<> {
        auto both = co_await net::half_connected();
        CHECK(both.client.send("x"));
        const auto once = co_await uring([&](io_uring_sqe& sqe) {
            io_uring_prep_poll_add(&sqe, -1, POLLIN);
            both.server.aim(sqe);
        });
        CHECK(once.value() == POLLIN);
        __kernel_timespec soon{.tv_sec = 0, .tv_nsec = 1};
        const auto passed = co_await uring(
            [&](io_uring_sqe& sqe) { io_uring_prep_timeout(&sqe, &soon, 0, 0); });
        CHECK(passed.error() == std::error_code(ETIME, std::system_category()));
    });
}

TEST_CASE("an SQE that is filled by its opcode alone has nothing of the entry's last use") {
    flavours::each([](core& c) {
        if (c.ring() == nullptr) return;
        block_on(c, []() -> task<> {
            std::vector<flavours::pair> pairs;
            for (int i = 0; i < 4; ++i) pairs.push_back(co_await flavours::connected());
            for (auto& both : pairs) {  // armed, with a window of buffers
                CHECK(co_await both.client.send_all("x"));
                CHECK(co_await both.server.chunks().next());
            }
            for (int i = 0; i < 8; ++i) {
                const auto nop = [](io_uring_sqe& sqe) { sqe.opcode = IORING_OP_NOP; };
                const auto done = co_await uring(nop);
                CHECK(done);
            }
        }());
    }, [](core_options& o) { o.ring_entries = 4; });
}
