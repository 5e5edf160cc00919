// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "http_head.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <limits>

namespace http {

namespace {

constexpr std::size_t longest_target = 8000;  // RFC 9112, 3: at least this much

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same_word(std::string_view a, std::string_view b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

bool is_token(std::string_view text) noexcept {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') ||
               marks.find(c) != std::string_view::npos;
    });
}

std::string_view trimmed(std::string_view text) noexcept {
    const std::size_t from = text.find_first_not_of(" \t");
    if (from == std::string_view::npos) return {};
    return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

/// Whether a list of words, divided by commas, has this one.
bool has_word(std::string_view list, std::string_view word) noexcept {
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        if (same_word(trimmed(list.substr(0, comma)), word)) return true;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

int hex(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
    return -1;
}

/// Decodes `target` in place and ends it with a NUL (there is a space behind it to take); 0 or 400.
int read_target(std::span<char> target, const char*& path) noexcept {
    std::string_view text(target.data(), target.size());
    if (same_word(text.substr(0, 7), "http://")) {  // absolute-form, as for a proxy
        const std::size_t slash = text.find('/', 7);
        if (slash == std::string_view::npos) {
            path = ".";
            return 0;
        }
        target = target.subspan(slash);
    }
    if (target.empty() || target.front() != '/') return 400;
    char* out = target.data();
    for (std::size_t i = 0; i < target.size() && target[i] != '?'; ++i) {
        char c = target[i];
        if (c == '#') return 400;
        if (c == '%') {
            const int high = i + 2 < target.size() ? hex(target[i + 1]) : -1;
            const int low = i + 2 < target.size() ? hex(target[i + 2]) : -1;
            if (high < 0 || low < 0) return 400;
            c = static_cast<char>(high * 16 + low);
            i += 2;
        }
        // Nothing that the file system, a log or another program could take for something else.
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') return 400;
        *out++ = c;
    }
    *out = '\0';
    const std::string_view decoded(target.data(), static_cast<std::size_t>(out - target.data()));
    for (std::size_t at = 0; at < decoded.size();) {
        const std::size_t end = std::min(decoded.find('/', at), decoded.size());
        if (decoded.substr(at, end - at) == "..") return 400;
        at = end + 1;
    }
    const std::size_t name = decoded.find_first_not_of('/');
    path = name == std::string_view::npos ? "." : target.data() + name;
    return 0;
}

/// What the fields of a head say, as far as it matters here.
struct fields {
    unsigned hosts = 0;
    bool closes = false;
    bool keeps = false;
    bool conditional = false;  // a Range that may not hold: the whole file is always right
    std::string_view range;

    /// 0, or the status that refuses the request.
    int take(std::string_view name, std::string_view value) noexcept {
        if (same_word(name, "host")) {
            ++hosts;
        } else if (same_word(name, "connection")) {
            closes = closes || has_word(value, "close");
            keeps = keeps || has_word(value, "keep-alive");
        } else if (same_word(name, "range")) {
            range = value;
        } else if (same_word(name, "if-range")) {
            conditional = true;
        } else if (same_word(name, "content-length")) {
            if (value != "0") return 400;  // who sends a body means another server
        } else if (same_word(name, "transfer-encoding")) {
            return 400;
        } else if (same_word(name, "expect")) {
            return 417;
        }
        return 0;
    }
};

}  // namespace

std::size_t head_size(std::string_view received) noexcept {
    const std::size_t end = received.find("\r\n\r\n");
    return end == std::string_view::npos ? 0 : end + 4;
}

int read_head(std::span<char> head, request& into) noexcept {
    const std::string_view text(head.data(), head.size());
    const std::size_t line_end = text.find("\r\n");
    const std::string_view line = text.substr(0, line_end);
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return 400;
    const std::string_view verb = line.substr(0, first);
    const std::string_view version = line.substr(last + 1);
    const std::span<char> target = head.subspan(first + 1, last - first - 1);
    if (!is_token(verb)) return 400;
    if (!version.starts_with("HTTP/")) return 400;
    if (version != "HTTP/1.1" && version != "HTTP/1.0") return 505;
    if (target.size() > longest_target) return 414;
    if (std::find(target.begin(), target.end(), ' ') != target.end()) return 400;

    fields found;
    for (std::size_t at = line_end + 2; text.compare(at, 2, "\r\n") != 0;) {
        const std::size_t end = text.find("\r\n", at);
        const std::string_view field = text.substr(at, end - at);
        const std::size_t colon = field.find(':');
        if (colon == std::string_view::npos || !is_token(field.substr(0, colon))) return 400;
        const std::string_view value = trimmed(field.substr(colon + 1));
        if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
            return 400;
        if (const int refused = found.take(field.substr(0, colon), value); refused != 0)
            return refused;
        at = end + 2;
    }
    const bool is_new = version == "HTTP/1.1";
    if (found.hosts > 1 || (is_new && found.hosts == 0)) return 400;
    if (verb == "GET") {
        into.method = method::get;
    } else if (verb == "HEAD") {
        into.method = method::head;
    } else {
        return 405;
    }
    into.keep_alive = is_new ? !found.closes : found.keeps && !found.closes;
    into.range =
        into.method == method::get && !found.conditional ? found.range : std::string_view();
    return read_target(target, into.path);
}

std::optional<part> read_range(std::string_view range, std::uint64_t size) noexcept {
    constexpr std::string_view unit = "bytes=";
    if (!same_word(range.substr(0, unit.size()), unit)) return {};
    range = trimmed(range.substr(unit.size()));
    const std::size_t dash = range.find('-');
    if (dash == std::string_view::npos) return {};
    const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (end != text.data() + text.size()) return {};
        if (error == std::errc::result_out_of_range)
            return std::numeric_limits<std::uint64_t>::max();
        if (error != std::errc()) return {};
        return value;
    };
    const auto from = number(range.substr(0, dash));
    const auto to = number(range.substr(dash + 1));
    if (dash == 0) {  // the last so many
        if (!to) return {};
        const std::uint64_t length = std::min(*to, size);
        return part{.first = size - length, .length = length};
    }
    if (!from || (!to && dash + 1 != range.size()) || (to && *to < *from)) return {};
    if (*from >= size) return part{};
    const std::uint64_t last = to ? std::min(*to, size - 1) : size - 1;
    return part{.first = *from, .length = last - *from + 1};
}

std::string_view reason(int status) noexcept {
    switch (status) {
        case 200: return "OK";
        case 206: return "Partial Content";
        case 400: return "Bad Request";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 408: return "Request Timeout";
        case 414: return "URI Too Long";
        case 416: return "Range Not Satisfiable";
        case 417: return "Expectation Failed";
        case 431: return "Request Header Fields Too Large";
        case 503: return "Service Unavailable";
        case 505: return "HTTP Version Not Supported";
        default: return "Internal Server Error";
    }
}

std::string_view content_type(std::string_view path) noexcept {
    struct entry {
        std::string_view ending;
        std::string_view type;
    };
    static constexpr entry known[] = {
        {"html", "text/html"},        {"css", "text/css"},     {"js", "text/javascript"},
        {"json", "application/json"}, {"txt", "text/plain"},   {"svg", "image/svg+xml"},
        {"png", "image/png"},         {"jpg", "image/jpeg"},   {"gif", "image/gif"},
        {"webp", "image/webp"},       {"ico", "image/x-icon"}, {"wasm", "application/wasm"},
        {"pdf", "application/pdf"},   {"mp4", "video/mp4"},
    };
    if (const std::size_t dot = path.rfind('.'); dot != std::string_view::npos) {
        const std::string_view ending = path.substr(dot + 1);
        for (const entry& e : known)
            if (ending == e.ending) return e.type;
    }
    return "application/octet-stream";
}

void write_date(std::int64_t seconds, char* out) noexcept {
    using namespace std::chrono;
    const sys_seconds when{std::chrono::seconds(seconds)};
    const sys_days day = floor<days>(when);
    const year_month_day date(day);
    const hh_mm_ss time(when - day);
    static constexpr char week[] = "SunMonTueWedThuFriSat";
    static constexpr char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const auto two = [](char* at, unsigned value) {
        at[0] = static_cast<char>('0' + value / 10 % 10);
        at[1] = static_cast<char>('0' + value % 10);
    };
    std::memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", 29);
    std::memcpy(out, week + 3 * weekday(day).c_encoding(), 3);
    two(out + 5, static_cast<unsigned>(date.day()));
    std::memcpy(out + 8, months + 3 * (static_cast<unsigned>(date.month()) - 1), 3);
    const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
    two(out + 12, year / 100);
    two(out + 14, year % 100);
    two(out + 17, static_cast<unsigned>(time.hours().count()));
    two(out + 20, static_cast<unsigned>(time.minutes().count()));
    two(out + 23, static_cast<unsigned>(time.seconds().count()));
}

}  // namespace http
