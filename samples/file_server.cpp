// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

/// Serves the files of a folder over HTTP: GET and HEAD, single ranges, connections that stay open.
/// Bytes go from the page cache to the socket by send_file(); what is not in the cache is read by
/// another thread first. No path leaves the folder: the kernel sees to it (RESOLVE_BENEATH).

#include "common/options.hpp"
#include "common/server.hpp"
#include "common/tell.hpp"
#include "http_head.hpp"
#include "warm_pieces.hpp"

#include <ringlet/ringlet.hpp>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace {

using namespace std::chrono_literals;

struct settings {
    ringlet::address listen = ringlet::address::loopback_v4(8000);
    std::string root = ".";
    std::uint64_t max_connections = 0;  // 0: no limit
    ringlet::nanoseconds idle = 60s;
    ringlet::nanoseconds request_time = 10s;
    ringlet::run_options run;
};

constexpr ringlet::nanoseconds for_ever = std::chrono::hours(24 * 365 * 100);
constexpr std::size_t longest_head = 16 * 1024;
/// Before a request; more are no old bug, but work for nothing.
constexpr unsigned most_empty_lines = 4;
/// Fetched and sent at a time; what must go out within --idle.
constexpr std::uint64_t most_at_once = 1024 * 1024;

/// What this core serves from.
struct site {
    const settings& set;
    ringlet::file root;
    warm_pieces warm;
    samples::seldom told;
};

/// What this machine or its disk is to blame for, once a second; a stop is nobody's fault.
void tell_of_failure(site& of, std::string_view doing, const std::error_code& error) {
    if (error == ringlet::errc::cancelled || !of.told.is_due(ringlet::now())) return;
    using std::errc;
    const bool is_limit = error == errc::too_many_files_open ||
                          error == errc::too_many_files_open_in_system ||
                          error == errc::not_enough_memory;
    samples::tell(fmt::format("file_server: {} a file: {}{}\n", doing, error.message(),
                              is_limit ? "; `doctor` shows the limits of this machine" : ""));
}

/// What has been received and not yet been dealt with: the chunk it came in, or a copy where it
/// must be kept for long, since a slow client must not hold a buffer of the core's pool. However
/// much of it there is, taking a little from its front costs a little.
class received {
public:
    [[nodiscard]] std::span<char> bytes() noexcept {
        if (!kept_.empty()) return std::span(kept_).subspan(dropped_);
        const auto in_chunk = chunk_.bytes();
        return {reinterpret_cast<char*>(in_chunk.data()), in_chunk.size()};
    }
    [[nodiscard]] std::string_view text() noexcept { return {bytes().data(), bytes().size()}; }
    void add(ringlet::chunk&& more) {
        if (bytes().empty()) {
            chunk_ = std::move(more);
            return;
        }
        keep();
        kept_.erase(0, std::exchange(dropped_, 0));
        kept_.append(more.text());
    }
    void drop_front(std::size_t count) {
        if (kept_.empty()) return chunk_.drop_front(count);
        dropped_ += count;
        if (dropped_ < kept_.size()) return;
        std::string().swap(kept_);  // clear() would keep the room of the largest burst
        dropped_ = 0;
    }
    /// Gives the buffer back; what is in it is copied.
    void keep() {
        if (kept_.empty()) kept_.assign(chunk_.text());
        chunk_.reset();
    }

private:
    ringlet::chunk chunk_;
    std::string kept_;
    std::size_t dropped_ = 0;  // of kept_, and less than all of it
};

