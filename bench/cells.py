#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Measures the CPU time per echoed message of ringlet and of C servers, over a matrix of loads.

A cell is CONNECTIONS:SIZE:PIPELINE. Each server runs in a fresh process once per cell and round, on
one cpu with the client on another. Ratios are taken within a round and their median is shown.
"""
import argparse
import contextlib
import fnmatch
import itertools
import json
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

sys.dont_write_bytecode = True  # the import below would leave a __pycache__ in the source tree
import demo  # noqa: E402

CONNECTIONS = (1, 16, 64, 512, 4096)
SIZES = (64, 1024, 16384)
PIPELINES = (1, 16)
QUICK = ("1:64:1", "64:64:1", "64:64:16", "64:16384:1", "64:16384:16", "512:64:1")
MOST_IN_FLIGHT = 256 << 20
LOSING = 1.05
CPU = "cpu_us_per_message"
SPARE_FILES = 256  # beside the connections
CLIENT_SECONDS = 30  # beyond the duration: to connect, and to take in what is still on its way


@dataclass
class cell:
    connections: int
    size: int
    pipeline: int
    runs: dict[str, dict[int, dict]] = field(default_factory=dict)  # by server, then by round
    failures: list[dict] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.connections}:{self.size}:{self.pipeline}"

    @property
    def fits(self) -> bool:
        return self.connections * self.size * self.pipeline <= MOST_IN_FLIGHT


class run_failure(Exception):
    """One run gave no figure; the text is why, with what the process said."""


class argument_parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"cells: {message}\n")


def servers_of(build: pathlib.Path) -> list[demo.server]:
    echo = str(build / "samples" / "echo_server")
    uring = str(build / "bench" / "limit_uring")
    epoll = str(build / "bench" / "limit_epoll")
    listen = ["--listen", "127.0.0.1:0"]
    ringlet = ["--cores", "1", *listen]
    return [
        demo.server("ringlet-uring", "io_uring", False, [echo, "--backend", "uring", *ringlet]),
        demo.server("c-multishot", "io_uring", True, [uring, "--technique", "multishot", *listen]),
        demo.server("c-single", "io_uring", True, [uring, "--technique", "single", *listen]),
        demo.server("ringlet-epoll", "epoll", False, [echo, "--backend", "epoll", *ringlet]),
        demo.server("c-epoll-64k", "epoll", True, [epoll, "--buffer", "65536", *listen]),
        demo.server("c-epoll-256k", "epoll", True, [epoll, "--buffer", "262144", *listen]),
    ]


def client_of(build: pathlib.Path) -> str:
    return str(build / "samples" / "echo_client")


# --- one run --------------------------------------------------------------------------------------

def said(text: str, child: subprocess.Popen) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"exit {child.returncode}: {'; '.join(lines[-3:]) or 'it said nothing'}"


@contextlib.contextmanager
def running(group: demo.children, arguments: list[str], cpu: int):
    try:
        child = group.start(arguments, cpu, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except (OSError, subprocess.SubprocessError) as why:
        raise run_failure(f"{arguments[0]} cannot be run: {why}") from None
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        group.forget(child)


def run_client(group: demo.children, options, load: cell, address: str, cpu: int) -> dict:
    arguments = [client_of(options.build), "--connect", address, "--json",
                 "--connections", str(load.connections), "--size", str(load.size),
                 "--pipeline", str(load.pipeline), "--duration", f"{options.seconds:g}"]
    with running(group, arguments, cpu) as client:
        limit = options.seconds + CLIENT_SECONDS
        try:
            out, err = client.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise run_failure(f"client: it did not end within {limit:g} s") from None
        if client.returncode != 0:
            raise run_failure(f"client: {said(err, client)}")
    return checked_answer(out)


def checked_answer(out: str) -> dict:
    try:
        answer = json.loads(out)
    except ValueError:
        raise run_failure(f"client: the answer is not JSON: {out[:200]!r}") from None
    for wrong in ("errors", "mismatches"):
        if answer.get(wrong):
            raise run_failure(f"client: {answer[wrong]} {wrong}")
    if not answer.get("messages"):
        raise run_failure("client: no message was echoed")
    return answer


def address_of(child: subprocess.Popen) -> str:
    try:
        return demo.read_address(child)
    except demo.start_failure as why:
        raise run_failure(f"server: {why}") from None
    except subprocess.TimeoutExpired:
        raise run_failure("server: it closed its output before it listened") from None


def stop_server(child: subprocess.Popen) -> None:
    child.terminate()
    try:
        _, err = child.communicate(timeout=demo.STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise run_failure(
            f"server: it did not stop within {demo.STOP_SECONDS} s of SIGTERM") from None
    if child.returncode != 0:
        raise run_failure(f"server: {said(err, child)}")


def end_of(child: subprocess.Popen) -> str | None:
    """What a server that ended by itself left behind; None while it runs."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        # A server that crashed has reset the client first and may take a moment to be gone.
        child.wait(0.5)
    return None if child.returncode is None else f"server: {said(child.stderr.read(), child)}"


