// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "aborts.hpp"
#include "net_helpers.hpp"

#include <io/program.hpp>

#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

task<> wait_for_stop(std::error_code& end) {
    auto door = tcp_listener::bind("127.0.0.1:0").value();
    end = (co_await door.next()).error();
}

}  // namespace

TEST_CASE("run() calls the body once on each core and returns 0") {
    flavours::each_backend([](run_options& options) {
        for (const unsigned cores : {1U, 2U, 3U}) {
            options.cores = cores;
            std::array<std::atomic<int>, 3> calls{};
            CHECK(run(options, [&]() -> task<> {
                      ++calls[core_index()];
                      CHECK(core_count() == cores);
                      co_return;
                  }) == 0);
            for (unsigned i = 0; i < 3; ++i) CHECK(calls[i] == (i < cores ? 1 : 0));
        }
    });
}

TEST_CASE("the cores of a program share a quarter of the locked memory for registered buffers") {
    constexpr rlim_t eight_mib = 8 << 20;  // a common default
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_MEMLOCK, &before) == 0);
    const faults::soft_limit lowered(RLIMIT_MEMLOCK, std::min(before.rlim_cur, eight_mib));
    REQUIRE(lowered.value() <= eight_mib);
    flavours::each_backend([&](run_options& options) {
        options.cores = 4;
        std::array<registered_memory, 4> got{};
        const int code = run(options, [&]() -> task<> {
            got[core_index()] = here().register_buffers();
            co_return;
        });
        CHECK(code == 0);
        std::size_t sum = 0;
        for (const registered_memory& g : got) {
            sum += g.bytes;
            if (options.core.backend == backend::epoll) continue;
            CHECK(g.limit == lowered.value());
            CHECK(g.most == lowered.value() / 16);
            // Enough for two buffers each, unless others of this user hold the rest of the limit.
            if (lowered.value() == eight_mib) CHECK((g.bytes >= 128 * 1024 || g.refusal));
        }
        CHECK(sum <= lowered.value() / 4);
    });
}

TEST_CASE("a body that throws ends the program with 1, and the other cores with it") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        options.grace = 0ns;
        CHECK(run(options, []() -> task<> {
                  if (core_index() == 1) throw std::runtime_error("this is part of a test");
                  CHECK((co_await sleep_for(1h)).error() == errc::cancelled);
              }) == 1);
    });
}

TEST_CASE("what a body threw is said once, and that a task threw it") {
    std::FILE* const said = std::tmpfile();
    REQUIRE(said != nullptr);
    const int before = ::dup(2);
    ::dup2(::fileno(said), 2);
    const int code = run({.cores = 2}, []() -> task<> {
        throw std::system_error(std::make_error_code(std::errc::address_in_use), "127.0.0.1:7000");
        co_return;
    });
    ::dup2(before, 2);
    ::close(before);
    std::rewind(said);
    std::array<char, 512> room{};
    const std::size_t size = std::fread(room.data(), 1, room.size(), said);
    std::fclose(said);
    CHECK(code == 1);
    CHECK(std::string(room.data(), size) ==
          "ringlet: a task ended with an exception: 127.0.0.1:7000: Address already in use\n");
}

TEST_CASE("with several cores port 0 picks one port for all") {
    flavours::each_backend([](run_options& options) {
        options.cores = 3;
        std::mutex mutex;
        std::multiset<std::string> names;
        CHECK(run(options, [&]() -> task<> {
                  auto one = tcp_listener::bind("127.0.0.1:0").value();
                  auto two = tcp_listener::bind("127.0.0.1:0").value();
                  const std::lock_guard lock(mutex);
                  names.insert(one.local_name().to_string());
                  names.insert(two.local_name().to_string());
                  co_return;
              }) == 0);
        CHECK(names.size() == 6);
        CHECK(std::set<std::string>(names.begin(), names.end()).size() == 2);
    });
}

