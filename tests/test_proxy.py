#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs the proxies as a user and as an enemy would, on both backends.

usage: test_proxy.py [--only WORD] PROGRAM... | build/samples
"""
import contextlib
import os
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

sys.dont_write_bytecode = True  # the import below would leave a __pycache__ in the source tree
from sample_suite import (  # noqa: E402
    BOTH, SANITIZED, SCALE, call, echo, expect, expect_refusal, is_refused, load, noise, receive,
    reset, server, silent, skip, suite, wait_until)

MODES = ("auto", "copy", "splice")
NAME = "tcp_proxy"
SOCKS = "socks5_proxy"
SUITE = suite(__doc__, (NAME, SOCKS, "echo_client", "echo_server"))
case = SUITE.case


class proxy(server):
    """A proxy; ended with the block."""

    def __init__(self, backend: str, *arguments: str, listen="127.0.0.1:0", env=None, before=None,
                 name=NAME, stderr=None):
        self.launch(name, listen, "--backend", backend, *arguments, env=env, before=before,
                    stderr=stderr)

    def report(self) -> dict:
        """What it says on SIGUSR1."""
        before = self.stderr().count("buffers=")

        def told_more():
            self.signal(signal.SIGUSR1)  # again and again: it is ignored before the loop has begun
            time.sleep(0.002)
            return self.stderr().count("buffers=") > before

        wait_until(told_more, 5, "the report on SIGUSR1")
        text = self.stderr().rpartition("_proxy:\n")[2]
        lines = [line for line in text.splitlines() if line.startswith("  ")]
        sums = "\n".join(line for line in lines if not line.startswith("  upstream"))
        told = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", sums)}
        told["upstreams"] = [
            {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}
            for line in lines if line.startswith("  upstream")]
        return told


class upstream:
    """A server of the test's own: `serve(socket)` in a thread for each connection. Of `rude` peers,
    which leave in the middle, a connection that breaks is nothing that went wrong."""

    def __init__(self, serve, family=socket.AF_INET, path=None, rude=False):
        self.listener = socket.socket(family)
        if family == socket.AF_INET6:
            self.listener.bind(("::1", 0))
        elif family == socket.AF_UNIX:
            self.listener.bind(path)
        else:
            self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        name = self.listener.getsockname()
        self.address = {socket.AF_INET6: lambda: f"[::1]:{name[1]}",
                        socket.AF_UNIX: lambda: f"unix:{path}"}.get(
                            family, lambda: f"127.0.0.1:{name[1]}")()
        self.serve = serve
        self.rude = rude
        self.count = 0
        self.wrong: list[BaseException] = []
        self.threads: list[threading.Thread] = []
        self.accepting = threading.Thread(target=self.run, daemon=True)
        self.accepting.start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            thread = threading.Thread(target=self.session, args=(s,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def session(self, s):
        with s:
            s.settimeout(20 * SCALE)
            try:
                self.serve(s)
            except BaseException as why:  # noqa: B902 - told to the case
                if not (self.rude and isinstance(why, ConnectionError)):
                    self.wrong.append(why)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join(5)
        for thread in self.threads:
            thread.join(20 * SCALE)
        if kind is None:
            left = [thread for thread in (self.accepting, *self.threads) if thread.is_alive()]
            expect(not left, f"the upstream: {len(left)} threads go on")
            expect(not self.wrong, f"the upstream: {self.wrong}")


def echo_all(s):
    while data := s.recv(1 << 16):
        s.sendall(data)


def sends(name: bytes):
    return lambda s: s.sendall(name)


def ask(p: proxy, message=b"") -> bytes:
    with p.connect() as c:
        c.sendall(message)
        c.shutdown(socket.SHUT_WR)
        return receive(c, 1 << 20)


HELD: list[socket.socket] = []


def closed_port() -> str:
    """Bound and not listened on: connects are refused, and no other program gets it meanwhile."""
    HELD.append(socket.socket())
    HELD[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for who comes back there
    HELD[-1].bind(("127.0.0.1", 0))
    return "127.0.0.1:%d" % HELD[-1].getsockname()[1]


@contextlib.contextmanager
def full_backlog():
    """The address of a server whose backlog is full: SYNs are dropped."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            c = waiting.enter_context(socket.socket())
            c.setblocking(False)
            c.connect_ex(full.getsockname())
        yield "127.0.0.1:%d" % full.getsockname()[1]


def both_ways(c: socket.socket, there: bytes, back: bytes) -> None:
    """Sends one and receives the other at once."""
    wrong = []

    def send():
        try:
            c.sendall(there)
            c.shutdown(socket.SHUT_WR)
        except OSError as why:
            wrong.append(why)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    got = receive(c, len(back) + 1)
    thread.join(30 * SCALE)
    expect(not wrong, f"{wrong}")
    expect(got == back, f"{len(got)} bytes came, {len(back)} were sent, or others")


# ---- the cases; each returns a few words for its line --------------------------------------------

