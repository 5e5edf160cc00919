// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Failure sweeps: the n-th system call, or the n-th answer of the ring, or the n-th allocation fails,
// for n = 1, 2, ... until the scenario passes untouched. Whatever fails, the scenario ends, with an
// error or without, and nothing is left behind.

#include "file_helpers.hpp"

#include <ringlet/base/frame.hpp>

#include <core/buffer_pool.hpp>
#include <core/pipe_pool.hpp>
#include <kernel/ring.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

thread_local long allocations_left = -1;  // -1: none fails
thread_local std::size_t largest = SIZE_MAX;  // any above it fails

}  // namespace

void* operator new(std::size_t size) {
    if (allocations_left > 0 && --allocations_left == 0) throw std::bad_alloc();
    if (size > largest) throw std::bad_alloc();
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

task<> serve_one(tcp_listener& door) {
    auto peer = co_await door.next();
    if (!peer) co_return;
    while (auto got = co_await peer->chunks().next().within(std::chrono::seconds(5)))
        if (!co_await peer->send_all(std::move(*got))) co_return;
}

bool mangled = false;  // what has come back was not what had been sent

task<bool> ask(address where) {
    constexpr std::string_view text = "twelve bytes";
    std::array<std::byte, 256> room{};
    auto peer = co_await tcp_stream::connect(where).within(std::chrono::seconds(5));
    if (!peer) co_return false;
    for (int i = 0; i < 3; ++i) {
        if (!co_await peer->send_all(text)) co_return false;
        std::size_t received = 0;
        while (received < text.size()) {
            auto got = co_await peer->recv(std::span(room).subspan(received))
                           .within(std::chrono::seconds(5));
            if (!got) co_return false;
            received += *got;
            mangled = mangled || received > text.size() ||
                      std::memcmp(room.data(), text.data(), received) != 0;
        }
    }
    co_return true;
}

/// Combinators, then a server and its client; true when every byte came back.
task<int> half(int value) {
    co_await yield();
    co_return value;
}

task<bool> scenario() {
    auto [a, b] = co_await all_of(half(1), half(2));
    const auto first = co_await any_of(half(3), half(4));
    if (a + b != 3 || first.index() > 1) co_return false;

    auto door = tcp_listener::bind("127.0.0.1:0", listen_options{.on_absorbed = [](auto&) {}});
    if (!door) co_return false;
    bool good = false;
    co_await with_scope([&](scope& s) -> task<> {
        s.start(serve_one(*door));
        good = co_await ask(door->local_name());
        s.cancel();
    });
    co_return good;
}

#ifndef NDEBUG  // the seam is not in release builds
/// Fails the n-th `call` of what `run` does, for n = 1, 2, ... until it is no longer reached; how
/// often that was. `run` says whether all went well, which it may not, if each failure `is_told`.
template <class Run>
long sweep(core& c, const char* call, int error, bool is_told, Run run) {
    for (long n = 1;; ++n) {
        bool good = false;
        bool reached = false;
        {
            const faults::failing nth(call, error, n - 1, 1);
            good = run();
            reached = nth.refused() > 0;
        }
        INFO(std::string(call), " number ", n, " fails with ", std::string(std::strerror(error)));
        CHECK_FALSE(std::exchange(mangled, false));
        CHECK(c.descriptors().open() == 0);
        CHECK(c.buffers().leased() == 0);
        CHECK(c.pipes().leased() == 0);
        if (!reached) {
            CHECK(good);
            return n - 1;
        }
        CHECK_FALSE((is_told && good));
        REQUIRE(n < 1000);
    }
}
long sweep(core& c, const char* call, int error) {
    return sweep(c, call, error, false, [&] { return block_on(c, scenario()); });
}

/// Which of them a scenario comes to.
struct known_call {
    const char* name;
    bool on_ring;
    bool on_epoll;
};

constexpr std::size_t file_size = 40'000;  // more than is copied into a socket

/// Every operation of files, and those of streams with files, pipes and several parts: true when
/// each went well.
task<bool> file_scenario(const std::string& path, flavours::pair& both) {
    const auto bytes = net::pattern(file_size);
    std::vector<std::byte> room(file_size);
    const auto same = [&](std::span<const std::byte> got, std::size_t at) {
        const bool equal = at + got.size() <= bytes.size() &&
                           std::memcmp(got.data(), bytes.data() + at, got.size()) == 0;
        mangled = mangled || !equal;
        return equal;
    };
    const auto arrives = [&](tcp_stream& at_end, std::size_t at, std::size_t size) -> task<bool> {
        while (size > 0) {
            const auto got = co_await at_end.recv(std::span(room).first(size)).within(5s);
            if (!got || !same(std::span(room).first(*got), at)) co_return false;
            at += *got;
            size -= *got;
        }
        co_return true;
    };
    auto made = co_await file::open(path, {.write = true, .create = true, .truncate = true});
    if (!made || !co_await made->write_all_at(bytes, 0)) co_return false;
    if ((co_await made->write_at(std::span(bytes).first(10), file_size)).value_or(0) != 10)
        co_return false;
    if (!co_await made->resize(file_size) || !co_await made->sync()) co_return false;
    const auto told = co_await made->stat();
    if (!told || told->size != file_size || !co_await made->close()) co_return false;

    auto f = co_await file::open(path);
    if (!f) co_return false;
    const auto read = co_await f->read_at(room, 0);
    if (!read || *read != file_size || !same(room, 0)) co_return false;
    {
        const auto piece = co_await f->read_chunk(100, 5000);
        if (!piece || piece->size() != 5000 || !same(piece->bytes(), 100)) co_return false;
    }
    if (!co_await f->fetch(0, file_size)) co_return false;
    for (const std::size_t size : {std::size_t{3000}, file_size}) {
        if ((co_await both.client.send_file(*f, 0, size)).value_or(0) != size) co_return false;
        if (!co_await arrives(both.server, 0, size)) co_return false;
    }
    const auto half = std::span(bytes).first(1000);
    const std::array<send_part, 2> parts{send_part(half.first(400)), send_part(half.last(600))};
    if (!co_await both.client.send_all(parts)) co_return false;
    if (!co_await arrives(both.server, 0, 1000)) co_return false;

    // Two copies of what comes, one of which is read, and the other sent back.
    if (!co_await both.client.send_all(half)) co_return false;
    splice_pipe one;
    splice_pipe two;
    const auto spliced = co_await both.server.splice_to(one).within(5s);
    if (!spliced || *spliced != 1000 || one.try_tee(two, 1000).value_or(0) != 1000)
        co_return false;
    if (two.try_read(room).value_or(0) != 1000 || !same(std::span(room).first(1000), 0))
        co_return false;
    if ((co_await both.server.splice_from(one)).value_or(0) != 1000) co_return false;
    if (!co_await arrives(both.client, 0, 1000)) co_return false;
    if (!both.client.try_shutdown_send()) co_return false;
    if ((co_await both.server.recv(room).within(5s)).error() != errc::end_of_stream)
        co_return false;
    co_return (co_await f->close()).has_value();
}

/// Closes what the kernel had opened when its answer was made an error: no program hears of it.
void close_unheard(const std::string& path) {
    std::error_code none;
    for (int fd = 0; fd < 64; ++fd)
        if (std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none) == path)
            ::close(fd);
}

