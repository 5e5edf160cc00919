// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// The ledger of what the kernel has, in debug builds: an answer for anything else ends the program.

#include "aborts.hpp"
#include "flavours.hpp"

#include <kernel/fault.hpp>
#include <kernel/ledger.hpp>
#include <kernel/ring.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

using namespace ringlet;

#ifndef NDEBUG

namespace {

using kernel::ledger;

io_uring_sqe entry(std::uint64_t user_data, int fd, unsigned char flags = 0) {
    io_uring_sqe sqe{};
    io_uring_prep_recv(&sqe, fd, nullptr, 0, 0);
    sqe.flags |= flags;
    sqe.user_data = user_data;
    return sqe;
}

/// What `body(core&)` says when it aborts, on each flavour of ring.
template <class Body, class Judge>
void each_ring_aborts(Body body, Judge judge) {
    for (const flavours::flavour& f : flavours::all) {
        if (f.backend == backend::epoll) continue;
        INFO("on ", std::string(f.name));
        if (!core::make(flavours::options_of(f))) {
            MESSAGE("skipped on ", f.name);
            continue;
        }
        const std::string said = abort_message([&] {
            const auto c = core::make(flavours::options_of(f)).value();
            body(*c);
        });
        CAPTURE(said);
        judge(said);
    }
}

}  // namespace

TEST_CASE("the ledger has what was submitted until its last answer") {
    ledger l;
    CHECK(l.names(0).empty());
    l.submitted(entry(0x100, 7));
    l.submitted(entry(0x200, 8));
    io_uring_sqe accept{};
    io_uring_prep_multishot_accept(&accept, 5, nullptr, nullptr, 0);
    accept.user_data = 0x301;
    l.submitted(accept);
    CHECK(l.names(0) == "ACCEPT, 2 RECV");
    CHECK(l.names(0x301) == "2 RECV");
    l.answered(0x301, 9, IORING_CQE_F_MORE);
    l.answered(0x100, 0, 0);
    CHECK(l.names(0) == "ACCEPT, RECV");
    l.answered(0x301, -ECANCELED, 0);
    l.answered(0x200, 0, 0);
    CHECK(l.names(0).empty());
    // Its place is used again.
    l.submitted(entry(0x100, 7));
    CHECK(l.names(0) == "RECV");
}

TEST_CASE("the ledger grows with what is in flight, and loses nothing") {
    ledger l;
    constexpr std::uint64_t many = 20'000;
    for (std::uint64_t i = 1; i <= many; ++i) l.submitted(entry(i * 64, 1));
    CHECK(l.names(0) == "20000 RECV");
    for (std::uint64_t i = 1; i <= many; ++i) l.answered(i * 64, 1, 0);
    for (std::uint64_t i = many; i <= 10 * many; ++i) {
        l.submitted(entry(i * 64, 1));
        l.answered(i * 64, 1, 0);
    }
    CHECK(l.names(0).empty());
}

TEST_CASE("the ledger names the last operations that there are") {
    ledger l;
    io_uring_sqe sqe{};
    sqe.fd = -1;
    sqe.user_data = 0x40;
    for (const auto& [number, name] : {std::pair<int, const char*>{IORING_OP_MSG_RING, "MSG_RING"},
                                       {IORING_OP_SEND_ZC, "SEND_ZC"},
                                       {IORING_OP_SENDMSG_ZC, "SENDMSG_ZC"},
                                       {200, "operation 200"}}) {
        sqe.opcode = static_cast<std::uint8_t>(number);
        l.submitted(sqe);
        CHECK(l.names(0) == name);
        l.answered(0x40, 0, 0);
    }
}

TEST_CASE("an answer for what is not in flight names what was there") {
    const std::string unknown = abort_message([] { ledger().answered(0xabc0, -5, 0); });
    CHECK(says(unknown, "the ring answered for what is not in flight: user_data 0xabc0, result -5, "
                        "flags 0x0; nothing was submitted with that"));
    const std::string twice = abort_message([] {
        ledger l;
        l.submitted(entry(0x100, 7, IOSQE_FIXED_FILE));
        l.answered(0x100, 1, 0);
        l.answered(0x100, 2, 0);
    });
    CHECK(says(twice, "result 2, flags 0x0; RECV of slot 7 was there last, and has ended"));
    const std::string again = abort_message([] {
        ledger l;
        l.submitted(entry(0x100, 7));
        l.submitted(entry(0x100, 8));
    });
    CHECK(says(again, "RECV of descriptor 8 was submitted in place of RECV of descriptor 7, which is "
                      "still in flight: user_data 0x100"));
}

TEST_CASE("a core that gets an answer for nothing it has ends the program") {
    each_ring_aborts(
        [](core& c) {
            // An answer with an address of this sender's choice: what a frame that went too early
            // would get.
            io_uring_sqe& sqe = c.ring()->take();
            io_uring_prep_msg_ring(&sqe, c.ring()->fd(), 77, 0xdead0, 0);
            sqe.user_data = static_cast<std::uint64_t>(kernel::tag::nobody);
            c.look();
            c.look();
        },
        [](const std::string& said) {
            CHECK(says(said, "the ring answered for what is not in flight: user_data 0xdead0, result "
                             "77, flags 0x0; nothing was submitted with that"));
        });
}

TEST_CASE("what the kernel still has when a core gives up waiting is named") {
    each_ring_aborts(
        [](core& c) {
            int ends[2];
            if (::pipe(ends) != 0) return;
            static char byte;
            alignas(16) static std::uint64_t somebody;
            io_uring_sqe& sqe = c.ring()->take();
            io_uring_prep_read(&sqe, ends[0], &byte, 1, 0);
            sqe.user_data = reinterpret_cast<std::uint64_t>(&somebody);
            ++c.in_flight;
            c.look();
            kernel::fault::hook = [](const char* call) noexcept {
                return std::strcmp(call, "drain") == 0 ? ETIME : 0;
            };
        },
        [](const std::string& said) {
            // The bell, which is polled as long as there is a ring, is none of it.
            CHECK(says(said, "did not end a cancelled operation within 5 s: READ ("));
        });
}

TEST_CASE("after a session nothing is left in the ledger but the bell") {
    flavours::each_task([](core& c) -> task<> {
        if (c.ring() == nullptr) co_return;
        co_await yield();  // the bell is submitted
        const std::string before = c.ring()->unanswered(0);
        {
            auto both = co_await flavours::connected();
            CHECK(co_await both.client.send_all("hello"));
            const auto got = co_await both.server.chunks().next();
            CHECK(got.value().size() == 5);
            // What it waits with, an armed receive or a poll, is there.
            CHECK(c.ring()->unanswered(0) != before);
        }
        const std::uint64_t end = c.now_ns() + 30'000'000'000;
        while (c.in_flight > 0 && c.now_ns() < end) co_await yield();
        CHECK(c.ring()->unanswered(0) == before);
        CHECK(before == "POLL_ADD");
    });
}

#endif