@case()
def bad_input(_):
    refused = [
        ("--upstream is missing", ()),
        ("nonsense", ("--upstream", "nonsense")),
        ("unix:", ("--upstream", "unix:")),
        ("at most 107 bytes", ("--upstream", "unix:/" + "x" * 200)),
        ("--mode", ("--upstream", "127.0.0.1:1", "--mode", "magic")),
        ("--balance", ("--upstream", "127.0.0.1:1", "--balance", "random")),
        ("--proxy-protocol", ("--upstream", "127.0.0.1:1", "--proxy-protocol", "3")),
        ("--proxy-protocol", ("--upstream", "127.0.0.1:1", "--proxy-protocol", "0")),
        ("the port is 0", ("--upstream", "127.0.0.1:1", "--upstream", "127.0.0.1:0")),
        ("--connect-timeout", ("--upstream", "127.0.0.1:1", "--connect-timeout", "0")),
        ("--idle", ("--upstream", "127.0.0.1:1", "--idle", "-1")),
        ("--pipe-size", ("--upstream", "127.0.0.1:1", "--pipe-size", "1")),
        ("--max-connections", ("--upstream", "127.0.0.1:1", "--cores", "4", "--max-connections",
                               "3")),
        ("192.0.2.77", ("--upstream", "127.0.0.1:1", "--listen", "192.0.2.77:0")),
    ]
    for word, arguments in refused:
        expect_refusal(arguments, *call(NAME, *arguments), word)
    with tempfile.TemporaryDirectory() as folder:
        stale, precious = f"{folder}/stale", f"{folder}/precious"
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(stale)
        with open(precious, "w"):
            pass
        for path, words, never in ((stale, f"rm {stale}", "not a socket"),
                                   (precious, "not a socket", "rm ")):
            told = call(NAME, "--upstream", "127.0.0.1:1", "--listen", f"unix:{path}")
            expect_refusal(path, *told, path, words)
            expect(never not in told[2], f"{path}: {never!r} is in {told[2]!r}")
    return f"{len(refused) + 2} refusals of one line each"


@case(BOTH)
def exact(backend):
    there, back = noise(6_000_001, 1), noise(5_000_003, 2)

    lengths = iter([len(there), 70_001, 70_001, 70_001] * len(MODES))

    def serve(s):
        both_ways(s, back, there[:next(lengths)])

    words = []
    for mode in MODES:
        with upstream(serve) as u, proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            idle = p.descriptors()
            with p.connect() as c:
                both_ways(c, there, back)
            for _ in range(3):
                with p.connect() as c:
                    both_ways(c, there[:70_001], back)
            wait_until(lambda: all(f["active"] == 0 for f in p.report()["upstreams"]), 5, "the end")
            told = p.report()
            expect((told["splices"] > 0) == (mode != "copy"), f"{mode}: {told}")
            expect(told["buffers"] == 0, f"{told}")
            expect(told["upstreams"][0]["to"] == len(there) + 3 * 70_001, f"{told}")
            expect(told["upstreams"][0]["from"] == 4 * len(back), f"{told}")
            p.expect_descriptors(idle + 2 * told["pipes"])
            words.append(f"{mode} {told['splices']} splices")
            p.stop()
    return ", ".join(words)


@case(BOTH)
def many_at_once(backend):
    with upstream(echo_all) as u:
        for mode in MODES:
            with proxy(backend, "--upstream", u.address, "--mode", mode, "--cores", "2") as p:
                for size, messages in (("64", "30"), ("64K", "6")):
                    load(p.address, "--connections", "24", "--size", size, "--messages",
                               messages, "--pipeline", "4")
                p.stop()
    return f"{len(MODES)} modes, 2 cores"


@case(BOTH)
def half_close(backend):
    question, answer = noise(300_000, 3), noise(2_000_000, 4)

    def asks_last(s):
        expect(receive(s, len(question) + 1) == question, "the question is another one")
        s.sendall(answer)

    def ends_first(s):
        s.sendall(answer)
        s.shutdown(socket.SHUT_WR)
        expect(receive(s, len(question) + 1) == question, "the question is another one")

    for mode in MODES:
        with upstream(asks_last) as u, proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            with p.connect() as c:
                c.sendall(question)
                c.shutdown(socket.SHUT_WR)
                expect(receive(c, len(answer) + 1) == answer, "the answer is another one")
            p.stop()
        with upstream(ends_first) as u, proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            with p.connect() as c:
                expect(receive(c, len(answer) + 1) == answer, "the answer is another one")
                c.sendall(question)
            p.stop()
    return "each way, each mode"


@case(BOTH)
def resets(backend):
    message = noise(200_000)

    def breaks(s):
        count = struct.unpack("I", receive(s, 4))[0]
        s.sendall(message[:count])
        receive(s, 1)  # the client has all of it
        reset(s)

    def takes(s):
        receive(s, 1 << 24)

    for mode in MODES:
        with upstream(breaks) as u, proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            idle = p.descriptors()
            for count in (0, 1, 100, 65_536, 200_000):
                with p.connect() as c:
                    c.sendall(struct.pack("I", count))
                    got = receive(c, count)
                    c.sendall(b"!")
                    with contextlib.suppress(ConnectionError):
                        got += receive(c, 1)
                    expect(got == message[:count], f"{len(got)} of {count} bytes, or others")
            wait_until(lambda: p.report()["upstreams"][0]["active"] == 0, 5, "the end of sessions")
            p.expect_descriptors(idle + 2 * p.report()["pipes"])
            p.stop()
        with upstream(takes, rude=True) as u, \
                proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            for count in (0, 1, 100, 65_536, 200_000):
                c = p.connect()
                c.sendall(message[:count])
                reset(c)
            wait_until(lambda: p.report()["upstreams"][0]["active"] == 0, 5, "the end of sessions")
            p.stop()
    return "from both sides"