/// Waits for a whole head: its size; 0 when the client has gone, was idle for too long, or the
/// program stops; or the status to refuse it with, as an error.
struct head_or_refusal {
    std::size_t size = 0;
    int status = 0;
};
ringlet::task<head_or_refusal> receive_head(ringlet::tcp_stream& peer, received& in,
                                            const settings& set) {
    ringlet::time_point began{};
    for (unsigned empty_lines = 0;;) {
        // An empty line before a request is somebody's old bug, and forgiven (RFC 9112, 2.2).
        for (; in.text().starts_with("\r\n"); in.drop_front(2))
            if (++empty_lines > most_empty_lines) co_return head_or_refusal{.status = 400};
        const std::string_view text = in.text();
        const std::size_t size = http::head_size(text);
        if (size > longest_head || (size == 0 && text.size() >= longest_head))
            co_return head_or_refusal{.status = 431};
        if (size > 0) co_return head_or_refusal{.size = size};
        if (text.empty()) {
            auto first = co_await peer.chunks().next().within(set.idle).or_stop();
            if (!first) co_return head_or_refusal{};
            began = ringlet::now();
            in.add(std::move(*first));
            continue;
        }
        if (began == ringlet::time_point()) began = ringlet::now();
        in.keep();
        auto more = co_await peer.chunks().next().within(began + set.request_time - ringlet::now());
        if (!more) {
            const bool slow = more.error() == ringlet::errc::timed_out;
            co_return head_or_refusal{.status = slow ? 408 : 0};
        }
        in.add(std::move(*more));
    }
}

/// The last date that was written, since the next one is most often the same.
class date {
public:
    template <class Time>
    [[nodiscard]] std::string_view of(const Time& when) noexcept {
        const auto second =
            std::chrono::floor<std::chrono::seconds>(when).time_since_epoch().count();
        if (second_ != second) {
            http::write_date(second, text_.data());
            second_ = second;
        }
        return {text_.data(), text_.size()};
    }

private:
    std::optional<std::int64_t> second_;
    std::array<char, 29> text_{};
};

/// The head of an answer, in room of its own.
class answer_head {
public:
    explicit answer_head(int status) {
        add("HTTP/1.1 ", static_cast<std::uint64_t>(status), " ", http::reason(status),
            "\r\nDate: ", date_.of(std::chrono::system_clock::now()), "\r\n");
    }
    /// Texts and numbers, one behind the other.
    template <class... Words>
    void add(const Words&... words) noexcept {
        (put(words), ...);
    }
    void add_modified(const ringlet::file_status& file) noexcept {
        add("Last-Modified: ", modified_.of(file.modified), "\r\n");
    }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return std::as_bytes(std::span(room_.data(), size_));
    }

private:
    /// Of a size the compiler knows.
    template <std::size_t Size>
    void put(const char (&text)[Size]) noexcept {
        if (room_.size() - size_ < Size - 1) return;
        std::memcpy(room_.data() + size_, text, Size - 1);
        size_ += Size - 1;
    }
    void put(std::string_view text) noexcept {
        const std::size_t size = std::min(text.size(), room_.size() - size_);
        std::memcpy(room_.data() + size_, text.data(), size);
        size_ += size;
    }
    void put(std::uint64_t number) noexcept {
        char* const end = room_.data() + room_.size();
        size_ = static_cast<std::size_t>(std::to_chars(room_.data() + size_, end, number).ptr -
                                         room_.data());
    }

    static inline thread_local date date_;
    static inline thread_local date modified_;

    std::array<char, 512> room_;
    std::size_t size_ = 0;
};

/// What is not beneath the root is not there: that is nobody's business.
int status_of(const std::error_code& error) {
    using std::errc;
    for (const errc absent : {errc::no_such_file_or_directory, errc::not_a_directory,
                              errc::filename_too_long, errc::cross_device_link,
                              errc::too_many_symbolic_link_levels, errc::no_such_device_or_address})
        if (error == absent) return 404;
    if (error == errc::permission_denied || error == errc::operation_not_permitted) return 403;
    for (const errc exhausted :
         {errc::too_many_files_open, errc::too_many_files_open_in_system, errc::not_enough_memory,
          errc::resource_unavailable_try_again, errc::timed_out})
        if (error == exhausted) return 503;
    return 500;
}

/// Answers without a file. False: the connection is of no use any more.
ringlet::task<bool> refuse(ringlet::tcp_stream& peer, int status, bool keep_alive, bool has_body,
                           ringlet::nanoseconds idle, std::uint64_t file_size = 0) {
    const std::string text = fmt::format("{} {}\n", status, http::reason(status));
    answer_head head(status);
    head.add("Content-Type: text/plain\r\nContent-Length: ", text.size(), "\r\n");
    if (status == 405) head.add("Allow: GET, HEAD\r\n");
    if (status == 416) head.add("Content-Range: bytes */", file_size, "\r\n");
    head.add("Connection: ", keep_alive ? "keep-alive" : "close", "\r\n\r\n");
    const std::array<ringlet::send_part, 2> parts{
        ringlet::send_part(head.bytes()),
        ringlet::send_part(std::as_bytes(std::span(text)).first(has_body ? text.size() : 0))};
    const auto sent = co_await peer.send_all(parts).within(idle);
    co_return sent.has_value();
}

