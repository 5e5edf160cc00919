// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
//
// Asio, both ways its users write: coroutines (awaitable<>) and callbacks. One thread, so the
// context is told that nobody else uses it. Built twice: on epoll, and on io_uring.
#include "peer.h"

#include <asio.hpp>
#include <asio/experimental/as_tuple.hpp>

#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using asio::ip::tcp;
using quiet = asio::experimental::as_tuple_t<asio::use_awaitable_t<>>;
using stream = quiet::as_default_on_t<tcp::socket>;

alignas(source_block_alignment) std::array<unsigned char, source_block_size> block;

// --- coroutines
// -----------------------------------------------------------------------------------

asio::awaitable<void> echo(stream peer) {
    std::vector<char> room(peer_buffer_size);
    for (;;) {
        const auto [failed, got] = co_await peer.async_read_some(asio::buffer(room));
        if (failed) co_return;
        const auto [broken, sent] = co_await async_write(peer, asio::buffer(room.data(), got));
        if (broken) co_return;
    }
}

asio::awaitable<void> take(stream peer) {
    std::vector<char> room(peer_buffer_size);
    std::uint64_t count = 0;
    for (;;) {
        const auto [failed, got] = co_await peer.async_read_some(asio::buffer(room));
        if (failed) break;
        count += got;
    }
    co_await async_write(peer, asio::buffer(&count, sizeof count));
}

asio::awaitable<void> give(stream peer) {
    for (;;) {
        const auto [broken, sent] = co_await async_write(peer, asio::buffer(block));
        if (broken) co_return;
    }
}

asio::awaitable<void> serve(tcp::acceptor& door, peer_mode mode) {
    for (;;) {
        auto [failed, socket] = co_await door.async_accept(quiet(asio::use_awaitable));
        if (failed) continue;
        stream peer(std::move(socket));
        auto session = mode == peer_echo   ? echo(std::move(peer))
                       : mode == peer_sink ? take(std::move(peer))
                                           : give(std::move(peer));
        co_spawn(door.get_executor(), std::move(session), asio::detached);
    }
}

// --- callbacks
// ------------------------------------------------------------------------------------

class session : public std::enable_shared_from_this<session> {
public:
    session(tcp::socket socket, peer_mode mode) : socket_(std::move(socket)), mode_(mode) {}

    void begin() {
        if (mode_ == peer_source) return give();
        room_.resize(peer_buffer_size);
        read();
    }

private:
    void read() {
        socket_.async_read_some(asio::buffer(room_),
                                [self = shared_from_this()](auto failed, std::size_t got) {
                                    self->on_read(failed, got);
                                });
    }
    void on_read(asio::error_code failed, std::size_t got) {
        if (mode_ == peer_echo) {
            if (!failed) write(got);
        } else if (!failed) {
            count_ += got;
            read();
        } else {
            asio::async_write(socket_, asio::buffer(&count_, sizeof count_),
                              [self = shared_from_this()](auto, std::size_t) {});
        }
    }
    void write(std::size_t size) {
        asio::async_write(socket_, asio::buffer(room_.data(), size),
                          [self = shared_from_this()](auto failed, std::size_t) {
                              if (!failed) self->read();
                          });
    }
    void give() {
        asio::async_write(socket_, asio::buffer(block),
                          [self = shared_from_this()](auto failed, std::size_t) {
                              if (!failed) self->give();
                          });
    }

    tcp::socket socket_;
    peer_mode mode_;
    std::vector<char> room_;
    std::uint64_t count_ = 0;
};

void accept_next(tcp::acceptor& door, peer_mode mode) {
    door.async_accept([&door, mode](auto failed, tcp::socket socket) {
        if (!failed) std::make_shared<session>(std::move(socket), mode)->begin();
        accept_next(door, mode);
    });
}

}  // namespace

int main(int argc, char** argv) {
    static const char* const styles[] = {"coroutines", "callbacks", nullptr};
    const peer_options options = peer_parse("asio_echo", styles, argc, argv);
    fill_source_block(block.data());
    // One thread only, and so no locks.
    asio::io_context context(ASIO_CONCURRENCY_HINT_UNSAFE);
    tcp::acceptor door(context, tcp::v4(), peer_listen("asio_echo", &options));
    if (options.style == std::string_view("callbacks"))
        accept_next(door, options.mode);
    else
        co_spawn(context, serve(door, options.mode), asio::detached);
    context.run();
}