@case(BOTH)
def sums_after_resets(backend):
    """What a broken session had in its pipe was neither copied nor spliced."""
    block = noise(1 << 20)

    def floods(s):
        while True:
            s.sendall(block)

    for mode in MODES:
        with upstream(floods, rude=True) as u, \
                proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            for _ in range(8):
                c = p.connect()
                receive(c, 3_000_000)
                reset(c)
            wait_until(lambda: p.report()["upstreams"][0]["active"] == 0, 10, "the end of sessions")
            told = p.report()
            moved = told["upstreams"][0]["to"] + told["upstreams"][0]["from"]
            sums = told["copied_bytes"] + told["spliced_bytes"]
            expect(sums == moved, f"{mode}: {moved} were moved, copied and spliced are {sums}")
            p.stop()
    return "each mode"


@case(BOTH)
def bad_upstreams(backend):
    with proxy(backend, "--upstream", closed_port()) as p:
        expect(ask(p) == b"", "an answer of nobody")
        expect(p.report()["upstreams"][0]["failures"] == 1, "the failure is not counted")
        p.stop()
    with upstream(lambda s: receive(s, 1 << 20)) as u:
        with proxy(backend, "--upstream", u.address, "--idle", "0.3") as p:
            with p.connect() as c:
                began = time.monotonic()
                expect(c.recv(1) == b"", "an answer of one that is silent")
                expect(0.25 < time.monotonic() - began < 3 * SCALE, "not after the idle time")
            p.stop()
    with full_backlog() as full, upstream(sends(b"second")) as u:
        with proxy(backend, "--upstream", full, "--upstream", u.address, "--connect-timeout",
                   "0.3") as p:
            idle = p.descriptors()
            for _ in range(2):
                expect(ask(p) == b"second", "the next one was not tried")
            p.expect_descriptors(idle)
            p.stop()
    return "refused, silent, backlog full"


@case(BOTH)
def flooding_upstream(backend):
    """The client does not read, then goes: memory stays bounded, and all is given back."""
    def floods(s):
        block = bytes(1 << 20)
        while True:
            s.sendall(block)

    for mode in MODES:
        with upstream(floods, rude=True) as u, \
                proxy(backend, "--upstream", u.address, "--mode", mode) as p:
            idle = p.descriptors()
            clients = [p.connect() for _ in range(8)]
            for c in clients:
                receive(c, 1_000_000)
            moved = lambda: p.report()["upstreams"][0]["from"]  # noqa: E731
            wait_until(lambda: moved() == moved(), 10, "a flood that stops")
            if not SANITIZED:  # a sanitizer's shadow of what was touched is not the proxy's
                expect(p.resident() < 64 << 20, f"{p.resident() >> 20} MiB for 8 connections")
            for c in clients:
                reset(c)
            wait_until(lambda: p.report()["upstreams"][0]["active"] == 0, 10, "the end of sessions")
            told = p.report()
            expect(told["buffers"] == 0, f"{told}")
            p.expect_descriptors(idle + 2 * told["pipes"])
            p.stop()
    return "each mode"


IDLE_MOST = 3584  # bytes; docs/design/relay.md
BUFFER = 64 << 10
LARGE_BUFFERS = 32 * (256 << 10)  # a core's
WINDOW = 64 * BUFFER  # what the ring may pick from


class pairs:
    """Connections through a proxy, both ends of each held here."""

    def __init__(self, backend, *arguments):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.settimeout(10 * SCALE)
        self.proxy = proxy(backend, "--upstream", "127.0.0.1:%d" % self.listener.getsockname()[1],
                           *arguments)
        self.ends: list[socket.socket] = []

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.close()
        self.listener.close()
        self.proxy.__exit__(*why)

    def connect(self, count: int) -> None:
        for _ in range(count):
            c = self.proxy.connect()
            s, _ = self.listener.accept()
            s.settimeout(10 * SCALE)
            for one, other in ((c, s), (s, c)):
                one.sendall(b"once, then idle")
                expect(receive(other, 15) == b"once, then idle", "other bytes")
            self.ends += [c, s]

    def close(self) -> None:
        for s in self.ends:
            reset(s)
        self.ends.clear()

    def flood(self) -> None:
        """All send and nobody reads, until nothing moves any more."""
        block = bytes(1 << 16)
        for s in self.ends:
            s.setblocking(False)
        while room := select.select([], self.ends, [], 0.1 * SCALE)[1]:
            for s in room:
                with contextlib.suppress(BlockingIOError):
                    while s.send(block) > 0:
                        pass


@case(BOTH)
def idle_memory(backend):
    """A session in which nothing moves holds no buffer and no pipe."""
    if SANITIZED:
        raise skip("a sanitizer's own memory would be counted")
    words = []
    for mode in MODES:
        with pairs(backend, "--mode", mode) as all_of:
            all_of.connect(100)
            before = all_of.proxy.resident()
            all_of.connect(400)
            each = (all_of.proxy.resident() - before) / 400
            expect(each <= IDLE_MOST, f"{mode}: {each:.0f} bytes for an idle session")
            told = all_of.proxy.report()
            expect(told["buffers"] == 0, f"{told}")
            all_of.close()
            all_of.proxy.stop()
            words.append(f"{mode} {each:.0f}")
    return "bytes for an idle session: " + ", ".join(words)


