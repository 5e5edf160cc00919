#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs the file server as a user and as an enemy would, on both backends.

usage: test_file_server.py [--only WORD] PROGRAM... | build/samples
"""
import contextlib
import ctypes
import os
import pathlib
import random
import re
import resource
import shutil
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
    BOTH, PROGRAMS, SANITIZED, SCALE, call, expect, expect_refusal, failure, noise, receive, reset,
    server, silent, skip, suite, wait_until)

NAME = "file_server"
SUITE = suite(__doc__, (NAME, "echo_server"))
case = SUITE.case
FILES = {
    "empty": b"",
    "one": b"1",
    "small.txt": noise(4096, 2),
    "edge": noise(16384, 3),
    "middle.html": noise(300_000, 4),
    "large": noise(9_000_000, 5),
    "with space": b"spaced\n",
    "perc%nt": b"percent\n",
    "sub/deep/low.css": b"low { }\n",
    "..dots": b"dots\n",
}


class site(server):
    """A server of a folder with FILES in it and a secret beside it; both end with the block."""

    def __init__(self, backend: str, *arguments: str, env=None, before=None):
        self.outer = tempfile.TemporaryDirectory(prefix="ringlet-test-")
        self.root = pathlib.Path(self.outer.name) / "root"
        for name, content in FILES.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (self.root.parent / "secret").write_bytes(b"the secret\n")
        try:
            self.launch(NAME, "127.0.0.1:0", "--root", str(self.root), "--backend", backend,
                        *arguments, env=env, before=before)
        except BaseException:
            self.outer.cleanup()
            raise
        self.url = f"http://{self.address}"

    def __exit__(self, kind, *rest):
        super().__exit__(kind, *rest)
        self.outer.cleanup()

    def buffers(self) -> int:
        """How many of the cores' buffers are in use, by the report on SIGUSR1."""
        count = self.stderr().count("buffers=")
        self.signal(signal.SIGUSR1)
        wait_until(lambda: len(re.findall(r"buffers=\d+\n", self.stderr())) > count, 5, "a report")
        return int(re.findall(r"buffers=(\d+)\n", self.stderr())[-1])

    def ask(self, target: str, *fields: str, method="GET") -> "answer":
        """One request on a connection of its own."""
        with self.connect() as s:
            s.sendall(request(target, *fields, method=method))
            return read_answer(s, method)

    def raw(self, data: bytes, half_close=False) -> bytes:
        """Everything that comes back until the server closes."""
        with self.connect() as s:
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
            got = bytearray()
            with contextlib.suppress(ConnectionError):
                while piece := s.recv(65536):
                    got += piece
            return bytes(got)