def measure(group: demo.children, options, load: cell, subject: demo.server, cpus) -> dict:
    with running(group, subject.arguments, cpus[0]) as child:
        address = address_of(child)
        try:
            before = demo.cpu_ns(child.pid)
            answer = run_client(group, options, load, address, cpus[1])
            used = demo.cpu_ns(child.pid) - before
        except (run_failure, OSError) as why:
            end = end_of(child)
            raise run_failure(f"{why}; {end}" if end else f"{why}") from None
        stop_server(child)
    answer[CPU] = used / 1000 / answer["messages"]
    return answer


# --- all runs -------------------------------------------------------------------------------------

class progress:
    def __init__(self, total: int, seconds: float):
        self.total = total
        self.done = 0
        self.guess = seconds + 0.1
        self.began = time.monotonic()
        self.tty = sys.stderr.isatty()

    def left(self) -> str:
        each = (time.monotonic() - self.began) / self.done if self.done else self.guess
        minutes, seconds = divmod(round(each * (self.total - self.done)), 60)
        return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"

    def show(self, text: str) -> None:
        if self.tty:
            print(f"\r\033[K[{self.done + 1}/{self.total}] {text}; {self.left()} left",
                  end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def rotated(servers: list[demo.server], turn: int) -> list[demo.server]:
    first = turn % len(servers)
    return servers[first:] + servers[:first]


def run_all(group: demo.children, options, cells: list[cell], servers: list[demo.server],
            cpus) -> None:
    bar = progress(len(cells) * options.rounds * len(servers), options.seconds)
    try:
        for load, turn in itertools.product(cells, range(options.rounds)):
            for subject in rotated(servers, turn):
                label = f"{load.name} {subject.name}, round {turn + 1} of {options.rounds}"
                bar.show(label)
                try:
                    answer = measure(group, options, load, subject, cpus)
                    load.runs.setdefault(subject.name, {})[turn] = answer
                except run_failure as why:
                    load.failures.append({"server": subject.name, "round": turn, "why": f"{why}"})
                    bar.clear()
                    print(f"cells: {label}: {why}", file=sys.stderr, flush=True)
                bar.done += 1
    finally:
        bar.clear()


# --- what came of it ------------------------------------------------------------------------------

def ratio_to_best(load: cell, subject: demo.server, rivals: list[demo.server]) -> dict | None:
    """Within each round the CPU time over that of the best rival; then the median of the rounds."""
    ratios = []
    for turn, run in load.runs.get(subject.name, {}).items():
        others = [load.runs[r.name][turn][CPU] for r in rivals if turn in load.runs.get(r.name, {})]
        if others and min(others) > 0:
            ratios.append(run[CPU] / min(others))
    if not ratios:
        return None
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def row_of(load: cell, subject: demo.server, servers: list[demo.server]) -> dict:
    runs = load.runs.get(subject.name, {})
    twins = [s for s in servers if s.twin and s.backend == subject.backend]
    row = {"server": subject.name, "backend": subject.backend,
           "failed": sum(f["server"] == subject.name for f in load.failures)}
    for key in (CPU, "rate", "p50_us", "p99_us"):
        row[key] = statistics.median(r[key] for r in runs.values()) if runs else None
    row["cpu_to_c"] = to_c = ratio_to_best(load, subject, twins)
    row["cpu_to_best"] = ratio_to_best(load, subject, servers)
    row["loses"] = not subject.twin and to_c is not None and to_c["median"] > LOSING
    row["runs"] = [{"round": turn, **run} for turn, run in sorted(runs.items())]
    return row


def result_of(load: cell, servers: list[demo.server]) -> dict:
    return {"cell": load.name, "connections": load.connections, "size": load.size,
            "pipeline": load.pipeline, "servers": [row_of(load, s, servers) for s in servers],
            "failures": load.failures}


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def remark_of(row: dict) -> str:
    remarks = ["LOSES"] if row["loses"] else []
    if row["failed"]:
        remarks.append(f"{row['failed']} failed")
    return ", ".join(remarks)


def line_of(name: str, row: dict) -> list[str]:
    to_c, to_best = row["cpu_to_c"], row["cpu_to_best"]
    return [name, row["server"], number(row[CPU], ".3f"),
            f"{to_c['median']:.2f}" if to_c else "-",
            f"{to_c['min']:.2f}..{to_c['max']:.2f}" if to_c else "-",
            f"{to_best['median']:.2f}" if to_best else "-",
            number(row["rate"], ",.0f"), number(row["p50_us"], ".0f"), number(row["p99_us"], ".0f"),
            remark_of(row)]


def print_table(results: list[dict]) -> None:
    head = ["cell", "server", "CPU us/msg", "CPU/C", "min..max", "CPU/best", "messages/s", "p50 us",
            "p99 us", ""]
    left = (0, 1, len(head) - 1)
    blocks = [[head]] + [[line_of("" if i else result["cell"], row)
                          for i, row in enumerate(result["servers"])] for result in results]
    widths = [max(map(len, column)) for column in zip(*itertools.chain(*blocks))]
    for block in blocks:
        for line in block:
            print("  ".join(text.ljust(width) if i in left else text.rjust(width)
                            for i, (text, width) in enumerate(zip(line, widths))).rstrip())
        print()


def print_losses(results: list[dict]) -> None:
    lost = sorted(((row["cpu_to_c"]["median"], result["cell"], row["server"])
                   for result in results for row in result["servers"] if row["loses"]),
                  reverse=True)
    compared = sum(row["server"].startswith("ringlet") and row["cpu_to_c"] is not None
                   for result in results for row in result["servers"])
    if compared:
        print(f"ringlet loses (CPU/C above {LOSING}) in {len(lost)} of {compared} comparisons"
              f"{':' if lost else '.'}")
    for ratio, name, server in lost:
        print(f"  {ratio:.2f}  {server}  {name}")


def report(options, cells: list[cell], servers: list[demo.server], cpus, interrupted: bool) -> None:
    results = [result_of(c, servers) for c in cells if c.runs or c.failures]
    if results:
        print_table(results)
        print("CPU/C: to the best C server of the same backend in the same round; median and range "
              "over the\nrounds. CPU/best: the same to the best of all servers. CPU is user and "
              "system time, with accepts.")
        print_losses(results)
    if options.json:
        content = {"rounds": options.rounds, "seconds": options.seconds, "cpus": list(cpus),
                   "kernel": os.uname().release, "interrupted": interrupted, "cells": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


# --- the command line -----------------------------------------------------------------------------

def parser_of() -> argparse.ArgumentParser:
    parser = argument_parser(prog="cells", description=__doc__.splitlines()[0],
                             allow_abbrev=False)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build-release"),
                        metavar="DIR", help="folder of the build (default: %(default)s)")
    parser.add_argument("--rounds", type=demo.positive(int), metavar="N",
                        help="runs of each server in each cell (default: 5)")
    parser.add_argument("--seconds", type=demo.positive(float), metavar="S",
                        help="per run (default: 0.5)")
    parser.add_argument("--only", metavar="PATTERN", default="*",
                        help="cells whose CONNECTIONS:SIZE:PIPELINE matches, as in '64:*:1'")
    parser.add_argument("--quick", action="store_true",
                        help="six cells, and unless told otherwise 3 rounds of 0.3 s")
    names = ", ".join(s.name for s in servers_of(pathlib.Path()))
    parser.add_argument("--servers", metavar="PATTERN", default="*",
                        help=f"servers whose name matches, of {names}")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run to FILE")
    return parser


def cells_of(options) -> list[cell]:
    loads = (cell(*load) for load in itertools.product(CONNECTIONS, SIZES, PIPELINES))
    return [c for c in loads if c.fits and (not options.quick or c.name in QUICK)
            and fnmatch.fnmatchcase(c.name, options.only)]


def chosen_of(parser, options) -> tuple[list[cell], list[demo.server]]:
    cells = cells_of(options)
    if not cells:
        parser.error(f"no cell matches --only {options.only}"
                     + (" among those of --quick" if options.quick else ""))
    servers = [s for s in servers_of(options.build)
               if fnmatch.fnmatchcase(s.name, options.servers)]
    if not servers:
        parser.error(f"no server matches --servers {options.servers}")
    for program in [client_of(options.build), *(s.arguments[0] for s in servers)]:
        if not os.path.isfile(program) or not os.access(program, os.X_OK):
            parser.error(f"{program} is missing: run ./dev build release, or name a --build")
    if options.json:
        try:
            options.json.open("a", encoding="utf-8").close()
        except OSError as why:
            parser.error(f"--json {options.json}: {why.strerror}")
    return cells, servers


def parse_options():
    parser = parser_of()
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.3 if options.quick else 0.5)
    return options, *chosen_of(parser, options)