/// The same of the file's scenario. An EIO is told, whatever it is of, but for what is asked beside
/// the operation itself: how a file ends.
long sweep_files(core& c, const std::string& path, const char* call, int error) {
    const bool is_told = error == EIO && std::string_view(call) != "statx";
    const bool of_ring = std::string_view(call) == "cqe";
    return sweep(c, call, error, is_told, [&] {
        auto both = [&] {
            const faults::hooked none(nullptr);  // nothing fails yet
            return block_on(c, flavours::connected());
        }();
        const bool good = block_on(c, file_scenario(path, both));
        if (of_ring) close_unheard(path);
        return good;
    });
}
#endif

}  // namespace

#ifndef NDEBUG
TEST_CASE("a listener that cannot be asked without waiting ends at a stop all the same") {
    flavours::each_task([](core& c) -> task<> {
        auto door = tcp_listener::bind("127.0.0.1:0").value();
        const auto waits = [&]() -> task<std::error_code> {
            co_return (co_await door.next()).error();
        };
        const auto stops = [&]() -> task<> {
            co_await yield();
            const faults::failing asked("set_nonblocking", EIO, 0, 1);
            c.request_stop();
            CHECK((asked.refused() == 1) == (c.ring() != nullptr));
        };
        const auto [end, stopped] = co_await all_of(waits(), stops());
        static_cast<void>(stopped);
        CHECK(end == errc::stopping);
    });
}