TEST_CASE("what is known of a listener by port 0 goes with it once all cores have had it") {
    const auto any = address::parse("127.0.0.1:0").value();
    program two(2, false);
    std::vector<std::weak_ptr<shared_port>> known;
    for (int i = 0; i < 10'000; ++i) {
        program::this_core = 0;
        const auto first = two.port(any);
        program::this_core = 1;
        CHECK(two.port(any) == first);
        two.bound(any, *first);
        program::this_core = 0;
        CHECK(two.port(any) == first);  // not had yet: once more
        two.bound(any, *first);
        known.push_back(first);
    }
    program::this_core = 0;
    int left = 0;
    for (const auto& port : known) left += !port.expired();
    CHECK(left == 0);
    // The other core has not asked for this one yet.
    const std::weak_ptr<shared_port> alone = two.port(any);
    CHECK_FALSE(alone.expired());
}

TEST_CASE("one accepting core deals connections out in turn") {
    flavours::each_backend([](run_options& options) {
        options.cores = 3;
        options.accept = run_options::accept_mode::one_core;
        constexpr int connections = 30;
        std::array<std::atomic<int>, 3> served{};
        std::atomic<int> total = 0;
        std::atomic<unsigned> listening = 0;
        std::atomic<bool> good = true;
        CHECK(run(options, [&]() -> task<> {
                  auto door = tcp_listener::bind("127.0.0.1:0").value();
                  auto client = [](address where, std::atomic<bool>& fine) -> task<> {
                      std::array<std::byte, 4> room{};
                      auto peer = co_await tcp_stream::connect(where).within(10s);
                      const bool told = peer && co_await peer->recv(room).within(10s);
                      if (!told) fine = false;
                  };
                  ++listening;
                  co_await with_scope([&](scope& s) -> task<> {
                      while (core_index() == 1 && listening < 3) co_await yield();
                      if (core_index() == 1)
                          for (int i = 0; i < connections; ++i)
                              s.start(client(door.local_name(), good));
                      while (auto peer = co_await door.next()) {
                          ++served[core_index()];
                          if (!co_await peer->send_all("x")) good = false;
                          if (++total == connections) stop();
                      }
                  });
              }) == 0);
        CHECK(good);
        CHECK(total == connections);
        for (const auto& count : served) CHECK(count == connections / 3);
    });
}

namespace {
/// For tasks that say themselves what has not come.
template <class Condition>
task<> come_true(Condition condition) {
    static_cast<void>(co_await net::come_true(std::move(condition)));
}
}  // namespace

TEST_CASE("one accepting core takes no more than there is room for, and a full core stops no other") {
    for (const unsigned accepting : {0U, 1U}) flavours::each_backend([&](run_options& options) {
        INFO("core " << accepting << " accepts");
        options.cores = 2;
        options.accept = run_options::accept_mode::one_core;
        constexpr unsigned limit = 4;
        constexpr std::size_t clients = 60;
        std::array<std::atomic<std::size_t>, 2> served{};
        std::array<std::atomic<unsigned>, 2> turns{};
        std::atomic<unsigned> listening = 0;
        std::array<std::atomic<std::size_t>, 2> takes{1U, 1U};
        std::size_t most_open = 0;
        std::size_t without_core_0 = 0;
        CHECK(run(options, [&]() -> task<> {
                  const unsigned me = core_index();
                  listen_options few;
                  few.ready_limit = limit;
                  while (listening == 0 && me != accepting) co_await yield();
                  auto door = tcp_listener::bind("127.0.0.1:0", few).value();
                  ++listening;
                  while (listening < 2) co_await yield();
                  std::vector<net::plain_client> all;
                  std::vector<tcp_stream> kept;
                  const auto serve = [&]() -> task<> {
                      while (auto peer = co_await door.next()) {
                          kept.push_back(std::move(*peer));
                          ++served[me];
                          while (served[me] >= takes[me]) {
                              ++turns[me];
                              co_await yield();
                          }
                          ++turns[me];
                      }
                  };
                  const auto some_turns = [&]() -> task<> {
                      const std::array<unsigned, 2> then{turns[0], turns[1]};
                      const auto few = [&](unsigned i) { return turns[i] - then[i] < 4; };
                      co_await come_true([&] { return !few(0) && !few(1); });
                  };
                  const auto until = [&](std::size_t count) -> task<> {
                      co_await come_true([&] { return served[0] + served[1] >= count; });
                  };
                  const auto load = [&]() -> task<> {
                      all.emplace_back(door.local_name());
                      all.emplace_back(door.local_name());
                      co_await until(2);  // each core has one, and takes no more
                      const std::size_t before = net::open_files();
                      for (std::size_t i = 0; i < clients; ++i) {
                          all.emplace_back(door.local_name());
                          co_await some_turns();
                      }
                      most_open = net::open_files() - before - clients;
                      // Core 1 takes some at a time, and is full again each time: core 0 gets none.
                      for (std::size_t n = 4; n < 2 + clients - 3 * limit; n += 3) {
                          takes[1] = n;
                          co_await until(1 + n);
                          co_await some_turns();
                      }
                      takes[1] = 2 + clients;
                      co_await until(2 + clients - limit - 2);
                      without_core_0 = served[1];
                      takes[0] = 2 + clients;
                      co_await until(2 + clients);
                      stop();
                  };
                  co_await with_scope([&](scope& s) -> task<> {
                      s.start(serve());
                      if (me == 1) s.start(load());
                      co_return;
                  });
              }) == 0);
        // What a core has taken ahead of its program, and what one burst of the ring may bring.
        CHECK(most_open <= std::size_t{2} * limit + 2);
        CHECK(without_core_0 >= 1 + clients - limit - 2);
        CHECK(served[0] + served[1] == 2 + clients);
    });
}

