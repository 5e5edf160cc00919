#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Measures the CPU time of file servers: ringlet's beside one by hand in C, and nginx if installed.

Each server runs in a fresh process once per load and round, on one cpu with the client on another,
over files in the page cache; the client compares every byte. Ratios are taken within a round and
their median is shown.
"""
import argparse
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

sys.dont_write_bytecode = True  # the imports below would leave a __pycache__ in the source tree
import cells  # noqa: E402
import demo  # noqa: E402

LOADS = {"4k": (4096, 64), "64k": (65536, 64), "1m": (1 << 20, 16)}
CPU = "cpu_us_per_request"
GIB = "cpu_s_per_gib"
CLIENT_SECONDS = 30
NGINX = """\
daemon off;
master_process off;
pid {root}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush {nopush};
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    {cache}
    client_body_temp_path {root}/tmp; proxy_temp_path {root}/tmp; fastcgi_temp_path {root}/tmp;
    uwsgi_temp_path {root}/tmp; scgi_temp_path {root}/tmp;
    server {{ listen 127.0.0.1:{port}; root {files}; }}
}}
"""


@dataclass
class subject:
    name: str
    kind: str  # ringlet, c or nginx
    arguments: list[str]
    runs: dict[str, dict[int, dict]] = field(default_factory=dict)  # by load, then by round


def subjects_of(build: pathlib.Path, folder: pathlib.Path) -> list[subject]:
    ringlet = [str(build / "samples" / "file_server"), "--listen", "127.0.0.1:0", "--root",
               str(folder / "files"), "--backend"]
    c = [str(build / "bench" / "limit_file"), "--listen", "127.0.0.1:0", "--technique"]
    found = [subject("ringlet-uring", "ringlet", [*ringlet, "uring"]),
             subject("ringlet-epoll", "ringlet", [*ringlet, "epoll"]),
             subject("c-sendfile", "c", [*c, "sendfile"]),
             subject("c-copy", "c", [*c, "copy"])]
    if nginx := shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin"):
        start = [nginx, "-p", str(folder), "-c"]
        found += [subject("nginx", "nginx", [*start, "off", ""]),
                  subject("nginx-nopush", "nginx", [*start, "on", ""]),
                  subject("nginx-cache", "nginx", [*start, "off", "open_file_cache max=100;"])]
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        return holder.getsockname()[1]


def nginx_of(one: subject, folder: pathlib.Path) -> tuple[list[str], str]:
    *start, nopush, cache = one.arguments
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(root=folder, files=folder / "files", port=port, cache=cache,
                                   nopush=nopush), encoding="utf-8")
    return [*start, str(config)], f"127.0.0.1:{port}"


def wait_until_open(address: str, child: subprocess.Popen) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + demo.START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise cells.run_failure(f"server: it does not listen: {end_of(child)}")


def end_of(child: subprocess.Popen) -> str:
    return "still running" if child.poll() is None else child.stderr.read().strip()[-300:]


def measure(group: demo.children, options, folder: pathlib.Path, one: subject, load: str,
            cpus) -> dict:
    arguments, address = one.arguments, ""
    if one.kind == "nginx":
        arguments, address = nginx_of(one, folder)
    child = group.start(arguments, cpus[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                        cwd=folder / "files")
    try:
        if address:
            wait_until_open(address, child)
        else:
            address = cells.address_of(child)
        fetch(group, options, folder, load, address, cpus[1], 0.05)  # warm
        before = demo.cpu_ns(child.pid)
        answer = fetch(group, options, folder, load, address, cpus[1], options.seconds)
        used = demo.cpu_ns(child.pid) - before
    finally:
        child.terminate()
        try:
            child.wait(demo.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        group.forget(child)
    answer[CPU] = used / 1000 / answer["requests"]
    answer[GIB] = used / 1e9 / (answer["bytes"] / (1 << 30))
    return answer


def fetch(group: demo.children, options, folder: pathlib.Path, load: str, address: str, cpu: int,
          seconds: float) -> dict:
    arguments = [str(options.build / "bench" / "fetch"), address, f"/{load}",
                 str(folder / "files" / load), str(LOADS[load][1]), str(round(seconds * 1000))]
    with cells.running(group, arguments, cpu) as client:
        try:
            out, err = client.communicate(timeout=seconds + CLIENT_SECONDS)
        except subprocess.TimeoutExpired:
            raise cells.run_failure("client: it did not end") from None
        if client.returncode != 0:
            raise cells.run_failure(f"client: {cells.said(err, client)}")
    return json.loads(out)


def run_all(group: demo.children, options, folder: pathlib.Path, loads: list[str],
            subjects: list[subject], cpus) -> None:
    bar = cells.progress(len(loads) * options.rounds * len(subjects), options.seconds)
    try:
        for load, turn in itertools.product(loads, range(options.rounds)):
            for one in cells.rotated(subjects, turn):
                label = f"{load} {one.name}, round {turn + 1} of {options.rounds}"
                bar.show(label)
                try:
                    answer = measure(group, options, folder, one, load, cpus)
                    one.runs.setdefault(load, {})[turn] = answer
                except cells.run_failure as why:
                    bar.clear()
                    print(f"files: {label}: {why}", file=sys.stderr, flush=True)
                bar.done += 1
    finally:
        bar.clear()


def ratio(one: subject, rivals: list[subject], load: str) -> str:
    """To the best of the rivals in the same round: median and range over the rounds."""
    ratios = []
    for turn, run in one.runs.get(load, {}).items():
        others = [r.runs[load][turn][CPU] for r in rivals if turn in r.runs.get(load, {})]
        if others:
            ratios.append(run[CPU] / min(others))
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"


def print_table(loads: list[str], subjects: list[subject]) -> None:
    head = ["file", "server", "CPU us/request", "CPU s/GiB", "requests/s", "to best C",
            "to best nginx"]
    lines = [head]
    for load in loads:
        for one in subjects:
            runs = one.runs.get(load, {}).values()
            if not runs:
                continue
            middle = [statistics.median(r[key] for r in runs) for key in (CPU, GIB, "rate")]
            lines.append([load, one.name, f"{middle[0]:.2f}", f"{middle[1]:.3f}",
                          f"{middle[2]:,.0f}",
                          ratio(one, [s for s in subjects if s.kind == "c"], load),
                          ratio(one, [s for s in subjects if s.kind == "nginx"], load)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(text.ljust(width) if i < 2 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(line, widths))).rstrip())


def parse_options() -> argparse.Namespace:
    parser = cells.argument_parser(prog="files", description=__doc__.splitlines()[0],
                                   allow_abbrev=False)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build-release"),
                        metavar="DIR", help="folder of the build (default: %(default)s)")
    parser.add_argument("--rounds", type=demo.positive(int), default=5, metavar="N",
                        help="runs of each server under each load (default: 5)")
    parser.add_argument("--seconds", type=demo.positive(float), default=0.5, metavar="S",
                        help="per run (default: 0.5)")
    parser.add_argument("--loads", default=",".join(LOADS), metavar="LIST",
                        help=f"of {', '.join(LOADS)} (default: all)")
    parser.add_argument("--servers", default="", metavar="WORD",
                        help="those whose name contains it, or one of several with commas between")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every run to FILE")
    options = parser.parse_args()
    options.build = options.build.resolve()
    options.loads = options.loads.split(",")
    for load in options.loads:
        if load not in LOADS:
            parser.error(f"there is no load `{load}`; there are {', '.join(LOADS)}")
    for program in ("samples/file_server", "bench/limit_file", "bench/fetch"):
        if not os.access(options.build / program, os.X_OK):
            parser.error(f"{options.build / program} is missing: run ./dev build release, or name "
                         "a --build")
    return options


def main() -> int:
    options = parse_options()
    cpus = cells.choose_cpus()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    group = demo.children()
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="ringlet-files-") as name:
        folder = pathlib.Path(name)
        os.chmod(folder, 0o755)  # nginx may give up its privileges
        (folder / "files").mkdir()
        for load in options.loads:
            (folder / "files" / load).write_bytes(random.Random(load).randbytes(LOADS[load][0]))
        words = options.servers.split(",")
        subjects = [s for s in subjects_of(options.build, folder) if any(w in s.name for w in words)]
        if not any(s.kind == "nginx" for s in subjects):
            print("nginx is not measured (apt-get install nginx-light)")
        print(f"{len(subjects)} servers, {options.rounds} x {options.seconds:g} s each; server on "
              f"cpu {cpus[0]}, client on cpu {cpus[1]}\n", flush=True)
        try:
            cells.on_stop(cells.interrupt)
            run_all(group, options, folder, options.loads, subjects, cpus)
        except KeyboardInterrupt:
            interrupted = True
            print("files: interrupted; this is what was measured so far", file=sys.stderr)
        finally:
            group.kill_all()
        cells.on_stop(signal.SIG_DFL)
    print_table(options.loads, subjects)
    print("\nTo the best of the others in the same round, CPU per request: median (range).")
    if options.json:
        content = {"kernel": os.uname().release, "rounds": options.rounds,
                   "seconds": options.seconds,
                   "servers": {s.name: s.runs for s in subjects}}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
