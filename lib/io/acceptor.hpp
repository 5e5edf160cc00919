// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>
#include <ringlet/core/core.hpp>
#include <ringlet/core/descriptor.hpp>
#include <ringlet/io/accept.hpp>
#include <ringlet/io/tcp_options.hpp>

#include <io/deal.hpp>
#include <io/program.hpp>
#include <io/socket_file.hpp>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

namespace ringlet {

class acceptor final : public completion {
public:
    /// `socket` is empty on a core that is fed by another one.
    acceptor(core& home, owned_descriptor socket, const address& local,
             const listen_options& options, socket_file file);
    /// The same for an address that the cores of a program listen on together. The caller holds
    /// `port->binding`. `fed`: one core accepts for all.
    acceptor(core& home, owned_descriptor socket, std::shared_ptr<shared_port> port, bool fed,
             const listen_options& options, socket_file file);
    ~acceptor();

    /// Takes a connection that is there, or arms the wait for one: a descriptor, or -EAGAIN, or why
    /// there will be none.
    [[nodiscard]] int take_or_arm() noexcept;
    /// Whom the next connection goes to; at most one.
    void wait(next_op& waiter) noexcept;
    /// The connection gets its record; false when there is no memory for it, and it is closed: that
    /// is absorbed, and the listener goes on.
    [[nodiscard]] bool adopt(int file, owned_descriptor& into) noexcept;
    void waiter_left() noexcept { waiting_ = nullptr; }
    /// Ends waiting tasks and the kernel's accept. The object goes with the kernel's last answer.
    void close() noexcept;
    /// A connection for this core's program, which another core may have accepted.
    void deliver(int fd) noexcept;
    /// Ends pause_until_room(): there is room.
    void go_on() noexcept;
    void give_the_rest() noexcept;
    /// Accepted, and not taken by this core's program.
    [[nodiscard]] std::size_t ready() const noexcept { return ready_.size(); }

    [[nodiscard]] const address& local() const noexcept { return local_; }
    [[nodiscard]] descriptor& socket() const noexcept { return *socket_; }
    [[nodiscard]] bool in_use() const noexcept { return waiting_ != nullptr || armed(); }

private:
    struct stop_watch : completion {
        stop_watch(const completion_kind& k, acceptor& a) noexcept : completion(k), owner(&a) {
            at = phase::parked;
        }
        acceptor* owner;
    };
    struct pause : timer {
        explicit pause(acceptor& a) noexcept : timer(over), owner(&a) {}
        static void over(timer& t) noexcept;
        acceptor* owner;
    };

    static int edge(completion& self) noexcept;
    static void ring_answered(core& c, ring_target& self, int result, std::uint32_t flags) noexcept;
    static void answered_closed(core& c, acceptor& a, int result, std::uint32_t flags) noexcept;
    static void stopped(core& c, completion& watch) noexcept;
    static const completion_kind kind_;
    static const completion_kind stop_kind_;

    [[nodiscard]] bool give_to_waiter(int value) noexcept;
    [[nodiscard]] bool somebody_waits() const noexcept {
        return waiting_ != nullptr && waiting_->at == phase::parked;
    }
    /// The ring has an accept of ours.
    [[nodiscard]] bool armed() const noexcept { return at == phase::ring; }
    void take_seat() noexcept;
    void look_next_turn() noexcept;
    void leave_seat() noexcept;
    [[nodiscard]] int try_accept() noexcept;
    void arm() noexcept;
    void set_slots_aside(bool many) noexcept;
    void disarm() noexcept;
    void arrived(int fd) noexcept;
    [[nodiscard]] bool has_room() const noexcept;
    void pause_until_room() noexcept;
    void accept_more() noexcept;
    void took_one() noexcept;
    [[nodiscard]] bool is_passed_over(int error) noexcept;
    void leave_port() noexcept;
    void absorb(int error) noexcept;
    void stop() noexcept;

    core& home_;
    owned_descriptor socket_;
    address local_;
    listen_options options_;
    std::shared_ptr<shared_port> port_;  // of a program of several cores
    std::optional<dealer> dealer_;  // where one core of it accepts for all
    socket_file file_;

    next_op* waiting_ = nullptr;
    std::deque<int> ready_;  // at most ready_limit and what one burst of answers brings
    // It accepts by the ring (`at` is ring), by epoll's seat (parked or edge), or not now (idle).
    // None of it begins while pause_ is linked, nor once it has ended.
    bool disarming_ = false;          // in the ring, and asked to leave it
    bool multishot_refused_ = false;  // by the kernel
    bool ended_ = false;              // by a stop, or being closed
    bool blocking_ = false;           // stopped, and an accept(2) might wait for ever
    bool closed_ = false;             // and has left its port: goes with the ring's last answer
    unsigned set_aside_ = 0;          // slots of the ring's table, for what it may bring

    pause pause_{*this};
    std::uint64_t pause_ns_ = 0;
    unsigned failed_in_a_row_ = 0;
    std::uint64_t told_at_ = 0;
    stop_watch watch_{stop_kind_, *this};
    stop_node stop_node_{watch_};
};

}  // namespace ringlet
