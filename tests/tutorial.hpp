// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
#pragma once

/// What the fragments of docs/tutorial.md take as given. It is compiled and never linked.

#include <ringlet/ringlet.hpp>

#include <liburing.h>
#include <netdb.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

using namespace ringlet;
using namespace std::chrono_literals;

extern tcp_stream peer;
extern tcp_stream stream;
extern tcp_listener listener;
extern std::array<std::byte, 4096> room;
extern std::span<const std::byte> head;
extern std::span<const std::byte> body;
extern std::string url;
extern file root;
extern int fd;
extern const char* host;
extern const char* port;
extern addrinfo hints;
extern addrinfo* list;
extern address upstream;
extern std::map<std::string, int> table;

task<> echo(tcp_stream client);
task<> heartbeat();
task<> work();
task<std::string> fetch(std::string from);
task<> say_goodbye(tcp_stream& to);
void beat();
void read_settings();
