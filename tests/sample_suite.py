# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""What the suites that run whole programs share: starting and ending them, waiting, and the run itself.

A suite makes one `suite`, marks its cases with its `case`, and ends with sys.exit(SUITE.run()).

A case that needs what is not there (io_uring, a program of others) is skipped, and fails when CI=true
is in the environment. One that raises `skip` can say nothing in this build: it is skipped there too.

RINGLET_TIME_SCALE stretches every time limit, for sanitizer builds (meson sets it).
Every wait is for a condition, with a limit; nothing but loopback is used.
"""
import argparse
import contextlib
import ctypes
import errno
import json
import os
import pathlib
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import traceback

SCALE = float(os.environ.get("RINGLET_TIME_SCALE", "1"))
SANITIZED = SCALE > 1
LISTENING = re.compile(r"^ringlet: listening on (\S+) backend=(\S+) cores=(\d+)"
                       r"(?: reason=\"([^\"]+)\")? loop=\"([^\"]+)\"\n$")
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
BOTH = ("uring", "epoll")
PROGRAMS: dict[str, str] = {}
RUNNING: list[subprocess.Popen] = []


class failure(Exception):
    """What was expected and did not happen."""


class refused(failure):
    """A program that cannot run so here: it ended by itself with 2 before it listened."""


class skip(Exception):
    """Why a case can say nothing in this build or on this machine."""


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
        self.launch("echo_server", f"127.0.0.1:{port}", "--backend", backend, *arguments, env=env,
                    before=before)

    def launch(self, name: str, listen: str, *arguments: str, env=None, before=None,
               stderr=None) -> None:
        """Starts a program, and waits until it says where it listens."""
        # To be appended to: what is read back while it writes shares its place in the file.
        self.errors = tempfile.TemporaryFile("a+b")
        self.child = start(name, "--listen", listen, *arguments, env=env, before=before,
                           stdout=subprocess.PIPE, stderr=stderr or self.errors)
        self.pid, self.ended = self.child.pid, False
        self.line = self.read_line()
        found = LISTENING.match(self.line)
        if not found:
            self.give_up()
        self.address, self.backend = found[1], found[2]
        self.cores, self.reason, self.loop = int(found[3]), found[4], found[5]
        if not listen.startswith("unix:"):
            self.port = int(self.address.rpartition(":")[2])

    def give_up(self) -> None:
        """Of what does not listen: nobody else would end it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(5 * SCALE)
        code = self.child.poll()
        self.child.kill()
        finish(self.child, 10)
        said = self.stderr()
        self.errors.close()
        if code == 2 and self.line == "":
            raise refused(said.strip() or "it ended with 2")
        raise failure(f"the start line is {self.line!r}, exit code {code}, stderr {said!r}")

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

    def share(self, wait) -> float:
        """Of a core, while `wait()` goes on."""
        cpu, began = self.cpu_ns(), time.monotonic()
        wait()
        return (self.cpu_ns() - cpu) / 1e9 / (time.monotonic() - began)

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


def is_refused(s: server) -> bool:
    with socket.socket() as c:
        c.settimeout(10 * SCALE)
        return c.connect_ex(("127.0.0.1", s.port)) == errno.ECONNREFUSED


def expect_refusal(what, code: int, out: str, err: str, *words: str) -> None:
    expect(code == 2, f"{what}: exit code {code}: {err[:300]!r}")
    expect(err.count("\n") == 1 and err.endswith("\n"), f"{what}: stderr is not one line: {err!r}")
    expect(out == "", f"{what}: stdout is not empty: {out!r}")
    for word in words:
        expect(word in err, f"{what}: {word!r} is not in {err!r}")


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


def not_installed(needs) -> str:
    absent = [name for name in needs if not shutil.which(name)]
    if not absent:
        return ""
    return (f"{' and '.join(absent)} missing: ./dev install-deps interop, "
            f"or apt-get install {' '.join(absent)}")


class suite:
    """Cases and their run. A case is called with its backend and returns a few words for its line."""

    def __init__(self, description: str, programs: tuple[str, ...], missing=not_installed):
        """`programs` must be there; `missing(needs)` says what a case needs and does not find."""
        self.programs = programs
        self.missing = missing
        self.refusal = ""
        self.cases = []
        self.options = argparse.Namespace()
        self.parser = argparse.ArgumentParser(description=description.splitlines()[0])
        self.parser.add_argument("paths", metavar="PROGRAM", type=pathlib.Path, nargs="+",
                                 help="the samples' programs, or the folder they are in")
        self.parser.add_argument("--only", default="", metavar="WORD",
                                 help="cases whose name contains it")

    def case(self, backends=("",), needs=()):
        def add(function):
            self.cases.extend((function, backend, needs) for backend in backends)
            return function
        return add

    def run(self) -> int:
        self.options = self.parser.parse_args()
        self.find_programs()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
        chosen = [case for case in self.cases if self.options.only in title(*case[:2])]
        verdicts = []
        try:
            if any(backend == "uring" for _, backend, _ in chosen):
                try:
                    self.refusal = uring_refusal()
                except failure as why:
                    verdicts.append("FAIL")
                    print(f"FAIL an echo server on io_uring: {why}")
            for case in chosen:
                verdicts.append(self.run_case(*case))
            if left := [child.args[0] for child in RUNNING]:
                verdicts.append("FAIL")
                print(f"FAIL processes left: {left}")
        finally:
            for child in list(RUNNING):
                child.kill()
                child.wait()
        failed, skipped = verdicts.count("FAIL"), verdicts.count("skip")
        print(f"{len(verdicts)} cases, {failed} failed, {skipped} skipped")
        return 1 if failed or not chosen else 0

    def find_programs(self) -> None:
        for path in self.options.paths:
            found = [path / name for name in self.programs] if path.is_dir() else [path]
            PROGRAMS.update((program.name, str(program.resolve())) for program in found)
        for name in self.programs:
            if not os.access(PROGRAMS.get(name, ""), os.X_OK):
                self.parser.error(f"the program {name} is missing")

    def run_case(self, function, backend: str, needs) -> str:
        began = time.monotonic()
        try:
            if words := (self.refusal if backend == "uring" else "") or self.missing(needs):
                # What CI must have and has not is no reason to skip.
                verdict = "FAIL" if os.environ.get("CI") == "true" else "skip"
            else:
                words = function(backend)
                verdict = "ok"
        except skip as why:
            verdict, words = "skip", str(why)
        except Exception as why:  # the other cases still run
            verdict = "FAIL"
            words = str(why) if isinstance(why, failure) else traceback.format_exc()
        print(f"{verdict:<4} {title(function, backend)} ({time.monotonic() - began:.1f} s): {words}",
              flush=True)
        return verdict


def title(function, backend: str) -> str:
    return function.__name__ + (f" [{backend}]" if backend else "")


def uring_refusal() -> str:
    """Why --backend uring cannot be had here; empty when it can."""
    try:
        with server("uring") as s:
            s.stop()
        return ""
    except refused as why:
        return str(why)
