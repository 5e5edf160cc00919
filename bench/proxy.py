#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Measures what proxies cost: ringlet's tcp_proxy, one written by hand in C, haproxy and nginx.

A load is bulk:CONNECTIONS (writes of 64 KiB one way, CPU seconds per GiB) or small:CONNECTIONS (64
bytes to an echo server and back, CPU microseconds per message). Each proxy runs in a fresh process
once per load and round, on one cpu with both its peers on another. Ratios are taken within a round
and their median is shown. haproxy and nginx take part when they are installed.
"""
import argparse
import contextlib
import fnmatch
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Callable

sys.dont_write_bytecode = True  # the imports below would leave a __pycache__ in the source tree
import cells  # noqa: E402
import demo  # noqa: E402

LOADS = ("bulk:1", "bulk:8", "small:64")
SMALL = 64
GIB = 1 << 30
LOAD_SECONDS = 30  # beyond the duration
HAPROXY = """global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen proxy
  bind {listen}
  {options}
  server upstream {upstream}
"""
NGINX = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
{module}
events {{ worker_connections 8000; }}
stream {{
  server {{
    listen {listen};
    tcp_nodelay on;
    proxy_buffer_size 64k;
    proxy_pass {upstream};
  }}
}}
"""
NGINX_MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@dataclass
class proxy:
    name: str
    kind: str  # ringlet, c or other
    arguments: Callable[[str, str, str], list[str]]  # of the upstream, where to listen, a folder
    says_address: bool = True
    runs: dict[str, dict[int, float]] = field(default_factory=dict)  # by load, then by round


def ours(build: pathlib.Path, backend: str, mode: str, pipe: int = 0) -> proxy:
    def arguments(upstream, _listen, _folder):
        more = ["--pipe-size", str(pipe)] if pipe else []
        return [str(build / "samples" / "tcp_proxy"), "--listen", "127.0.0.1:0", "--upstream",
                upstream, "--backend", backend, "--mode", mode, *more]
    return proxy(f"ringlet-{backend}-{mode}" + (f"-{pipe >> 10}k" if pipe else ""), "ringlet",
                 arguments)


def twin(build: pathlib.Path, technique: str, pipe: int = 0) -> proxy:
    def arguments(upstream, _listen, _folder):
        more = ["--buffer", str(pipe)] if pipe else []
        return [str(build / "bench" / "limit_proxy"), "--listen", "127.0.0.1:0", "--upstream",
                upstream, "--technique", technique, *more]
    return proxy(f"c-{technique}" + (f"-{pipe >> 10}k" if pipe else ""), "c", arguments)


def haproxy(name: str, options: str) -> proxy:
    def arguments(upstream, listen, folder):
        config = pathlib.Path(folder) / "haproxy.cfg"
        config.write_text(HAPROXY.format(listen=listen, upstream=upstream, options=options))
        return [shutil.which("haproxy"), "-db", "-q", "-f", str(config)]
    return proxy(name, "other", arguments, says_address=False)


def nginx() -> proxy:
    def arguments(upstream, listen, folder):
        config = pathlib.Path(folder) / "nginx.conf"
        module = f"load_module {NGINX_MODULE};" if NGINX_MODULE.exists() else ""
        config.write_text(NGINX.format(listen=listen, upstream=upstream, folder=folder,
                                       module=module))
        return [shutil.which("nginx"), "-p", folder, "-c", str(config)]
    return proxy("nginx", "other", arguments, says_address=False)


def proxies_of(build: pathlib.Path) -> list[proxy]:
    all_ = [ours(build, backend, mode)
            for backend, mode in itertools.product(("uring", "epoll"), ("auto", "copy", "splice"))]
    all_ += [ours(build, backend, "auto", 64 << 10) for backend in ("uring", "epoll")]
    all_ += [twin(build, "copy"), twin(build, "copy", 256 << 10), twin(build, "splice"),
             twin(build, "splice", 1 << 20), twin(build, "ring"), twin(build, "ring", 1 << 20)]
    if shutil.which("haproxy"):
        all_ += [haproxy("haproxy", ""), haproxy("haproxy-splice", "option splice-auto")]
    if shutil.which("nginx"):
        all_.append(nginx())
    return all_


