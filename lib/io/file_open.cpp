// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include <ringlet/io/file.hpp>

#include <io/start.hpp>
#include <kernel/sys.hpp>

#include <fcntl.h>
#include <linux/limits.h>
#include <linux/openat2.h>

#include <cstring>
#include <new>
#include <string_view>

namespace ringlet {

namespace {

open_how how_of(const open_options& o) noexcept {
    open_how how{};
    const bool writes = o.write || o.append;
    // O_NONBLOCK: opening a FIFO would wait for its other end.
    std::uint64_t flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_LARGEFILE;
    flags |= writes ? (o.read ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (o.append) flags |= O_APPEND;
    if (o.create) flags |= O_CREAT;
    if (o.exclusive) flags |= O_EXCL;
    if (o.truncate) flags |= O_TRUNC;
    if (o.folder) flags |= O_DIRECTORY;
    how.flags = flags;
    how.mode = o.create ? o.mode & 07777 : 0;  // openat2 refuses a mode without O_CREAT
    if (o.beneath) how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    return how;
}

bool means_something(const open_options& o) noexcept {
    return (o.read || o.write || o.append) && (!o.exclusive || o.create) &&
           !(o.folder && (o.create || o.write || o.append || o.truncate)) &&
           (!o.truncate || o.write || o.append);
}

/// One component after the other, so that none can lead out: no `..`, no symbolic link, no leading
/// slash. Each folder on the way is held open while the next is looked up in it.
int walk(int folder, std::string_view path, open_how how) noexcept {
    if (path.empty()) return -ENOENT;
    if (path.front() == '/') return -EXDEV;
    unique_fd held;
    int at = folder;
    for (;;) {
        const std::size_t slash = path.find('/');
        const std::string_view name = path.substr(0, slash);
        path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
        const bool last = path.find_first_not_of('/') == std::string_view::npos;
        if (name.empty() || (name == "." && !last)) continue;
        if (name == "..") return -EXDEV;
        if (name.size() > NAME_MAX) return -ENAMETOOLONG;
        std::array<char, NAME_MAX + 1> text{};
        std::memcpy(text.data(), name.data(), name.size());
        open_how step = how;
        step.flags |= O_NOFOLLOW;
        if (!last) {
            step.flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
            step.mode = 0;
        } else if (slash != std::string_view::npos) {
            step.flags |= O_DIRECTORY;  // `name/`
        }
        const int opened = sys::open_plain(at, text.data(), step);
        if (last || opened < 0) return opened;
        held = unique_fd(opened);
        at = opened;
    }
}

}  // namespace

int open_op::folder() const noexcept {
    return folder_ != nullptr ? folder_->fd : sys::current_folder;
}

bool open_op::start(core& c, cancel_scope& context) noexcept {
    if (path_ == nullptr || !means_something(options_)) {
        answer = -EINVAL;
        return answered_at_once(c);
    }
    new (how_.data()) open_how(how_of(options_));
    return operation::start(c, context);
}

void open_op::prepare(io_uring_sqe& sqe) noexcept {
    io_uring_prep_openat2(&sqe, folder(), path_, reinterpret_cast<open_how*>(how_.data()));
}

/// Where the kernel knows the whole path already nothing can block (Linux 5.12).
int open_op::try_now() noexcept {
    if (options_.create || options_.truncate) return -EAGAIN;
    open_how how = how_of(options_);
    how.resolve |= RESOLVE_CACHED;
    const int opened = sys::open_at(folder(), path_, how);
    const bool refused = opened == -ENOSYS || opened == -EPERM || opened == -EINVAL;
    return refused ? -EAGAIN : opened;
}

int open_op::attempt() noexcept {
    const open_how how = how_of(options_);
    const int opened = sys::open_at(folder(), path_, how);
    // Before Linux 5.6, or refused by a seccomp filter.
    if (opened == -ENOSYS || opened == -EPERM) return open_by_hand();
    return opened;
}

int open_op::open_by_hand() const noexcept {
    const open_how how = how_of(options_);
    return options_.beneath ? walk(folder(), path_, how) : sys::open_plain(folder(), path_, how);
}

template class operation<open_op>;

}  // namespace ringlet