TEST_CASE("any system call may fail with any errno and nothing hangs, leaks or crashes") {
    constexpr std::array errors{EIO, ENOMEM, ENOBUFS, EMFILE, ENFILE, ECONNABORTED, ECONNRESET,
                                EPIPE, ETIMEDOUT, EPERM, EINVAL};
    constexpr std::array<known_call, 8> calls{{
        {"socket", true, true},
        {"bind", true, true},
        {"listen", true, true},
        {"connect", false, true},
        {"send", false, true},
        {"recv", false, true},
        {"accept", false, true},
        {"epoll_add", false, true},
    }};
    flavours::each([&](core& c) {
        for (const int error : errors) {
            for (const known_call& call : calls) {
                const long times = sweep(c, call.name, error);
                INFO(std::string(call.name), ": ", times, " times");
                CHECK((times > 0) == (c.ring() != nullptr ? call.on_ring : call.on_epoll));
            }
        }
    });
}

TEST_CASE("any call and any answer of files and pipes may fail: told, and nothing hangs or leaks") {
    constexpr std::array<known_call, 17> calls{{
        {"openat2", false, true},  {"openat", false, true},  {"preadv2", true, true},
        {"pread", true, true},     {"pwrite", false, true},  {"fsync", false, true},
        {"ftruncate", true, true}, {"statx", true, true},    {"close", false, true},
        {"sendfile", true, true},  {"send", true, true},     {"sendmsg", false, true},
        {"shutdown", true, true},  {"splice", true, true},   {"tee", true, true},
        {"read", true, true},      {"set_nonblocking", true, false},
    }};
    const files::temp_folder dir;
    const std::string path = dir / "f";
    const std::size_t before = net::open_files();
    for (const splice_path way : {splice_path::readiness, splice_path::ring}) {
        const auto body = [&](core& c) {
            const bool on_ring = c.ring() != nullptr;
            const auto join = []() -> task<> {  // the only worker
                CHECK(co_await blocking(faults::failing::also_here));
            };
            block_on(c, join());
            for (const int error : {EIO, ENOMEM, EINVAL}) {
                INFO("error ", error);
                if (on_ring) {
                    CHECK(sweep_files(c, path, "cqe", error) > 6);
                    CHECK(sweep_files(c, path, "cqe of several", error) > 5);
                }
                if (way == splice_path::ring) continue;  // makes no other calls
                for (const known_call& call : calls) {
                    const std::string_view name = call.name;
                    // What is tried first, and makes the call needless.
                    std::optional<faults::failing> first;
                    if (name == "pread") first.emplace("preadv2", EAGAIN);
                    if (name == "openat") first.emplace("openat2", ENOSYS);
                    const long times = sweep_files(c, path, call.name, error);
                    INFO(std::string(call.name), ": ", times, " times");
                    CHECK((times > 0) == (on_ring ? call.on_ring : call.on_epoll));
                }
            }
        };
        flavours::each(body, [&](core_options& o) {
            o.pipes.path = way;
            o.blocking.threads = 1;
        });
    }
    CHECK(net::open_files() == before);
}

TEST_CASE("a core that gets no epoll instance is none, and leaves nothing") {
    const std::size_t before = net::open_files();
    core_options options;
    options.backend = backend::epoll;
    const faults::failing none("epoll_create", EMFILE);
    CHECK(core::make(options).error() == std::errc::too_many_files_open);
    CHECK(none.refused() == 1);
    CHECK(net::open_files() == before);
}