# --- one run --------------------------------------------------------------------------------------

def free_address() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % s.getsockname()[1]


def wait_for(address: str, child: subprocess.Popen) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + demo.START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise cells.run_failure(f"proxy: {cells.said(child.stderr.read(), child)}")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.01)
    raise cells.run_failure(f"proxy: nobody listens on {address}")


@contextlib.contextmanager
def started(group: demo.children, subject: proxy, upstream: str, cpu: int):
    """A proxy that listens: the process and its address."""
    with tempfile.TemporaryDirectory(prefix="ringlet-proxy-") as folder:
        listen = free_address()
        with cells.running(group, subject.arguments(upstream, listen, folder), cpu) as child:
            if subject.says_address:
                listen = cells.address_of(child)
            else:
                wait_for(listen, child)
            yield child, listen
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=demo.STOP_SECONDS)


def run_bulk(group: demo.children, options, subject: proxy, connections: int, cpus) -> float:
    """CPU seconds of the proxy per GiB."""
    parent = os.getpid()

    def before_exec():
        demo.LIBC.prctl(demo.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.sched_setaffinity(0, {cpus[1]})

    load = subprocess.Popen(
        [str(options.build / "bench" / "bulk_load"), str(connections), f"{options.seconds:g}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=before_exec)
    group.running.append(load)
    try:
        upstream = load.stdout.readline().strip()
        with started(group, subject, upstream, cpus[0]) as (child, address):
            before = demo.cpu_ns(child.pid)
            try:
                out, err = load.communicate(address + "\n", options.seconds + LOAD_SECONDS)
            except subprocess.TimeoutExpired:
                raise cells.run_failure("the load did not end") from None
            used = demo.cpu_ns(child.pid) - before
        if load.returncode != 0:
            raise cells.run_failure(f"load: {cells.said(err, load)}")
        moved = int(out.split()[0])
        if moved == 0:
            raise cells.run_failure("nothing came through")
        return used / 1e9 / (moved / GIB)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
        group.running.remove(load)


def run_small(group: demo.children, options, subject: proxy, connections: int, cpus) -> float:
    """CPU microseconds of the proxy per message."""
    echo = [str(options.build / "bench" / "limit_epoll"), "--listen", "127.0.0.1:0"]
    with cells.running(group, echo, cpus[1]) as upstream:
        address = cells.address_of(upstream)
        with started(group, subject, address, cpus[0]) as (child, address):
            before = demo.cpu_ns(child.pid)
            answer = cells.run_client(group, options, cells.cell(connections, SMALL, 1), address,
                                      cpus[1])
            used = demo.cpu_ns(child.pid) - before
        return used / 1000 / answer["messages"]


def measure(group: demo.children, options, load: str, subject: proxy, cpus) -> float:
    kind, connections = load.split(":")
    run = run_bulk if kind == "bulk" else run_small
    return run(group, options, subject, int(connections), cpus)


# --- what came of it ------------------------------------------------------------------------------

def ratio(load: str, subject: proxy, rivals: list[proxy]) -> float | None:
    """To the best of the rivals in the same round; the median of the rounds."""
    ratios = []
    for turn, cost in subject.runs.get(load, {}).items():
        others = [r.runs[load][turn] for r in rivals if turn in r.runs.get(load, {})]
        if others:
            ratios.append(cost / min(others))
    return statistics.median(ratios) if ratios else None


def rows_of(load: str, proxies: list[proxy]) -> list[dict]:
    rows = []
    for p in proxies:
        runs = list(p.runs.get(load, {}).values())
        rows.append({"proxy": p.name, "runs": runs,
                     "cost": statistics.median(runs) if runs else None,
                     "least": min(runs) if runs else None,
                     "to_c": ratio(load, p, [r for r in proxies if r.kind == "c"]),
                     "to_others": ratio(load, p, [r for r in proxies if r.kind == "other"])})
    return rows


def print_table(load: str, rows: list[dict]) -> None:
    unit = "CPU s/GiB" if load.startswith("bulk") else "CPU us/msg"
    head = [load, unit, "least", "to best C", "to best other"]
    lines = [head] + [[r["proxy"], *(cells.number(r[key], ".3f") for key in ("cost", "least")),
                       *(cells.number(r[key], ".2f") for key in ("to_c", "to_others"))]
                      for r in rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(text.rjust(width) if i else text.ljust(width)
                        for i, (text, width) in enumerate(zip(line, widths))))
    print()


# --- the command line -----------------------------------------------------------------------------

class argument_parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"proxy: {message}\n")


def parser_of() -> argparse.ArgumentParser:
    parser = argument_parser(prog="proxy", description=__doc__, allow_abbrev=False,
                             formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build-release"),
                        metavar="DIR", help="folder of the build (default: %(default)s)")
    parser.add_argument("--rounds", type=demo.positive(int), default=5, metavar="N",
                        help="runs of each proxy under each load (default: %(default)s)")
    parser.add_argument("--seconds", type=demo.positive(float), default=1.0, metavar="S",
                        help="per run (default: %(default)s)")
    parser.add_argument("--loads", default=",".join(LOADS), metavar="LIST",
                        help="bulk:CONNECTIONS or small:CONNECTIONS (default: %(default)s)")
    parser.add_argument("--proxies", default="*", metavar="PATTERNS",
                        help="those whose name matches one of these, with commas between")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run to FILE")
    return parser


def checked_loads(parser, text: str) -> list[str]:
    loads = text.split(",")
    for load in loads:
        kind, _, connections = load.partition(":")
        if kind not in ("bulk", "small") or not connections.isdigit() or int(connections) == 0:
            parser.error(f"--loads: `{load}` is not bulk:N or small:N")
    return loads


def run_all(group: demo.children, options, loads: list[str], proxies: list[proxy], cpus) -> None:
    bar = cells.progress(len(loads) * options.rounds * len(proxies), options.seconds + 0.5)
    for load, turn in itertools.product(loads, range(options.rounds)):
        for subject in cells.rotated(proxies, turn):
            label = f"{load} {subject.name}, round {turn + 1} of {options.rounds}"
            bar.show(label)
            try:
                subject.runs.setdefault(load, {})[turn] = measure(group, options, load, subject,
                                                                  cpus)
            except (cells.run_failure, OSError) as why:
                bar.clear()
                print(f"proxy: {label}: {why}", file=sys.stderr, flush=True)
            bar.done += 1
    bar.clear()


def main() -> int:
    parser = parser_of()
    options = parser.parse_args()
    loads = checked_loads(parser, options.loads)
    patterns = options.proxies.split(",")
    proxies = [p for p in proxies_of(options.build)
               if any(fnmatch.fnmatchcase(p.name, pattern) for pattern in patterns)]
    if not proxies:
        parser.error(f"no proxy matches --proxies {options.proxies}")
    for program in ("samples/tcp_proxy", "samples/echo_client", "bench/bulk_load"):
        if not os.access(options.build / program, os.X_OK):
            parser.error(f"{options.build / program} is missing: run ./dev build release")
    cpus = sorted(os.sched_getaffinity(0))
    cpus = (cpus[0], cpus[-1])

    def stop(_signal, _frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    group = demo.children()
    print(f"{options.rounds} x {options.seconds:g} s each; the proxy on cpu {cpus[0]}, its peers on "
          f"cpu {cpus[1]}", flush=True)
    status = 0
    try:
        run_all(group, options, loads, proxies, cpus)
    except KeyboardInterrupt:
        print("\nproxy: interrupted", file=sys.stderr)
        status = 130
    finally:
        group.kill_all()
    results = {load: rows_of(load, proxies) for load in loads}
    for load, rows in results.items():
        print_table(load, rows)
    print("Ratios: to the best of the C proxies, or of haproxy and nginx, in the same round; "
          "medians.")
    if options.json:
        content = {"rounds": options.rounds, "seconds": options.seconds,
                   "kernel": os.uname().release, "loads": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