TEST_CASE("a connection that was dealt out before a stop is served, although it comes after it") {
    flavours::each_backend([](run_options& options) {
        const net::held_port port;
        options.cores = 2;
        options.accept = run_options::accept_mode::one_core;
        std::atomic<unsigned> listening = 0;
        std::atomic<bool> busy = false;
        std::atomic<bool> stopped = false;
        std::atomic<std::size_t> served = 0;
        std::vector<net::plain_client> all;
        CHECK(run(options, [&]() -> task<> {
                  while (listening < core_index()) co_await yield();
                  auto door = tcp_listener::bind(port.name()).value();
                  const auto serve = [&]() -> task<> {
                      while (auto peer = co_await door.next()) {
                          CHECK(co_await peer->send_all("x"));
                          ++served;
                      }
                  };
                  const auto deal = [&]() -> task<> {
                      program& p = *program::running.load();
                      const auto shared = p.port(door.local_name());
                      const std::atomic<unsigned>& dealt = shared->deal.places[1].waiting;
                      co_await come_true([&] { return busy.load(); });
                      for (int i = 0; i < 2; ++i) {  // in turn: one for each core
                          all.emplace_back(door.local_name());
                          co_await come_true([&] { return served + dealt == all.size(); });
                      }
                      CHECK(dealt == 1);
                      stop();
                      stopped = true;
                  };
                  const auto block = [&]() -> task<> {
                      busy = true;
                      const auto limit = now() + 30s;
                      while (!stopped && now() < limit) std::this_thread::yield();
                      co_return;
                  };
                  ++listening;
                  while (listening < 2) co_await yield();
                  co_await with_scope([&](scope& s) -> task<> {
                      s.start(serve());
                      co_await yield();  // it waits
                      if (core_index() == 0) s.start(deal());
                      if (core_index() == 1) s.start(block());
                  });
              }) == 0);
        CHECK(served == 2);
        for (const auto& client : all) CHECK(client.recv(1) == "x");
    });
}

TEST_CASE("one accepting core whose inbox is full is told later that another one wants connections") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        options.accept = run_options::accept_mode::one_core;
        options.core.inbox_capacity = 2;
        std::atomic<unsigned> listening = 0;
        std::atomic<bool> busy = false;
        std::atomic<bool> wanted = false;
        std::atomic<bool> done = false;
        bool served = false;
        CHECK(run(options, [&]() -> task<> {
                  while (listening < core_index()) co_await yield();
                  auto door = tcp_listener::bind("127.0.0.1:0").value();
                  ++listening;
                  if (core_index() == 0) {  // it has the socket, and wants none itself
                      while (listening < 2) co_await yield();
                      busy = true;
                      const auto limit = now() + 30s;
                      while (!wanted && now() < limit) std::this_thread::yield();
                      co_await come_true([&] { return done.load(); });
                      co_return;
                  }
                  const net::plain_client for_core_0(door.local_name());
                  const net::plain_client client(door.local_name());
                  co_await come_true([&] { return busy.load(); });
                  const message nothing{.run = [](void*, std::uintptr_t) noexcept {}};
                  while (detail::core_at(0)->post(nothing)) {}
                  const auto take = [&]() -> task<> {
                      served = (co_await door.next()).has_value();
                      done = true;
                  };
                  co_await with_scope([&](scope& s) -> task<> {
                      s.start(take());
                      co_await yield();
                      wanted = true;
                      co_await come_true([&] { return done.load(); });
                      s.cancel();
                  });
                  done = true;
              }) == 0);
        CHECK(served);
    });
}

