// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "flavours.hpp"

#include <ringlet/base/frame.hpp>
#include <ringlet/base/link.hpp>
#include <ringlet/base/unique_fd.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace ringlet;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool frames_are_recycled = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool frames_are_recycled = false;
#else
constexpr bool frames_are_recycled = true;
#endif
#else
constexpr bool frames_are_recycled = true;
#endif

struct counted {
    explicit counted(int& n) noexcept : count(&n) { ++*count; }
    counted(counted&& other) noexcept : count(other.count) { ++*count; }
    counted& operator=(counted&&) = delete;
    ~counted() { --*count; }
    int* count;
};

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

std::string printed(std::string_view text) {
    const auto parsed = address::parse(text);
    return parsed ? parsed->to_string() : "refused";
}

struct item : ringlet::link {
    explicit item(int n) noexcept : name(n) {}
    int name;
};
std::vector<int> names(link_list& list) {
    std::vector<int> all;
    for (ringlet::link* at = list.front(); at != list.end(); at = at->next)
        all.push_back(static_cast<item&>(*at).name);
    return all;
}

}  // namespace

// ---- result -----------------------------------------------------------------------------------

TEST_CASE("a result holds a value or an error") {
    const result<int> good = 3;
    const result<int> bad = errc::end_of_stream;
    CHECK(good);
    CHECK(good.has_value());
    CHECK(*good == 3);
    CHECK(good.value() == 3);
    CHECK(!good.error());
    CHECK(!bad);
    CHECK(bad.error() == errc::end_of_stream);
    CHECK(result<int>(4).value_or(5) == 4);
    CHECK(result<int>(errc::cancelled).value_or(5) == 5);
    CHECK(result<std::string>(std::in_place, 3, 'x')->size() == 3);
}

TEST_CASE("value() of an error throws it as a system_error") {
    const result<int> bad = errc::timed_out;
    const result<void> bad_void = errc::timed_out;
    auto thrown_by = [](auto ask) {
        try {
            ask();
        } catch (const std::system_error& e) {
            return e.code();
        }
        return std::error_code();
    };
    CHECK(thrown_by([&] { std::ignore = bad.value(); }) == errc::timed_out);
    CHECK(thrown_by([&] { bad_void.value(); }) == errc::timed_out);
    CHECK_NOTHROW(result<void>().value());
}

/// Its copy, and so its move, may throw: then an assignment would leave neither value.
struct may_throw {
    may_throw(const may_throw&) noexcept(false) {}
};
static_assert(!std::is_assignable_v<result<may_throw>&, result<may_throw>>);
static_assert(std::is_assignable_v<result<std::string>&, result<std::string>>);

TEST_CASE("a result owns its value through moves, copies and assignments in every combination") {
    int alive = 0;
    {
        // On the heap, where g++ 12 does not take the error it never reads for uninitialised.
        auto a = std::make_unique<result<counted>>(counted(alive));
        CHECK(alive == 1);
        auto b = std::make_unique<result<counted>>(std::move(*a));
        CHECK(alive == 2);
        *a = errc::cancelled;
        CHECK(alive == 1);
        *a = std::move(*b);
        CHECK(*a);
        *b = errc::cancelled;
        CHECK(alive == 1);
        *b = result<counted>(errc::timed_out);
        CHECK(b->error() == errc::timed_out);
        auto taken = std::move(**a);
        CHECK(alive == 2);
    }
    CHECK(alive == 0);
    result<std::string> text = std::string(100, 'a');
    const result<std::string> copy = text;
    text = copy;
    text = std::string(50, 'b');
    CHECK(copy->size() == 100);
    CHECK(text->size() == 50);
    result<std::unique_ptr<int>> box = std::make_unique<int>(1);
    const std::unique_ptr<int> out = std::move(box).value();
    CHECK(*out == 1);
}

TEST_CASE("reading the value of an error is a misuse that aborts") {
    const char* const rule = "a result was read that holds an error";
    CHECK(says(abort_message([] { std::ignore = *result<int>(errc::cancelled); }), rule));
    CHECK(says(abort_message([] { std::ignore = result<std::string>(errc::cancelled)->size(); }),
               rule));
    CHECK(says(abort_message([] { *result<void>(errc::cancelled); }), rule));
}

// ---- errors -----------------------------------------------------------------------------------

