// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "file_helpers.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using net::bytes_of;

task<file> opened(std::string path) { co_return (co_await file::open(path)).value(); }

/// Everything that comes until the peer's end.
task<std::string> receive_all(tcp_stream& from, std::size_t chunk = 65536) {
    const auto bytes = co_await net::receive(from, SIZE_MAX, chunk);
    co_return net::text_of(bytes);
}

/// Sends and then ends the stream.
task<result<std::uint64_t>> send_and_end(tcp_stream& to, file& from, std::uint64_t offset,
                                         std::uint64_t length, std::string_view head = {}) {
    auto sent = co_await to.send_file(from, offset, length, bytes_of(head));
    CHECK(to.try_shutdown_send());
    co_return sent;
}

}  // namespace

TEST_CASE("every byte of a range arrives, with and without a head") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(2'000'000);
        const std::string text = net::text_of(data);
        files::put(dir / "f", data);
        auto f = co_await opened(dir / "f");
        struct range {
            std::uint64_t offset, length;
        };
        for (const range r :
             {range{0, 2'000'000}, range{1, 1}, range{4095, 2}, range{0, 4096}, range{100, 16'384},
              range{100, 16'385}, range{12'345, 300'000}, range{1'999'999, 1}, range{0, 0}}) {
            for (const std::string head : {"", "HTTP/1.0 200 OK\r\n\r\n"}) {
                auto [client, server] = co_await flavours::connected();
                auto [sent, got] = co_await all_of(
                    send_and_end(server, f, r.offset, r.length, head), receive_all(client));
                INFO("offset ", r.offset, " length ", r.length, " head ", head.size());
                REQUIRE(sent);
                CHECK(*sent == r.length);
                CHECK((got == head + text.substr(r.offset, r.length)));
            }
        }
    });
}

TEST_CASE("a head larger than what is copied, and one larger than the socket's buffer") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", "the file");
        auto f = co_await opened(dir / "f");
        for (const std::size_t size : {16'380U, 20'000U, 8'000'000U}) {
            const auto pattern = net::pattern(size);
            const std::string head = net::text_of(pattern);
            auto [client, server] = co_await flavours::connected();
            auto [sent, got] =
                co_await all_of(send_and_end(server, f, 0, 8, head), receive_all(client));
            CHECK((sent && *sent == 8));
            CHECK((got == head + "the file"));
        }
    });
}

TEST_CASE("a file that is shorter than asked is sent as far as it goes, at once") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "empty", "");
        files::put(dir / "small", "four");
        files::put(dir / "large", net::pattern(700'000));
        for (const auto& [name, size] :
             {std::pair{"empty", 0U}, std::pair{"small", 4U}, std::pair{"large", 700'000U}}) {
            auto f = co_await opened(dir / name);
            for (const std::uint64_t more : {1U, 10'000U, 5'000'000U}) {
                auto [client, server] = co_await flavours::connected();
                // Without the end of the stream: nothing may be kept back for more to come.
                auto [sent, got] =
                    co_await all_of(server.send_file(f, 0, size + more, bytes_of("head")),
                                    net::receive(client, 4 + size));
                CHECK((sent && *sent == size));
                CHECK(got.size() == 4 + size);
                CHECK(co_await server.send_all("after"));
                CHECK(net::text_of(co_await net::receive(client, 5)) == "after");
                const auto beyond = co_await server.send_file(f, size + more, 10);
                CHECK((beyond && *beyond == 0));
            }
        }
    });
}

TEST_CASE("a slow reader gets every byte, while other tasks run") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(12'000'000);
        files::put(dir / "f", data);
        auto f = co_await opened(dir / "f");
        auto [client, server] = co_await flavours::connected();
        std::vector<std::byte> got;
        bool all_sent = false;
        auto sender = [&]() -> task<> {
            const auto sent = co_await server.send_file(f, 0, data.size());
            CHECK((sent && *sent == data.size()));
            all_sent = true;
            CHECK(server.try_shutdown_send());
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(sender());
            for (int i = 0; i < 30; ++i) co_await yield();
            CHECK(!all_sent);
            got = co_await net::receive(client, SIZE_MAX, 30'000);
        });
        CHECK(all_sent);
        CHECK((got == data));
    });
}

