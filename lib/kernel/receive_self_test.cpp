// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <kernel/receive_self_test.hpp>

#include <ringlet/base/unique_fd.hpp>

#include <kernel/abi.hpp>
#include <kernel/fault.hpp>
#include <kernel/ring.hpp>
#include <kernel/sys.hpp>

#include <liburing.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ringlet::kernel {

namespace {

constexpr unsigned buffers = 8;
constexpr unsigned room = 256;
constexpr unsigned rounds = 24;
constexpr unsigned most_dry = 64;
constexpr __kernel_timespec patience{.tv_sec = 0, .tv_nsec = 200'000'000};
/// Bytes sent at a time: within a buffer, over several, more than there are buffers for.
constexpr std::array<unsigned, 7> sizes{1, 64, 700, room, 2900, 17, 2 * room};

constexpr receive_verdict good{.good = true};
constexpr receive_verdict out_of_order{.fault = "bytes came out of order"};
constexpr receive_verdict incomplete{.fault = "not all bytes came"};
receive_verdict refused(int error) noexcept { return {.error = error}; }

struct connection {
    unique_fd near;  // received from
    unique_fd far;
    unsigned seed = 0;
    unsigned sent = 0;
    unsigned received = 0;
    bool armed = false;
    [[nodiscard]] std::byte at(unsigned position) const noexcept {
        return static_cast<std::byte>(position * 7 + position / 256 + seed * 101);
    }
};

/// Without ever blocking: on loopback the connection is there when connect() has returned.
int open(connection& c) noexcept {
    const unique_fd door(sys::socket(AF_INET, true));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    unsigned size = sizeof name;
    if (!door) return -door.get();
    if (const int error = sys::bind(door.get(), &name, size); error < 0) return -error;
    if (const int error = sys::listen(door.get(), 1); error < 0) return -error;
    if (const int error = sys::local_name(door.get(), &name, size); error < 0) return -error;
    c.far = unique_fd(sys::socket(AF_INET, true));
    if (!c.far) return EMFILE;
    const int connecting = sys::connect(c.far.get(), &name, size);
    if (connecting < 0 && connecting != -EINPROGRESS) return -connecting;
    const int accepted = sys::accept(door.get(), false);
    if (accepted < 0) return -accepted;
    c.near = unique_fd(accepted);
    return 0;
}

enum class form { bundles, incremental };

/// Two connections that receive by turns from one window of buffers, whose ids stand in no order.
class trial {
public:
    trial(form f, const receive_setup& how) noexcept : form_(f), how_(how) {}
    ~trial() {
        if (open_) close_ring();
        if (window_ != nullptr) sys::unmap_memory(window_, 4096);
    }
    trial(const trial&) = delete;
    trial& operator=(const trial&) = delete;

    [[nodiscard]] receive_verdict run() noexcept {
        if (const int error = set_up(); error != 0) return refused(error);
        for (unsigned round = 0; round < rounds; ++round) {
            for (connection& c : both_)
                if (!send(c, sizes[(round + c.seed * 3) % sizes.size()])) return incomplete;
            while (missing())
                if (const receive_verdict v = receive_some(); !v.good) return v;
        }
        return good;
    }

private:
    [[nodiscard]] int set_up() noexcept;
    [[nodiscard]] int provide_window() noexcept;
    void close_ring() noexcept;
    [[nodiscard]] static bool send(connection& c, unsigned size) noexcept;
    [[nodiscard]] bool missing() const noexcept {
        return both_[0].received < both_[0].sent || both_[1].received < both_[1].sent;
    }
    void arm(connection& c) noexcept;
    [[nodiscard]] receive_verdict receive_some() noexcept;
    [[nodiscard]] receive_verdict take(const io_uring_cqe& cqe) noexcept;
    [[nodiscard]] receive_verdict take_bundle(connection& c, unsigned id, unsigned size) noexcept;
    [[nodiscard]] receive_verdict take_slice(connection& c, unsigned id, unsigned size,
                                             bool goes_on) noexcept;
    [[nodiscard]] bool same(connection& c, unsigned id, unsigned from, unsigned size) noexcept;
    void provide(unsigned id) noexcept;