TEST_CASE("ringlet's own errors compare with the standard conditions they stand for") {
    CHECK(make_error_code(errc::cancelled) == std::errc::operation_canceled);
    CHECK(make_error_code(errc::timed_out) == std::errc::timed_out);
    CHECK(make_error_code(errc::unsupported) == std::errc::operation_not_supported);
    CHECK(make_error_code(errc::bad_address) == std::errc::invalid_argument);
    CHECK(make_error_code(errc::inbox_full) == std::errc::resource_unavailable_try_again);
    CHECK(make_error_code(errc::pool_full) == std::errc::resource_unavailable_try_again);
    CHECK(make_error_code(errc::cancelled) != std::errc::timed_out);
    CHECK(make_error_code(errc::end_of_stream) == errc::end_of_stream);
    CHECK(make_error_code(errc::end_of_stream) != errc::stopping);
}

TEST_CASE("every error has a text of its own") {
    constexpr auto last = static_cast<int>(errc::pool_full);
    std::set<std::string> texts;
    for (int e = 1; e <= last; ++e)
        texts.insert(make_error_code(static_cast<errc>(e)).message());
    CHECK(texts.size() == last);
    CHECK(texts.count("unknown ringlet error") == 0);
    CHECK(std::error_code(last + 1, category()).message() == "unknown ringlet error");
    CHECK(std::string(category().name()) == "ringlet");
}

TEST_CASE("an answer below zero is an errno or one of ringlet's own outcomes") {
    CHECK(answer::to_error(-ECONNRESET) == std::errc::connection_reset);
    CHECK(answer::to_error(-ECONNRESET).category() == std::system_category());
    CHECK(answer::to_error(-ETIMEDOUT) == std::errc::timed_out);  // the kernel's, for a dead peer
    CHECK(answer::to_error(-ETIMEDOUT) != errc::timed_out);
    CHECK(answer::to_error(-4095).category() == std::system_category());
    CHECK(answer::to_error(answer::cancelled) == errc::cancelled);
    CHECK(answer::to_error(answer::timed_out) == errc::timed_out);
    CHECK(answer::to_error(answer::stopping) == errc::stopping);
}

TEST_CASE("backends have names") {
    CHECK(to_string(backend::automatic) == "auto");
    CHECK(to_string(backend::uring) == "io_uring");
    CHECK(to_string(backend::epoll) == "epoll");
}

// ---- address ----------------------------------------------------------------------------------

TEST_CASE("an address that is printed parses to itself") {
    for (const char* text : {"127.0.0.1:7000", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:7000",
                             "[::]:80", "[fe80::1%2]:7000", "[2001:db8::ff]:1",
                             "[::ffff:1.2.3.4]:9", "[1:2:3:4:5:6:7:8]:12", "unix:/run/a.sock",
                             "unix:relative:7000", "unix:@abstract", "unix:@a"}) {
        CAPTURE(text);
        CHECK(printed(text) == text);
        CHECK(address::explain(text).empty());
        const auto once = address::parse(text);
        const auto twice = address::parse(once->to_string());
        CHECK(*once == *twice);
        const auto raw = address::from_sockaddr(once->data(), once->size());
        REQUIRE(raw);
        CHECK(*raw == *once);
    }
}

TEST_CASE("an address without a host is any address of both families") {
    for (const char* text : {":7000", "*:7000"}) {
        const auto any = address::parse(text);
        REQUIRE(any);
        CHECK(any->is_v6());
        CHECK(any->is_any());
        CHECK(any->port() == 7000);
    }
}

TEST_CASE("what is no address is refused with a sentence that names it and what is wrong") {
    const std::vector<std::pair<std::string, const char*>> cases{
        {"", "it is empty"},
        {"127.0.0.1", "`:PORT` is missing"},
        {"localhost:80", "names are not looked up"},
        {"127.0.0.1:", "the port is not a number"},
        {"127.0.0.1:65536", "the port is not a number from 0 to 65535"},
        {"127.0.0.1:99999999999999999999", "the port is not a number"},
        {"127.0.0.1:-1", "the port is not a number"},
        {"127.0.0.1:+1", "the port is not a number"},
        {"127.0.0.1: 1", "the port is not a number"},
        {"127.0.0.1:1x", "the port is not a number"},
        {"127.0.0.1:0x10", "the port is not a number"},
        {"256.0.0.1:80", "not a numeric address"},
        {"1.2.3:80", "not a numeric address"},
        {" 1.2.3.4:80", "not a numeric address"},
        {"::1:80", "an IPv6 address is written `[ADDRESS]:PORT`"},
        {"[::1", "the `]` is missing"},
        {"[::1]", "`:PORT` is missing behind the `]`"},
        {"[::1]80", "`:PORT` is missing behind the `]`"},
        {"[127.0.0.1]:80", "no IPv6 address"},
        {"[]:80", "no IPv6 address"},
        {"[*]:80", "no IPv6 address"},
        {"[::1::2]:80", "no IPv6 address"},
        {"[fe80::1%eth0]:80", "the scope behind `%` is not an interface number"},
        {"[fe80::1%]:80", "the scope behind `%` is not an interface number"},
        {"127.0.0.1%2:80", "only an IPv6 address has a scope"},
        {std::string("127.0.0.1\0x:80", 14), "the host has a zero byte in it"},
        {std::string(300, '1') + ":80", "not a numeric address"},
        {"[" + std::string(300, 'f') + "]:80", "not a numeric address"},
        {"unix:", "the path of the Unix-domain socket is missing"},
        {"unix:@", "the name behind the `@` is missing"},
        {"unix:/" + std::string(107, 'x'), "at most 107 bytes"},
        {"unix:@" + std::string(107, 'x'), "at most 107 bytes"},
        {std::string("unix:/a\0b", 9), "the path has a zero byte in it"},
        {"Unix:/x", "is not a number"},
    };
    for (const auto& [text, part] : cases) {
        CAPTURE(text);
        const auto parsed = address::parse(text);
        CHECK(!parsed);
        CHECK(parsed.error() == errc::bad_address);
        const std::string said = address::explain(text);
        CHECK_MESSAGE(says(said, part), said);
        CHECK(says(said, text.c_str()));
        CHECK(says(said, "is not an address"));
    }
}