@case(BOTH)
def stuck_memory(backend):
    """Both ends send and neither reads: so many buffers each way, however long that is."""
    if SANITIZED:
        raise skip("a sanitizer's own memory would be counted")
    count = 48  # each way a pipe is more than there are
    each_way = BUFFER
    if backend == "uring":  # and what it has received unasked: hold, or what older kernels give
        release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
        each_way += (4 if release >= (6, 17) else 64) * BUFFER
    most = 2 * count * each_way + LARGE_BUFFERS + (WINDOW if backend == "uring" else 0)
    words = []
    for mode in MODES:
        with pairs(backend, "--mode", mode) as all_of:
            all_of.connect(4)
            before = all_of.proxy.resident()
            all_of.connect(count - 4)
            all_of.flood()
            taken = all_of.proxy.resident() - before
            expect(taken <= most, f"{mode}: {taken >> 10} KiB of at most {most >> 10}")
            all_of.close()
            # A reset may miss a full socket's window; then the next probe of the window tells, which
            # comes as late as the socket has been full.
            wait_until(lambda: all_of.proxy.report()["upstreams"][0]["active"] == 0, 60, "the end")
            expect(all_of.proxy.report()["buffers"] == 0, "buffers are left")
            all_of.proxy.stop()
            words.append(f"{mode} {taken // count >> 10}")
    return "KiB for a session that is stuck both ways: " + ", ".join(words)


@case(BOTH)
def balance(backend):
    with contextlib.ExitStack() as stack:
        us = [stack.enter_context(upstream(sends(b"%d" % i))) for i in range(3)]
        many = [word for u in us for word in ("--upstream", u.address)]
        with proxy(backend, *many) as p:
            got = [ask(p) for _ in range(9)]
            expect(sorted(got) == [b"0"] * 3 + [b"1"] * 3 + [b"2"] * 3, f"{got}")
            p.stop()
    with upstream(echo_all) as one, upstream(echo_all) as two:
        with proxy(backend, "--upstream", one.address, "--upstream", two.address, "--balance",
                   "least") as p:
            held = []
            for _ in range(4):
                c = p.connect()
                echo(c, b"x")
                held.append(c)
            expect((one.count, two.count) == (2, 2), f"{one.count}, {two.count}")
            for c in held:
                c.close()
            p.stop()
    with full_backlog() as stuck, upstream(sends(b"free")) as u:
        with proxy(backend, "--upstream", stuck, "--upstream", u.address, "--balance", "least",
                   "--connect-timeout", "600", "--grace", "0.1") as p, p.connect():
            wait_until(lambda: p.report()["upstreams"][0]["active"] == 1, 5, "a connect on its way")
            for _ in range(5):
                expect(ask(p) == b"free", "another answer")
                wait_until(lambda: p.report()["upstreams"][1]["active"] == 0, 5, "the end")
            p.stop()
    return "round robin; least connections, those on their way too"


@case(BOTH)
def ejection(backend):
    dead = closed_port()
    with upstream(sends(b"alive")) as u:
        with proxy(backend, "--upstream", dead, "--upstream", u.address, "--eject-after", "2",
                   "--eject-for", "0.5") as p:
            for _ in range(12):
                expect(ask(p) == b"alive", "nobody else was tried")
            told = p.report()["upstreams"]
            expect(told[0]["failures"] == 2 and told[0]["ejected"] == 1, f"{told}")
            said = [line for line in p.stderr().splitlines() if dead in line and "alone" in line]
            expect(len(said) == 1 and "0.5" in said[0] and "refused" in said[0], p.stderr())
            with socket.socket() as back:  # it comes back
                back.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                back.bind(("127.0.0.1", int(dead.rpartition(":")[2])))
                back.listen(8)
                back.settimeout(0.05)

                def probed():
                    ask_thread = threading.Thread(target=lambda: ask(p), daemon=True)
                    ask_thread.start()
                    with contextlib.suppress(TimeoutError):
                        s, _ = back.accept()
                        s.close()
                    ask_thread.join(5)
                    return p.report()["upstreams"][0]["total"] > 0

                wait_until(probed, 10, "the probe of an ejected server")
            expect(p.report()["upstreams"][0]["ejected"] == 0, "still ejected")
            expect(p.report()["upstreams"][0]["ejections"] == 1, "more ejections than one")
            expect(f"tcp_proxy: upstream {dead} is back\n" in p.stderr(), p.stderr())
            for _ in range(4):  # and goes again
                expect(ask(p) == b"alive", "nobody else was tried")
            expect(p.report()["upstreams"][0]["ejections"] == 2, "a second ejection is not one")
            p.stop()
    with proxy(backend, "--upstream", dead, "--eject-after", "1", "--eject-for", "100") as p:
        for _ in range(10):  # tried each time, since there is no other
            expect(ask(p) == b"", "an answer of nobody")
        told = p.report()["upstreams"][0]
        expect((told["failures"], told["ejections"]) == (10, 1), f"{told}")
        p.stop()
    return "after 2 failures, and back; 10 failures are one ejection"