TEST_CASE("one large file does not keep the others waiting") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        constexpr std::size_t size = 32 * 1024 * 1024;
        files::put(dir / "f", net::pattern(size));
        auto f = co_await opened(dir / "f");
        // A socket whose other end takes everything at once: nothing but the share stops it.
        auto [client, server] = co_await flavours::connected();
        const int large = 16 * 1024 * 1024;
        ::setsockopt(server.native_handle(), SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
        int turns = 0;
        bool done = false;
        auto other = [&]() -> task<> {
            while (!done) {
                co_await yield();
                ++turns;
            }
        };
        auto drain = [&]() -> task<> {
            CHECK((co_await net::receive(client, size)).size() == size);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(other());
            s.start(drain());
            const auto sent = co_await server.send_file(f, 0, size);
            CHECK((sent && *sent == size));
            done = true;
        });
        CHECK(turns >= 20);
    });
}

TEST_CASE("a turn's share is a MiB of the file, and a short rest goes with it") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(2'000'000));
        auto f = co_await opened(dir / "f");
        auto [client, server] = co_await flavours::connected();
        const int large = 16 * 1024 * 1024;
        if (::setsockopt(server.native_handle(), SOL_SOCKET, SO_SNDBUFFORCE, &large,
                         sizeof large) != 0) {
            MESSAGE("no larger send buffer to be had");
            co_return;
        }
        int turns = 0;
        bool done = false;
        auto other = [&]() -> task<> {
            while (!done) {
                co_await yield();
                ++turns;
            }
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(other());
            for (const auto& [length, waits] :
                 {std::pair{1'048'576U, false}, std::pair{1'100'000U, false},
                  std::pair{1'200'000U, true}}) {
                const int before = turns;
                const auto sent = co_await server.send_file(f, 0, length, bytes_of("head"));
                INFO("length ", length);
                CHECK((sent && *sent == length));
                CHECK((turns > before) == waits);
                CHECK((co_await net::receive(client, 4 + length)).size() == 4 + length);
            }
            done = true;
        });
    });
}

