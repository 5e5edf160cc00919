// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

// Each way to fail gives one error_code, the same (number and category) on every flavour.

#include "net_helpers.hpp"

#include <map>
#include <string>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

using room_type = std::array<std::byte, 64>;
using table = std::map<std::string, std::error_code>;

const table& expected() {
    const auto system = [](int number) { return std::error_code(number, std::system_category()); };
    static const table codes{
        {"connection refused", system(ECONNREFUSED)},
        {"reset, read", system(ECONNRESET)},
        {"reset, sent after", system(EPIPE)},
        {"shut down, send", system(EPIPE)},
        {"shut down, send_all", system(EPIPE)},
        {"shut down, gathered", system(EPIPE)},
        {"shut down, read", make_error_code(errc::end_of_stream)},
        {"end of stream", make_error_code(errc::end_of_stream)},
        {"end of stream again", make_error_code(errc::end_of_stream)},
        {"cancelled", make_error_code(errc::cancelled)},
        {"timed out", make_error_code(errc::timed_out)},
        {"address in use", system(EADDRINUSE)},
        {"address not available", system(EADDRNOTAVAIL)},
        {"bad address", make_error_code(errc::bad_address)},
        {"not connected, name", system(ENOTCONN)},
        {"not connected, shut down", system(ENOTCONN)},
        {"connect to any address's port 0", system(ECONNREFUSED)},
    };
    return codes;
}

task<table> every_failure() {
    table seen;
    room_type room{};
    {
        const net::held_port nobody;
        seen["connection refused"] = (co_await tcp_stream::connect(nobody.name())).error();
        seen["connect to any address's port 0"] =
            (co_await tcp_stream::connect(address::loopback_v4(0))).error();
    }
    {
        auto both = co_await net::half_connected();
        both.client.reset();
        seen["reset, read"] = (co_await both.server.recv(room)).error();
        seen["reset, sent after"] = (co_await both.server.send_all("x")).error();
        seen["not connected, name"] = both.server.peer_name().error();
        seen["not connected, shut down"] = both.server.try_shutdown_send().error();
    }
    {
        auto both = co_await net::half_connected();
        const auto bytes = net::pattern(8);
        const std::array<send_part, 2> parts{send_part(bytes), send_part(bytes)};
        CHECK(both.server.try_shutdown_send());
        seen["shut down, send"] = (co_await both.server.send(bytes)).error();
        seen["shut down, send_all"] = (co_await both.server.send_all(bytes)).error();
        seen["shut down, gathered"] = (co_await both.server.send_all(parts)).error();
        CHECK(both.server.try_shutdown_receive());
        seen["shut down, read"] = (co_await both.server.recv(room)).error();
    }
    {
        auto both = co_await net::half_connected();
        both.client.close();
        seen["end of stream"] = (co_await both.server.recv(room)).error();
        seen["end of stream again"] = (co_await both.server.recv(room)).error();
    }
    {
        auto both = co_await net::half_connected();
        auto read = [&]() -> task<std::error_code> {
            co_return (co_await both.server.recv(room)).error();
        };
        seen["cancelled"] = co_await net::cancelled_after(2, read);
        seen["timed out"] = (co_await both.server.recv(room).within(1ms)).error();
    }
    listen_options at_once;
    at_once.retry = nanoseconds(0);
    auto door = tcp_listener::bind("127.0.0.1:0").value();
    seen["address in use"] = tcp_listener::bind(door.local_name(), at_once).error();
    seen["address not available"] = tcp_listener::bind("192.0.2.1:0", at_once).error();
    seen["bad address"] = tcp_listener::bind("localhost:http").error();
    co_return seen;
}

}  // namespace

TEST_CASE("every failure has the same error_code on every flavour") {
    flavours::each_task([](core& c) -> task<> {
        const table seen = co_await every_failure();
        CHECK(seen.size() == expected().size());
        for (const auto& [name, code] : expected()) {
            INFO(name);
            REQUIRE(seen.count(name) == 1);
            CHECK(seen.at(name) == code);
            CHECK_FALSE(seen.at(name).message().empty());
        }
        for (int turns = 0; turns < 100 && c.in_flight > 0; ++turns) co_await yield();
        CHECK(c.in_flight == 0);
    });
}

TEST_CASE("ringlet's own errors compare equal to their std::errc kin") {
    CHECK(make_error_code(errc::cancelled) == std::errc::operation_canceled);
    CHECK(make_error_code(errc::timed_out) == std::errc::timed_out);
    CHECK(make_error_code(errc::bad_address) == std::errc::invalid_argument);
    CHECK(make_error_code(errc::end_of_stream) != std::errc::operation_canceled);
}