@case(BOTH)
def stderr_unwritable(backend):
    """What it cannot say ends neither the session that made it say so nor the proxy."""
    reads, broken = os.pipe()
    os.close(reads)
    with upstream(sends(b"alive")) as u, open("/dev/full", "wb") as full, \
            open(broken, "wb") as pipe:
        for stderr in full, pipe:
            with proxy(backend, "--upstream", closed_port(), "--upstream", u.address,
                       "--eject-after", "1", stderr=stderr) as p:
                for _ in range(5):
                    expect(ask(p) == b"alive", "nobody else was tried")
                p.stop()
    return "a full device, a pipe that nobody reads"


@contextlib.contextmanager
def room_for_one(p: proxy):
    """One more descriptor for the proxy, which a client takes: none is left for a server."""
    soft, hard = resource.prlimit(p.pid, resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir(f"/proc/{p.pid}/fd")}
    free = next(number for number in range(len(taken) + 1) if number not in taken)
    resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (free + 1, hard))
    yield
    resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (soft, hard))


@case(BOTH)
def shortages(backend):
    """What the proxy's own machine lacks is no failure of the servers."""
    def told(p, *words):
        return [tuple(u[word] for word in words) for u in p.report()["upstreams"]]

    with upstream(sends(b"one")) as one, upstream(sends(b"two")) as two:
        with proxy(backend, "--upstream", one.address, "--upstream", two.address, "--eject-after",
                   "1", "--eject-for", "600") as p:
            idle = p.descriptors()
            with room_for_one(p):
                for _ in range(3):
                    p.expect_descriptors(idle)
                    expect(ask(p) == b"", "an answer without a descriptor")
            words = ("failures", "ejections", "ejected", "shortages")
            expect(told(p, *words) == [(0, 0, 0, 3)] * 2, f"{told(p, *words)}")
            said = p.stderr().count("Too many open files. It is this machine that lacks it")
            expect(1 <= said < 6, f"told {said} times of 6 shortages: {p.stderr()}")
            expect({ask(p), ask(p)} == {b"one", b"two"}, "not served by both")
            p.stop()
    with upstream(sends(b"alive")) as u:
        with proxy(backend, "--upstream", closed_port(), "--upstream", u.address, "--eject-after",
                   "1", "--eject-for", "0.05", "--connect-timeout", "600") as p:
            idle = p.descriptors()
            expect(ask(p) == b"alive", "nobody else was tried")
            p.expect_descriptors(idle)
            wait_until(lambda: told(p, "ejected")[0] == (0,), 10, "the end of its time alone")
            with room_for_one(p):
                expect(ask(p) == b"", "an answer without a descriptor")
            words = ("failures", "ejected", "shortages")
            expect(told(p, *words)[0] == (1, 0, 1), f"a probe that was none: {told(p, *words)}")
            p.stop()
    return "no descriptor for a server is no failure, and no probe"


def v1(text: bytes) -> tuple:
    expect(text.startswith(b"PROXY ") and text.endswith(b"\r\n"), f"{text}")
    return tuple(text.decode().split())


