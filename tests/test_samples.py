#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs the samples as a user and as an enemy would, on both backends.

usage: test_samples.py [--only WORD] [--runs N] PROGRAM... | build/samples

RINGLET_TIME_SCALE stretches every time limit, for sanitizer builds (meson sets it).
Every wait is for a condition, with a limit; nothing but loopback is used.
"""
import argparse
import ctypes
import errno
import json
import os
import pathlib
import random
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

SCALE = float(os.environ.get("RINGLET_TIME_SCALE", "1"))
SANITIZED = SCALE > 1
LISTENING = re.compile(r"^ringlet: listening on 127\.0\.0\.1:(\d+) backend=(\S+) cores=(\d+)"
                       r"(?: reason=\"(.+)\")?\n$")
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
NAMES = ("echo_server", "echo_client", "doctor")
PROGRAMS: dict[str, str] = {}
RUNNING: list[subprocess.Popen] = []
OPTIONS = argparse.Namespace(runs=8)


class failure(Exception):
    """What was expected and did not happen."""


def expect(condition, text) -> None:
    if not condition:
        raise failure(text() if callable(text) else text)


def wait_until(condition, seconds: float, text: str):
    """Polls until `condition()` gives something true; its value."""
    deadline = time.monotonic() + seconds * SCALE
    pause = 0.001
    while not (value := condition()):
        expect(time.monotonic() < deadline, f"not within {seconds * SCALE:g} s: {text}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return value


def start(name: str, *arguments: str, env=None, before=None, **streams) -> subprocess.Popen:
    def before_exec():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if before:
            before()

    environment = {k: v for k, v in os.environ.items() if k != "RINGLET_BACKEND"} | (env or {})
    streams.setdefault("stdin", subprocess.DEVNULL)
    child = subprocess.Popen([PROGRAMS[name], *arguments], env=environment,
                             preexec_fn=before_exec, **streams)
    RUNNING.append(child)
    return child


def finish(child: subprocess.Popen, seconds: float) -> int:
    try:
        return child.wait(seconds * SCALE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise failure(f"still running after {seconds * SCALE:g} s") from None
    finally:
        RUNNING.remove(child)
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()


def call(name: str, *arguments: str, seconds: float = 20, env=None, before=None):
    """Runs a program to its end: (exit code, stdout, stderr)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = start(name, *arguments, env=env, before=before, stdout=out, stderr=err)
        code = finish(child, seconds)
        return (code, *(read_back(f) for f in (out, err)))


def read_back(file) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


class server:
    """An echo server; ended with the block."""

    def __init__(self, backend: str, *arguments: str, port: int = 0, env=None, before=None):
        self.began = time.monotonic()
        self.errors = tempfile.TemporaryFile()
        self.child = start("echo_server", "--listen", f"127.0.0.1:{port}", "--backend", backend,
                           *arguments, env=env, before=before, stdout=subprocess.PIPE,
                           stderr=self.errors)
        self.pid = self.child.pid
        self.line = self.read_line()
        found = LISTENING.match(self.line)
        expect(found, lambda: f"the start line is {self.line!r}, stderr {self.stderr()!r}")
        self.port, self.backend = int(found[1]), found[2]
        self.cores, self.reason = int(found[3]), found[4]
        self.address = f"127.0.0.1:{self.port}"
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if not self.ended:
            self.child.kill()
            finish(self.child, 10)
        said = self.stderr()
        self.errors.close()
        if kind is not None and said:
            print(f"     the server said: {said[:2000]}")

    def read_line(self) -> str:
        deadline = time.monotonic() + 10 * SCALE
        text = b""
        while not text.endswith(b"\n"):
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.child.stdout], [], [], left)[0]
            piece = os.read(self.child.stdout.fileno(), 1) if ready else b""
            if not piece:
                break
            text += piece
        return text.decode(errors="replace")

    def stderr(self) -> str:
        return read_back(self.errors)

    def connect(self) -> socket.socket:
        s = socket.create_connection(("127.0.0.1", self.port), timeout=10 * SCALE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def settled_descriptors(self) -> int:
        """Once all cores listen: the start line is core 0's, the others may be a little behind."""
        count, since = self.descriptors(), time.monotonic()
        while time.monotonic() - since < 0.1 * SCALE:
            time.sleep(0.005)
            if (now := self.descriptors()) != count:
                count, since = now, time.monotonic()
        return count

    def expect_descriptors(self, idle: int) -> None:
        """As many as before, once the last session has noticed that its peer has gone."""
        deadline = time.monotonic() + 2 * SCALE
        while (now := self.descriptors()) != idle:
            expect(time.monotonic() < deadline, f"{now} descriptors are open, {idle} were before")
            time.sleep(0.005)

    def resident(self) -> int:
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def peak(self) -> int:
        """The most that was ever resident."""
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read())[1]) * 1024

    def cpu_ns(self) -> int:
        return time.clock_gettime_ns((~self.pid << 3) | 2)  # clock_getcpuclockid(3)

    def signal(self, number: int = signal.SIGTERM) -> float:
        self.child.send_signal(number)
        return time.monotonic()

    def wait(self, seconds: float) -> int:
        self.ended = True
        return finish(self.child, seconds)

    def stop(self, seconds: float = 3) -> None:
        self.signal()
        code = self.wait(seconds)
        expect(code == 0, lambda: f"exit code {code} after SIGTERM: {self.stderr()[:2000]}")

    def expect_quiet(self) -> None:
        expect(self.stderr() == "", lambda: f"stderr is not empty: {self.stderr()[:500]!r}")