/// What a part is taken from.
struct source {
    const ringlet::file& file;
    const ringlet::file_status& status;
    site& of;
};

/// How sending ended: with all of it, or by the file's failure before anything had gone out, so that
/// the client can be told. Else early: the file has ended, or the client has. What was promised cannot
/// be kept, and only an early end of the stream says so.
struct ending {
    bool whole = false;
    std::error_code failure;
};

/// Sends [first, first + length) behind the head.
ringlet::task<ending> send_part(ringlet::tcp_stream& peer, source from, http::part part,
                                const answer_head& head) {
    std::span<const std::byte> before = head.bytes();
    const auto gone = peer.try_send_file(from.file, part.first, part.length, before);
    const std::uint64_t at_once = gone ? *gone : 0;
    const std::size_t of_head = std::min<std::size_t>(at_once, before.size());
    before = before.subspan(of_head);
    part.first += at_once - of_head;
    part.length -= at_once - of_head;
    bool begun = at_once > 0;
    bool unsure = !gone;  // whether the file or the client has failed: fetch() tells
    while (part.length > 0 || !before.empty()) {
        const std::uint64_t now = std::min(part.length, most_at_once);
        const file_piece piece{from.status.device, from.status.inode, part.first, now};
        if (std::exchange(unsure, false) || !from.of.warm.holds(piece, ringlet::now())) {
            const auto fetched = co_await from.file.fetch(part.first, now);
            if (!fetched) {
                tell_of_failure(from.of, "reading", fetched.error());
                co_return ending{false, begun ? std::error_code() : fetched.error()};
            }
            from.of.warm.add(piece, ringlet::now());
        }
        begun = true;
        const auto sent =
            co_await peer.send_file(from.file, part.first, now, before).within(from.of.set.idle);
        if (!sent && sent.error() == std::errc::io_error)
            tell_of_failure(from.of, "reading", sent.error());
        if (!sent || *sent < now) co_return ending{};
        before = {};
        part.first += now;
        part.length -= now;
    }
    co_return ending{.whole = true, .failure = {}};
}

/// Answers the request whose head, `size` bytes, is at the front of `in`. False: close.
ringlet::task<bool> answer(ringlet::tcp_stream& peer, received& in, std::size_t size,
                           site& from) {
    const ringlet::nanoseconds idle = from.set.idle;
    http::request wanted;
    if (const int refused = http::read_head(in.bytes().first(size), wanted); refused != 0) {
        in = received();
        static_cast<void>(co_await refuse(peer, refused, false, true, idle));
        co_return false;
    }
    const bool has_body = wanted.method == http::method::get;
    const bool keep_alive = wanted.keep_alive && !ringlet::stop_requested();
    ringlet::open_options how;
    how.beneath = true;
    auto opened = co_await from.root.open_at(wanted.path, how).within(idle);
    int status = opened ? 200 : status_of(opened.error());
    if (status >= 500) tell_of_failure(from, "opening", opened.error());
    ringlet::file_status file;
    if (opened) {
        const auto known = opened->try_stat();
        if (known) file = *known;
        if (!known || file.kind != ringlet::file_kind::regular) status = 403;
    }
    http::part part{.first = 0, .length = file.size};
    if (status == 200) {
        if (const auto range = http::read_range(wanted.range, file.size); range) {
            part = *range;
            status = part.length > 0 ? 206 : 416;
        }
    }
    if (status >= 400) {
        in.drop_front(size);
        in.keep();
        co_return co_await refuse(peer, status, keep_alive, has_body, idle, file.size) &&
            keep_alive;
    }

    answer_head head(status);
    head.add("Content-Type: ", http::content_type(wanted.path), "\r\n");
    head.add_modified(file);
    head.add("Accept-Ranges: bytes\r\nContent-Length: ", part.length, "\r\n");
    if (status == 206)
        head.add("Content-Range: bytes ", part.first, "-", part.first + part.length - 1, "/",
                 file.size, "\r\n");
    head.add("Connection: ", keep_alive ? "keep-alive" : "close", "\r\n\r\n");
    // The request has been read: its buffer goes back before a client that may be slow is sent to.
    in.drop_front(size);
    in.keep();
    if (!has_body) part.length = 0;
    const source file_there{*opened, file, from};
    const ending how_it_ended = co_await send_part(peer, file_there, part, head);
    if (how_it_ended.failure) {
        const int failed = status_of(how_it_ended.failure);
        co_return co_await refuse(peer, failed, keep_alive, has_body, idle) && keep_alive;
    }
    co_return how_it_ended.whole && keep_alive;
}