@case(BOTH)
def proxy_protocol(backend):
    seen = []

    def serve(s):
        data = b""
        while piece := s.recv(4096):
            data += piece
        seen.append(data)

    def said(p: proxy, c: socket.socket) -> tuple[bytes, tuple]:
        seen.clear()
        with c:
            name = c.getsockname()
            c.sendall(b"payload")
        wait_until(lambda: seen, 5, "the upstream's turn")
        expect(seen[0].endswith(b"payload"), f"{seen}")
        return seen[0][:-7], name

    with upstream(serve) as u, tempfile.TemporaryDirectory() as folder:
        for listen in ("127.0.0.1:0", "[::1]:0", "*:0", f"unix:{folder}/p"):
            for version in ("1", "2"):
                with proxy(backend, "--upstream", u.address, "--proxy-protocol", version,
                           listen=listen) as p:
                    if listen.startswith("unix"):
                        c = socket.socket(socket.AF_UNIX)
                        c.connect(listen[5:])
                    else:
                        host = "::1" if "::1" in listen else "127.0.0.1"
                        c = socket.create_connection((host, p.port), 5)
                    header, name = said(p, c)
                    if listen.startswith("unix"):
                        expect(header == (b"PROXY UNKNOWN\r\n" if version == "1" else
                                          b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00"), f"{header}")
                    elif version == "1":
                        kind = "TCP6" if host == "::1" else "TCP4"
                        expect(v1(header) == ("PROXY", kind, host, host, str(name[1]), str(p.port)),
                               f"{header}")
                    else:
                        family = socket.AF_INET6 if host == "::1" else socket.AF_INET
                        raw = socket.inet_pton(family, host)
                        rest = raw * 2 + struct.pack("!HH", name[1], p.port)
                        kind = b"\x21" if host == "::1" else b"\x11"
                        expect(header == b"\r\n\r\n\0\r\nQUIT\n\x21" + kind +
                               struct.pack("!H", len(rest)) + rest, f"{header}")
                    p.stop()
                expect(not os.path.exists(f"{folder}/p"), "the socket's file is left")
    return "v1 and v2; IPv4, IPv6, IPv4 at a listener for both, Unix"


@case(BOTH)
def families(backend):
    with tempfile.TemporaryDirectory() as folder:
        for family, path in ((socket.AF_INET6, None), (socket.AF_UNIX, f"{folder}/u")):
            with upstream(echo_all, family, path) as u:
                for mode in MODES:
                    with proxy(backend, "--upstream", u.address, "--mode", mode) as p:
                        with p.connect() as c:
                            echo(c, noise(100_000))
                        p.stop()
    return "IPv6 and Unix"


@case(BOTH)
def max_connections(backend):
    with upstream(echo_all) as u:
        with proxy(backend, "--upstream", u.address, "--max-connections", "2") as p:
            first, second = p.connect(), p.connect()
            echo(first, b"1")
            echo(second, b"2")
            inside = p.descriptors()
            third = p.connect()
            third.sendall(b"3")
            expect(silent(third, 0.2), "a third one was served")
            more = [p.connect() for _ in range(20)]
            echo(first, b"1")
            expect(p.descriptors() <= inside + 1, f"{p.descriptors() - inside} are taken ahead")
            first.close()
            expect(receive(third, 1) == b"3", "nobody took the free place")
            for c in (second, third, *more):
                c.close()
            p.stop()
    return "the third waits in the backlog"


@case(BOTH)
def few_descriptors(backend):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with upstream(echo_all) as u:
        with proxy(backend, "--upstream", u.address, "--mode", "splice", before=few) as p:
            clients = [p.connect() for _ in range(60)]
            for c in clients:
                c.settimeout(0.05)
                with contextlib.suppress(OSError):
                    c.sendall(b"x")
            wait_until(lambda: p.report()["accept_backoffs"] > 0, 10, "an accept that is put off")
            share = p.share(lambda: time.sleep(0.5))
            expect(share < 0.05 * SCALE, f"{share:.1%} of a core while full: it spins")
            for c in clients:
                c.close()

            def served():
                with contextlib.suppress(OSError), p.connect() as c:
                    c.settimeout(1)
                    c.sendall(b"y")
                    return c.recv(1) == b"y"

            wait_until(served, 10, "service after the flood")
            p.stop()
    return "64 descriptors, 60 clients"


@case(BOTH)
def drain(backend):
    ready, go = threading.Event(), threading.Event()

    def slow_answer(s):
        receive(s, 5)
        ready.set()
        expect(go.wait(20 * SCALE), "the stop was not seen")
        s.sendall(b"the answer")

    with upstream(slow_answer) as u, proxy(backend, "--upstream", u.address) as p:
        with p.connect() as asking, p.connect() as idle:
            asking.sendall(b"hello")
            expect(ready.wait(5), "the upstream was not asked")
            began = p.signal()
            wait_until(lambda: is_refused(p), 5, "who comes after a stop is refused")
            go.set()
            expect(receive(asking, 10) == b"the answer", "the answer was cut")
            expect(idle.recv(1) == b"", "an idle session goes on")
            expect(p.wait(5) == 0, "exit code")
            took = time.monotonic() - began
            expect(took < 3 * SCALE, f"{took:.1f} s with nothing going on")
    with upstream(echo_all) as u, proxy(backend, "--upstream", u.address, "--grace", "30") as p:
        with p.connect() as c:
            echo(c, b"x")
            p.signal()
            p.signal(signal.SIGINT)
            expect(p.wait(1) == 0, "a second signal skips the rest")
    return f"{took:.2f} s"


# ---- SOCKS5 ---------------------------------------------------------------------------------------

GREETING = b"\5\1\0"


def request(kind: int, where: bytes, port: int, command: int = 1) -> bytes:
    return bytes((5, command, 0, kind)) + where + struct.pack("!H", port)


def to_v4(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    return request(1, socket.inet_aton(host), int(port))


def to_name(name: bytes, port: int) -> bytes:
    return request(3, bytes((len(name),)) + name, port)


def greeted(p: proxy) -> socket.socket:
    c = p.connect()
    c.sendall(GREETING)
    expect(receive(c, 2) == b"\5\0", "the greeting was not answered")
    return c


def reply_to(p: proxy, asked: bytes) -> bytes:
    with greeted(p) as c:
        c.sendall(asked)
        return receive(c, 22)


@case(BOTH)
def socks_connect(backend):
    with upstream(echo_all) as four, \
            upstream(echo_all, socket.AF_INET6) as six, proxy(backend, name=SOCKS) as p:
        port = int(four.address.rpartition(":")[2])
        asked = {"IPv4": to_v4(four.address), "a name": to_name(b"localhost", port),
                 "IPv6": request(4, socket.inet_pton(socket.AF_INET6, "::1"),
                                 int(six.address.rpartition(":")[2]))}

        def but_pipes():
            return p.descriptors() - 2 * p.report()["pipes"]

        with greeted(p) as c:  # by then the resolver has opened what it keeps
            c.sendall(asked["a name"])
            expect(receive(c, 10)[:2] == b"\5\0", "not connected")
            echo(c, b"hello")
            idle = but_pipes() - 2
        for what, message in asked.items():
            for pieces in (1, len(message)):  # at once, and byte by byte
                with greeted(p) as c:
                    for i in range(pieces):
                        c.sendall(message if pieces == 1 else message[i:i + 1])
                    size = 22 if what == "IPv6" else 10
                    got = receive(c, size)
                    expect(got[:3] == b"\5\0\0" and len(got) == size, f"{what}: {got}")
                    echo(c, noise(200_000))
        with p.connect() as c:  # all of it unasked, with the payload behind it
            c.sendall(GREETING + asked["IPv4"] + b"hello")
            expect(receive(c, 17)[12:] == b"hello", "what follows the request is lost")
        wait_until(lambda: but_pipes() == idle, 5, "the end of sessions")
        p.stop()
    return ", ".join(asked)


@case(BOTH)
def socks_names(backend):
    """Many at once by one client: they take turns, and all get theirs."""
    with upstream(echo_all) as u:
        wanted = to_name(b"localhost", int(u.address.rpartition(":")[2]))
        for cores in ("1", "2"):
            with proxy(backend, "--cores", cores, name=SOCKS) as p:
                clients = [p.connect() for _ in range(40)]
                for c in clients:
                    c.sendall(GREETING + wanted + b"hello")
                for c in clients:
                    expect(receive(c, 17)[12:] == b"hello", "not connected")
                    c.close()
                p.stop()
    return "40 by one client, 1 and 2 cores"


@case(BOTH)
def socks_refusals(backend):
    with proxy(backend, "--connect-timeout", "0.5", name=SOCKS) as p:
        closed = closed_port()
        refused = {
            5: to_v4(closed),
            7: request(1, b"\x7f\0\0\1", 1, command=2),
            8: request(2, b"", 1),
            1: b"\5\1\1\1\x7f\0\0\1\0\1",
            4: to_name(b"no.such.name.invalid", 80),
            3: to_v4("224.0.0.1:80"),  # nobody connects to a group
        }
        for code, asked in refused.items():
            got = reply_to(p, asked)
            expect(len(got) == 10 and got[:2] == bytes((5, code)), f"{code}: {got}")
        got = reply_to(p, to_name(b"", 80))
        expect(got[:2] == b"\5\1", f"an empty name: {got}")
        got = reply_to(p, to_name(b"a\0b", 80))
        expect(got[:2] == b"\5\1", f"a zero byte: {got}")
        with full_backlog() as full:
            got = reply_to(p, to_v4(full))
        expect(got[:2] == b"\5\6", f"a server that does not answer: {got}")
        p.stop()
    return "replies 1, 3, 4, 5, 6, 7, 8"


@case(BOTH)
def socks_shortage(backend):
    """What this machine lacks, and that look-ups fail, is told and counted."""
    with upstream(echo_all) as u, proxy(backend, name=SOCKS) as p:
        port = int(u.address.rpartition(":")[2])
        with greeted(p) as first, greeted(p) as one, greeted(p) as other, greeted(p) as last:
            first.sendall(to_name(b"localhost", port))  # the resolver has opened what it keeps
            expect(receive(first, 10)[:2] == b"\5\0", "not connected before")
            limits = resource.prlimit(p.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(p.pid, resource.RLIMIT_NOFILE, (1, limits[1]))
            one.sendall(to_v4(u.address))
            expect(receive(one, 10)[:2] == b"\5\1", "connected without a descriptor")
            other.sendall(to_name(b"localhost", port))
            expect(receive(other, 10)[:2] == b"\5\4", "looked up without a descriptor")
            resource.prlimit(p.pid, resource.RLIMIT_NOFILE, limits)
            last.sendall(to_name(b"localhost", port))
            expect(receive(last, 10)[:2] == b"\5\0", "not connected afterwards")
        told = p.stderr()
        for words in ("no connection for a client: Too many open files. ",
                      "looking a name up failed: Too many open files\n"):
            expect(told.count(words) == 1, repr(told))
        counted = p.report()
        expect((counted["waiting"], counted["unknown"], counted["failed"]) == (0, 0, 1), f"{counted}")
        p.stop()
    return "descriptors"


@case(BOTH)
def socks_login(backend):
    def logged_in(p: proxy, user: bytes, password: bytes) -> bytes:
        with p.connect() as c:
            c.sendall(b"\5\2\0\2")
            expect(receive(c, 2) == b"\5\2", "no password was asked for")
            c.sendall(bytes((1, len(user))) + user + bytes((len(password),)) + password)
            got = receive(c, 2)
            if got == b"\1\0":
                c.sendall(to_v4(u.address))
                expect(receive(c, 10)[:2] == b"\5\0", "not connected")
                echo(c, b"hello")
            else:
                expect(c.recv(1) == b"", "still open after a wrong password")
            return got

    with upstream(echo_all) as u, proxy(backend, "--login", "me:se:cret", name=SOCKS) as p:
        expect(logged_in(p, b"me", b"se:cret") == b"\1\0", "refused")
        for user, password in ((b"me", b"secret"), (b"you", b"se:cret"), (b"", b""),
                               (b"me", b"se:cret" * 2), (b"me" * 127, b"x" * 255)):
            expect(logged_in(p, user, password) == b"\1\1", f"{user} {password} let in")
        with p.connect() as c:
            c.sendall(GREETING)
            expect(receive(c, 2) == b"\5\xff" and c.recv(1) == b"", "let in without a password")
        p.stop()
    for login in ("me", "me:", ":x", "x" * 256 + ":y", "me:" + "y" * 256):
        expect_refusal(login, *call(SOCKS, "--login", login), "--login")
    return "right, wrong, none"


@case(BOTH)
def socks_stop(backend):
    """Who says nothing more, at whatever point of the handshake, does not hold up a stop."""
    with proxy(backend, "--handshake-timeout", "600", "--grace", "600", name=SOCKS) as p:
        idle = p.descriptors()
        refused = p.connect()  # told so, and keeps its end open
        refused.sendall(b"\5\1\xee")
        expect(receive(refused, 3) == b"\5\xff", "not refused")
        clients = [refused]
        for said in (b"", b"\5", GREETING, GREETING + b"\5\1\0\3\xffnot all of a name"):
            c = p.connect()
            c.sendall(said)
            if len(said) > 1:
                expect(receive(c, 2) == b"\5\0", "the greeting was not answered")
            clients.append(c)
        wait_until(lambda: p.descriptors() == idle + len(clients), 5, "all are inside")
        p.stop(10)
        for c in clients:
            c.close()
    return f"{len(clients)} silent clients, a grace of 600 s"


@case(BOTH)
def socks_noise(backend):
    """Whatever comes, it ends in bounded time and the next client is served."""
    with upstream(echo_all) as u, proxy(backend, "--handshake-timeout", "0.3", name=SOCKS) as p:
        idle = p.descriptors()
        good = GREETING + to_v4(u.address)
        held = []
        for cut in range(len(good)):  # silent from there on
            c = p.connect()
            c.sendall(good[:cut])
            held.append(c)
        for seed in range(60):
            with p.connect() as c, contextlib.suppress(OSError):
                c.sendall(noise(1 + seed * 7, seed))
        for byte in range(0, 256, 5):
            with p.connect() as c, contextlib.suppress(OSError):
                c.sendall(GREETING + bytes((5, byte, 0, byte)) + bytes(300))
                reset(c)
        began = time.monotonic()
        for c in held:
            c.settimeout(5 * SCALE)
            with contextlib.suppress(ConnectionError):
                while c.recv(100):
                    pass
            c.close()
        expect(time.monotonic() - began < 3 * SCALE, "silent clients are kept")
        p.expect_descriptors(idle)
        with greeted(p) as c:
            c.sendall(to_v4(u.address))
            expect(receive(c, 10)[:2] == b"\5\0", "not served any more")
        p.stop()
    return f"{len(held)} silent, 60 of noise"


@case()
def its_own_upstream(_):
    """It would connect to itself until it has no descriptor left."""
    for listen, upstream_ in (("127.0.0.1:7001", "127.0.0.1:7001"), ("[::1]:7001", "[::1]:7001"),
                              ("*:7001", "127.0.0.1:7001"), ("*:7001", "127.0.0.2:7001"),
                              ("*:7001", "[::1]:7001"), ("0.0.0.0:7001", "127.0.0.1:7001"),
                              ("127.0.0.1:7001", "0.0.0.0:7001"), ("*:7001", "*:7001"),
                              ("unix:@ringlet-self", "unix:@ringlet-self")):
        arguments = ("--listen", listen, "--upstream", "127.0.0.1:9", "--upstream", upstream_)
        expect_refusal(arguments, *call(NAME, *arguments), "this proxy")
    for listen, upstream_ in (("127.0.0.1:0", "127.0.0.1:7001"), ("*:0", "127.0.0.1:7001"),
                              ("unix:@ringlet-self", "unix:@ringlet-other")):
        with proxy("auto", "--upstream", upstream_, listen=listen if ":@" not in listen else
                   f"{listen}-{os.getpid()}") as p:
            p.stop()
    return "9 refusals of one line each"


@case(BOTH)
def no_memory_for_a_report(backend):
    """It is told, and the sessions go on."""
    if SANITIZED:
        return "skipped: a sanitizer ends the program where memory cannot be had"
    with upstream(echo_all) as server_:
        many = ("--upstream", server_.address) * 3000  # a report as long as that
        with proxy(backend, *many) as p, p.connect() as c:
            echo(c, b"before")
            limits = resource.prlimit(p.pid, resource.RLIMIT_DATA)
            resource.prlimit(p.pid, resource.RLIMIT_DATA, (4096, limits[1]))
            p.signal(signal.SIGUSR1)
            wait_until(lambda: "no memory for a report" in p.stderr() or p.child.poll() is not None,
                       5, "what became of the report")
            echo(c, b"after")
            resource.prlimit(p.pid, resource.RLIMIT_DATA, limits)

            def whole():  # it is longer than what is written at a time
                p.signal(signal.SIGUSR1)
                return re.search(r"^tcp_proxy:\n(?:  upstream .*\n){3000}  copied_bytes", p.stderr(),
                                 re.MULTILINE)

            wait_until(whole, 10, "a whole report of 3000 upstreams")
            c.shutdown(socket.SHUT_WR)
            expect(receive(c, 1) == b"", "bytes from nowhere")
            p.stop()
    return "told of, and a whole report later"


if __name__ == "__main__":
    sys.exit(SUITE.run())