TEST_CASE("what was listened on and closed can be listened on again, by all cores") {
    const std::string file =
        (std::filesystem::temp_directory_path() / ("ringlet-again-" + std::to_string(getpid())))
            .string();
    const net::held_port port;
    for (const std::string& where : {port.name().to_string(), "unix:" + file}) {
        for (const auto accept :
             {run_options::accept_mode::each_core, run_options::accept_mode::one_core}) {
            flavours::each_backend([&](run_options& options) {
                INFO(where);
                options.cores = 2;
                options.accept = accept;
                constexpr unsigned rounds = 3;
                std::atomic<unsigned> arrived = 0;
                std::atomic<unsigned> served = 0;
                CHECK(run(options, [&]() -> task<> {
                          unsigned meetings = 0;
                          const auto meet = [&]() -> task<> {
                              ++arrived;
                              ++meetings;
                              while (arrived < 2 * meetings) co_await yield();
                          };
                          for (unsigned round = 1; round <= rounds; ++round) {
                              auto door = tcp_listener::bind(where).value();
                              const auto serve = [&]() -> task<> {
                                  while (co_await door.next()) ++served;
                              };
                              co_await meet();
                              co_await with_scope([&](scope& s) -> task<> {
                                  s.start(serve());
                                  const auto peer = address::parse(where).value();
                                  CHECK((co_await tcp_stream::connect(peer)).has_value());
                                  co_await come_true([&] { return served >= 2 * round; });
                                  s.cancel();
                              });
                              CHECK(served >= 2 * round);
                              co_await meet();
                              door.close();
                              co_await meet();
                          }
                      }) == 0);
                CHECK(served == 2 * rounds);
            });
        }
    }
}

TEST_CASE("cores call each other, both ways at once") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        std::array<int, 2> sums{};
        CHECK(run(options, [&]() -> task<> {
                  const unsigned me = core_index();
                  int sum = 0;
                  for (int i = 0; i < 5000; ++i) {
                      auto there = []() noexcept { return static_cast<int>(core_index()); };
                      sum += (co_await on_core(1 - me, there)).value();
                  }
                  sums[me] = sum;
                  auto nothing = []() noexcept {};
                  CHECK((co_await on_core(7, nothing)).error() == errc::core_stopped);
              }) == 0);
        CHECK(sums[0] == 5000);
        CHECK(sums[1] == 0);
    });
}

TEST_CASE("cores that call each other again and again while both inboxes are full get through") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        options.core.inbox_capacity = 2;
        std::array<int, 2> calls{};
        std::array<long, 2> refused{};
        CHECK(run(options, [&]() -> task<> {
                  const unsigned me = core_index();
                  const auto there = []() noexcept {};
                  const auto insist = [&]() -> task<> {
                      for (int i = 0; i < 200; ++i)
                          while ((co_await on_core(1 - me, there)).error() == errc::inbox_full)
                              ++refused[me];
                      ++calls[me];
                  };
                  co_await with_scope([&](scope& s) -> task<> {
                      for (int i = 0; i < 8; ++i) s.start(insist);
                      co_return;
                  });
              }) == 0);
        for (const int done : calls) CHECK(done == 8);
        for (const long times : refused) CHECK(times > 0);
    });
}