TEST_CASE("addresses know their family, port and whether they are any") {
    const auto v4 = address::loopback_v4(80);
    CHECK(v4.is_v4());
    CHECK(!v4.is_v6());
    CHECK(v4.family() == AF_INET);
    CHECK(v4.size() == sizeof(sockaddr_in));
    CHECK(v4.port() == 80);
    CHECK(!v4.is_any());
    CHECK(v4.to_string() == "127.0.0.1:80");
    auto v6 = address::loopback_v6(81);
    CHECK(v6.is_v6());
    CHECK(v6.size() == sizeof(sockaddr_in6));
    CHECK(v6.to_string() == "[::1]:81");
    v6.set_port(65535);
    CHECK(v6.port() == 65535);
    CHECK(v6.to_string() == "[::1]:65535");
    CHECK(address::any_v4(1).is_any());
    CHECK(address::any_v6(1).is_any());
    CHECK(address() == address::any_v4(0));
    CHECK(address::any_v4(1) != address::any_v4(2));
    CHECK(address::any_v4(1) != address::any_v6(1));
    auto local = *address::parse("unix:" + std::string("/") + std::string(106, 'x'));
    CHECK(local.is_unix());
    CHECK(!local.is_v4());
    CHECK(!local.is_v6());
    CHECK(!local.is_any());
    local.set_port(80);
    CHECK(local.port() == 0);
    CHECK(local.file().size() == 107);
    CHECK(address::parse("unix:@x")->file().empty());
    CHECK(*address::parse("unix:@x") != *address::parse("unix:@y"));
    CHECK(*address::parse("unix:@x") != *address::parse("unix:x"));
    CHECK(*address::parse("unix:@x") != *address::parse("unix:@xx"));
}

TEST_CASE("an address from the kernel is taken over when it is one of ours and whole") {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(7000);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto taken = address::from_sockaddr(&v4, sizeof v4);
    REQUIRE(taken);
    CHECK(*taken == address::loopback_v4(7000));
    std::memset(v4.sin_zero, 0xAA, sizeof v4.sin_zero);  // padding that means nothing
    const auto dirty = address::from_sockaddr(&v4, sizeof v4);
    REQUIRE(dirty);
    CHECK(*dirty == *taken);
    CHECK(address::from_sockaddr(&v4, sizeof v4 - 1).error() == errc::bad_address);
    CHECK(address::from_sockaddr(&v4, 1).error() == errc::bad_address);
    CHECK(address::from_sockaddr(nullptr, 0).error() == errc::bad_address);
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    CHECK(address::from_sockaddr(&un, sizeof un.sun_family)->to_string() == "unix:");
    CHECK(address::from_sockaddr(&un, sizeof un + 1).error() == errc::bad_address);
    std::memset(un.sun_path, 'x', sizeof un.sun_path);  // the kernel may leave out the last zero
    CHECK(address::from_sockaddr(&un, sizeof un)->file() == std::string(108, 'x'));
    sockaddr_un named{};
    named.sun_family = AF_UNIX;
    std::memcpy(named.sun_path, "/a/b", 4);
    CHECK(*address::from_sockaddr(&named, sizeof named) == *address::parse("unix:/a/b"));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    CHECK(address::from_sockaddr(&v6, sizeof v4).error() == errc::bad_address);
    CHECK(address::from_sockaddr(&v6, sizeof v6)->is_any());
}

// ---- lists and descriptors --------------------------------------------------------------------