TEST_CASE("a small piece goes at once, and nothing that would have to wait") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(20'000);
        const std::string text = net::text_of(data);
        files::put(dir / "f", data);
        auto f = co_await opened(dir / "f");
        auto [client, server] = co_await flavours::connected();
        CHECK(server.try_send_file(f, 100, 4096, bytes_of("head")).value() == 4100);
        CHECK(net::text_of(co_await net::receive(client, 4100)) == "head" + text.substr(100, 4096));
        CHECK(server.try_send_file(f, 0, 0, bytes_of("only")).value() == 4);
        CHECK(net::text_of(co_await net::receive(client, 4)) == "only");
        CHECK(server.try_send_file(f, 0, 0).value() == 0);
        CHECK(server.try_send_file(f, 19'999, 10, bytes_of("end:")).value() == 5);
        CHECK(net::text_of(co_await net::receive(client, 5)) == "end:" + text.substr(19'999));
        // More than is copied.
        CHECK(server.try_send_file(f, 0, 16'384, bytes_of("x")).value() == 0);
#ifndef NDEBUG
        {
            const faults::failing uncached("preadv2", EAGAIN);
            CHECK(server.try_send_file(f, 0, 100, bytes_of("head")).value() == 0);
        }
#endif
        // A peer that does not read: some of it at most, and then the rest in its order.
        const std::size_t filled = co_await net::fill(server);
        std::uint64_t gone = 0;
        for (int i = 0; i < 3; ++i)
            gone += server.try_send_file(f, gone, 10'000 - gone).value();
        CHECK(gone < 10'000);
        auto [sent, got] =
            co_await all_of(server.send_file(f, gone, 10'000 - gone),
                            net::receive(client, filled + 10'000));
        CHECK((sent && *sent == 10'000 - gone));
        REQUIRE(got.size() == filled + 10'000);
        CHECK(std::equal(got.end() - 10'000, got.end(), data.begin()));
        CHECK(server.try_shutdown_send());
        CHECK(server.try_send_file(f, 0, 10).error() == std::errc::broken_pipe);
    });
}

TEST_CASE("a file that is cut while it is sent ends short; one that grows is not over-sent") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(12'000'000);
        enum class change { cut, emptied, grown, removed };
        for (const change kind : {change::cut, change::emptied, change::grown, change::removed}) {
            const std::string path = dir / "f";
            files::put(path, data);
            auto f = co_await opened(path);
            auto [client, server] = co_await flavours::connected();
            result<std::uint64_t> sent = errc::cancelled;
            auto sender = [&]() -> task<> {
                sent = co_await server.send_file(f, 0, data.size());
                CHECK(server.try_shutdown_send());
            };
            std::vector<std::byte> got;
            co_await with_scope([&](scope& s) -> task<> {
                s.start(sender());
                for (int i = 0; i < 10; ++i) co_await yield();
                switch (kind) {
                    case change::cut: std::filesystem::resize_file(path, 9'000'000); break;
                    case change::emptied: std::filesystem::resize_file(path, 0); break;
                    case change::grown: std::filesystem::resize_file(path, 20'000'000); break;
                    case change::removed: std::filesystem::remove(path); break;
                }
                got = co_await net::receive(client, SIZE_MAX);
            });
            INFO("change ", static_cast<int>(kind));
            REQUIRE(sent);
            CHECK(*sent == got.size());
            if (kind == change::cut) CHECK(*sent == 9'000'000);
            if (kind == change::emptied) CHECK(*sent < data.size());
            if (kind == change::grown || kind == change::removed) CHECK(*sent == data.size());
            // What had been queued in the socket before the cut may have changed to zeros with the
            // pages it points to, as the file has; before that it is as it was.
            const std::size_t sure = kind == change::emptied ? 0 : got.size();
            CHECK(std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(sure),
                             data.begin()));
        }
    });
}

TEST_CASE("a peer that goes away ends it with an error, and no signal") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(12'000'000));
        files::put(dir / "small", "x");
        auto f = co_await opened(dir / "f");
        auto small = co_await opened(dir / "small");
        {
            auto [client, server] = co_await net::half_connected();
            result<std::uint64_t> sent = std::uint64_t{0};
            auto sender = [&]() -> task<> { sent = co_await server.send_file(f, 0, 12'000'000); };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(sender());
                for (int i = 0; i < 10; ++i) co_await yield();
                client.reset();
                co_return;
            });
            CHECK((sent.error() == std::errc::connection_reset ||
                   sent.error() == std::errc::broken_pipe));
            // And once more on the dead one: this is what raises SIGPIPE.
            for (file* const from : {&f, &small}) {
                const auto again = co_await server.send_file(*from, 0, 100'000);
                CHECK((again.error() == std::errc::broken_pipe ||
                       again.error() == std::errc::connection_reset));
            }
            CHECK((co_await server.send_file(f, 0, 1'000'000, bytes_of("head"))).error() ==
                  std::errc::broken_pipe);
        }
        auto [client, server] = co_await flavours::connected();
        CHECK(server.try_shutdown_send());
        CHECK((co_await server.send_file(f, 0, 1'000'000)).error() == std::errc::broken_pipe);
        CHECK((co_await server.send_file(f, 0, 1'000'000)).error() == std::errc::broken_pipe);
    });
}

TEST_CASE("a thread gets SIGPIPE back as it was when its core ends") {
    const auto held = [] {
        sigset_t now;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
        return ::sigismember(&now, SIGPIPE) == 1;
    };
    CHECK(!held());
    flavours::each_task([&](core&) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(100'000));
        auto f = co_await opened(dir / "f");
        auto [client, server] = co_await flavours::connected();
        CHECK(server.try_shutdown_send());
        CHECK((co_await server.send_file(f, 0, 100'000)).error() == std::errc::broken_pipe);
        CHECK(held());
    });
    CHECK(!held());
}

TEST_CASE("it is cancelled, and timed out, at any moment; the file can then be sent again") {
    flavours::each_task([](core& c) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(12'000'000);
        files::put(dir / "f", data);
        auto f = co_await opened(dir / "f");
        for (const int turns : {-1, 0, 1, 2, 3, 10, 40}) {
            auto [client, server] = co_await flavours::connected();
            auto send = [&]() -> task<std::error_code> {
                co_return (co_await server.send_file(f, 0, data.size())).error();
            };
            CHECK(co_await net::cancelled_after(turns, send) == errc::cancelled);
            CHECK((co_await server.send_file(f, 0, data.size()).within(20ms)).error() ==
                  errc::timed_out);
            CHECK(server.try_shutdown_send());
            const auto got = co_await net::receive(client, SIZE_MAX);
            CHECK(got.size() > 0);
        }
        {
            // The stream is closed by another task.
            auto [client, server] = co_await flavours::connected();
            auto send = [&]() -> task<> {
                const auto sent = co_await server.send_file(f, 0, data.size());
                CHECK(sent.error() == errc::cancelled);
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(send());
                for (int i = 0; i < 5; ++i) co_await yield();
                co_await server.close();
            });
        }
        CHECK(c.descriptors().open() == 1);
    });
}

TEST_CASE("the stream's other operations go on as before") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        const auto data = net::pattern(12'000'000);
        files::put(dir / "f", data);
        auto f = co_await opened(dir / "f");
        auto [client, server] = co_await flavours::connected();
        CHECK(co_await server.send_file(f, 0, 3));
        CHECK((co_await net::receive(client, 3)).size() == 3);
        // Receives wait, and so do sends that do not fit.
        std::array<std::byte, 16> room{};
        CHECK((co_await server.recv(room).within(5ms)).error() == errc::timed_out);
        CHECK((co_await server.chunks().next().within(5ms)).error() == errc::timed_out);
        auto [sent, got] =
            co_await all_of(server.send_all(data), net::receive(client, data.size()));
        CHECK(sent);
        CHECK((got == data));
        auto [told, heard] = co_await all_of(client.send_all("ping"), net::receive(server, 4));
        CHECK(told);
        CHECK(net::text_of(heard) == "ping");
        const std::array<send_part, 2> parts{send_part(data), send_part(bytes_of("tail"))};
        auto [gathered, both] =
            co_await all_of(server.send_all(parts), net::receive(client, data.size() + 4));
        CHECK(gathered);
        CHECK(both.size() == data.size() + 4);
        // And a receive that waits while a file is sent.
        auto [file_sent, back, all] =
            co_await all_of(server.send_file(f, 0, data.size()), net::receive(server, 3),
                            [](tcp_stream& peer, std::size_t size) -> task<std::vector<std::byte>> {
                                auto bytes = co_await net::receive(peer, size);
                                CHECK(co_await peer.send_all("end"));
                                co_return bytes;
                            }(client, data.size()));
        CHECK((file_sent && *file_sent == data.size()));
        CHECK(net::text_of(back) == "end");
        CHECK((all == data));
    });
}

TEST_CASE("a stop ends the one that asked for it, and a later one before it begins") {
    flavours::each_task([](core& c) -> task<> {
        const files::temp_folder dir;
        files::put(dir / "f", net::pattern(12'000'000));
        auto f = co_await opened(dir / "f");
        auto [client, server] = co_await flavours::connected();
        auto [other, fresh] = co_await flavours::connected();
        auto send = [&]() -> task<> {
            const auto sent = co_await server.send_file(f, 0, 12'000'000).or_stop();
            CHECK(sent.error() == errc::stopping);
        };
        co_await with_scope([&](scope& s) -> task<> {
            s.start(send());
            for (int i = 0; i < 10; ++i) co_await yield();
            c.request_stop();
        });
        CHECK((co_await fresh.send_file(f, 0, 12'000'000).or_stop()).error() == errc::stopping);
        CHECK(co_await fresh.send_file(f, 0, 10));
    });
}

TEST_CASE("what is no regular file is refused") {
    flavours::each_task([](core&) -> task<> {
        const files::temp_folder dir;
        auto folder = (co_await file::open(dir.path())).value();
        auto [client, server] = co_await flavours::connected();
        for (const std::uint64_t length : {10U, 1'000'000U}) {
            const auto sent = co_await server.send_file(folder, 0, length);
            CHECK((sent.error() == std::errc::invalid_argument ||
                   sent.error() == std::errc::is_a_directory));
        }
    });
}