TEST_CASE("stop() ends listeners and idle sessions, which answer what they had received") {
    flavours::each_backend([](run_options& options) {
        options.grace = 1h;
        std::error_code end;
        std::string answered;
        CHECK(run(options, [&]() -> task<> {
                  auto both = co_await flavours::connected();
                  auto session = [&]() -> task<> {
                      std::array<std::byte, 64> room{};
                      while (auto got = co_await both.server.recv(room).or_stop())
                          if (!co_await both.server.send_all(std::span(room).first(*got))) break;
                  };
                  co_await with_scope([&](scope& s) -> task<> {
                      s.start(session());
                      s.start(wait_for_stop(end));
                      co_await yield();
                      REQUIRE(::send(both.client.duplicate()->get(), "last words", 10, 0) == 10);
                      stop();
                  });
                  std::array<std::byte, 64> room{};
                  const auto got = co_await both.client.recv(room);
                  REQUIRE(got);
                  answered.assign(reinterpret_cast<const char*>(room.data()), *got);
              }) == 0);
        CHECK(end == errc::stopping);
        CHECK(answered == "last words");
    });
}

TEST_CASE("what does not end within the grace is cancelled; a second stop does not wait for it") {
    flavours::each_backend([](run_options& options) {
        for (const bool twice : {false, true}) {
            options.grace = twice ? nanoseconds(1h) : nanoseconds(0);
            std::error_code end;
            CHECK(run(options, [&]() -> task<> {
                      stop();
                      if (twice) stop();
                      end = (co_await sleep_for(1h)).error();
                  }) == 0);
            CHECK(end == errc::cancelled);
        }
    });
}

TEST_CASE("several cores that throw are one reason to stop, and skip no grace") {
    flavours::each_backend([](run_options& options) {
        options.cores = 3;
        options.grace = 1h;
        std::atomic<int> begun{0};
        std::atomic<int> thrown{0};
        bool undisturbed = false;
        CHECK(run(options, [&]() -> task<> {
                  if (core_index() != 0) {
                      ++begun;
                      while (begun < 2) co_await yield();
                      ++thrown;
                      throw std::runtime_error("this is part of a test");
                  }
                  while (thrown < 2) co_await yield();
                  // Once they answer they have dealt with what was thrown.
                  const auto nothing = []() noexcept {};
                  for (const unsigned other : {1U, 2U}) CHECK(co_await on_core(other, nothing));
                  undisturbed = here().stop_requested() && co_await blocking(nothing);
              }) == 1);
        CHECK(undisturbed);
    });
}

TEST_CASE("a virtual clock stands still while a call to another core is out") {
    static thread_local manual_clock own;
    struct clock_per_core final : clock_source {
        std::uint64_t now_ns() noexcept override { return own.now_ns(); }
        bool is_virtual() const noexcept override { return true; }
        void skip_to(std::uint64_t next_ns) noexcept override { own.skip_to(next_ns); }
    } clocks;
    flavours::each_backend([&](run_options& options) {
        options.cores = 2;
        options.handle_signals = false;
        options.core.clock = &clocks;
        std::atomic<int> answered{0};
        CHECK(run(options, [&]() -> task<> {
                  const unsigned other = 1 - core_index();
                  const time_point begin = now();
                  const auto nothing = []() noexcept {};
                  const auto call = [&]() -> task<> {
                      // Often enough to find the other core slower than this one's turn.
                      for (int i = 0; i < 200; ++i) CHECK(co_await on_core(other, nothing));
                      CHECK(now() == begin);
                      ++answered;
                  };
                  const auto [none, slept] = co_await all_of(call(), sleep_for(1h));
                  static_cast<void>(none);
                  CHECK(slept);
              }) == 0);
        CHECK(answered == 2);
    });
}

TEST_CASE("pinning is over with the program, and is not the blocking calls'") {
    const auto usable = [] {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        ::sched_getaffinity(0, sizeof cpus, &cpus);
        return CPU_COUNT(&cpus);
    };
    const int before = usable();
    if (before < 2) MESSAGE("one CPU: this shows nothing here");
    for (int again = 0; again < 2; ++again) {
        std::atomic<int> good{0};
        run_options options;
        options.cores = 2;
        options.pin = run_options::pin_mode::yes;
        CHECK(run(options, [&]() -> task<> {
                  CHECK(usable() == 1);
                  if ((co_await blocking(usable)).value() == before) ++good;
              }) == 0);
        CHECK(good == 2);
        CHECK(usable() == before);
    }
}