TEST_CASE("connections that fail one after the other cost a pause, not the ones that come after them") {
    manual_clock clock;
    flavours::each(
        [&](core& c) {
            if (c.ring() != nullptr) return;  // no error can be made up of a multishot's answers
            const auto body = [&]() -> task<bool> {
                auto door =
                    tcp_listener::bind("127.0.0.1:0", listen_options{.on_absorbed = [](auto&) {}});
                bool served = false;
                const auto serve = [&]() -> task<> { served = (co_await door->next()).has_value(); };
                std::optional<faults::failing> accepts;
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(serve());
                    co_await yield();
                    accepts.emplace("accept", ECONNABORTED, 0, 40);
                    const net::plain_client client(door->local_name());  // one edge
                    co_return;
                });
                CHECK(accepts->refused() == 40);
                co_return served;
            };
            CHECK(block_on(c, body()));
            CHECK(c.stats().accept_backoffs > 0);
            CHECK(c.stats().accept_backoffs < 10);
        },
        [&](core_options& o) { o.clock = &clock; });
}

TEST_CASE("a file that the ring has closed with an error is not closed again") {
    flavours::each([](core& c) {
        if (c.ring() == nullptr || c.direct()) return;
        const auto body = [&]() -> task<> {
            const int number = ::dup(2);  // the lowest that is free
            ::close(number);
            auto opened = co_await file::open("/dev/null");
            REQUIRE(opened.has_value());
            int other = -1;
            const auto close = [&]() -> task<> {
                CHECK(!(co_await opened->close()).has_value());
            };
            scope* all = nullptr;
            std::optional<faults::failing> answer;
            const auto meanwhile = [&]() -> task<> {
                all->cancel();
                answer.emplace("cqe of several", EIO, 0, 1);
                c.ring()->enter(0, 0, 0);
                other = ::dup(2);  // takes the number that is free now
                co_return;
            };
            co_await with_scope([&](scope& s) -> task<> {
                all = &s;
                s.start(close());
                s.start(meanwhile());
                co_return;
            });
            CHECK(answer->refused() == 1);
            answer.reset();
            CHECK(other == number);
            CHECK(::fcntl(other, F_GETFD) >= 0);
            ::close(other);
        };
        block_on(c, body());
    });
}

TEST_CASE("a receive that the kernel finds no buffer for may be any of them") {
    flavours::each([&](core& c) {
        const bool ring = c.backend() == backend::uring;
        CHECK((sweep(c, ring ? "receive_buffers" : "take_buffer", ENOBUFS) > 0));
        CHECK(c.stats().starvations > 0);
        CHECK(c.buffers().leased() == 0);
    });
}

TEST_CASE("any answer of the ring may be a failure and nothing hangs, leaks or crashes") {
    flavours::each([&](core& c) {
        if (c.backend() != backend::uring) return;
        for (const int error :
             {EIO, ENOMEM, ENOBUFS, ECONNRESET, EPIPE, ETIMEDOUT, EPERM, EINVAL}) {
            INFO("error ", error);
            const long single = sweep(c, "cqe", error);
            // Sends, and the ends of the multishot accept and of the multishot receive.
            const long several = sweep(c, "cqe of several", error);
            CHECK(single > 3);
            CHECK(several > 6);
        }
    });
}
#endif

TEST_CASE("any allocation may fail: an error or bad_alloc, and nothing leaks or hangs") {
    flavours::each([&](core& c) {
        long n = 1;
        for (;; ++n) {
            bool good = false;
            frame::drop_lists();  // every frame from the heap again
            frame::use_lists();
            allocations_left = n;
            try {
                good = block_on(c, scenario());
            } catch (const std::bad_alloc&) {
                good = false;
            }
            const bool reached = allocations_left == 0;
            allocations_left = -1;
            INFO("allocation number ", n, " failed");
            CHECK(c.descriptors().open() == 0);
            if (!reached) {
                CHECK(good);
                break;
            }
            REQUIRE(n < 1000);
        }
        MESSAGE(c.describe(), ": ", n - 1, " allocations failed in turn");
    });
}

namespace {
/// From now on no descriptor gets a record: all are taken, and `largest` forbids to make more.
std::vector<owned_descriptor> take_all_records() {
    largest = 4096;
    std::vector<owned_descriptor> all;
    do all.emplace_back(::dup(0));
    while (all.back());
    return all;
}
}  // namespace