def receive(s: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer at the end of the stream."""
    got = bytearray()
    while len(got) < size and (piece := s.recv(size - len(got))):
        got += piece
    return bytes(got)


def echo(s: socket.socket, message: bytes) -> None:
    s.sendall(message)
    got = receive(s, len(message))
    expect(got == message, f"sent {message[:40]!r}, got {got[:40]!r}")


def silent(s: socket.socket, seconds: float) -> bool:
    return not select.select([s], [], [], seconds)[0]


def reset(s: socket.socket) -> None:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def load(address: str, *arguments: str, seconds: float = 30) -> dict:
    code, out, err = call("echo_client", "--connect", address, "--json", *arguments,
                          seconds=seconds)
    expect(code == 0, f"echo_client {' '.join(arguments)} ended with {code}: {err.strip()[:500]}")
    return json.loads(out)


# ---- the cases; each returns a few words for its line --------------------------------------------

CASES = []
BOTH = ("uring", "epoll")


def case(backends=("",)):
    def add(function):
        CASES.extend((function, backend) for backend in backends)
        return function
    return add


@case()
def help_and_version(_):
    for name in PROGRAMS:
        for option, words in (("--help", f"usage: {name}"), ("-h", f"usage: {name}"),
                              ("--version", name)):
            code, out, err = call(name, option)
            expect(code == 0 and err == "" and out.startswith(words),
                   f"{name} {option}: {code}, {out[:80]!r}, {err[:200]!r}")
    return f"{3 * len(PROGRAMS)} calls"


BAD_INPUT = [
    ("echo_server", "--listen", "nonsense"),
    ("echo_server", "--listen", "127.0.0.1"),
    ("echo_server", "--listen", "127.0.0.1:65536"),
    ("echo_server", "--listen", "localhost:7000"),
    ("echo_server", "--listen", "[::1:7000"),
    ("echo_server", "--frobnicate"),
    ("echo_server", "-x"),
    ("echo_server", "stray"),
    ("echo_server", "--listen"),
    ("echo_server", "--cores", "0"),
    ("echo_server", "--cores", "-1"),
    ("echo_server", "--cores", "two"),
    ("echo_server", "--cores", "99999999999999999999"),
    ("echo_server", "--backend", "kqueue"),
    ("echo_server", "--idle", "-1"),
    ("echo_server", "--idle", "nan"),
    ("echo_server", "--grace", "1e99"),
    ("echo_server", "--accept", "both"),
    ("echo_server", "--max-connections", "0"),
    ("echo_server", "--cores", "4", "--max-connections", "3"),
    ("echo_server", "--listen", "192.0.2.77:0"),
    ("echo_client", "--connect", "nonsense"),
    ("echo_client", "--connect", "127.0.0.1:0"),
    ("echo_client", "--size", "0"),
    ("echo_client", "--size", "65M"),
    ("echo_client", "--size", "99999999999999999999"),
    ("echo_client", "--size", "K"),
    ("echo_client", "--pipeline", "0"),
    ("echo_client", "--connections", "0"),
    ("echo_client", "--connections", "1000000"),
    ("echo_client", "--messages", "1x"),
    ("echo_client", "--duration", "0"),
    ("echo_client", "--cores", "0"),
    ("echo_client", "--cores", "65"),
    ("echo_client", "--backend", ""),
    ("echo_client", "--unknown=7"),
    ("echo_client", "--json=yes"),
    ("doctor", "--cores"),
    ("doctor", "stray"),
    ("doctor", "--json=1"),
]


def expect_refusal(what, code: int, out: str, err: str, *words: str) -> None:
    expect(code == 2, f"{what}: exit code {code}: {err[:300]!r}")
    expect(err.count("\n") == 1 and err.endswith("\n"), f"{what}: stderr is not one line: {err!r}")
    expect(out == "", f"{what}: stdout is not empty: {out!r}")
    for word in words:
        expect(word in err, f"{what}: {word!r} is not in {err!r}")


@case()
def bad_input(_):
    for name, *arguments in BAD_INPUT:
        expect_refusal((name, *arguments), *call(name, *arguments), arguments[-1])
    for name in ("echo_server", "echo_client"):
        expect_refusal("RINGLET_BACKEND", *call(name, env={"RINGLET_BACKEND": "kqueue"}), "kqueue")
    return f"{len(BAD_INPUT) + 2} refusals of one line each"


@case()
def port_in_use(_):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = "127.0.0.1:%d" % holder.getsockname()[1]
        began = time.monotonic()
        for arguments in (("--backend", "auto"), ("--backend", "epoll", "--cores", "4"),
                          ("--cores", "2", "--accept", "one")):
            expect_refusal(arguments, *call("echo_server", "--listen", address, *arguments),
                           address, "ss -ltnp")
        each = (time.monotonic() - began) / 3
        expect(each < 2 * SCALE, f"{each:.2f} s to say so: each core tries in turn?")
        return f"{each:.2f} s each"


@case()
def client_verdicts(_):
    """The client must see what is wrong with a server."""
    def flip(s):
        while data := s.recv(4096):
            s.sendall(bytes([data[0] ^ 1]) + data[1:])

    def more(s):
        while data := s.recv(4096):
            s.sendall(data)
        s.sendall(b"x")

    def cut(s):
        s.sendall(s.recv(4096)[:10])

    def shift(s):
        s.recv(1)
        while data := s.recv(4096):
            s.sendall(data)

    def mute(s):
        while s.recv(4096):
            pass

    told = []
    for answer, key, words in ((flip, "mismatches", "byte 0"), (more, "mismatches", "more came"),
                               (cut, "errors", "receive"), (shift, "mismatches", "byte 0"),
                               (mute, "errors", "receive")):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                s, _ = listener.accept()
                with s:
                    answer(s)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            code, out, err = call("echo_client", "--connect",
                                  "127.0.0.1:%d" % listener.getsockname()[1], "--connections", "1",
                                  "--messages", "3", "--timeout", "0.3", "--json", "--pipeline",
                                  "2" if answer is flip else "1")
            thread.join(10)
        expect(code == 1 and json.loads(out)[key] == 1 and words in err and err.count("\n") == 1,
               f"{answer.__name__}: {code}, {out}, {err}")
        told.append(answer.__name__)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        code, out, err = call("echo_client", "--connect",
                              "127.0.0.1:%d" % unheard.getsockname()[1], "--json")
        expect(code == 1 and json.loads(out)["errors"] == 64 and "refused" in err,
               f"nobody listens: {code}, {out}, {err}")
    return "found out: " + ", ".join(told + ["refuse"])


@case()
def doctor_answers(_):
    code, out, err = call("doctor")
    expect(code == 0 and err == "" and "What ringlet would do" in out, f"{code}, {err!r}")
    code, out, err = call("doctor", "--json")
    told = json.loads(out)
    expect(code == 0 and told["auto"] in ("io_uring", "epoll"), out)
    expect({"machine", "ringlet", "loops", "features", "limits"} <= set(told), out)
    code, out, _ = call("doctor", "--json", env={"RINGLET_BACKEND": "epoll"})
    expect(code == 0 and json.loads(out)["auto"] == "epoll", out)
    code, out, _ = call("doctor", "--json", env={"RINGLET_BACKEND": "kqueue"})
    expect(code == 0 and json.loads(out)["auto"] is None, out)
    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    code, out, _ = call("doctor", "--json", before=few_files)
    expect("ulimit -n" in json.loads(out)["limits"]["open files"]["remedy"], out)
    return f"auto is {told['auto']}"


def refuse_io_uring():
    """Docker's seccomp profile in small: io_uring_setup(2) says EPERM."""
    class program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    io_uring_setup, allow, fail_eperm = 425, 0x7FFF0000, 0x00050000 | errno.EPERM
    code = struct.pack("=" + "HBBI" * 4,
                       0x20, 0, 0, 0,                # load the number of the system call
                       0x15, 0, 1, io_uring_setup,   # equal? else skip one
                       0x06, 0, 0, fail_eperm,
                       0x06, 0, 0, allow)
    room = ctypes.create_string_buffer(code, len(code))
    LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    filter_ = program(4, ctypes.cast(room, ctypes.c_void_p))
    if LIBC.prctl(22, 2, ctypes.byref(filter_), 0, 0) != 0:  # PR_SET_SECCOMP
        os._exit(99)


@case()
def io_uring_refused(_):
    with server("auto", before=refuse_io_uring) as s:
        if "-Dio_backend=epoll" in (s.reason or ""):
            s.stop()
            return "built to take epoll: nothing to refuse"
        expect(s.backend == "epoll" and "seccomp" in (s.reason or ""), s.line)
        load(s.address, "--messages", "5")
        s.stop()
        s.expect_quiet()
    expect_refusal("uring", *call("echo_server", "--listen", "127.0.0.1:0", "--backend", "uring",
                                  before=refuse_io_uring), "seccomp")
    code, out, _ = call("doctor", "--json", before=refuse_io_uring)
    told = json.loads(out)
    expect(code == 0 and told["auto"] == "epoll" and "seccomp" in told["reason"], out)
    return "auto takes epoll and says why, uring ends with 2"


# connections, size, messages, pipeline
LOADS = [(1, "1", 50, 1), (64, "64", 50, 1), (64, "1000", 20, 16), (1, "4096", 50, 1),
         (2, "4097", 50, 3), (8, "64K", 8, 4), (1, "1M", 5, 1), (4, "1M", 3, 4), (1, "16M", 1, 2),
         (1024, "64", 10, 1), (1024, "1", 5, 8), (4096, "64", 4, 1)]


@case(BOTH)
def echo_exact(backend):
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    bytes_moved = 0
    done = 0
    with server(backend) as s:
        idle = s.descriptors()
        for turn, (connections, size, messages, pipeline) in enumerate(LOADS):
            if connections + 100 > files:
                continue
            told = load(s.address, "--connections", str(connections), "--size", size, "--messages",
                        str(messages), "--pipeline", str(pipeline), "--backend",
                        BOTH[turn % 2])
            expect(told["messages"] == connections * messages, f"{told}")
            bytes_moved += told["messages"] * told["size"]
            done += 1
        s.expect_descriptors(idle)
        s.stop()
        s.expect_quiet()
    return f"{done} loads, {bytes_moved / 1e6:.0f} MB"


@case(BOTH)
def several_cores(backend):
    for accept in ("each", "one"):
        with server(backend, "--cores", "2", "--accept", accept) as s:
            expect(s.cores == 2, s.line)
            idle = s.settled_descriptors()
            told = load(s.address, "--connections", "256", "--messages", "20", "--cores", "2")
            expect(told["messages"] == 256 * 20, f"{told}")
            s.expect_descriptors(idle)
            s.stop()
            s.expect_quiet()
    return "each and one"


@case(BOTH)
def half_close(backend):
    message = noise(4 << 20)
    with server(backend) as s, s.connect() as c:
        c.setblocking(False)
        sent = 0
        got = bytearray()
        while sent < len(message):
            # Reads only when nothing more goes out, so that as much as possible is on its way.
            if select.select([], [c], [], 0.05)[1]:
                sent += c.send(message[sent:sent + 65536])
            elif select.select([c], [], [], 5 * SCALE)[0]:
                got += c.recv(65536)
            else:
                raise failure(f"stuck with {sent} sent and {len(got)} received")
        c.shutdown(socket.SHUT_WR)
        outstanding = len(message) - len(got)
        c.settimeout(10 * SCALE)
        got += receive(c, len(message) - len(got))
        expect(bytes(got) == message, f"{len(got)} of {len(message)} bytes came back")
        expect(c.recv(1) == b"", "no end of the stream after the last byte")
        s.stop()
        s.expect_quiet()
    return f"{outstanding / 1e6:.1f} MB outstanding"


@case(BOTH)
def resets(backend):
    message = noise(64)
    with server(backend) as s:
        idle = s.descriptors()
        for size in range(65):
            c = s.connect()
            c.sendall(message[:size])
            reset(c)
        for size in range(0, 65, 4):  # and once the server has begun to answer
            c = s.connect()
            echo(c, message)
            c.sendall(message[:size])
            reset(c)
        with s.connect() as c:
            echo(c, message)
        s.expect_descriptors(idle)
        s.stop()
        s.expect_quiet()
    return "82 resets"


@case(BOTH)
def dribble(backend):
    message = noise(64)
    with server(backend) as s:
        peers = [s.connect() for _ in range(20)]
        for byte in message:
            for c in peers:
                c.sendall(bytes([byte]))
            for c in peers:
                expect(receive(c, 1) == bytes([byte]), "another byte came back")
        for c in peers:
            c.close()
        s.stop()
        s.expect_quiet()
    return "20 x 64 bytes, one by one"


def flood(c: socket.socket, limit: int) -> int:
    """Sends without reading until nothing goes out for a while; how much went."""
    c.setblocking(False)
    piece = bytes(65536)
    sent = 0
    while sent < limit and select.select([], [c], [], 0.2)[1]:
        try:
            sent += c.send(piece)
        except BlockingIOError:
            pass
    return sent


@case(BOTH)
def never_reads(backend):
    with server(backend, "--idle", "0.8") as s:
        idle = s.descriptors()
        with s.connect() as c:
            echo(c, b"warm")
            before = s.resident()
            sent = flood(c, 64 << 20)
            grown = s.resident() - before
            expect(sent < 32 << 20, f"the server took {sent} bytes of a peer that never reads")
            if not SANITIZED:  # a sanitizer's shadow of what was touched is not the server's
                # The ring's window is 64 buffers of 64 KiB, and all of them may have been touched.
                expect(grown < 6 << 20, f"its memory grew by {grown} bytes")
            cpu = s.cpu_ns()
            with s.connect() as other:
                echo(other, b"still here")
            wait_until(lambda: s.descriptors() == idle, 4, "the session is ended by --idle")
            used = (s.cpu_ns() - cpu) / 1e6
            expect(used < 100 * SCALE, f"it used {used:.0f} ms of CPU while stuck")
        s.stop()
        s.expect_quiet()
    return f"took {sent / 1e6:.1f} MB, memory +{grown / 1024:.0f} KiB"


@case(BOTH)
def max_connections(backend):
    with server(backend, "--max-connections", "4") as s:
        inside = [s.connect() for _ in range(4)]
        for c in inside:
            echo(c, b"inside")
        with s.connect() as fifth:
            fifth.sendall(b"outside")
            expect(silent(fifth, 0.15), "a fifth session was served")
            for c in inside:
                echo(c, b"still")
            began = time.monotonic()
            inside.pop().close()
            fifth.settimeout(SCALE)
            expect(receive(fifth, 7) == b"outside", "the fifth was not served after a close")
            waited = time.monotonic() - began
        for c in inside:
            c.close()
        s.stop()
        s.expect_quiet()
    return f"the fifth served {waited * 1e3:.1f} ms after a close"


@case(BOTH)
def idle_time_out(backend):
    limit = 0.4 * SCALE
    with server(backend, "--idle", str(limit)) as s, s.connect() as quiet, s.connect() as busy:
        echo(quiet, b"last word")
        began = time.monotonic()
        ended = 0.0
        while not ended and time.monotonic() - began < 5 * limit:
            echo(busy, b"tick")
            if select.select([quiet], [], [], limit / 8)[0]:
                expect(quiet.recv(1) == b"", "bytes from nowhere")
                ended = time.monotonic() - began
        expect(limit * 0.9 <= ended <= limit * 2 + 0.2, f"ended after {ended:.2f} s, not {limit} s")
        for _ in range(12):  # longer than the limit, but never idle
            echo(busy, b"tick")
            select.select([], [], [], limit / 8)
        s.stop()
        s.expect_quiet()
    return f"ended after {ended:.2f} s of {limit:g} s; the busy one stayed"


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Rss:"))


@case(BOTH)
def idle_memory(backend):
    """An idle session holds its frame and its stream's record, and no buffer."""
    if SANITIZED:
        return "skipped: a sanitizer's own memory would be counted"
    few, many, most = 200, 800, 512
    with server(backend) as s:
        open_ones = []
        at_few = 0
        while len(open_ones) < few + many:
            if len(open_ones) == few:
                at_few = resident(s.pid)
            open_ones.append(s.connect())
            echo(open_ones[-1], b"once, then idle")
        each = (resident(s.pid) - at_few) / many
        expect(each <= most, f"{each:.0f} bytes of memory for an idle session, more than {most}")
        for c in open_ones:
            c.close()
        s.stop()
        s.expect_quiet()
    return f"{each:.0f} bytes for an idle session"


@case(BOTH)
def out_of_descriptors(backend):
    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    with server(backend, "--idle", "0", before=few_files) as s:
        waiting = [s.connect() for _ in range(328)]
        for c in waiting:
            c.sendall(b"?")
        served = []
        while ready := select.select(waiting, [], [], 0.3 * SCALE)[0]:
            for c in ready:
                expect(c.recv(1) == b"?", "another byte came back")
                waiting.remove(c)
                served.append(c)
        expect(80 < len(served) < 128, f"{len(served)} sessions are served")
        cpu, began = s.cpu_ns(), time.monotonic()
        expect(not select.select(waiting, [], [], 1.0)[0], "one more was served")
        share = (s.cpu_ns() - cpu) / 1e9 / (time.monotonic() - began)
        expect(share < 0.05 * SCALE, f"{share:.1%} of a core while full")
        for c in served:
            echo(c, b"old")
        began = time.monotonic()
        served.pop().close()
        ready = select.select(waiting, [], [], SCALE)[0]
        expect(ready, "nobody new was served within 1 s of a close")
        delay = time.monotonic() - began
        lines = s.stderr().count("\n")
        expect(1 <= lines <= 4 * SCALE, f"{lines} lines on stderr: {s.stderr()[:500]}")
        expect("ulimit -n" in s.stderr(), s.stderr()[:200])
        for c in waiting + served:
            c.close()
        s.stop()
    return (f"{len(served) + 1} of 328 served, {share:.2%} of a core while full, "
            f"a new one {delay * 1e3:.0f} ms after a close")


@case(BOTH)
def killed_and_restarted(backend):
    longest = 0.0
    port = 0
    for _ in range(3):
        with server(backend, "--cores", "2", port=port) as s:
            port = s.port
            peers = [s.connect() for _ in range(50)]
            for c in peers:
                echo(c, b"before")
            s.signal(signal.SIGKILL)
            began = time.monotonic()
            with server(backend, "--cores", "2", port=port) as again:
                with again.connect() as c:
                    echo(c, b"after")
                longest = max(longest, time.monotonic() - began)
                again.stop()
                again.expect_quiet()
            for c in peers:
                c.close()
            expect(s.wait(2) == -signal.SIGKILL, "it outlived SIGKILL")
    expect(longest < SCALE, f"served again only after {longest:.2f} s")
    return f"served again after at most {longest * 1e3:.0f} ms"


class talker:
    """A client of 64-byte messages that keeps `depth` of them on their way."""
    SIZE = 64

    def __init__(self, s: server, number: int, depth: int):
        self.socket = s.connect()
        self.socket.setblocking(False)
        self.number, self.depth = number, depth
        self.sent = 0          # messages wholly given to the kernel
        self.got = bytearray()
        self.ended = False

    def message(self, n: int) -> bytes:
        return struct.pack("=IQ", self.number, n).ljust(self.SIZE, bytes([n % 251]))

    def fill(self) -> None:
        while not self.ended and self.sent - len(self.got) // self.SIZE < self.depth:
            try:
                count = self.socket.send(self.message(self.sent))
            except BlockingIOError:  # the machine is short of TCP memory (tcp_mem)
                select.select([], [self.socket], [], 10)
                continue
            except (BrokenPipeError, ConnectionResetError):
                return  # what came before is still to be read
            expect(count == self.SIZE, "a message was sent in parts: the test means nothing")
            self.sent += 1

    def drain(self) -> None:
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            piece = b""
        self.got += piece
        self.ended = not piece

    def check(self, before_the_signal: int) -> None:
        whole, rest = divmod(len(self.got), self.SIZE)
        expect(rest == 0, f"client {self.number}: cut in a message, after {len(self.got)} bytes")
        expect(whole >= before_the_signal,
               f"client {self.number}: {before_the_signal - whole} messages sent before the signal "
               f"were not answered ({whole} were, {self.sent} sent)")
        for n in range(whole):
            expect(self.got[n * self.SIZE:(n + 1) * self.SIZE] == self.message(n),
                   f"client {self.number}: answer {n} is another one")


def freeze(s: server) -> None:
    """Stops the process, as the debugger does, so that what follows is surely in the sockets."""
    s.signal(signal.SIGSTOP)

    def stopped() -> bool:
        with open(f"/proc/{s.pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "T"

    wait_until(stopped, 2, "it is stopped by SIGSTOP")


class crowd:
    """Talkers on one server, until all of them have been ended by it."""

    def __init__(self, s: server, depth: int):
        self.server, self.depth = s, depth
        self.poll = select.epoll()
        self.talkers: list[talker] = []
        self.by_fd: dict[int, talker] = {}

    def add(self, count: int) -> None:
        for _ in range(count):
            t = talker(self.server, len(self.talkers), self.depth)
            self.talkers.append(t)
            self.by_fd[t.socket.fileno()] = t
            self.poll.register(t.socket, select.EPOLLIN)
            t.fill()

    def turn(self) -> None:
        expect(self.by_fd, "all sessions have ended")
        for fd, _ in self.poll.poll(1):
            t = self.by_fd[fd]
            t.drain()
            t.fill()
            if t.ended:
                self.poll.unregister(fd)
                del self.by_fd[fd]

    def close(self) -> None:
        self.poll.close()
        for t in self.talkers:
            t.socket.close()

    @property
    def answered(self) -> int:
        return sum(len(t.got) for t in self.talkers) // talker.SIZE


def stop_under_load(backend: str, cores: int, depth: int, after: int,
                    frozen: bool) -> tuple[int, float]:
    """(messages answered, seconds from the signal to the exit)"""
    with server(backend, "--cores", str(cores), "--grace", "3") as s:
        all_ = crowd(s, depth)
        all_.add(50)
        deadline = time.monotonic() + 20 * SCALE
        while all_.answered < after:
            expect(time.monotonic() < deadline, f"only {all_.answered} messages were answered")
            all_.turn()
        if frozen:
            freeze(s)
            for t in all_.talkers:
                t.drain()
                t.fill()
            all_.add(5)  # who has connected, and spoken, but was not accepted
        before = [t.sent for t in all_.talkers]
        signalled = s.signal()
        if frozen:
            s.signal(signal.SIGCONT)
        while all_.by_fd:
            expect(time.monotonic() < deadline, "sessions go on after the signal")
            all_.turn()
        code = s.wait(4)
        took = time.monotonic() - signalled
        all_.close()
        for t, count in zip(all_.talkers, before):
            t.check(count)
        expect(code == 0, f"exit code {code}: {s.stderr()[:500]}")
        s.expect_quiet()
        return all_.answered, took


@case(BOTH)
def stop_loses_nothing(backend):
    chance = random.Random(7)
    slowest = 0.0
    answered = 0
    for run in range(OPTIONS.runs):
        count, took = stop_under_load(backend, cores=1 + run // 2 % 2, depth=chance.choice((1, 8)),
                                      after=chance.randrange(100, 3000), frozen=run % 2 == 1)
        answered += count
        slowest = max(slowest, took)
    return f"{OPTIONS.runs} runs, {answered} answers, none lost; exit after at most {slowest:.3f} s"


@case(BOTH)
def grace_and_second_signal(backend):
    with server(backend, "--grace", "0.5") as s, s.connect() as stuck:
        flood(stuck, 64 << 20)
        began = s.signal()
        code = s.wait(3)
        graced = time.monotonic() - began
        expect(code == 0 and graced >= 0.45, f"exit code {code} after {graced:.2f} s")
        s.expect_quiet()
    with server(backend, "--grace", "60") as s, s.connect() as stuck:
        flood(stuck, 64 << 20)
        s.signal()
        try:
            s.child.wait(0.3)
            raise failure("it ended within its grace")
        except subprocess.TimeoutExpired:
            pass
        began = s.signal()
        code = s.wait(1)
        second = time.monotonic() - began
        expect(code == 0, f"exit code {code} after the second signal")
        s.expect_quiet()
    return f"grace 0.5 s took {graced:.2f} s; a second signal {second * 1e3:.0f} ms"


@case(BOTH)
def stop_when_idle(backend):
    slowest = 0.0
    for number in (signal.SIGTERM, signal.SIGINT):
        for cores in ("1", "2"):
            with server(backend, "--cores", cores, "--grace", "30") as s:
                peers = [s.connect() for _ in range(10)]
                for c in peers:
                    echo(c, b"hello")
                began = s.signal(number)
                code = s.wait(1)
                slowest = max(slowest, time.monotonic() - began)
                expect(code == 0, f"exit code {code}: {s.stderr()[:300]}")
                for c in peers:
                    expect(c.recv(1) == b"", "no end of the stream")
                    c.close()
                s.expect_quiet()
    return f"at most {slowest * 1e3:.0f} ms with 10 idle sessions"


# ---- the run -------------------------------------------------------------------------------------

def uring_refusal() -> str:
    """Why --backend uring cannot be had here; empty when it can."""
    try:
        with server("uring") as s:
            s.stop()
        return ""
    except failure as why:
        return str(why)


def run_case(function, backend: str) -> bool:
    name = function.__name__ + (f" [{backend}]" if backend else "")
    began = time.monotonic()
    try:
        words = function(backend)
        verdict = "ok  "
    except Exception as why:  # the other cases still run
        verdict = "FAIL"
        words = str(why) if isinstance(why, failure) else traceback.format_exc()
    print(f"{verdict} {name} ({time.monotonic() - began:.1f} s): {words}", flush=True)
    return verdict == "ok  "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=pathlib.Path, nargs="+",
                        help="the samples' programs, or the folder they are in")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name contains it")
    parser.add_argument("--runs", type=int, default=8, help="of a stop under load, per backend")
    parser.parse_args(namespace=OPTIONS)
    for path in OPTIONS.programs:
        for program in ((path / name for name in NAMES) if path.is_dir() else (path,)):
            PROGRAMS[program.name] = str(program.resolve())
    for name in NAMES:
        if not os.access(PROGRAMS.get(name, ""), os.X_OK):
            parser.error(f"the program {name} is missing")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))

    chosen = [(f, b) for f, b in CASES if OPTIONS.only in f"{f.__name__} [{b}]"]
    refused = uring_refusal()
    if refused:
        print(f"skip [uring]: {refused}")
        chosen = [(f, b) for f, b in chosen if b != "uring"]
    failed = 0
    try:
        for function, backend in chosen:
            failed += not run_case(function, backend)
        left = [child.pid for child in RUNNING]
        if left:
            print(f"FAIL processes left: {left}")
            failed += 1
    finally:
        for child in RUNNING:
            child.kill()
            child.wait()
    print(f"{len(chosen)} cases, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