#ifndef NDEBUG  // the seam is not in release builds
TEST_CASE("a core whose first bind to port 0 failed gets the port of the others by its next one") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        std::array<std::string, 2> names;
        std::atomic<int> bound = 0;
        CHECK(run(options, [&]() -> task<> {
                  const unsigned me = core_index();
                  static thread_local bool refused;
                  refused = me != 1;
                  kernel::fault::hook = [](const char* call) noexcept {
                      const bool asked = std::strcmp(call, "socket") == 0;
                      return asked && !std::exchange(refused, true) ? EMFILE : 0;
                  };
                  auto door = tcp_listener::bind("127.0.0.1:0");
                  CHECK(door.has_value() == (me == 0));
                  if (!door) door = tcp_listener::bind("127.0.0.1:0");
                  kernel::fault::hook = nullptr;
                  names[me] = door.value().local_name().to_string();
                  ++bound;
                  co_await come_true([&] { return bound == 2; });  // it stays theirs until then
              }) == 0);
        CHECK(names[0] == names[1]);
    });
}

TEST_CASE("a stop that comes while the cores are being made is not lost") {
    flavours::each_backend([](run_options& options) {
        options.core.wait = {};
        static bool asked = false;
        asked = false;
        const faults::hooked stops([](const char* call) noexcept {
            if (std::strcmp(call, "event_fd") == 0 && core_count() == 1 && !std::exchange(asked, true))
                stop();
            return 0;
        });
        std::error_code end;
        CHECK(run(options, [&]() -> task<> {
                  semaphore never(0);
                  end = (co_await never.acquire().or_stop()).error();
              }) == 0);
        CHECK(asked);
        CHECK(end == errc::stopping);
    });
}
#endif

TEST_CASE("SIGTERM stops the program, and a second one skips the grace") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        options.grace = 1h;
        std::array<std::error_code, 2> ends;
        std::atomic<int> told = 0;
        CHECK(run(options, [&]() -> task<> {
                  if (core_index() == 0) co_await yield();  // the signals are taken by now
                  if (core_index() == 0) ::kill(::getpid(), SIGTERM);
                  CHECK(co_await stop_request());
                  ++told;
                  while (told < 2) co_await yield();
                  if (core_index() == 0) ::kill(::getpid(), SIGTERM);
                  ends[core_index()] = (co_await sleep_for(1h)).error();
              }) == 0);
        CHECK(ends[0] == errc::cancelled);
        CHECK(ends[1] == errc::cancelled);
    });
}

TEST_CASE("stop() works from a thread of the user's own") {
    flavours::each_backend([](run_options& options) {
        std::thread other;
        std::error_code end;
        CHECK(run(options, [&]() -> task<> {
                  other = std::thread([] { stop(); });
                  co_await wait_for_stop(end);
              }) == 0);
        other.join();
        CHECK(end == errc::stopping);
        stop();  // outside run(): nothing happens
    });
}

TEST_CASE("a signal_set gives its signals, each once, and puts back what was there before") {
    flavours::each_task([](core&) -> task<> {
        struct sigaction before {};
        ::sigaction(SIGUSR1, nullptr, &before);
        {
            signal_set signals{SIGUSR1, SIGHUP};
            ::raise(SIGUSR1);
            ::raise(SIGUSR1);
            ::raise(SIGHUP);
            std::set<int> got;
            got.insert((co_await signals.next()).value());
            got.insert((co_await signals.next()).value());
            CHECK(got == std::set<int>{SIGUSR1, SIGHUP});
            auto kick = []() -> task<> {
                co_await yield();
                ::raise(SIGHUP);
            };
            co_await with_scope([&](scope& s) -> task<> {
                s.start(kick());
                CHECK((co_await signals.next()).value() == SIGHUP);
            });
            auto wait = [&]() -> task<bool> { co_return static_cast<bool>(co_await signals.next()); };
            auto work = wait();
            CHECK_FALSE((co_await with_deadline(10ms, std::move(work))).value_or(false));
        }
        struct sigaction after {};
        ::sigaction(SIGUSR1, nullptr, &after);
        const bool same = after.sa_handler == before.sa_handler;
        CHECK(same);
    });
}