def request(target: str, *fields: str, method="GET", version="1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


class answer:
    def __init__(self, status: int, fields: dict, body: bytes):
        self.status, self.fields, self.body = status, fields, body


def read_head(s: socket.socket) -> tuple[int, dict]:
    text = bytearray()
    while not text.endswith(b"\r\n\r\n"):
        piece = s.recv(1)
        expect(piece, lambda: f"the stream ends in the head: {bytes(text)!r}")
        text += piece
        expect(len(text) < 4096, "the head does not end")
    line, *rest = text.decode("latin-1")[:-4].split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", line)
    expect(found, f"the status line is {line!r}")
    fields = {}
    for field in rest:
        name, value = field.split(": ", 1)
        expect(name.lower() not in fields, f"{name} is there twice")
        fields[name.lower()] = value
    return int(found[1]), fields


def read_answer(s: socket.socket, method="GET") -> answer:
    status, fields = read_head(s)
    length = int(fields["content-length"])
    body = b"" if method == "HEAD" else receive(s, length)
    expect(method == "HEAD" or len(body) == length, f"{len(body)} of {length} bytes came")
    return answer(status, fields, body)


def is_alive(s: site) -> None:
    got = s.ask("/one")
    expect(got.status == 200 and got.body == b"1", f"afterwards: {got.status} {got.body!r}")


# ---- the cases -----------------------------------------------------------------------------------

@case()
def command_line(_):
    code, out, err = call(NAME, "--help")
    expect(code == 0 and err == "" and out.startswith(f"usage: {NAME}"), f"{code} {out!r} {err!r}")
    for arguments in (("--listen", "nonsense"), ("--root", "/nonexistent"), ("--root", "/etc/passwd"),
                      ("--cores", "0"), ("--backend", "kqueue"), ("--idle", "-1"),
                      ("--request-time", "0"), ("--max-connections", "1", "--cores", "2"),
                      ("stray",), ("--frobnicate",)):
        words = (arguments[1], "give --root a folder") if arguments[0] == "--root" else ()
        expect_refusal(arguments, *call(NAME, *arguments), *words)
    return "help, and refusals of one line"


@case(BOTH)
def bodies(backend):
    with site(backend) as s:
        idle = s.settled_descriptors()
        for name, content in FILES.items():
            target = "/" + name.replace("%", "%25").replace(" ", "%20")
            got = s.ask(target)
            expect(got.status == 200 and got.body == content, f"{name}: {got.status}")
            expect(got.fields["accept-ranges"] == "bytes", name)
            head = s.ask(target, method="HEAD")
            expect(head.status == 200 and head.body == b"", f"HEAD {name}")
            changing = ("date",)
            expect({k: v for k, v in head.fields.items() if k not in changing}
                   == {k: v for k, v in got.fields.items() if k not in changing},
                   f"HEAD {name}: other fields than GET")
        for target in ("/small.txt?query", "//small.txt", "/./small.txt", "/sub/../small.txt"):
            wanted = 400 if ".." in target else 200
            expect(s.ask(target).status == wanted, f"{target}: not {wanted}")
        for name, kind in (("small.txt", "text/plain"), ("middle.html", "text/html"),
                           ("sub/deep/low.css", "text/css"), ("one", "application/octet-stream")):
            expect(s.ask("/" + name).fields["content-type"] == kind, name)
        got = s.ask(f"http://anywhere/small.txt")
        expect(got.body == FILES["small.txt"], "absolute-form")
        s.expect_descriptors(idle)
        s.stop()
        s.expect_quiet()
    return f"{len(FILES)} files by GET and HEAD"


@case(BOTH)
def dates(backend):
    """Each by the first answer of a server: what is kept of the last date is of none."""
    for when, text in ((-1, "Wed, 31 Dec 1969 23:59:59 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
                       (1_700_000_000, "Tue, 14 Nov 2023 22:13:20 GMT")):
        with site(backend) as s:
            os.utime(s.root / "one", (when, when))
            for _ in range(2):
                got = s.ask("/one").fields["last-modified"]
                expect(got == text, f"{got!r} for {when}")
            s.stop()
    return "before, at and after 1970"


@case(BOTH, needs=("curl",))
def curl(backend):
    program = shutil.which("curl")
    with site(backend) as s, tempfile.TemporaryDirectory() as folder:
        for name in ("small.txt", "large", "empty"):
            out = pathlib.Path(folder) / "got"
            out.write_bytes(b"")
            for options in ((), ("--http1.0",), ("-H", "Connection: close"), ("-r", "0-")):
                if options == ("-r", "0-") and name == "empty":
                    continue
                done = subprocess.run([program, "-sS", "-m", str(20 * SCALE), "-o", str(out), *options,
                                       f"{s.url}/{name}"], capture_output=True, text=True)
                expect(done.returncode == 0, f"curl {options} {name}: {done.stderr}")
                expect(out.read_bytes() == FILES[name], f"curl {options} {name}: other bytes")
        out.write_bytes(FILES["large"][:1_000_000])  # goes on with a download
        done = subprocess.run([program, "-sS", "-C", "-", "-m", str(20 * SCALE), "-o", str(out),
                               f"{s.url}/large"], capture_output=True, text=True)
        expect(done.returncode == 0 and out.read_bytes() == FILES["large"], f"curl -C: {done.stderr}")
    return "whole, 1.0, close, range, resumed"


TRAVERSAL = [
    "/../secret", "/..", "/../", "/sub/../../secret", "/%2e%2e/secret", "/%2e%2e%2fsecret",
    "/..%2fsecret", "/.%2e/secret", "/%2E%2E/secret", "/%252e%252e/secret", "/..%5csecret",
    "/..\\secret", "/%5c..%5csecret", "//secret", "//../secret", "/./../secret", "/sub/deep/../../../secret",
    "/....//secret", "/..;/secret", "/%c0%ae%c0%ae/secret", "/..%00/secret", "/%00", "/one%00.txt",
    "/etc/passwd", "//etc/passwd", "/%2fetc/passwd", "/out", "/outdir/secret", "/absolute",
    "/proc/self/environ", "/chain", "..", "../secret", "secret", "*", "", "http://x/../secret",
    "/%", "/%2", "/%zz", "/one%", "/a\x01b", "/a#b",
]


@case(BOTH)
def traversal(backend):
    with site(backend) as s:
        (s.root / "out").symlink_to("../secret")
        (s.root / "outdir").symlink_to("..")
        (s.root / "absolute").symlink_to(s.root.parent / "secret")
        (s.root / "chain").symlink_to("out")
        (s.root / "inside").symlink_to("sub/deep/low.css")
        for target in TRAVERSAL:
            for method in ("GET", "HEAD"):
                got = s.raw(request(target, "Connection: close", method=method))
                expect(b"secret" not in got.split(b"\r\n\r\n", 1)[-1] and b"root:" not in got,
                       f"{target!r} got out: {got[-200:]!r}")
                expect(re.match(rb"HTTP/1\.1 40[034] ", got), f"{target!r}: {got[:60]!r}")
        got = s.ask("/inside")
        expect(got.body == FILES["sub/deep/low.css"], "a link that stays inside")
        is_alive(s)
    return f"{len(TRAVERSAL)} ways out are none"


@case(BOTH)
def ranges(backend):
    size = len(FILES["middle.html"])
    content = FILES["middle.html"]
    table = [
        ("bytes=0-0", 206, 0, 1), ("bytes=0-", 206, 0, size), ("bytes=10-19", 206, 10, 10),
        ("bytes=-1", 206, size - 1, 1), (f"bytes=-{size}", 206, 0, size),
        (f"bytes=-{size + 5}", 206, 0, size), (f"bytes={size - 1}-", 206, size - 1, 1),
        (f"bytes=5-{size * 2}", 206, 5, size - 5), ("bytes=5-99999999999999999999999", 206, 5, size - 5),
        ("Bytes=0-0", 206, 0, 1), ("bytes= 1-2 ", 206, 1, 2),
        (f"bytes={size}-", 416, 0, 0), (f"bytes={size + 1}-{size + 2}", 416, 0, 0),
        ("bytes=-0", 416, 0, 0), ("bytes=99999999999999999999999-", 416, 0, 0),
        ("bytes=2-1", 200, 0, size), ("bytes=a-b", 200, 0, size), ("bytes=-", 200, 0, size),
        ("bytes=1", 200, 0, size), ("bytes", 200, 0, size), ("lines=0-1", 200, 0, size),
        ("bytes=0-0,5-6", 200, 0, size), ("bytes=" + ",".join(["0-"] * 2000), 200, 0, size),
        ("bytes=+1-2", 200, 0, size), ("bytes=0x1-2", 200, 0, size), ("bytes=--1", 200, 0, size),
    ]
    with site(backend) as s:
        for text, status, first, length in table:
            got = s.ask("/middle.html", f"Range: {text}")
            expect(got.status == status, f"{text[:40]}: {got.status}, not {status}")
            if status == 416:
                expect(got.fields["content-range"] == f"bytes */{size}", f"{text}: {got.fields}")
                continue
            expect(got.body == content[first:first + length], f"{text[:40]}: other bytes")
            if status == 206:
                expect(got.fields["content-range"] == f"bytes {first}-{first + length - 1}/{size}",
                       f"{text}: {got.fields}")
        expect(s.ask("/empty", "Range: bytes=0-").status == 416, "a range of nothing")
        expect(s.ask("/one", "Range: bytes=0-0", method="HEAD").status == 200, "HEAD has no ranges")
        got = s.ask("/one", "Range: bytes=0-0", 'If-Range: "x"')
        expect(got.status == 200, "a range on condition")
    return f"{len(table)} ranges"


@case(BOTH)
def not_files(backend):
    with site(backend) as s:
        os.mkfifo(s.root / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(s.root / "socket"))
            (s.root / "null").symlink_to("/dev/null")
            (s.root / "loop").symlink_to("loop")
            statuses = {"/": 403, "/sub": 403, "/sub/": 403, "/fifo": 403, "/socket": 404,
                        "/null": 404, "/loop": 404, "/missing": 404, "/one/": 404, "/one/x": 404,
                        "/" + "n" * 300: 404, "/" + "a/" * 2000 + "x": 404}
            for target, status in statuses.items():
                began = time.monotonic()
                got = s.ask(target)
                expect(got.status == status, f"{target[:40]}: {got.status}, not {status}")
                expect(time.monotonic() - began < 2 * SCALE, f"{target[:40]}: it waited")
        with contextlib.suppress(PermissionError):
            os.mknod(s.root / "zero", 0o666 | 0o020000, os.makedev(1, 5))
            expect(s.ask("/zero").status == 403, "a device")
        (s.root / "closed").write_bytes(b"x")
        (s.root / "closed").chmod(0)
        if os.geteuid() != 0:
            expect(s.ask("/closed").status == 403, "unreadable")
        is_alive(s)
        s.stop()
        s.expect_quiet()
    return "folders, FIFO, socket, device, links"


HOSTILE = [
    (b"GET /one HTTP/1.1\r\n\r\n", 400),  # no Host
    (b"GET /one HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /one HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"GET /one HTTP/1.10\r\nHost: a\r\n\r\n", 505),
    (b"GET /one\r\n\r\n", 400),
    (b"GET /one FTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET  /one HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /o ne HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b" GET /one HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"G=T /one HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"POST /one HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    (b"DELETE /one HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    (b"get /one HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    (b"GET /one HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nx: a\nb\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", 417),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    (b"GET /one HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 300_000 + b"\r\n\r\n", 431),
    (b"GET /one HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 10_000 + b"\r\n", 431),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n", 400),  # TLS
    (b"\0" * 100_000, 431),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
]


@case(BOTH)
def hostile_requests(backend):
    with site(backend) as s:
        idle = s.settled_descriptors()
        for data, status in HOSTILE:
            got = s.raw(data + request("/one"))  # what follows is never a second request
            expect(got.startswith(b"HTTP/1.1 %d " % status), f"{data[:60]!r}: {got[:60]!r}")
            expect(got.count(b"HTTP/1.1 ") == 1, f"{data[:60]!r}: answered twice")
        for data in (b"", b"\r\n", b"G", b"GET /one HTTP/1.1\r\nHost: a\r\n"):
            expect(s.raw(data, half_close=True) == b"", f"{data!r} and the end: an answer")
        s.expect_descriptors(idle)
        is_alive(s)
        s.expect_quiet()
    return f"{len(HOSTILE)} refused"


@case(BOTH)
def empty_lines(backend):
    """Before a request a few are forgiven; a stream of them costs its sender the connection."""
    with site(backend) as s:
        with s.connect() as c:
            c.sendall(b"\r")
            is_alive(s)  # so what follows comes by itself, and is put behind that
            before = s.cpu_ns()
            with contextlib.suppress(ConnectionError):
                c.sendall(b"\n\r" * (2 * 1024 * 1024))
            is_alive(s)
            used = (s.cpu_ns() - before) / 1e9
            expect(used < 0.5 * SCALE, f"{used:.2f} s of CPU for 4 MiB of empty lines")
        got = s.raw(b"\r\n" * 4 + request("/one", "Connection: close"))
        expect(got.startswith(b"HTTP/1.1 200 "), f"after four: {got[:60]!r}")
        got = s.raw(b"\r\n" * 5 + request("/one"))
        expect(got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1,
               f"after five: {got[:60]!r}")
        s.expect_quiet()
    return f"4 MiB of them: {used * 1000:.0f} ms of CPU"


@case(BOTH)
def floods_after_refusal(backend):
    """Who goes on sending after the last answer is cut off."""
    cpu = {min(os.sched_getaffinity(0))}

    # Where the server runs only when its clients cannot, it finds something whenever it looks.
    def behind_the_clients():
        os.sched_setaffinity(0, cpu)
        os.nice(19)

    def flood(c):
        os.sched_setaffinity(0, cpu)  # of this thread
        block = noise(1024) * 16384
        with contextlib.suppress(ConnectionError):
            while True:
                c.sendall(block)

    with site(backend, before=behind_the_clients) as s, contextlib.ExitStack() as ends:
        clients = [ends.enter_context(s.connect()) for _ in range(4)]
        threads = [threading.Thread(target=flood, args=(c,), daemon=True) for c in clients]
        try:
            for c, t in zip(clients, threads):
                c.settimeout(None)
                c.sendall(request("/one", version="9.9"))
                t.start()
            wait_until(lambda: not any(t.is_alive() for t in threads), 8, "all are cut off")
        finally:
            for c, t in zip(clients, threads):
                with contextlib.suppress(OSError):
                    c.shutdown(socket.SHUT_RDWR)
                t.join()
        is_alive(s)
    return f"{len(clients)} cut off"


@case(BOTH)
def slow_requests(backend):
    with site(backend, "--request-time", f"{0.5 * SCALE}", "--idle", f"{1.5 * SCALE}") as s:
        expect(s.ask("/large").body == FILES["large"], "a large file")
        before = s.settled_descriptors()
        # All three at once: each is left for what it does, and their waits are one.
        with s.connect() as idle, s.connect() as stuck, s.connect() as slow:
            # A client that takes nothing is left after --idle, and its descriptors with it.
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.sendall(request("/large"))
            wait_until(lambda: s.descriptors() > before + 3, 5, "the file is open")
            began = time.monotonic()
            slow.sendall(b"GET /one HTTP/1.1\r\nHo")
            # A byte now and then is no excuse.
            while silent(slow, 0.05 * SCALE) and time.monotonic() - began < 5 * SCALE:
                with contextlib.suppress(ConnectionError):
                    slow.sendall(b"x")
            status, _ = read_head(slow)
            expect(status == 408, f"{status}")
            took = time.monotonic() - began
            expect(took >= 0.45 * SCALE, f"408 after {took:.2f} s")
            expect(s.ask("/large").body == FILES["large"], "a large file while others wait")
            expect(idle.recv(1) == b"", "an idle connection is not closed")
            wait_until(lambda: s.descriptors() <= before, 10, "the stuck client is left")
    return f"408 after {took:.2f} s"


@case(BOTH)
def pipelined(backend):
    rng = random.Random(7)
    names = ["one", "small.txt", "empty", "edge", "missing", "sub/deep/low.css"]
    with site(backend) as s:
        wanted = [rng.choice(names) for _ in range(1000)]
        stream = b"".join(request("/" + name) for name in wanted)
        for cut in (len(stream), 1000, 37):
            with s.connect() as c:
                def send(c=c, cut=cut):
                    for at in range(0, len(stream), cut):
                        c.sendall(stream[at:at + cut])
                sender = threading.Thread(target=send, daemon=True)
                sender.start()
                reader = c.makefile("rb")
                for name in wanted:
                    line = reader.readline()
                    length = 0
                    while (field := reader.readline()) != b"\r\n":
                        if field.lower().startswith(b"content-length:"):
                            length = int(field.split(b":")[1])
                    body = reader.read(length)
                    expected = FILES.get(name, b"404 Not Found\n")
                    expect(body == expected, f"{name}: {line!r}, {len(body)} bytes")
                sender.join()
                reader.close()
        # Cut at every byte.
        one = request("/small.txt") + b"\r\n" + request("/one", "Connection: close")
        for at in range(1, len(one)):
            with s.connect() as c:
                c.sendall(one[:at])
                c.sendall(one[at:])
                first, second = read_answer(c), read_answer(c)
                expect(first.body == FILES["small.txt"] and second.body == b"1", f"cut at {at}")
                expect(c.recv(1) == b"", "not closed")
    return "1000 in order, three ways; two cut at every byte"


@case(BOTH)
def idle_memory(backend):
    """What a burst of requests took is given back when all of it has been answered."""
    if SANITIZED:
        raise skip("a sanitizer's own memory would be counted")
    few, many, most = 100, 200, 16 << 10  # the few have touched the buffers the core lends
    burst = request("/one", "X-Filler: " + "x" * 900, method="HEAD") * 62
    with site(backend) as s, contextlib.ExitStack() as held:
        at_few = 0
        for n in range(few + many):
            if n == few:
                at_few = s.resident()
            c = held.enter_context(s.connect())
            c.sendall(burst)
            got = b""
            while got.count(b"\r\n\r\n") < 62:
                piece = c.recv(65536)
                expect(piece, lambda: f"the stream ends after {got[-300:]!r}")
                got += piece
            expect(got.count(b"HTTP/1.1 200 ") == 62, "other answers")
        each = (s.resident() - at_few) / many
        expect(each <= most, f"{each:.0f} bytes of memory for an idle connection, more than {most}")
    return f"{each:.0f} bytes for a connection after {len(burst)} bytes of requests"


@case(BOTH)
def connections(backend):
    """Kept open or closed, as the request says."""
    with site(backend) as s:
        for version, fields, keeps in (("1.1", (), True), ("1.1", ("Connection: close",), False),
                                       ("1.1", ("Connection: x, Close",), False), ("1.0", (), False),
                                       ("1.0", ("Connection: Keep-Alive",), True)):
            with s.connect() as c:
                for turn in range(2 if keeps else 1):
                    c.sendall(request("/one", *fields, version=version))
                    got = read_answer(c)
                    expect(got.body == b"1", f"{version} {fields} {turn}")
                    expect(got.fields["connection"] == ("keep-alive" if keeps else "close"), fields)
                if not keeps:
                    expect(c.recv(1) == b"", f"{version} {fields}: not closed")
        # An error about a file leaves the connection as it is.
        with s.connect() as c:
            for target, status in (("/missing", 404), ("/one", 200), ("/sub", 403), ("/one", 200)):
                c.sendall(request(target))
                expect(read_answer(c).status == status, target)
    return "1.0 and 1.1"


@case(BOTH)
def changing_files(backend):
    with site(backend) as s:
        size = len(FILES["large"])
        for change in ("replaced", "removed", "cut", "grown"):
            path = s.root / f"changing-{change}"
            path.write_bytes(FILES["large"])
            with s.connect() as c:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                c.sendall(request(f"/{path.name}"))
                status, fields = read_head(c)
                expect(status == 200 and int(fields["content-length"]) == size, change)
                got = receive(c, 100_000)
                if change == "replaced":
                    other = path.with_suffix(".new")
                    other.write_bytes(b"the new one")
                    other.rename(path)
                elif change == "removed":
                    path.unlink()
                elif change == "cut":
                    os.truncate(path, 8_000_000)
                else:
                    with open(path, "ab") as file:
                        file.write(b"more" * 100_000)
                if change == "cut":
                    while piece := c.recv(65536):
                        got += piece
                    expect(len(got) == 8_000_000 and got == FILES["large"][:8_000_000],
                           f"cut: {len(got)} bytes, then the end")
                else:
                    got += receive(c, size - len(got))
                    expect(got == FILES["large"], f"{change}: other bytes")
                    c.sendall(request("/one"))
                    expect(read_answer(c).body == b"1", f"{change}: the next request")
            if change == "replaced":
                expect(s.ask(f"/{path.name}").body == b"the new one", "the new file")
            if change == "removed":
                expect(s.ask(f"/{path.name}").status == 404, "the removed file")
        s.expect_quiet()
    return "replaced, removed, cut, grown"


@case(BOTH)
def rude_clients(backend):
    with site(backend, "--cores", "2") as s:
        idle = s.settled_descriptors()
        rng = random.Random(3)
        for turn in range(60):
            c = s.connect()
            c.sendall(request("/large") * (1 + turn % 3))
            if turn % 4:
                receive(c, rng.randrange(1, 400_000))
            if turn % 2:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()
        s.expect_descriptors(idle)
        is_alive(s)
        s.stop()
        s.expect_quiet()
    return "60 left in the middle, half of them by reset"


@case(BOTH)
def out_of_descriptors(backend):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with site(backend, before=few) as s:
        peers = []
        try:
            statuses = set()
            for _ in range(60):
                peer = s.connect()
                peers.append(peer)
                peer.settimeout(0.3 * SCALE)
                peer.sendall(request("/one"))
                try:
                    statuses.add(read_answer(peer).status)
                except (TimeoutError, socket.timeout):
                    break  # not accepted: there is no descriptor for it
            expect(statuses <= {200, 503}, f"{statuses}")
            told = "opening a file: Too many open files; `doctor`" in s.stderr()
            expect(told == (503 in statuses), f"{statuses}: {s.stderr()}")
        finally:
            for peer in peers:
                peer.close()

        def works():
            with contextlib.suppress(OSError, failure):
                return s.ask("/one").status == 200
        wait_until(works, 5, "it serves again")
    return f"answers {sorted(statuses)}, then serves again"


@case(BOTH)
def stopping(backend):
    with site(backend, "--grace", "20") as s:
        idle = [s.connect() for _ in range(5)]
        for c in idle:
            c.sendall(request("/one"))
            expect(read_answer(c).body == b"1", "before the stop")
        busy = []
        for _ in range(10):
            c = s.connect()
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.sendall(request("/large"))
            busy.append(c)
        heads = [read_head(c) for c in busy]
        expect(all(status == 200 for status, _ in heads), "the heads")
        s.signal()
        for c in idle:
            expect(c.recv(1) == b"", "an idle connection at a stop")
        for c in busy:
            expect(receive(c, len(FILES["large"])) == FILES["large"], "cut by the stop")
            expect(c.recv(1) == b"", "the end")
            c.close()
        code = s.wait(5)
        expect(code == 0, f"exit code {code}")
        s.expect_quiet()
        for c in idle:
            c.close()
    with site(backend, "--grace", "0.3") as s:
        with s.connect() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.sendall(request("/large"))
            read_head(stuck)
            s.signal()
            code = s.wait(5)
            expect(code == 0, f"exit code {code} with a client that does not read")
    return "10 answers finished, 5 idle closed, a stuck one cut"


@case(BOTH)
def many_at_once(backend):
    with site(backend, "--cores", "2", "--max-connections", "40") as s:
        failures = []

        def client(seed: int):
            rng = random.Random(seed)
            try:
                with s.connect() as c:
                    for _ in range(10):
                        name = rng.choice(["one", "small.txt", "edge", "middle.html", "large"])
                        c.sendall(request("/" + name))
                        expect(read_answer(c).body == FILES[name], name)
            except Exception as why:
                failures.append(f"{type(why).__name__}: {why}")

        threads = [threading.Thread(target=client, args=(i,)) for i in range(60)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(not failures, lambda: f"{len(failures)} failed, the first: {failures[0]}")
        s.stop()
        s.expect_quiet()
    return "60 clients, 600 files, 40 at a time"


@contextlib.contextmanager
def injected(call: str, error: str):
    """A server in which a system call fails, by strace; what its environment is to be."""
    strace = shutil.which("strace")
    real = PROGRAMS[NAME]
    with tempfile.TemporaryDirectory() as folder:
        traced = pathlib.Path(folder) / "traced"
        traced.touch()
        tried = subprocess.run([strace, "-D", "-qq", "-o", str(traced), "true"],
                               capture_output=True, text=True)
        if not traced.read_text():
            raise skip(f"nothing may be traced here: {tried.stderr.partition(chr(10))[0]}")
        wrapper = pathlib.Path(folder) / NAME
        wrapper.write_text(f"#!/bin/sh\nexec {strace} -D -f -qq -o /dev/null -e trace={call} -e "
                           f"inject={call}:error={error} {real} \"$@\"\n")
        wrapper.chmod(0o755)
        PROGRAMS[NAME] = str(wrapper)
        try:
            # No leak check: that one traces the process itself.
            yield {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
        finally:
            PROGRAMS[NAME] = real


@case(needs=("strace",))
def without_openat2(_):
    """Where a seccomp filter refuses it, the path is walked by hand."""
    with injected("openat2", "EPERM") as env:
        with site("epoll", env=env) as s:
            (s.root / "out").symlink_to("../secret")
            (s.root / "inside").symlink_to("sub/deep/low.css")
            expect(s.ask("/sub/deep/low.css").body == FILES["sub/deep/low.css"], "a file")
            expect(s.ask("/out").status == 404, "a link out")
            expect(s.ask("/inside").status == 404, "any link")
            expect(s.ask("/missing").status == 404, "missing")
            expect(s.ask("/sub").status == 403, "a folder")
            s.stop(10)
    return "no link is followed, the rest as ever"


@case(BOTH, needs=("strace",))
def disk_fails(backend):
    """Before anything of the answer has gone out, the client is told."""
    with injected("preadv2", "EIO") as env:
        with site(backend, env=env) as s, s.connect() as c:
            for name in ("small.txt", "large", "small.txt"):
                c.sendall(request("/" + name))
                got = read_answer(c)
                expect(got.status == 500, f"{name}: {got.status}")
            told = s.stderr()
            expect("file_server: reading a file: Input/output error\n" in told, repr(told))
            expect("doctor" not in told, repr(told))
            s.stop(10)
    return "500, 500, 500 on one connection"


@case(BOTH)
def refused_holds_no_buffer(backend):
    """While the last answer is read, nothing of the request is kept."""
    with site(backend) as s:
        for bad in (b"NONSENSE\r\n\r\n", b"\r\n" * 5, request("/one", version="9.9")):
            with s.connect() as c:
                c.sendall(bad)
                expect(read_answer(c).status >= 400, f"{bad}")
                expect(s.buffers() == 0, f"{bad}: {s.buffers()} buffers are held")
        s.stop()
    return "none"


@case(BOTH)
def out_of_memory(backend):
    """A session that finds no memory ends alone."""
    if SANITIZED:
        raise skip("a sanitizer ends the program where memory cannot be had")
    with site(backend) as s, contextlib.ExitStack() as ends:
        clients = [ends.enter_context(s.connect()) for _ in range(600)]
        for c in clients:
            if c is not clients[0]:  # that one is to be quick
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.sendall(request("/one"))
            expect(read_answer(c).body == b"1", "before")
        limits = resource.prlimit(s.pid, resource.RLIMIT_DATA)
        resource.prlimit(s.pid, resource.RLIMIT_DATA, (4096, limits[1]))
        for c in clients:  # an answer that is on its way holds more than an idle session
            with contextlib.suppress(ConnectionError):
                c.sendall(request("/large"))
        wait_until(lambda: "no memory: a connection was dropped" in s.stderr(), 10, "a shortage")
        resource.prlimit(s.pid, resource.RLIMIT_DATA, limits)
        expect(read_answer(clients[0]).body == FILES["large"], "the first is not served")
        is_alive(s)
    return "some of 600 were dropped, the first was served"


# ---- the run -------------------------------------------------------------------------------------


@case(BOTH)
def a_root_that_may_not_be_read(backend):
    def without_rights():
        for right in (1, 2):  # root's: PR_CAPBSET_DROP of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, right, 0, 0, 0)

    with tempfile.TemporaryDirectory() as root:
        for mode in (0o000, 0o100, 0o400):
            os.chmod(root, mode)
            told = call(NAME, "--listen", "127.0.0.1:0", "--root", root, "--backend", backend,
                        before=without_rights)
            expect_refusal(oct(mode), *told, root, "Permission denied", "chmod")
        os.chmod(root, 0o700)
    return "3 refusals of one line each"


if __name__ == "__main__":
    sys.exit(SUITE.run())
