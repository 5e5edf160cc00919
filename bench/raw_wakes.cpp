// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "raw_wakes.hpp"

#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <future>
#include <thread>

namespace bench {

namespace {

/// One side: can be woken by the other, and waits for that.
class ring_side {
public:
    ring_side() {
        io_uring_params params{};
        params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
        good = io_uring_queue_init_params(8, &ring_, &params) == 0;
    }
    ~ring_side() {
        if (good) io_uring_queue_exit(&ring_);
    }
    ring_side(const ring_side&) = delete;
    ring_side& operator=(const ring_side&) = delete;

    bool good = false;

protected:
    [[nodiscard]] io_uring_sqe& sqe() { return *io_uring_get_sqe(&ring_); }
    [[nodiscard]] int fd() const { return ring_.ring_fd; }
    /// Submits what there is and takes one completion: its result.
    [[nodiscard]] int next() {
        io_uring_cqe* cqe = nullptr;
        int error = 0;
        do error = io_uring_submit_and_wait(&ring_, 1);
        while (error == -EINTR);
        if (error < 0 || io_uring_wait_cqe(&ring_, &cqe) != 0) return -1;
        const int result = cqe->res;
        io_uring_cqe_seen(&ring_, cqe);
        return result;
    }

    void submit() { io_uring_submit(&ring_); }

private:
    io_uring ring_{};
};

class msg_ring_side : public ring_side {
public:
    [[nodiscard]] bool open() {
        io_uring_probe* const probe = good ? io_uring_get_probe() : nullptr;
        const bool known = probe && io_uring_opcode_supported(probe, IORING_OP_MSG_RING);
        if (probe) io_uring_free_probe(probe);
        return known;
    }
    /// With the next wait, or at last with leave().
    void wake(msg_ring_side& other) {
        io_uring_sqe& s = sqe();
        io_uring_prep_msg_ring(&s, other.fd(), 1, 0, 0);
        s.flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
    [[nodiscard]] bool wait() { return next() == 1; }
    void leave() { submit(); }
};

class event {
public:
    event() = default;
    ~event() { ::close(fd); }
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    void write() const { static_cast<void>(::eventfd_write(fd, 1)); }
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
};

class bell_side : public ring_side {
public:
    [[nodiscard]] bool open() {
        if (good) io_uring_prep_poll_multishot(&sqe(), bell_.fd, POLLIN);
        return good;
    }
    void wake(bell_side& other) { other.bell_.write(); }
    [[nodiscard]] bool wait() { return next() > 0; }
    void leave() {}

private:
    event bell_;
};

class epoll_side {
public:
    epoll_side() = default;
    ~epoll_side() { ::close(epoll_); }
    epoll_side(const epoll_side&) = delete;
    epoll_side& operator=(const epoll_side&) = delete;

    [[nodiscard]] bool open() {
        epoll_event interest{.events = EPOLLIN | EPOLLET, .data = {}};
        return ::epoll_ctl(epoll_, EPOLL_CTL_ADD, bell_.fd, &interest) == 0;
    }
    void wake(epoll_side& other) { other.bell_.write(); }
    [[nodiscard]] bool wait() {
        epoll_event found{};
        int count = 0;
        do count = ::epoll_wait(epoll_, &found, 1, -1);
        while (count < 0 && errno == EINTR);
        return count == 1;
    }
    void leave() {}

private:
    int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    event bell_;
};

/// A ring with DEFER_TASKRUN belongs to the thread that made it, so the far side is made there.
template <class Side>
double round_trips(int cpu, std::size_t count) {
    Side near;
    if (!near.open()) return 0;
    std::promise<Side*> made;
    auto far_made = made.get_future();
    std::thread other([&] {
        cpu_set_t only;
        CPU_ZERO(&only);
        CPU_SET(cpu, &only);
        ::sched_setaffinity(0, sizeof only, &only);
        Side far;
        const bool opened = far.open();
        made.set_value(opened ? &far : nullptr);
        for (std::size_t i = 0; opened && i < count && far.wait(); ++i) far.wake(near);
        far.leave();
    });
    Side* const far = far_made.get();
    const auto began = std::chrono::steady_clock::now();
    std::size_t done = 0;
    for (; far != nullptr && done < count; ++done) {
        near.wake(*far);
        if (!near.wait()) break;
    }
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - began;
    other.join();
    return done == count ? spent.count() / static_cast<double>(count) : 0;
}

}  // namespace

double msg_ring_round_trips(int far, std::size_t count) {
    return round_trips<msg_ring_side>(far, count);
}
double eventfd_round_trips(int far, std::size_t count) {
    return round_trips<bell_side>(far, count);
}
double epoll_round_trips(int far, std::size_t count) {
    return round_trips<epoll_side>(far, count);
}

}  // namespace bench
