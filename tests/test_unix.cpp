// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "net_helpers.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace ringlet;
namespace fs = std::filesystem;

namespace {

/// A folder of the test's own, gone at the end.
class folder {
public:
    folder() {
        std::string name = (fs::temp_directory_path() / "ringlet-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~folder() { fs::remove_all(path_); }
    folder(const folder&) = delete;
    folder& operator=(const folder&) = delete;
    [[nodiscard]] std::string socket() const { return (path_ / "socket").string(); }

private:
    fs::path path_;
};

/// Sends a descriptor along with one byte.
bool send_with_descriptor(int to, char byte) {
    iovec part{.iov_base = &byte, .iov_len = 1};
    alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = room;
    message.msg_controllen = sizeof room;
    cmsghdr* const along = CMSG_FIRSTHDR(&message);
    along->cmsg_level = SOL_SOCKET;
    along->cmsg_type = SCM_RIGHTS;
    along->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(along), &to, sizeof to);
    return ::sendmsg(to, &message, MSG_NOSIGNAL) == 1;
}

/// Sends a byte to each that comes, as long as the listener lives.
task<> serve_a_byte(tcp_listener& door, std::atomic<unsigned>& served) {
    while (auto peer = co_await door.next()) {
        CHECK(co_await peer->send_all("x"));
        ++served;
    }
}

task<> get_a_byte(const address& from) {
    auto peer = co_await tcp_stream::connect(from);
    CHECK(peer.has_value());
    if (peer) CHECK((co_await net::receive(*peer, 1)).size() == 1);
}

task<> exchange(tcp_listener& door, const address& where) {
    auto [connected, accepted] = co_await all_of(tcp_stream::connect(where), door.next());
    REQUIRE(connected.has_value());
    REQUIRE(accepted.has_value());
    tcp_stream client = std::move(*connected);
    tcp_stream server = std::move(*accepted);
    CHECK(client.peer_name()->to_string() == where.to_string());
    CHECK(server.peer_name()->to_string() == "unix:");
    const auto data = net::pattern(300'000);
    co_await with_scope([&](scope& s) -> task<> {
        const auto send = [&]() -> task<> {
            CHECK((co_await client.send_all(std::span(data))).has_value());
            CHECK(client.try_shutdown_send().has_value());
        };
        s.start(send);
        std::vector<std::byte> all;
        while (auto got = co_await server.chunks().next())
            all.insert(all.end(), got->bytes().begin(), got->bytes().end());
        CHECK(all == data);
        CHECK((co_await server.send_all("thanks")).has_value());
        CHECK(net::text_of(co_await net::receive(client, 6)) == "thanks");
    });
}

}  // namespace

TEST_CASE("connections by the path of a socket and by an abstract name") {
    const folder here;
    const std::string abstract = "unix:@ringlet-test-" + std::to_string(::getpid());
    flavours::each_task([&](core&) -> task<> {
        for (const std::string& name : {"unix:" + here.socket(), abstract}) {
            auto door = tcp_listener::bind(name);
            REQUIRE(door.has_value());
            CHECK(door->local_name().to_string() == name);
            co_await exchange(*door, address::parse(name).value());
            co_await exchange(*door, door->local_name());
            door->close();
            CHECK(!fs::exists(here.socket()));
            const auto refused = co_await tcp_stream::connect(address::parse(name).value());
            CHECK(!refused.has_value());
        }
    });
}

TEST_CASE("a file that is there already is left alone, and so is one that took the place") {
    const folder here;
    flavours::each_task([&](core&) -> task<> {
        const std::string name = "unix:" + here.socket();
        std::ofstream(here.socket()) << "mine";
        CHECK(tcp_listener::bind(name).error() == std::errc::address_in_use);
        CHECK(fs::exists(here.socket()));
        fs::remove(here.socket());
        {
            auto door = tcp_listener::bind(name);
            REQUIRE(door.has_value());
            CHECK(tcp_listener::bind(name).error() == std::errc::address_in_use);
            fs::remove(here.socket());
            std::ofstream(here.socket()) << "another's";
        }
        CHECK(fs::exists(here.socket()));
        fs::remove(here.socket());
        CHECK(tcp_listener::bind("unix:/nowhere/socket").error() ==
              std::errc::no_such_file_or_directory);
        co_return;
    });
}

TEST_CASE("connecting never waits: refused, nobody there, backlog full") {
    const folder here;
    flavours::each_task([&](core&) -> task<> {
        const address where = address::parse("unix:" + here.socket()).value();
        CHECK((co_await tcp_stream::connect(where)).error() ==
              std::errc::no_such_file_or_directory);
        // A server that was killed leaves its file.
        const int dead = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(::bind(dead, static_cast<const sockaddr*>(where.data()), where.size()) == 0);
        CHECK((co_await tcp_stream::connect(where)).error() == std::errc::connection_refused);
        // A server that does not accept.
        CHECK(::listen(dead, 1) == 0);
        std::vector<tcp_stream> waiting;
        std::error_code last;
        while (waiting.size() < 10 && !last) {
            auto next = co_await tcp_stream::connect(where);
            if (next) {
                waiting.push_back(std::move(*next));
            } else {
                last = next.error();
            }
        }
        CHECK(last == std::errc::resource_unavailable_try_again);
        ::close(dead);
        fs::remove(here.socket());
    });
}

TEST_CASE("a relay between a Unix-domain socket and TCP") {
    const folder here;
    const auto data = net::pattern(2'000'000);
    for (const relay_mode mode : {relay_mode::copy, relay_mode::splice, relay_mode::automatic}) {
        flavours::each_task([&](core&) -> task<> {
            auto door = tcp_listener::bind("unix:" + here.socket()).value();
            auto [connected, accepted] =
                co_await all_of(tcp_stream::connect(door.local_name()), door.next());
            tcp_stream near = std::move(*connected);
            tcp_stream far = std::move(*accepted);
            auto tcp = co_await flavours::connected();
            relay_options options;
            options.mode = mode;
            relay_result result;
            const auto run = [&]() -> task<> {
                result = co_await relay(tcp.server, near, options);
            };
            const auto send = [&](tcp_stream& to) -> task<> {
                CHECK((co_await to.send_all(std::span(data))).has_value());
                CHECK(to.try_shutdown_send().has_value());
            };
            const auto take = [&](tcp_stream& from) -> task<> {
                CHECK(co_await net::receive(from, data.size()) == data);
                CHECK(co_await net::receive(from, 1) == std::vector<std::byte>());
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(run());
                s.start(send(tcp.client));
                s.start(send(far));
                s.start(take(tcp.client));
                s.start(take(far));
                co_return;
            });
            CHECK(result.complete());
        });
    }
}

TEST_CASE("all cores of a program listen on one Unix-domain socket") {
    flavours::each_backend([](run_options& options) {
        for (const auto accept :
             {run_options::accept_mode::each_core, run_options::accept_mode::one_core}) {
            const folder here;
            const std::string name = "unix:" + here.socket();
            std::atomic<unsigned> bound{0};
            std::atomic<unsigned> served{0};
            options.cores = 2;
            options.accept = accept;
            options.handle_signals = false;
            const int code = run(options, [&]() -> task<> {
                auto door = tcp_listener::bind(name).value();
                ++bound;
                const auto visit = [&]() -> task<> {
                    while (bound < 2) co_await yield();
                    for (int i = 0; i < 20; ++i) co_await get_a_byte(door.local_name());
                    stop();
                };
                co_await with_scope([&](scope& s) -> task<> {
                    s.start(serve_a_byte(door, served));
                    if (core_index() == 0) s.start(visit());
                    co_return;
                });
            });
            CHECK(code == 0);
            CHECK(served == 20);
            CHECK(!fs::exists(here.socket()));
        }
    });
}

TEST_CASE("a core that closes its listener leaves the other cores theirs") {
    flavours::each_backend([](run_options& options) {
        const folder here;
        const std::string name = "unix:" + here.socket();
        options.cores = 2;
        options.handle_signals = false;
        std::atomic<unsigned> bound{0};  // core 0 first: it has the file
        std::atomic<unsigned> served{0};
        const int code = run(options, [&]() -> task<> {
            while (core_index() > bound) co_await yield();
            auto door = tcp_listener::bind(name).value();
            ++bound;
            const auto close_and_visit = [&]() -> task<> {
                for (int i = 0; i < 5; ++i) co_await yield();
                const address where = door.local_name();
                door.close();
                for (int i = 0; i < 5; ++i) co_await yield();
                co_await get_a_byte(where);
                stop();
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(serve_a_byte(door, served));
                if (core_index() == 1) s.start(close_and_visit());
                co_return;
            });
        });
        CHECK(code == 0);
        CHECK(served == 1);
    });
}

TEST_CASE("what follows a byte that a descriptor was sent along with is received as well") {
    flavours::each_task([](core&) -> task<> {
        folder here;
        const auto where = address::parse("unix:" + here.socket()).value();
        auto door = tcp_listener::bind(where).value();
        const net::plain_client client(where);
        REQUIRE(client.connected());
        auto server = (co_await door.next()).value();
        const auto read = [&]() -> task<std::string> {
            std::string all;
            std::array<std::byte, 64> room;
            while (all.size() < 6) {
                const auto got = co_await server.recv(room).within(std::chrono::seconds(10));
                if (!got) break;
                all += net::text_of(std::span(room).first(*got));
            }
            co_return all;
        };
        const auto write = [&]() -> task<> {
            co_await yield();
            co_await yield();
            // Both before the other side looks: one edge tells of them.
            CHECK(send_with_descriptor(client.fd(), 'A'));
            CHECK(client.send("BBBBB"));
        };
        const auto [all, written] = co_await all_of(read(), write());
        static_cast<void>(written);
        CHECK(all == "ABBBBB");
    });
}