TEST_CASE("each of several signal_sets gets the signal, on whatever core") {
    flavours::each_backend([](run_options& options) {
        options.cores = 2;
        std::atomic<unsigned> listening = 0;
        std::atomic<unsigned> got = 0;
        CHECK(run(options, [&]() -> task<> {
                  signal_set one{SIGUSR2};
                  signal_set other{SIGUSR2, SIGHUP};
                  ++listening;
                  if (core_index() == 0) {
                      CHECK(co_await net::come_true([&] { return listening == 2; }));
                      CHECK(::kill(::getpid(), SIGUSR2) == 0);
                  }
                  CHECK((co_await one.next()).value() == SIGUSR2);
                  CHECK((co_await other.next()).value() == SIGUSR2);
                  ++got;
              }) == 0);
        CHECK(got == 2);
    });
}

TEST_CASE("a program that cannot be set up ends with 2") {
    run_options options;
    options.core.backend = backend::uring;
    ::setenv("RINGLET_BACKEND", "neither", 1);
    options.core.backend = backend::automatic;
    CHECK(run(options, []() -> task<> { co_return; }) == 2);
    ::unsetenv("RINGLET_BACKEND");
}

namespace {
struct belongings {
    std::optional<chunk> bytes;
    std::optional<tcp_stream> stream;
    splice_pipe pipe;
};
/// Core 1 makes them, and `take` is awaited on core 0; what that says.
template <class Take>
std::string misused_elsewhere(run_options options, Take take) {
    options.cores = 2;
    return abort_message([&] {
        std::atomic<int> step = 0;
        belongings of_one;
        const auto come_to = [&](int wanted) -> task<> {
            co_await come_true([&] { return step >= wanted; });
        };
        std::ignore = run(options, [&]() -> task<> {
            // One after the other: listeners of several cores share a port, and its connections.
            if (core_index() == 0) co_await come_to(1);
            auto both = co_await net::half_connected();
            CHECK(both.client.send("bytes"));
            auto own = co_await both.server.chunks().next();  // both cores' pools are in use
            if (core_index() == 1) {
                of_one.bytes = std::move(own).value();
                auto other = co_await net::half_connected();
                CHECK(other.client.send("bytes"));
                std::ignore = co_await other.server.splice_to(of_one.pipe);
                of_one.stream = std::move(both.server);
                step = 1;
                co_await come_to(2);
                of_one.bytes.reset();
                of_one.stream.reset();
                of_one.pipe.reset();
            } else {
                co_await take(of_one, both.server);
                step = 2;
            }
        });
    });
}
}  // namespace

TEST_CASE("what is one core's is not given back on another") {
    flavours::each_backend([](run_options& options) {
        for (const bool all_dropped : {false, true}) {
            const auto chunk_ends = [&](belongings& from, tcp_stream&) -> task<> {
                const auto take = [&]() noexcept { return std::move(*from.bytes); };
                auto kept = co_await on_core(1, take);
                if (all_dropped) kept->drop_front(kept->size());
                kept->reset();
            };
            const auto said = misused_elsewhere(options, chunk_ends);
            CHECK_MESSAGE(says(said, "a chunk was given back on another core than its own"), said);
        }
        for (const std::size_t least : {std::size_t{0}, std::size_t{1024}}) {
            const auto chunk_is_sent = [&](belongings& from, tcp_stream& here) -> task<> {
                const auto take = [&]() noexcept { return std::move(*from.bytes); };
                auto kept = co_await on_core(1, take);
                here.set_zero_copy(least);
                std::ignore = co_await here.send_all(std::move(*kept));
            };
            const auto said = misused_elsewhere(options, chunk_is_sent);
            CHECK_MESSAGE(says(said, "a chunk was given back on another core than its own"), said);
        }
        const auto stream_ends = [](belongings& from, tcp_stream&) -> task<> {
            const auto take = [&]() noexcept { return std::move(*from.stream); };
            std::ignore = co_await on_core(1, take);
        };
        const auto closed = misused_elsewhere(options, stream_ends);
        CHECK_MESSAGE(says(closed, "given up or destroyed on another core than its own"), closed);
        const auto pipe_ends = [](belongings& from, tcp_stream&) -> task<> {
            const auto take = [&]() noexcept { return std::move(from.pipe); };
            auto kept = co_await on_core(1, take);
            kept->reset();
        };
        const auto piped = misused_elsewhere(options, pipe_ends);
        CHECK_MESSAGE(says(piped, "a pipe was given back on another core than its own"), piped);
    });
}
