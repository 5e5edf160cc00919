// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "report.hpp"

#include "tell.hpp"

#include <fmt/format.h>

#include <csignal>
#include <new>

namespace samples {

void report::add_this_core() noexcept {
    const ringlet::core_stats mine = ringlet::here().stats();
    sum_.turns += mine.turns;
    sum_.enters += mine.enters;
    sum_.resumes += mine.resumes;
    sum_.splices += mine.splices;
    sum_.spliced_bytes += mine.spliced_bytes;
    sum_.starvations += mine.starvations;
    sum_.pauses += mine.pauses;
    sum_.accept_backoffs += mine.accept_backoffs;
    sum_.overflows += mine.overflows;
    sum_.zero_copies += mine.zero_copies;
    sum_.zero_copies_copied += mine.zero_copies_copied;
    sum_.fixed_transfers += mine.fixed_transfers;
    sum_.pipes_open += mine.pipes_open;
    sum_.pipe_shortages += mine.pipe_shortages;
    sum_.buffers_leased += mine.buffers_leased;
}

std::string report::text() const {
    return fmt::format("  turns={} enters={} resumes={} splices={} spliced_bytes={}\n"
                       "  starvations={} pauses={} accept_backoffs={} overflows={}\n"
                       "  zero_copies={} zero_copies_copied={} fixed_transfers={}\n"
                       "  pipes={} pipe_shortages={} buffers={}\n",
                       sum_.turns, sum_.enters, sum_.resumes, sum_.splices, sum_.spliced_bytes,
                       sum_.starvations, sum_.pauses, sum_.accept_backoffs, sum_.overflows,
                       sum_.zero_copies, sum_.zero_copies_copied, sum_.fixed_transfers,
                       sum_.pipes_open, sum_.pipe_shortages, sum_.buffers_leased);
}

ringlet::task<> report_when_asked(std::string_view program, const make_report& make) {
    ringlet::signal_set asked{SIGUSR1};
    while (co_await asked.next()) {
        try {
            const std::unique_ptr<report> all = make();
            const auto add = [&]() noexcept { all->add_this_core(); };
            for (unsigned core = 0; core < ringlet::core_count(); ++core)
                static_cast<void>(co_await ringlet::on_core(core, add));
            tell(fmt::format("{}:\n{}", program, all->text()));
        } catch (const std::bad_alloc&) {
            tell("ringlet: no memory for a report\n");
        }
    }
}

}  // namespace samples