/// Lets a client read the last answer: closing with something unread would reset the connection,
/// and the answer might be lost with it.
ringlet::task<> linger(ringlet::tcp_stream& peer) {
    if (!peer.try_shutdown_send()) co_return;
    const auto until = ringlet::now() + 1s;
    // Looked at each time, since a limit ends waits only, and who floods is never waited for.
    while (ringlet::now() < until)
        if (!co_await peer.chunks().next().within(until - ringlet::now()).or_stop()) co_return;
}

/// One connection, from request to request.
ringlet::task<> session(ringlet::tcp_stream peer, site& from,
                        ringlet::semaphore::permit /*given back with the frame*/) {
    try {
        received in;
        for (;;) {
            const head_or_refusal head = co_await receive_head(peer, in, from.set);
            if (head.status != 0) {
                in = received();  // nothing more is answered: its buffer goes back before the waits
                static_cast<void>(co_await refuse(peer, head.status, false, true, from.set.idle));
                break;
            }
            if (head.size == 0) co_return;
            if (!co_await answer(peer, in, head.size, from)) break;
        }
        co_await linger(peer);
    } catch (const std::bad_alloc&) {
        samples::tell_no_memory();  // this session ends, and no other
    }
}

ringlet::task<> serve(ringlet::tcp_listener door, const settings& set) {
    ringlet::open_options folder;
    folder.folder = true;
    auto root = co_await ringlet::file::open(set.root, folder);
    if (!root) throw std::system_error(root.error(), "--root " + set.root);
    site here{set, std::move(*root), {}, {}};
    co_await samples::serve_each(std::move(door), set.max_connections, session, here);
}

settings read_command_line(int argc, char** argv) {
    settings set;
    samples::command_line line("file_server",
                               "Serves the files of a folder over HTTP, until SIGINT or SIGTERM.");
    line.address("listen", set.listen,
                 "where to listen (default 127.0.0.1:8000); port 0 picks one");
    line.text("root", set.root, "FOLDER", "what to serve (default: the current folder)");
    samples::add_server_options(line, set.run, set.max_connections);
    line.seconds("idle", set.idle, 0, 1e6,
                 "ends a connection without a request, or whose client does not take 1 MiB in "
                 "this time; 0: never (default 60)");
    line.seconds("request-time", set.request_time, 0.001, 1e6,
                 "time for a request to come in whole (default 10)");
    line.parse(argc, argv);
    if (set.idle == 0s) set.idle = for_ever;
    samples::check_share(line, set.max_connections, set.run.cores);
    std::error_code why;
    if (!std::filesystem::is_directory(set.root, why))
        line.refuse(fmt::format("--root `{}`: {}; give --root a folder that is there", set.root,
                                why ? why.message() : std::string("not a folder")));
    // As who serves it: this process's rights, not those of who started it.
    if (::faccessat(AT_FDCWD, set.root.c_str(), R_OK | X_OK, AT_EACCESS) != 0)
        line.refuse(fmt::format("--root `{}`: {}; its user must be allowed to read and to enter it "
                                "(`chmod u+rx`), or give --root another folder",
                                set.root, std::generic_category().message(errno)));
    return set;
}

}  // namespace

int main(int argc, char** argv) {
    const settings set = read_command_line(argc, argv);
    return samples::run_server("file_server", set.run, set.listen, set.max_connections,
                               [&](ringlet::tcp_listener door) {
                                   return serve(std::move(door), set);
                               });
}