TEST_CASE("a list keeps its order and an item leaves it without knowing which list it is in") {
    link_list list;
    item a(1);
    item b(2);
    item c(3);
    CHECK(list.empty());
    CHECK(!a.linked());
    a.unlink_if_linked();
    list.push_back(a);
    list.push_back(b);
    list.push_back(c);
    CHECK(names(list) == std::vector<int>{1, 2, 3});
    b.unlink();
    CHECK(!b.linked());
    CHECK(b.next == nullptr);
    CHECK(names(list) == std::vector<int>{1, 3});
    list.push_back(b);
    CHECK(&list.pop_front() == &a);
    CHECK(!a.linked());
    CHECK(names(list) == std::vector<int>{3, 2});
    link_list other;
    other.take(list);
    CHECK(list.empty());
    CHECK(names(other) == std::vector<int>{3, 2});
    c.unlink();
    b.unlink();
    CHECK(other.empty());
    other.take(list);
    CHECK(other.empty());
    list.push_back(a);
    CHECK(names(list) == std::vector<int>{1});
}

TEST_CASE("an owned descriptor is closed once, by its last owner") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const int given_up = ends[1];
    {
        unique_fd first(ends[0]);
        CHECK(first);
        CHECK(first.get() == ends[0]);
        unique_fd second = std::move(first);
        CHECK(!first);
        CHECK(first.get() == -1);
        CHECK(is_open(ends[0]));
        unique_fd third(given_up);
        CHECK(third.release() == given_up);
        first = std::move(second);
        CHECK(is_open(ends[0]));
    }
    CHECK(!is_open(ends[0]));
    CHECK(is_open(given_up));
    unique_fd last(given_up);
    unique_fd& self = last;
    last = std::move(self);
    CHECK(is_open(given_up));
    last.reset();
    last.reset();
    CHECK(!is_open(given_up));
}

// ---- frames -----------------------------------------------------------------------------------

TEST_CASE("a released frame is used again for the next one of its size class") {
    if (!frames_are_recycled) return;
    std::thread([] {  // a thread of its own: its lists are empty
        frame::use_lists();
        const auto before = frame::heap_frames();
        void* first = frame::allocate(100);
        CHECK(frame::heap_frames() == before + 1);
        frame::release(first, 100);
        void* second = frame::allocate(104);  // 89 to 104 bytes are one class
        CHECK(second == first);
        CHECK(frame::heap_frames() == before + 1);
        void* third = frame::allocate(105);
        CHECK(frame::heap_frames() == before + 2);
        frame::release(second, 104);
        frame::release(third, 105);
        frame::drop_lists();
        void* fourth = frame::allocate(100);
        CHECK(frame::heap_frames() == before + 3);
        frame::release(fourth, 100);
    }).join();
}

TEST_CASE("frames of every size are whole, up to the largest class and beyond") {
    std::thread([] {
        frame::use_lists();
        for (int round = 0; round < 3; ++round) {
            std::vector<std::pair<unsigned char*, std::size_t>> held;
            for (std::size_t size = 1; size <= 5000; size += size < 200 ? 1 : 61) {
                auto* memory = static_cast<unsigned char*>(frame::allocate(size));
                std::memset(memory, static_cast<int>(size % 251), size);
                CHECK(reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t) == 0);
                held.emplace_back(memory, size);
            }
            for (const auto& [memory, size] : held) {
                REQUIRE(memory[0] == size % 251);
                REQUIRE(memory[size - 1] == size % 251);
                frame::release(memory, size);
            }
        }
        frame::drop_lists();
    }).join();
}

TEST_CASE("frames larger than the largest class come from the heap each time") {
    std::thread([] {
        frame::use_lists();
        for (const std::size_t size : {std::size_t{4104}, std::size_t{4105}}) {
            frame::release(frame::allocate(size), size);
            const auto before = frame::heap_frames();
            frame::release(frame::allocate(size), size);
            const bool from_heap = size > 4104 || !frames_are_recycled;
            CHECK(frame::heap_frames() - before == (from_heap ? 1 : 0));
        }
        frame::drop_lists();
    }).join();
}

TEST_CASE("a list of frames keeps 256 KiB and gives the rest back") {
    if (!frames_are_recycled) return;
    std::thread([] {
        frame::use_lists();
        constexpr std::size_t kept = 256 * 1024 / 4104;  // blocks of the largest class
        std::vector<void*> held;
        for (std::size_t i = 0; i < 3 * kept; ++i) held.push_back(frame::allocate(4096));
        for (void* memory : held) frame::release(memory, 4096);
        held.clear();
        const auto before = frame::heap_frames();
        for (std::size_t i = 0; i < 3 * kept; ++i) held.push_back(frame::allocate(4096));
        CHECK(frame::heap_frames() - before == 2 * kept);
        for (void* memory : held) frame::release(memory, 4096);
        frame::drop_lists();
    }).join();
}