def choose_cpus() -> tuple[int, int]:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        print("cells: only one cpu: client and server share it", file=sys.stderr)
    return cpus[0], cpus[min(1, len(cpus) - 1)]


def allow_files(needed: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def on_stop(handler) -> None:
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(which, handler)


def interrupt(_signal, _frame):
    on_stop(signal.SIG_IGN)  # a second one must not cut the cleanup short
    raise KeyboardInterrupt


def main() -> int:
    options, cells, servers = parse_options()
    cpus = choose_cpus()
    allow_files(max(c.connections for c in cells) + SPARE_FILES)
    print(f"{len(cells)} cells, {len(servers)} servers, {options.rounds} x {options.seconds:g} s "
          f"each; server on cpu {cpus[0]}, client on cpu {cpus[1]}\n", flush=True)
    # A reader such as head(1) may close our output: that ends the script, and children die with it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    group = demo.children()
    interrupted = False
    try:
        on_stop(interrupt)
        run_all(group, options, cells, servers, cpus)
    except KeyboardInterrupt:
        interrupted = True
        print("cells: interrupted; this is what was measured so far", file=sys.stderr, flush=True)
    finally:
        group.kill_all()
    on_stop(signal.SIG_DFL)  # nothing is left to clean up
    report(options, cells, servers, cpus, interrupted)
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
