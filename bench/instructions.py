#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Counts the user-space instructions of one echo under callgrind: the figure no noise touches.

The server is stopped (SIGSTOP) while every connection sends its message, so that each round finds
them all at once and is one turn of the loop. Two runs of different length are subtracted: what is
left is the cost of the echoes alone.
"""
import argparse
import os
import pathlib
import re
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


def fail(text: str, status: int = 2):
    print(f"instructions: {text}", file=sys.stderr)
    sys.exit(status)


def wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            if stat.read().rsplit(")", 1)[1].split()[0] in "tT":
                return
    fail("the server could not be stopped")


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
                    fail("the server closed a connection")
                left -= got
    for peer in peers:
        peer.close()


def count(program: str, backend: str, rounds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "callgrind.out"
        server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, "--listen",
             "127.0.0.1:0", "--backend", backend, "--cores", "1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = server.stdout.readline()
            found = re.search(r"listening on \S+:(\d+) ", line)
            if not found:
                fail(f"the server did not start: {line.strip()} {server.stderr.read().strip()}")
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build-release", metavar="DIR",
                        help="folder of the build (default: build-release)")
    parser.add_argument("--limit", action="append", default=[], metavar="BACKEND=N",
                        help="exit 1 when an echo on uring or epoll takes more than N")
    options = parser.parse_args()
    limits = {}
    for text in options.limit:
        found = re.fullmatch(r"(uring|epoll)=(\d+)", text)
        if not found:
            fail(f"--limit `{text}`: give uring=N or epoll=N")
        limits[found[1]] = int(found[2])
    program = pathlib.Path(options.build) / "samples" / "echo_server"
    if not program.exists():
        fail(f"--build `{options.build}`: there is no {program}; build it with `./dev demo`")
    if shutil.which("valgrind") is None:
        fail("valgrind is not installed: apt-get install valgrind")
    worst = 0
    for backend in ("uring", "epoll"):
        try:
            short, long = (count(str(program), backend, rounds) for rounds in ROUNDS)
        except (subprocess.SubprocessError, OSError) as error:
            fail(f"nothing was counted: {error}")
        each = (long - short) / ((ROUNDS[1] - ROUNDS[0]) * CONNECTIONS)
        limit = limits.get(backend)
        verdict = "" if limit is None else f", at most {limit}: {'ok' if each <= limit else 'FAIL'}"
        print(f"{backend}: {each:.0f} user instructions for an echo of {SIZE} bytes at "
              f"{CONNECTIONS} connections{verdict}", flush=True)
        worst = max(worst, limit is not None and each > limit)
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