    form form_;
    receive_setup how_;
    bool open_ = false;
    unsigned dry_ = 0;  // answers in a row that no buffer was had for
    io_uring ring_{};
    io_uring_buf_ring* window_ = nullptr;
    std::uint16_t tail_ = 0;
    std::array<connection, 2> both_;
    std::array<std::array<std::byte, room>, buffers> memory_{};
    std::array<unsigned, buffers> places_{};  // of each id in the window
    std::array<unsigned, buffers> filled_{};
};

int trial::set_up() noexcept {
    both_[1].seed = 1;
    for (connection& c : both_)
        if (const int error = open(c); error != 0) return error;
    io_uring_params params{};
    params.flags = how_.ring_flags;
    if (const int error = io_uring_queue_init_params(2 * buffers, &ring_, &params); error != 0)
        return -error;
    open_ = true;
    return provide_window();
}

/// As io_uring_queue_exit() does, but by calls that ThreadSanitizer sees, and of whole pages, the
/// only ones it forgets: this ring ends while the other cores' threads make theirs, at the same
/// addresses.
void trial::close_ring() noexcept {
    const auto unmap = [](void* memory, std::size_t size) {
        constexpr std::size_t page = 4096;
        sys::unmap_memory(memory, (size + page - 1) / page * page);
    };
    unmap(ring_.sq.sqes, ring_.sq.ring_entries * sizeof(io_uring_sqe));
    if (ring_.cq.ring_ptr != ring_.sq.ring_ptr) unmap(ring_.cq.ring_ptr, ring_.cq.ring_sz);
    unmap(ring_.sq.ring_ptr, ring_.sq.ring_sz);
    sys::close(ring_.ring_fd);
}

int trial::provide_window() noexcept {
    window_ = static_cast<io_uring_buf_ring*>(sys::map_memory(4096));
    if (window_ == nullptr) return ENOMEM;
    io_uring_buf_reg group{};
    group.ring_addr = reinterpret_cast<std::uint64_t>(window_);
    group.ring_entries = buffers;
    if (form_ == form::incremental) abi::make_incremental(group);
    if (const int error = io_uring_register_buf_ring(&ring_, &group, 0); error != 0) return -error;
    for (unsigned i = 0; i < buffers; ++i) provide((i * 5 + 3) % buffers);
    return 0;
}

void trial::provide(unsigned id) noexcept {
    io_uring_buf& entry = window_->bufs[tail_ % buffers];
    entry.addr = reinterpret_cast<std::uint64_t>(memory_[id].data());
    entry.len = room;
    entry.bid = static_cast<std::uint16_t>(id);
    places_[id] = tail_ % buffers;
    filled_[id] = 0;
    std::atomic_ref(window_->tail).store(++tail_, std::memory_order_release);
}

bool trial::send(connection& c, unsigned size) noexcept {
    std::array<std::byte, *std::max_element(sizes.begin(), sizes.end())> bytes;
    for (unsigned i = 0; i < size; ++i) bytes[i] = c.at(c.sent + i);
    c.sent += size;
    return sys::send(c.far.get(), bytes.data(), size) == static_cast<int>(size);
}

/// The first connection receives as bundles do with a limit, or once at a time: its answers are
/// final, and a kernel might tell of those later than of the other's.
void trial::arm(connection& c) noexcept {
    io_uring_sqe& sqe = *io_uring_get_sqe(&ring_);
    const bool final = c.seed == 0;
    if (form_ == form::incremental && final) {
        io_uring_prep_recv(&sqe, c.near.get(), nullptr, 0, 0);
    } else {
        io_uring_prep_recv_multishot(&sqe, c.near.get(), nullptr, 0, 0);
        if (final && how_.limits) ring::set_receive_limit(sqe, 2 * room);
    }
    if (form_ == form::bundles) ring::set_bundle(sqe);
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = fault::injected("receive_window") != 0;  // there is no group 1
    sqe.user_data = c.seed;
    c.armed = true;
}

receive_verdict trial::receive_some() noexcept {
    for (connection& c : both_)
        if (!c.armed && c.received < c.sent) arm(c);
    io_uring_cqe* cqe = nullptr;
    __kernel_timespec limit = patience;
    const int waited = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &limit, nullptr);
    if (waited == -ETIME) return incomplete;
    if (waited < 0 && waited != -EINTR) return refused(-waited);
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
        const io_uring_cqe answer = *cqe;
        io_uring_cqe_seen(&ring_, cqe);
        if (const receive_verdict v = take(answer); !v.good) return v;
    }
    return good;
}

receive_verdict trial::take(const io_uring_cqe& cqe) noexcept {
    connection& c = both_[cqe.user_data];
    if ((cqe.flags & IORING_CQE_F_MORE) == 0) c.armed = false;
    // They are back by now, so a few of these in a row are all that can be.
    if (cqe.res == -ENOBUFS) return ++dry_ > most_dry ? incomplete : good;
    dry_ = 0;
    if (cqe.res < 0) return refused(-cqe.res);
    if (cqe.res == 0 || (cqe.flags & IORING_CQE_F_BUFFER) == 0) return incomplete;
    const auto size = static_cast<unsigned>(cqe.res);
    unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
    if (fault::injected("receive_order") != 0) id ^= 1U;
    if (id >= buffers) return out_of_order;
    if (form_ == form::bundles) return take_bundle(c, id, size);
    return take_slice(c, id, size, (cqe.flags & abi::cqe_buffer_more) != 0);
}

receive_verdict trial::take_bundle(connection& c, unsigned id, unsigned size) noexcept {
    for (unsigned place = places_[id]; size > 0; ++place) {
        const io_uring_buf entry = window_->bufs[place % buffers];
        const unsigned part = std::min(size, entry.len);
        if (part == 0 || !same(c, entry.bid, 0, part)) return out_of_order;
        provide(entry.bid);
        size -= part;
    }
    return good;
}

receive_verdict trial::take_slice(connection& c, unsigned id, unsigned size,
                                  bool goes_on) noexcept {
    if (size > room - filled_[id] || !same(c, id, filled_[id], size)) return out_of_order;
    filled_[id] += size;
    if (!goes_on) provide(id);
    return good;
}

bool trial::same(connection& c, unsigned id, unsigned from, unsigned size) noexcept {
    for (unsigned i = 0; i < size; ++i)
        if (memory_[id][from + i] != c.at(c.received + i)) return false;
    c.received += size;
    return c.received <= c.sent;
}

}  // namespace

const char* receive_verdict::why() const noexcept {
    if (good) return "";
    return error != 0 ? std::strerror(error) : fault;
}

receive_verdict prove_bundles(const receive_setup& how) noexcept {
    if (const int error = fault::injected("receive_bundles"); error != 0) return refused(error);
    return trial(form::bundles, how).run();
}

receive_verdict prove_incremental(const receive_setup& how) noexcept {
    if (const int error = fault::injected("incremental_buffers"); error != 0) return refused(error);
    if ((how.ring_flags & IORING_SETUP_DEFER_TASKRUN) == 0)
        return {.fault = "only on a deferred ring: else it uses buffers at any moment"};
    return trial(form::incremental, how).run();
}

}  // namespace ringlet::kernel
