#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Measures ringlet's echo server on io_uring and on epoll beside C servers written by hand.

Every server runs once per round, one after the other, pinned to one cpu with the client on another.
Ratios are taken within a round and their median is shown, because a shared machine drifts.
"""
import argparse
import ctypes
import json
import os
import pathlib
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field

LISTENING = re.compile(r"listening on (\S+:\d+)\b")
START_SECONDS = 10
STOP_SECONDS = 10
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


@dataclass
class server:
    name: str
    backend: str
    twin: bool  # written by hand in C
    arguments: list[str]
    runs: list[dict] = field(default_factory=list)


def servers_of(build: pathlib.Path) -> list[server]:
    echo = str(build / "samples" / "echo_server")
    uring = str(build / "bench" / "limit_uring")
    epoll = str(build / "bench" / "limit_epoll")
    listen = ["--listen", "127.0.0.1:0"]
    ringlet = ["--cores", "1", *listen]
    return [
        server("ringlet", "io_uring", False, [echo, "--backend", "uring", *ringlet]),
        server("C, single shot", "io_uring", True, [uring, "--technique", "single", *listen]),
        server("C, multishot", "io_uring", True, [uring, "--technique", "multishot", *listen]),
        server("ringlet", "epoll", False, [echo, "--backend", "epoll", *ringlet]),
        server("C", "epoll", True, [epoll, *listen]),
    ]


class start_failure(Exception):
    """A server ended before it listened; the text is what it said."""


class children:
    """Every process started here, so that none is left behind."""

    def __init__(self):
        self.running: list[subprocess.Popen] = []

    def start(self, arguments: list[str], cpu: int, **streams) -> subprocess.Popen:
        parent = os.getpid()

        def before_exec():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            os.sched_setaffinity(0, {cpu})

        # A session of its own: Ctrl-C reaches this script only, and it ends the children in order.
        child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, text=True, errors="replace",
                                 start_new_session=True, preexec_fn=before_exec, **streams)
        self.running.append(child)
        return child

    def forget(self, child: subprocess.Popen) -> None:
        self.running.remove(child)
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()

    def kill_all(self) -> None:
        for child in self.running:
            if child.poll() is None:
                child.kill()
        for child in self.running:
            child.wait()
        self.running.clear()


def cpu_ns(pid: int) -> int:
    """CPU time of a process in nanoseconds: all its threads, those that have ended among them."""
    process_clock = (~pid << 3) | 2  # what clock_getcpuclockid(3) makes of a pid on Linux
    return time.clock_gettime_ns(process_clock)


def read_address(child: subprocess.Popen) -> str:
    """HOST:PORT from the line a server prints when it listens."""
    deadline = time.monotonic() + START_SECONDS
    text = ""
    descriptor = child.stdout.fileno()
    while "\n" not in text or not LISTENING.search(text):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise start_failure(f"said nothing of listening within {START_SECONDS} s")
        piece = os.read(descriptor, 4096)
        if not piece:
            child.wait(STOP_SECONDS)
            said = child.stderr.read().strip().splitlines()
            raise start_failure(said[-1] if said else f"ended with {child.returncode}")
        text += piece.decode(errors="replace")
    return LISTENING.search(text).group(1)


def run_client(group: children, options, address: str, cpu: int, label: str) -> dict:
    client = group.start(
        [str(options.build / "samples" / "echo_client"), "--connect", address,
         "--connections", str(options.connections), "--size", str(options.size),
         "--duration", f"{options.seconds:g}", "--json"],
        cpu, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = client.communicate(timeout=options.seconds + 30)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"demo: the client did not end while measuring {label}") from None
    group.forget(client)
    if client.returncode != 0:
        said = err.strip().splitlines()
        raise SystemExit(f"demo: the client failed while measuring {label}: "
                         f"{said[-1] if said else client.returncode}")
    try:
        answer = json.loads(out)
    except ValueError:
        raise SystemExit(f"demo: the client's answer is not JSON: {out[:200]!r}") from None
    for wrong in ("errors", "mismatches"):
        if answer.get(wrong):
            raise SystemExit(f"demo: {answer[wrong]} {wrong} while measuring {label}")
    if not answer.get("messages"):
        raise SystemExit(f"demo: no message was echoed while measuring {label}")
    return answer


def measure(group: children, options, subject: server, cpus: tuple[int, int]) -> dict:
    label = f"{subject.name} on {subject.backend}"
    child = group.start(subject.arguments, cpus[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        address = read_address(child)
    except start_failure:
        if child.poll() is None:
            child.kill()
            child.wait()
        group.forget(child)
        raise
    before = cpu_ns(child.pid)
    answer = run_client(group, options, address, cpus[1], label)
    used = cpu_ns(child.pid) - before
    child.terminate()
    try:
        child.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"demo: {label} did not stop within {STOP_SECONDS} s of SIGTERM") from None
    group.forget(child)
    if child.returncode != 0:
        raise SystemExit(f"demo: {label} ended with {child.returncode} after SIGTERM")
    answer["cpu_us_per_message"] = used / 1000 / answer["messages"]
    return answer


def median_of(subject: server, key: str) -> float:
    return statistics.median(run[key] for run in subject.runs)


def ratio_to_twin(subject: server, servers: list[server], key: str, best) -> float | None:
    """Median of within-round ratios to the better C twin of the same backend in that round."""
    twins = [s for s in servers if s.twin and s.backend == subject.backend]
    if subject.twin or not twins:
        return None
    return statistics.median(run[key] / best(twin.runs[turn][key] for twin in twins)
                             for turn, run in enumerate(subject.runs))


def rows_of(servers: list[server]) -> list[dict]:
    return [{
        "server": s.name,
        "backend": s.backend,
        "rate": median_of(s, "rate"),
        "cpu_us_per_message": median_of(s, "cpu_us_per_message"),
        "rate_to_c": ratio_to_twin(s, servers, "rate", max),
        "cpu_to_c": ratio_to_twin(s, servers, "cpu_us_per_message", min),
        "p50_us": median_of(s, "p50_us"),
        "p99_us": median_of(s, "p99_us"),
        "runs": s.runs,
    } for s in servers]


def print_table(rows: list[dict]) -> None:
    head = ["server", "backend", "messages/s", "CPU us/msg", "rate/C", "CPU/C", "p50 us", "p99 us"]

    def ratio(value):
        return "-" if value is None else f"{value:.2f}"

    lines = [head] + [[r["server"], r["backend"], f"{r['rate']:,.0f}",
                       f"{r['cpu_us_per_message']:.2f}", ratio(r["rate_to_c"]),
                       ratio(r["cpu_to_c"]), f"{r['p50_us']:.0f}", f"{r['p99_us']:.0f}"]
                      for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths))).rstrip())


def noise_sentence(servers: list[server], rounds: int, shared_cpu: bool) -> str:
    spread = max((max(r["rate"] for r in s.runs) - min(r["rate"] for r in s.runs))
                 / median_of(s, "rate") for s in servers)
    if rounds == 1:
        text = "Noise: one round cannot tell it from a difference, so repeat with more --rounds"
    else:
        text = (f"Noise: over {rounds} rounds one server's rate varied by up to {spread:.0%}, so a "
                "smaller difference between two servers means little")
    return text + ("; client and server shared one cpu." if shared_cpu else ".")


class progress:
    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.tty = sys.stdout.isatty()

    def show(self, text: str) -> None:
        self.done += 1
        if self.tty:
            print(f"\r\033[K[{self.done}/{self.total}] {text}", end="", flush=True)

    def clear(self) -> None:
        if self.tty:
            print("\r\033[K", end="", flush=True)


def positive(kind):
    def read(text):
        value = kind(text)
        if not 0 < value < 1_000_000_000:
            raise argparse.ArgumentTypeError(f"must be above 0: {text}")
        return value
    read.__name__ = kind.__name__
    return read


def parse_options():
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build-release"),
                        help="folder of the release build (default: %(default)s)")
    parser.add_argument("--rounds", type=positive(int), default=3)
    parser.add_argument("--seconds", type=positive(float), default=2.0, help="per server and round")
    parser.add_argument("--connections", type=positive(int), default=64)
    parser.add_argument("--size", type=positive(int), default=64, help="bytes per message")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run to FILE")
    return parser.parse_args()


def run(group: children, options) -> int:
    cpus = sorted(os.sched_getaffinity(0))
    shared_cpu = len(cpus) < 2
    if shared_cpu:
        print("demo: only one cpu: client and server share it, so rates are not comparable "
              "with those of other machines", file=sys.stderr)
    pair = (cpus[0], cpus[0] if shared_cpu else cpus[1])

    servers = servers_of(options.build)
    for program in {s.arguments[0] for s in servers if s.backend == "epoll"} | {
            str(options.build / "samples" / "echo_client")}:
        if not os.access(program, os.X_OK):
            raise SystemExit(f"demo: {program} is missing: run ./dev build release")

    print(f"echo of {options.size} bytes over {options.connections} connections; "
          f"{options.rounds} x {options.seconds:g} s per server; "
          f"server on cpu {pair[0]}, client on cpu {pair[1]}", flush=True)
    bar = progress(options.rounds * len(servers))
    no_uring = None
    for turn in range(options.rounds):
        for subject in list(servers):
            if subject not in servers:
                continue
            bar.show(f"round {turn + 1} of {options.rounds}: {subject.name} on {subject.backend}")
            try:
                subject.runs.append(measure(group, options, subject, pair))
            except (start_failure, FileNotFoundError) as why:
                # io_uring is refused at the start or not at all; later it is a fault like any other.
                if subject.backend == "io_uring" and turn == 0:
                    if no_uring is None:
                        no_uring = f"{why}"
                    servers = [s for s in servers if s.backend != "io_uring"]
                    bar.total = options.rounds * len(servers)
                    bar.done = 0
                else:
                    raise SystemExit(f"demo: {subject.name} on {subject.backend} "
                                     f"did not start: {why}") from None
    bar.clear()

    rows = rows_of(servers)
    if no_uring is not None:
        print(f"io_uring cannot be had here, so only epoll is shown: {no_uring}")
    print_table(rows)
    print("rate/C and CPU/C: median ratio to the better C server of the same backend in the same "
          "round.")
    print(noise_sentence(servers, options.rounds, shared_cpu))
    if options.json:
        report = {"connections": options.connections, "size": options.size,
                  "seconds": options.seconds, "rounds": options.rounds, "cpus": list(pair),
                  "kernel": os.uname().release, "io_uring_refused": no_uring, "servers": rows}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def main() -> int:
    options = parse_options()

    def stop(_signal, _frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    group = children()
    try:
        return run(group, options)
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        group.kill_all()


if __name__ == "__main__":
    sys.exit(main())
