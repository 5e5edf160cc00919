#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Counts the user-space instructions of one echo under callgrind: the figure no noise touches.

Of ringlet's echo server on both backends, or of any server: --server 'NAME=COMMAND...', whose
first line says `listening on HOST:PORT`.

The server is stopped (SIGSTOP) while every connection sends its message, so that each round finds
them all at once and is one turn of the loop. Two runs of different length are subtracted: what is
left is the cost of the echoes alone.

Ends with 1 where a figure is missing (at once, with --json after the others) or above its limit, 2
after a bad option, and 77 where this machine lets nothing be counted: no valgrind, or no ptrace(2),
by which it is asked.
"""
import argparse
import ctypes
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CONNECTIONS = 64
SIZE = 64
ROUNDS = (10, 60)
START_SECONDS = 60
STOP_SECONDS = 60
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


UNCOUNTED = 1
MISUSED = 2
CANNOT_COUNT = 77  # as meson knows a test that is skipped


class uncounted(Exception):
    """Why there is no figure."""


def fail(text: str, status: int = MISUSED):
    print(f"instructions: {text}", file=sys.stderr)
    sys.exit(status)


def wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] in "tT":
                return
    raise uncounted("the server could not be stopped")


def talk(port: int, pid: int, rounds: int) -> None:
    peers = [socket.create_connection(("127.0.0.1", port), START_SECONDS)
             for _ in range(CONNECTIONS)]
    message = b"x" * SIZE
    for _ in range(rounds):
        os.kill(pid, signal.SIGSTOP)
        wait_stopped(pid)
        for peer in peers:
            peer.sendall(message)
        os.kill(pid, signal.SIGCONT)
        for peer in peers:
            left = SIZE
            while left > 0:
                got = len(peer.recv(left))
                if got == 0:
                    raise uncounted("the server closed a connection")
                left -= got
    for peer in peers:
        peer.close()


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def count(command: list[str], rounds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent)
        try:
            line = server.stdout.readline()
            found = re.search(r"listening on \S+:(\d+)\b", line)
            if not found:
                server.kill()
                said = server.stderr.read().strip().splitlines()[-1:]
                raise uncounted(f"the server did not start: {line.strip()} {''.join(said)}")
            talk(int(found[1]), server.pid, rounds)
            # A dump, not an orderly end: valgrind does not know that io_uring_enter may block, and
            # keeps signals back until it returns.
            subprocess.run(["vgdb", f"--pid={server.pid}", "dump"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=STOP_SECONDS)
            dumped = out.with_name(out.name + ".1").read_text()
            return int(re.search(r"^totals: (\d+)", dumped, re.M)[1])
        finally:
            if server.poll() is None:
                server.kill()
                server.wait()


def can_count() -> bool:
    """Whether this machine lets anything be counted: a shell that waits, asked for its figure."""
    with tempfile.TemporaryDirectory() as folder:
        shell = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.out",
             "/bin/sh", "-c", "echo ready; read line"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent)
        try:
            if not shell.stdout.readline():
                return False
            subprocess.run(["vgdb", f"--pid={shell.pid}", "dump"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           timeout=STOP_SECONDS)
            return True
        except (subprocess.SubprocessError, OSError):
            return False
        finally:
            shell.kill()
            shell.wait()


def each(command: list[str]) -> float:
    try:
        short, long = (count(command, rounds) for rounds in ROUNDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise uncounted(f"nothing was counted: {error}") from None
    return (long - short) / ((ROUNDS[1] - ROUNDS[0]) * CONNECTIONS)


def servers_of(options) -> dict[str, list[str]]:
    servers = {}
    for text in options.server:
        name, equals, command = text.partition("=")
        if not equals or not shlex.split(command):
            fail(f"--server `{text}`: give NAME=COMMAND")
        servers[name] = shlex.split(command)
    if servers:
        return servers
    program = pathlib.Path(options.build) / "samples" / "echo_server"
    if not program.exists():
        fail(f"--build `{options.build}`: there is no {program}: ./dev build release")
    return {backend: [str(program), "--listen", "127.0.0.1:0", "--backend", backend, "--cores", "1"]
            for backend in ("uring", "epoll")}


def limits_of(options) -> dict[str, int]:
    limits = {}
    for text in options.limit:
        found = re.fullmatch(r"(.+)=(\d+)", text)
        if not found:
            fail(f"--limit `{text}`: give NAME=N, as in uring=900")
        limits[found[1]] = int(found[2])
    return limits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-release", metavar="DIR",
                        help="folder of the build (default: build-release)")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND",
                        help="count this one (default: ringlet's echo_server as uring and epoll)")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=N",
                        help="exit 1 when an echo on that server takes more than N")
    parser.add_argument("--json", action="store_true", help="the figures as JSON, on stdout")
    options = parser.parse_args()
    servers = servers_of(options)
    limits = limits_of(options)
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        fail("valgrind is not installed: apt-get install valgrind", CANNOT_COUNT)
    worst = 0
    figures = []
    for name, command in servers.items():
        try:
            figure = each(command)
        except uncounted as why:
            if not figures and not can_count():
                fail(f"nothing can be counted here, ptrace(2) may be refused: {why}", CANNOT_COUNT)
            if not options.json:
                fail(f"{name}: {why}", UNCOUNTED)
            print(f"instructions: {name}: {why}", file=sys.stderr)
            worst = UNCOUNTED
            continue
        limit = limits.get(name)
        worst = max(worst, limit is not None and figure > limit)
        figures.append({"server": name, "instructions": figure})
        if not options.json:
            verdict = "" if limit is None else (f", at most {limit}: "
                                                f"{'ok' if figure <= limit else 'FAIL'}")
            print(f"{name}: {figure:.0f} user instructions for an echo of {SIZE} bytes at "
                  f"{CONNECTIONS} connections{verdict}", flush=True)
    if options.json:
        print(json.dumps(figures, indent=1))
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
