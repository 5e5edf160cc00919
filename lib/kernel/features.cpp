// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/base/features.hpp>

#include <kernel/abi.hpp>
#include <kernel/receive_self_test.hpp>
#include <kernel/ring.hpp>

#include <liburing.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace ringlet {

namespace {

/// An opcode's presence also tells of what came with it in the same release.
struct by_opcode {
    std::string_view name;
    unsigned opcode;
    std::string_view purpose;
};
constexpr by_opcode opcodes[] = {
    {"multishot accept", IORING_OP_SOCKET, "one accept for all connections (Linux 5.19)"},
    {"multishot receive", IORING_OP_SEND_ZC, "one receive for a whole connection (6.0)"},
    {"waitid, futex", abi::op_futex_wait, "not used (6.7)"},
    {"direct descriptors", abi::op_fixed_fd_install, "sockets in a table of the ring's own (6.8)"},
    {"bind, listen", abi::op_bind, "not used (6.11)"},
};

struct by_bit {
    std::string_view name;
    unsigned bit;
    std::string_view purpose;
};
constexpr by_bit bits[] = {
    {"no-drop completion queue", IORING_FEAT_NODROP, "an overflow loses nothing (5.5)"},
    {"minimum wait", abi::feature_min_timeout, "batches with a time limit (6.12)"},
    {"no iowait", abi::feature_no_iowait, "an idle ring is not shown as iowait (6.15)"},
};

/// By trying: there is no bit for it.
bool has_provided_buffer_ring(io_uring& ring) noexcept {
    constexpr unsigned entries = 8;
    const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(4096, 4096),
                                                             &std::free);
    if (memory == nullptr) return false;
    io_uring_buf_reg reg{};
    reg.ring_addr = reinterpret_cast<std::uint64_t>(memory.get());
    reg.ring_entries = entries;
    if (io_uring_register_buf_ring(&ring, &reg, 0) != 0) return false;
    io_uring_unregister_buf_ring(&ring, 0);
    return true;
}

/// By trying, of no file: a kernel that does not report whether it copied (which is how a stream
/// turns it off) refuses the entry before it looks for one.
bool has_zero_copy_send(io_uring& ring) noexcept {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
    io_uring_prep_send_zc(sqe, -1, nullptr, 0, 0, abi::send_zc_report_usage);
    io_uring_cqe* cqe = nullptr;
    const bool answered =
        io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &cqe) == 0;
    return answered && cqe->res == -EBADF;
}

bool has_deferred_taskrun() noexcept {
    io_uring ring{};
    if (io_uring_queue_init(4, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) != 0)
        return false;
    io_uring_queue_exit(&ring);
    return true;
}

/// As the ring of a core that is made without a wish, which receives by them.
kernel::receive_setup like_a_core() {
    kernel::ring::failure refused;
    const auto ring = kernel::ring::make({.only_to_try = true}, refused);
    if (ring == nullptr) return {};
    return {.ring_flags = ring->setup_flags(), .limits = ring->takes_receive_limit()};
}

}  // namespace

std::vector<kernel_feature> kernel_features() {
    std::vector<kernel_feature> found;
    io_uring ring{};
    if (io_uring_queue_init(8, &ring, 0) != 0) return found;
    found.push_back({"deferred task work", has_deferred_taskrun(),
                     "completions run when the loop asks for them (6.1)"});
    const std::unique_ptr<io_uring_probe, decltype(&io_uring_free_probe)> probe(
        io_uring_get_probe_ring(&ring), &io_uring_free_probe);
    for (const by_opcode& f : opcodes) {
        const bool known =
            probe != nullptr && io_uring_opcode_supported(probe.get(), static_cast<int>(f.opcode));
        found.push_back({f.name, known, f.purpose});
    }
    found.push_back({"zero-copy send", has_zero_copy_send(ring),
                     "large sends on real network cards (6.2, and 6.1 with its fixes)"});
    found.push_back({"provided buffer rings", has_provided_buffer_ring(ring),
                     "buffers picked when data comes (5.19)"});
    const kernel::receive_setup how = like_a_core();
    found.push_back({"receive bundles", kernel::prove_bundles(how).good,
                     "several buffers in one answer, in order (6.10)"});
    found.push_back({"incremental buffers", kernel::prove_incremental(how).good,
                     "many small messages in one buffer (6.12)"});
    for (const by_bit& f : bits)
        found.push_back({f.name, (ring.features & f.bit) != 0, f.purpose});
    io_uring_queue_exit(&ring);
    return found;
}

}  // namespace ringlet
