// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "measure.hpp"

#include "disturbance.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <stdexcept>
#include <vector>

namespace bench {

namespace {

constexpr seconds stop_limit{10};
constexpr double load_limit = 30;        // beyond the window: to connect and to drain
constexpr double warm_up_seconds = 0.1;  // after the start
constexpr double counting_seconds = 0.05;

std::vector<std::string> load_command(const method& how, const workload& w,
                                      const std::string& address, pid_t server) {
    std::vector<std::string> command{sibling("load"),
                                     "--connect",
                                     address,
                                     "--traffic",
                                     w.traffic,
                                     "--connections",
                                     std::to_string(w.connections),
                                     "--size",
                                     std::to_string(w.size),
                                     "--pipeline",
                                     std::to_string(w.pipeline),
                                     "--orders",
                                     "--watch",
                                     std::to_string(server),
                                     "--watch-cpu",
                                     std::to_string(how.cpus.server)};
    const auto add = [&command](const char* name, std::string value) {
        command.emplace_back(name);
        command.push_back(std::move(value));
    };
    if (w.active > 0) add("--active", std::to_string(w.active));
    if (w.rate > 0) add("--rate", std::to_string(w.rate));
    if (how.tracepoint) {
        add("--tracepoint", std::to_string(*how.tracepoint));
        add("--count", fmt::format("{:g}", counting_seconds));
    }
    return command;
}

}  // namespace

subject::subject(const method& how, const server& s, const workload& w)
    : how_(how),
      role_(w.role),
      plan_(plan_of(how.seconds, w)),
      around_(s, w, how.folder, place{how.cpus.client, how.fifo}),
      server_(around_.command(), place{how.cpus.server, how.fifo, around_.folder()}) {
    const std::string address = around_.address_of(server_, start_line_);
    if (start_line_.find(s.says) == std::string::npos)
        throw run_failure(fmt::format("it is without `{}`: {}", s.says, start_line_));
    place beside{how.cpus.client, how.fifo};
    beside.listens = true;
    load_.emplace(load_command(how, w, address, server_.pid()), beside);
    static_cast<void>(answer_to(fmt::format("go 0 {:g}", warm_up_seconds)));
}

void subject::take_turn(bool again) {
    // What came before the first turn was to warm up.
    const char* verb = again || turns_ == 0 ? "again" : "go";
    const auto seen =
        result_of(answer_to(fmt::format("{} {:g} {:g}", verb, plan_.warmup, plan_.seconds)));
    disturbed_ = how_.alone && is_disturbed(seen, role_);
    ++(again ? repeated_ : turns_);
}

run_result subject::end() {
    const load_answer answer = answer_to("end");
    if (answer.messages == 0) throw run_failure("not one message was answered");
    run_result result = result_of(answer);
    result.turns = turns_;
    result.repeated = repeated_;
    result.disturbed = how_.alone && is_disturbed(result, role_);
    server_.end(SIGTERM, stop_limit);
    return result;
}

load_answer subject::answer_to(const std::string& order) {
    try {
        load_->write_line(order);
        const load_answer answer =
            load_answer_of(load_->read_line(seconds(plan_.warmup + plan_.seconds + load_limit)));
        if (answer.mismatches > 0) throw run_failure("wrong bytes: " + answer.trouble);
        if (answer.errors > 0) throw run_failure(answer.trouble);
        return answer;
    } catch (const std::runtime_error& why) {
        // A server that has died is the cause of whatever its client saw.
        if (const auto death = server_.death())
            throw run_failure(fmt::format("{}; the client saw: {}", *death, why.what()));
        throw run_failure(why.what());
    }
}

}  // namespace bench
