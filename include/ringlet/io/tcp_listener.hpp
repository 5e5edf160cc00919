// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

#include <ringlet/base/address.hpp>
#include <ringlet/base/result.hpp>
#include <ringlet/io/accept.hpp>
#include <ringlet/io/tcp_options.hpp>
#include <ringlet/io/tcp_stream.hpp>

#include <memory>
#include <string_view>

namespace ringlet {

/// Takes connections, TCP or Unix-domain, on one address, on the core it was made on.
class tcp_listener {
public:
    /// Binds and listens. With several cores each core calls this for the same address; port 0 then
    /// picks one port for all. Errors: bad_address, address_in_use, permission_denied,
    /// address_not_available and their like. The file of a Unix-domain socket must not be there yet
    /// (address_in_use: a server that was killed leaves its file), and goes with the listener.
    [[nodiscard]] static result<tcp_listener> bind(const address& local,
                                                   const listen_options& options = listen_options());
    [[nodiscard]] static result<tcp_listener> bind(std::string_view local,
                                                   const listen_options& options = listen_options());

    tcp_listener(tcp_listener&&) noexcept = default;
    tcp_listener& operator=(tcp_listener&&) noexcept;
    ~tcp_listener();

    /// The next connection: result<tcp_stream>. Fails only when the wait is cancelled, the listener
    /// closed (both errc::cancelled), or the program stops (errc::stopping, once it has given all who
    /// had connected; the kernel takes more of them until close()). EMFILE, ENFILE,
    /// ENOBUFS and ENOMEM are absorbed with a pause, counted (core_stats::accept_backoffs) and told
    /// to listen_options::on_absorbed; failures of one connection (ECONNABORTED, EPERM...) are
    /// passed over. io_uring accepts with one multishot operation.
    [[nodiscard]] next_op next() noexcept { return next_op(acceptor_.get()); }

    /// One connection, or the kernel's own error: nothing is absorbed. Not while next() is in use.
    [[nodiscard]] accept_op accept() noexcept;

    /// Ends tasks that wait in next() with errc::cancelled, refuses what waits in the backlog, and
    /// closes. Not while accept() waits, whose kernel request it would leave behind: that is a bug
    /// that is caught, and ends the program.
    void close() noexcept;

    /// The address it listens on, with the port that was picked.
    [[nodiscard]] address local_name() const noexcept;

private:
    explicit tcp_listener(acceptor* a) noexcept : acceptor_(a) {}
    struct retire {
        void operator()(acceptor* a) const noexcept;
    };
    std::unique_ptr<acceptor, retire> acceptor_;
};

}  // namespace ringlet
