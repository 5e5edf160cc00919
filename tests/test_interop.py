#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs the proxies and the file server between programs of others: iperf3, curl, wrk, ncat, nginx,
haproxy; on both backends and in each mode.

usage: test_interop.py [--only WORD] PROGRAM... | build/samples

`./dev install-deps interop` installs those programs. Where one is missing the cases that need it
are skipped by name, or fail when CI=true is in the environment. They run unprivileged, out of a
folder of the test's own, and end with their case.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # the imports below would leave a __pycache__ in the source tree
from sample_suite import (  # noqa: E402
    BOTH, PROGRAMS, RUNNING, SANITIZED, SCALE, expect, failure, finish, noise, read_back,
    receive, silent, start, suite, wait_until)
from test_proxy import SOCKS, proxy, upstream  # noqa: E402

MODES = ("auto", "copy", "splice")
FILES = "file_server"
STREAM_MODULE = "the stream module of nginx"
PACKAGES = {  # of Debian
    "iperf3": "iperf3",
    "curl": "curl",
    "wrk": "wrk",
    "ncat": "ncat",
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    STREAM_MODULE: "libnginx-mod-stream",
}
SITE = {"small": noise(4_000, 1), "middle": noise(300_000, 2), "large": noise(9_000_001, 3)}
ENVIRONMENT = {name: "" for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY")}


# ---- programs of others --------------------------------------------------------------------------

def find_programs() -> None:
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    for name in PACKAGES:
        if found := shutil.which(name, path=path):
            PROGRAMS[name] = found
    if "nginx" in PROGRAMS:
        built = subprocess.run([PROGRAMS["nginx"], "-V"], capture_output=True, text=True,
                               check=True, timeout=20).stderr
        folder = re.search(r"--modules-path=(\S+)", built)
        module = pathlib.Path(folder[1] if folder else "/", "ngx_stream_module.so")
        if re.search(r"--with-stream(\s|$)", built):
            PROGRAMS[STREAM_MODULE] = ""
        elif module.exists():
            PROGRAMS[STREAM_MODULE] = str(module)


def missing(needs) -> str:
    absent = [name for name in needs if name not in PROGRAMS]
    if not absent:
        return ""
    packages = " ".join(PACKAGES[name] for name in absent)
    return (f"{' and '.join(absent)} missing: ./dev install-deps interop, "
            f"or apt-get install {packages}")


SUITE = suite(__doc__, ("tcp_proxy", SOCKS, FILES, "echo_server", "echo_client"), missing)
case = SUITE.case


def free_port() -> int:
    """Below the ephemeral ports, so that no connection of anybody takes it by accident."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port


def listens(child: subprocess.Popen, port: int) -> bool:
    """Without connecting to it: some serve one connection only."""
    wanted = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{table}") as file:
            rows = [line.split() for line in file.readlines()[1:]]
            wanted |= {f"socket:[{row[9]}]" for row in rows
                       if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    folder = f"/proc/{child.pid}/fd"
    with contextlib.suppress(OSError):
        for number in os.listdir(folder):
            with contextlib.suppress(OSError):
                if os.readlink(f"{folder}/{number}") in wanted:
                    return True
    return False


class peer:
    """A program of others that serves on `ports` free ports; ended with the block."""

    def __init__(self, name: str, arguments, ports=1, stdin=subprocess.DEVNULL, stdout=None):
        for _ in range(10):  # a port may have been taken by the time it is asked for
            self.ports = [free_port() for _ in range(ports)]
            self.said = tempfile.TemporaryFile()
            self.child = start(name, *arguments(*self.ports), env=ENVIRONMENT, stdin=stdin,
                               stdout=stdout or self.said, stderr=self.said)
            wait_until(self.settled, 10, f"{name} listens")
            if self.child.poll() is None:
                break
            finish(self.child, 1)
        else:
            raise failure(f"{name} does not start: {read_back(self.said)[:2000]}")
        self.port = self.ports[0]
        self.address = f"127.0.0.1:{self.port}"

    def settled(self) -> bool:
        return self.child.poll() is not None or all(listens(self.child, p) for p in self.ports)

    def wait(self, seconds: float) -> int:
        return finish(self.child, seconds)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.child in RUNNING:
            self.child.kill()
            finish(self.child, 10)
        if kind is not None:
            print(f"     {self.child.args[0]} said: {read_back(self.said)[-2000:]}")
        self.said.close()


def run(name: str, *arguments: str, seconds: float = 30, code: int = 0, stdin=subprocess.DEVNULL,
        stdout=None) -> str:
    """Runs a program to its end: what it printed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = start(name, *arguments, env=ENVIRONMENT, stdin=stdin, stdout=stdout or out,
                      stderr=err)
        ended = finish(child, seconds)
        said = read_back(out)
        expect(ended == code, lambda: f"{name} {' '.join(arguments)}: exit code {ended}: "
                                      f"{said[:1000]} {read_back(err)[:1000]}")
        return said


@contextlib.contextmanager
def configured(name: str, text, *arguments: str, ports=1):
    """nginx or haproxy by a configuration, `text(folder, *ports)`."""
    with tempfile.TemporaryDirectory(prefix="ringlet-interop-") as folder:
        path = pathlib.Path(folder, "configuration")

        def written(*numbers):
            path.write_text(text(folder, *numbers))
            return [a.format(folder=folder, path=path) for a in arguments]

        with peer(name, written, ports) as serving:
            serving.folder = pathlib.Path(folder)
            yield serving


def nginx(text, ports=1, modules=""):
    """In one process, which stays who it is; `text` is what stands beside the events."""
    def whole(folder, *numbers):
        return (f"{modules}\ndaemon off;\nmaster_process off;\npid {folder}/pid;\n"
                "events { worker_connections 512; }\n" + text(folder, *numbers))
    return configured("nginx", whole, "-e", "{folder}/errors", "-p", "{folder}", "-c", "{path}",
                      ports=ports)


def web(ports=1):
    """SITE by nginx; what comes to a second port has a PROXY protocol header."""
    def text(folder, port, introduced=None):
        root = pathlib.Path(folder, "site")
        root.mkdir(exist_ok=True)
        for name, content in SITE.items():
            (root / name).write_bytes(content)
        places = "".join(f"{what}_temp_path {folder}/{what};\n" for what in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        second = "" if introduced is None else (
            f"server {{ listen 127.0.0.1:{introduced} proxy_protocol; location / {{ return 200 "
            "\"$proxy_protocol_addr $proxy_protocol_port\"; } }\n")
        return ("http {\naccess_log off;\nkeepalive_requests 1000000000;\n" + places +
                f"server {{ listen 127.0.0.1:{port}; root {root}; }}\n{second}}}\n")
    return nginx(text, ports)


def nginx_in_front(of: str):
    module = PROGRAMS[STREAM_MODULE]
    return nginx(lambda folder, port: "stream { server { "
                 f"listen 127.0.0.1:{port}; proxy_pass {of}; }} }}\n",
                 modules=f"load_module {module};" if module else "")


def haproxy(text, ports=1):
    def whole(_, *numbers):
        return ("global\n  maxconn 400\ndefaults\n  timeout connect 10s\n  timeout client 20s\n"
                "  timeout server 20s\n" + text(*numbers))
    return configured("haproxy", whole, "-db", "-f", "{path}", ports=ports)


def haproxy_in_front(of: str, mode: str, introduces: str):
    """Of a proxy; what comes to the second port it introduces to what is behind that."""
    return haproxy(lambda port, second:
                   f"listen plain\n  mode {mode}\n  bind 127.0.0.1:{port}\n"
                   f"  server proxy {of}\n"
                   f"listen introduced\n  mode tcp\n  bind 127.0.0.1:{second}\n"
                   f"  server proxy {introduces} send-proxy-v2\n", ports=2)


def haproxy_that_tells():
    """Whom it takes the client for."""
    return haproxy(lambda port:
                   f"frontend told\n  mode http\n  bind 127.0.0.1:{port} accept-proxy\n"
                   "  http-request return status 200 content-type text/plain lf-string "
                   "\"%[src] %[src_port]\"\n")


def curl(*arguments: str, code: int = 0) -> str:
    limit = str(int(30 * SCALE))
    return run("curl", "-q", "--silent", "--show-error", "--fail", "--max-time", limit, *arguments,
               seconds=40, code=code)


def fetch_files(url: str, *arguments: str) -> None:
    """All of SITE over one connection, and ranges; byte for byte."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [word for name in SITE for word in ("-o", f"{folder}/{name}", f"{url}/{name}")]
        counts = curl("-w", "%{num_connects}\n", *arguments, *asked).split()
        expect(counts == ["1", "0", "0"], f"connections made: {counts}")
        for name, content in SITE.items():
            got = pathlib.Path(folder, name).read_bytes()
            expect(sha(got) == sha(content), f"{name}: {len(got)} bytes, or others")
        for asked, part in (("100-70099", slice(100, 70_100)), ("8000000-", slice(8_000_000, None)),
                            ("-1500", slice(-1500, None))):
            curl(*arguments, "-r", asked, "-o", f"{folder}/part", f"{url}/large")
            expect(pathlib.Path(folder, "part").read_bytes() == SITE["large"][part],
                   f"range {asked}")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def load(url: str, connections: int = 16) -> int:
    """One second of wrk: how many requests were answered."""
    said = run("wrk", "-t1", f"-c{connections}", "-d1s", "--timeout", "20s", url)
    count = re.search(r"(\d+) requests in", said)
    expect(count and int(count[1]) > 0 and "Socket errors" not in said and "Non-2xx" not in said,
           f"wrk {url}: {said}")
    return int(count[1])


@contextlib.contextmanager
def proxied(backend: str, to: str, *arguments: str, listen="127.0.0.1:0"):
    """A proxy that has to give back everything once its sessions have ended."""
    with proxy(backend, "--upstream", to, *arguments, listen=listen) as p:
        idle = p.settled_descriptors() if "--cores" in arguments else p.descriptors()
        yield p
        wait_until(lambda: p.report()["upstreams"][0]["active"] == 0, 10, "the end of sessions")
        told = p.report()
        expect(told["buffers"] == 0, f"{told}")
        p.expect_descriptors(idle + 2 * told["pipes"])
        p.stop(10)


# ---- the cases; each returns a few words for its line --------------------------------------------

@case(BOTH, needs=("iperf3",))
def iperf3(backend):
    # What is on its way when the last byte has been sent is in no sum: so there are many.
    count = ("-n", "32M" if SANITIZED else "64M")
    words = []
    with peer("iperf3", lambda port: ("-s", "-B", "127.0.0.1", "-p", str(port))) as server:
        for mode in MODES:
            with proxied(backend, server.address, "--mode", mode) as p:
                for how in (count, (*count, "-R"), (*count, "-P", "4"), ("-t", "1", "--bidir")):
                    said = json.loads(run("iperf3", "-c", "127.0.0.1", "-p", str(p.port), "-J",
                                          *how))
                    sums = [told for name, told in said["end"].items()
                            if name.startswith("sum_received")]
                    expect(len(sums) == 1 + ("--bidir" in how) and
                           all(s["bytes"] > 0 for s in sums), f"{how}: {sums}")
                    if how is count:
                        words.append(f"{mode} {sums[0]['bits_per_second'] / 8e9:.1f} GB/s")
    return "there, back, 4 at once, both ways; " + ", ".join(words)


@case(BOTH, needs=("curl", "nginx"))
def curl_nginx(backend):
    with web() as behind:
        for mode in MODES:
            with proxied(backend, behind.address, "--mode", mode) as p:
                fetch_files(f"http://{p.address}")
                head = curl("-I", f"http://{p.address}/large")
                expect(f"Content-Length: {len(SITE['large'])}" in head, head)
                curl("-o", "/dev/null", f"http://{p.address}/absent", code=22)
    return "files, ranges, one connection for several, each mode"


@case(BOTH, needs=("wrk", "nginx"))
def wrk_nginx(backend):
    words = []
    with web() as behind:
        for mode in MODES:
            with proxied(backend, behind.address, "--mode", mode, "--cores", "2") as p:
                count = load(f"http://{p.address}/middle" if mode == "splice" else
                             f"http://{p.address}/small")
                words.append(f"{mode} {count}")
    return "requests in 1 s, 2 cores: " + ", ".join(words)


def file_of(stack: contextlib.ExitStack, content: bytes = b""):
    file = stack.enter_context(tempfile.TemporaryFile())
    file.write(content)
    file.seek(0)
    return file


def expect_content(file, content: bytes) -> None:
    file.seek(0)
    got = file.read()
    expect(sha(got) == sha(content), f"{len(got)} of {len(content)} bytes, or others")


@case(BOTH, needs=("ncat",))
def ncat_both_ways(backend):
    there, back = noise(6_000_001, 5), noise(5_000_003, 6)

    def client(p: proxy, came) -> None:
        """Its stream ends when all has come: a listening ncat goes at that, whatever is unsent."""
        read, write = os.pipe()

        def feed():
            with open(write, "wb") as into:
                into.write(there)
                into.flush()
                wait_until(lambda: os.fstat(came.fileno()).st_size >= len(back), 10, "all of it")

        with open(read, "rb") as source:
            in_two(lambda: run("ncat", "127.0.0.1", str(p.port), stdin=source, stdout=came), feed)

    for mode in MODES:
        with contextlib.ExitStack() as stack:
            given, taken, came = (file_of(stack, content) for content in (back, b"", b""))
            server = stack.enter_context(peer(
                "ncat", lambda port: ("-v", "-l", "127.0.0.1", str(port)), stdin=given,
                stdout=taken))
            p = stack.enter_context(proxied(backend, server.address, "--mode", mode))
            client(p, came)
            expect(server.wait(10) == 0, "the server's exit code")
            expect_content(taken, there)
            expect_content(came, back)
    return f"{len(there)} and {len(back)} bytes at once, each mode"


@case(BOTH, needs=("ncat",))
def ncat_one_way(backend):
    data = noise(3_000_001, 7)
    for mode in MODES:
        for server_sends in (True, False):
            with contextlib.ExitStack() as stack:
                source, sink = file_of(stack, data), file_of(stack)
                sends, takes = ("--send-only", {"stdin": source}), ("--recv-only", {"stdout": sink})
                (does, by), (client_does, client_by) = (
                    (sends, takes) if server_sends else (takes, sends))
                server = stack.enter_context(peer(
                    "ncat", lambda port, does=does: ("-v", "-l", does, "127.0.0.1", str(port)),
                    **by))
                p = stack.enter_context(proxied(backend, server.address, "--mode", mode))
                run("ncat", client_does, "127.0.0.1", str(p.port), **client_by)
                expect(server.wait(10) == 0, "the server's exit code")
                expect_content(sink, data)
    return "--send-only to --recv-only, each way, each mode"


@case(BOTH, needs=("ncat",))
def ncat_half_close(backend):
    """ncat shuts its side down when its input ends, and the answer only comes after that."""
    question, answer = noise(2_000_001, 8), noise(3_000_001, 9)

    def serve(s):
        expect(receive(s, len(question) + 1) == question, "the question is another one")
        s.sendall(answer)

    for mode in MODES:
        with contextlib.ExitStack() as stack:
            asked, came = file_of(stack, question), file_of(stack)
            u = stack.enter_context(upstream(serve))
            p = stack.enter_context(proxied(backend, u.address, "--mode", mode))
            run("ncat", "127.0.0.1", str(p.port), stdin=asked, stdout=came)
            expect_content(came, answer)
    return "an answer after the end of the question, each mode"


@case(BOTH, needs=("curl", "wrk", "nginx", "haproxy"))
def haproxy_before_nginx_behind(backend):
    with web(2) as behind:
        introduced = f"127.0.0.1:{behind.ports[1]}"
        for mode in ("tcp", "http"):
            with proxied(backend, behind.address) as p, proxied(backend, introduced) as q:
                with haproxy_in_front(p.address, mode, q.address) as front:
                    fetch_files(f"http://{front.address}")
                    load(f"http://{front.address}/small")
                    expect_told(f"127.0.0.1:{front.ports[1]}")
    return "tcp and http; its own PROXY header passes through"


@case(BOTH, needs=("curl", "nginx", "haproxy", STREAM_MODULE))
def nginx_before_haproxy_behind(backend):
    with web() as site, haproxy(lambda port: f"listen site\n  mode http\n  bind 127.0.0.1:{port}\n"
                                f"  server nginx {site.address}\n") as behind:
        for mode in MODES:
            with proxied(backend, behind.address, "--mode", mode) as p:
                with nginx_in_front(p.address) as front:
                    fetch_files(f"http://{front.address}")
    return "nginx stream, proxy, haproxy, nginx; each mode"


def expect_told(where: str) -> None:
    """The server tells of the client that asked."""
    said = curl("-w", "\n%{local_ip} %{local_port}", f"http://{where}/").splitlines()
    expect(len(said) == 2 and said[0] == said[1], f"{said[0]} is told, {said[-1]} asked")


@case(BOTH, needs=("curl", "nginx", "haproxy"))
def proxy_protocol(backend):
    with web(2) as site, haproxy_that_tells() as teller:
        for behind in (f"127.0.0.1:{site.ports[1]}", teller.address):
            for version in ("1", "2"):
                for listen in ("127.0.0.1:0", "[::1]:0"):
                    with proxied(backend, behind, "--proxy-protocol", version,
                                 listen=listen) as p:
                        expect_told(p.address)
    return "v1 and v2, IPv4 and IPv6, read by nginx and haproxy"


@case(BOTH, needs=("curl", "nginx"))
def socks(backend):
    with web() as site:
        with proxy(backend, name=SOCKS) as p:
            fetch_files(f"http://{site.address}", "--socks5", p.address)
            fetch_files(f"http://localhost:{site.port}", "--socks5-hostname", p.address)
            curl("--socks5", p.address, f"http://127.0.0.1:{free_port()}/", code=97)
            p.stop(10)
        with proxy(backend, "--login", "me:se:cret", name=SOCKS) as p:
            whole = ("--socks5", p.address, "--proxy-user")
            fetch_files(f"http://{site.address}", *whole, "me:se:cret")
            curl(*whole, "me:wrong", f"http://{site.address}/small", code=97)
            curl("--socks5", p.address, f"http://{site.address}/small", code=97)
            p.stop(10)
    return "by address, by name, with a password, without the right one"


@case(BOTH, needs=("curl", "wrk"))
def file_server(backend):
    with tempfile.TemporaryDirectory(prefix="ringlet-interop-") as folder:
        for name, content in SITE.items():
            pathlib.Path(folder, name).write_bytes(content)
        with proxy(backend, "--root", folder, "--cores", "2", name=FILES) as p:
            idle = p.settled_descriptors()
            fetch_files(f"http://{p.address}")
            curl("-o", "/dev/null", f"http://{p.address}/absent", code=22)
            counts = [load(f"http://{p.address}/{name}") for name in ("small", "middle")]
            p.expect_descriptors(idle)
            p.stop(10)
    return f"files, ranges; {counts[0]} and {counts[1]} requests of wrk"


# ---- much at once --------------------------------------------------------------------------------

class stream_of_bytes:
    """Endless and known at each place: a period that divides no buffer, so that bytes lost, doubled
    or moved do not match. Compared in place, since the bytes are many."""
    period = 1_048_573
    most = 1 << 18

    def __init__(self, seed: int):
        once = noise(self.period, seed)
        self.bytes = once + once[:self.most]

    def send(self, s: socket.socket, size: int) -> None:
        view = memoryview(self.bytes)
        sent = 0
        while sent < size:
            at = sent % self.period
            sent += s.send(view[at:at + min(size - sent, self.most)])
        s.shutdown(socket.SHUT_WR)

    def check(self, s: socket.socket, size: int) -> None:
        room = bytearray(self.most)
        view = memoryview(room)
        got = 0
        while count := s.recv_into(room):
            expect(self.bytes.startswith(view[:count], got % self.period),
                   f"other bytes, after {got}")
            got += count
        expect(got == size, f"{got} of {size} bytes came")


@case(BOTH)
def gibibyte_both_ways(backend):
    # Less under a sanitizer, which is several times slower and finds what it finds in the first
    # rounds of every buffer and pipe.
    size = 1 << (28 if SANITIZED else 30)
    there, back = stream_of_bytes(11), stream_of_bytes(12)
    words = []

    def serve(s):
        s.settimeout(60 * SCALE)
        in_two(lambda: back.send(s, size), lambda: there.check(s, size))

    ways = {mode: ("--mode", mode) for mode in MODES}
    if backend == "uring":
        ways["splice in the ring"] = ("--mode", "splice", "--splice", "ring")
    for mode, arguments in ways.items():
        with upstream(serve) as u, proxied(backend, u.address, *arguments) as p:
            began = time.monotonic()
            with p.connect() as c:
                c.settimeout(60 * SCALE)
                in_two(lambda: there.send(c, size), lambda: back.check(c, size))
            took = time.monotonic() - began
            peak = p.peak()
            # Two directions: two buffers or pipes, and what the ring had received unasked.
            expect(SANITIZED or peak < 32 << 20, f"{mode}: {peak >> 20} MiB for one connection")
            told = lambda: p.report()["upstreams"][0]  # noqa: E731
            wait_until(lambda: (told()["to"], told()["from"]) == (size, size), 5, "both counts")
            words.append(f"{mode} {took:.1f} s, {peak / (1 << 20):.1f} MiB")
    return f"{size >> 20} MiB each way: " + "; ".join(words)


def in_two(first, second) -> None:
    """Both at once; the failure of either."""
    wrong = []

    def other():
        try:
            second()
        except BaseException as why:  # noqa: B902 - raised again below
            wrong.append(why)

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    first()
    thread.join(120 * SCALE)
    expect(not thread.is_alive(), "the other way does not end")
    if wrong:
        raise wrong[0]


# ---- the run -------------------------------------------------------------------------------------


if __name__ == "__main__":
    find_programs()
    sys.exit(SUITE.run())