TEST_CASE("a stop ends the wait for a connection that there is no memory for") {
    for (const bool waiting : {false, true}) {
        INFO("waiting " << waiting);
        flavours::each_task([&](core& c) -> task<> {
            auto door =
                tcp_listener::bind("127.0.0.1:0", listen_options{.on_absorbed = [](auto&) {}});
            std::error_code end;
            const auto take = [&]() -> task<> { end = (co_await door->next()).error(); };
            co_await with_scope([&](scope& s) -> task<> {
                if (waiting) s.start(take());
                co_await yield();
                const auto records = take_all_records();
                const net::plain_client client(door->local_name());
                c.request_stop();
                if (!waiting) s.start(take());
                std::ignore = co_await net::come_true([&] { return end != std::error_code(); });
                s.cancel();
                largest = SIZE_MAX;
            });
            CHECK(end == errc::stopping);
        });
    }
}

TEST_CASE("a connection that there is no memory for does not keep another one waiting") {
    flavours::each_task([](core&) -> task<> {
        auto door = tcp_listener::bind(
            "127.0.0.1:0", listen_options{.on_absorbed = [](auto&) { largest = SIZE_MAX; }});
        const net::plain_client first(door->local_name());
        const auto served = co_await door->next();
        const net::plain_client lost(door->local_name());
        const net::plain_client second(door->local_name());
        for (int i = 0; i < 8; ++i) co_await yield();  // the ring has accepted both
        bool got = false;
        const auto take = [&]() -> task<> { got = (co_await door->next()).has_value(); };
        co_await with_scope([&](scope& s) -> task<> {
            const auto records = take_all_records();
            s.start(take());
            std::ignore = co_await net::come_true([&] { return got; });
            s.cancel();
        });
        CHECK(largest == SIZE_MAX);
        CHECK(got);
    });
}

TEST_CASE("accepted connections that there is no memory to queue are closed, not the program") {
    flavours::each_task([](core& c) -> task<> {
        static thread_local int absorbed;
        absorbed = 0;
        listen_options options;
        options.ready_limit = 300;
        options.on_absorbed = [](const std::error_code&) { ++absorbed; };
        auto door = tcp_listener::bind("127.0.0.1:0", options).value();
        std::vector<net::plain_client> clients;
        clients.reserve(200);
        clients.emplace_back(door.local_name());
        std::vector<tcp_stream> served;
        served.push_back((co_await door.next()).value());
        for (int i = 0; i < 150; ++i) {
            clients.emplace_back(door.local_name());
            CHECK(clients.back().send("x"));
        }
        largest = 0;
        for (int i = 0; i < 20; ++i) co_await yield();
        largest = SIZE_MAX;
        CHECK((absorbed > 0) == (c.ring() != nullptr));  // epoll accepts nothing ahead
        clients.emplace_back(door.local_name());
        CHECK(clients.back().send("y"));
        std::array<std::byte, 1> room{};
        while (room[0] != std::byte('y')) {
            served.push_back((co_await door.next()).value());
            CHECK(co_await served.back().recv(room));
        }
    });
}

#if !defined(__SANITIZE_ADDRESS__)  // which gives each frame memory of its own
TEST_CASE("a long chain of tasks that there is no memory to put off goes on") {
    flavours::each_task([](core&) -> task<> {
        const auto at_once = []() -> task<int> { co_return 1; };
        int sum = 0;
        for (int i = 0; i < 10'000; ++i) {
            if (i == 1) largest = 0;  // its frame is there by now
            sum += co_await at_once();
        }
        largest = SIZE_MAX;
        CHECK(sum == 10'000);
    });
}
#endif

TEST_CASE("a core without memory to be made with ends the program with 2") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        int unusable = 0;
        for (long n = 1;; ++n) {
            int code = -1;
            frame::drop_lists();
            allocations_left = n;
            try {
                code = run(options, []() -> task<void> { co_return; });
            } catch (const std::bad_alloc&) {}  // before there was a program
            const bool reached = allocations_left == 0;
            allocations_left = -1;
            INFO("allocation number ", n, " failed");
            if (code == 2) ++unusable;
            if (!reached) {
                CHECK(code == 0);
                break;
            }
            REQUIRE(n < 1000);
        }
        CHECK(unusable > 3);
    });
}
