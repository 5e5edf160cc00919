#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs the samples as a user and as an enemy would, on both backends.

usage: test_samples.py [--only WORD] [--runs N] PROGRAM... | build/samples
"""
import contextlib
import ctypes
import errno
import json
import os
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

sys.dont_write_bytecode = True  # the import below would leave a __pycache__ in the source tree
from sample_suite import (  # noqa: E402
    BOTH, LIBC, PROGRAMS, RUNNING, SANITIZED, SCALE, call, echo, expect, expect_refusal, failure,
    finish, is_refused, load, noise, read_back, receive, refused, reset, server, silent, skip, start,
    suite, uring_refusal, wait_until)

SUITE = suite(__doc__, ("echo_server", "echo_client", "doctor"))
SUITE.parser.add_argument("--runs", type=int, default=8, help="of a stop under load, per backend")
case = SUITE.case


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
    ("echo_server", "-listen"),
    ("echo_server", "--cores", "2", "-listen"),
    ("echo_server", "stray", "-listen"),
    ("doctor", "--json", "-json"),
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
    ("echo_server", "--help=foo"),
    ("doctor", "--cores"),
    ("doctor", "stray"),
    ("doctor", "--json=1"),
]


@case()
def bad_input(_):
    for name, *arguments in BAD_INPUT:
        expect_refusal((name, *arguments), *call(name, *arguments), arguments[-1])
    for name in ("echo_server", "echo_client"):
        expect_refusal("RINGLET_BACKEND", *call(name, env={"RINGLET_BACKEND": "kqueue"}), "kqueue")
    for option in ("--help=foo", "--version=1"):
        expect_refusal(option, *call("echo_server", option), "takes no value")
    return f"{len(BAD_INPUT) + 4} refusals of one line each"


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


@case(BOTH)
def client_interrupted(backend):
    """Not all of what was asked for came back; of a duration, all there was did."""
    for arguments, wanted in ((("--messages", "1000000000"), 1), (("--duration", "1000"), 0)):
        with server(backend) as s, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            idle = s.settled_descriptors()
            child = start("echo_client", "--connect", s.address, "--connections", "2", "--json",
                          "--backend", backend, *arguments, stdout=out, stderr=err)
            wait_until(lambda: s.descriptors() == idle + 2, 10, "a load")
            child.send_signal(signal.SIGINT)
            code, told, said = finish(child, 10), json.loads(read_back(out)), read_back(err)
            expect(code == wanted, f"{arguments}: exit code {code}, {said!r}")
            expect(told["errors"] == told["mismatches"] == 0, f"{told}")
            expect(said.count("\n") == wanted and said.count("interrupted") == wanted, f"{said!r}")
            s.stop()
    return "exit code 1 of --messages, 0 of --duration"


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

    def little_locked():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))

    code, out, _ = call("doctor", "--json", before=little_locked)
    said = json.loads(out)["loops"]["registered buffers"]["value"]
    got = re.match(r"(\d+) of 2048 KiB wanted; a quarter of the 1024 KiB of locked memory", said)
    expect("there is no ring" in said or (got and int(got[1]) <= 256), said)
    # All of that quarter; less where the user has locked more already.
    expect("there is no ring" in said or "refused more" in said or int(got[1]) == 256, said)
    return f"auto is {told['auto']}"


@case()
def answers_that_cannot_be_written(_):
    with server("auto") as s, open("/dev/full", "w") as full, tempfile.TemporaryFile() as err:
        for name, *arguments in (("doctor",), ("doctor", "--json"),
                                 ("echo_client", "--connect", s.address, "--connections", "1",
                                  "--messages", "1", "--json"),
                                 ("echo_client", "--connect", s.address, "--connections", "1",
                                  "--messages", "1", "--percentiles")):
            err.seek(0)
            err.truncate()
            code = finish(start(name, *arguments, stdout=full, stderr=err), 20)
            told = read_back(err)
            expect(code == 1 and told.startswith(f"{name}: stdout cannot be written")
                   and told.count("\n") == 1, f"{name} {arguments}: {code}, {told!r}")
        s.stop()
    return "1, and one line"


@case()
def doctor_survives_a_filter(_):
    """One that kills ends who tries io_uring: with RINGLET_BACKEND=epoll nothing does."""
    code, out, _ = call("doctor", before=kill_for_io_uring)
    expect(code == -signal.SIGSYS and "This machine" in out, f"{code}, {out[:300]!r}")
    for arguments in ((), ("--json",)):
        code, out, err = call("doctor", *arguments, before=kill_for_io_uring,
                              env={"RINGLET_BACKEND": "epoll"})
        expect(code == 0 and err == "" and "not tried: RINGLET_BACKEND" in out,
               f"{code}, {out[:300]!r}, {err!r}")
    return "what it knew is printed; epoll: all of it"


def kill_for_io_uring():
    """systemd's SystemCallFilter= in small."""
    refuse_io_uring(0x80000000)  # SECCOMP_RET_KILL_PROCESS


def refuse_io_uring(verdict=0x00050000 | errno.EPERM):
    """Docker's seccomp profile in small: io_uring_setup(2) says EPERM."""
    class program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    io_uring_setup, allow = 425, 0x7FFF0000
    code = struct.pack("=" + "HBBI" * 4,
                       0x20, 0, 0, 0,                # load the number of the system call
                       0x15, 0, 1, io_uring_setup,   # equal? else skip one
                       0x06, 0, 0, verdict,
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
            raise skip("built to take epoll: nothing to refuse")
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


LISTENS = """print('ringlet: listening on 127.0.0.1:1 backend=io_uring cores=1 loop="x"', flush=True)
signal.sigwait([signal.SIGTERM])"""
REFUSES = "print('no ring', file=sys.stderr)\nsys.exit(2)"
CRASHES = "os.kill(os.getpid(), signal.SIGSEGV)"


@case()
def who_is_refused(_):
    """Only who says so and ends lets the cases on io_uring be left out: others are broken."""
    real = PROGRAMS["echo_server"]
    running = len(RUNNING)
    with tempfile.TemporaryDirectory() as folder:
        PROGRAMS["echo_server"] = f"{folder}/echo_server"
        try:
            for kind, body in ((refused, REFUSES), (failure, "sys.exit(1)"),
                               (failure, "pass"), (failure, CRASHES),
                               (failure, f"{LISTENS}\n{CRASHES}"),
                               (failure, f"{LISTENS}\nsys.exit(2)"), (None, LISTENS)):
                with open(PROGRAMS["echo_server"], "w") as file:
                    file.write(f"#!{sys.executable} -ES\nimport os, resource, signal, sys\n"
                               "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
                               "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
                               f"{body}\n")
                os.chmod(file.name, 0o755)
                got = None
                try:
                    said = uring_refusal()
                    got = refused if said == "no ring" else None
                except failure as why:
                    got = type(why)
                expect(got is kind, f"{body!r}: {got}")
                expect(len(RUNNING) == running, f"{body!r}: nobody has ended it")
        finally:
            PROGRAMS["echo_server"] = real
    return "one that ends with 2, and no other"


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
def counters_on_a_signal(backend):
    with server(backend, "--cores", "2") as s:
        load(s.address, "--connections", "8", "--messages", "20")

        def told():
            s.signal(signal.SIGUSR1)  # again and again: what is read back may be half a report
            return re.findall(r"^echo_server:\n(?:  .*\n)*  pipes=.*\n", s.stderr(), re.MULTILINE)

        report = wait_until(told, 5, "the report on SIGUSR1")[-1]
        counters = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", report)}
        expect(counters["resumes"] >= 8 and counters["turns"] > 0, report)
        expect(counters["accept_backoffs"] == 0 and counters["buffers"] == 0, report)
        load(s.address, "--messages", "5")
        s.stop()
    return f"{counters['turns']} turns of 2 cores"


@case(BOTH)
def over_a_unix_socket(backend):
    """The same server and load over a Unix-domain socket, which has no port."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/echo"
        child = start("echo_server", "--listen", address, "--backend", backend,
                      stdout=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(address[5:]), 10, "it listens")
        told = load(address, "--connections", "8", "--messages", "20", "--backend", backend)
        expect(told["messages"] == 8 * 20 and told["mismatches"] == 0, f"{told}")
        child.send_signal(signal.SIGTERM)
        expect(finish(child, 5) == 0, "exit code after SIGTERM")
        code, _, err = call("echo_client", "--connect", address, "--messages", "1")
        expect(code == 1 and "No such file" in err, f"nobody there: {code}, {err!r}")
    return f"{told['messages']} messages"


@case(BOTH)
def start_line_tells_of_registered_buffers(backend):
    cores = 2
    with server(backend, "--cores", str(cores)) as s:
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        if backend == "epoll":
            expected = "edge-triggered no-registered-buffers(epoll)"
        elif limit == resource.RLIM_INFINITY:
            expected = "registered-buffers=on-demand(at most 2048K; RLIMIT_MEMLOCK unlimited)"
        else:
            most = min(2048, limit // 4 // cores // 1024)
            expected = f"registered-buffers=on-demand(at most {most}K; RLIMIT_MEMLOCK {limit // 1024}K)"
            if most < 128:
                expected = f"no-registered-buffers({most}K, for this core, are less than two buffers;"
        expect(expected in s.loop, s.line)
        s.stop()
        s.expect_quiet()
    return s.loop


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
    few_inside(backend, 1)
    few_inside(backend, 2, "--cores", "2", "--accept", "one")
    return f"the fifth served {waited * 1e3:.1f} ms after a close"


def few_inside(backend: str, ahead: int, *arguments: str) -> None:
    """No more than `ahead` of those without a place are taken out of the backlog."""
    with server(backend, "--max-connections", "4", *arguments) as s:
        idle = s.settled_descriptors()
        with s.connect() as first:
            echo(first, b"inside")
            waiting = [s.connect() for _ in range(54)]
            for c in waiting:
                c.sendall(b"hello")
            for _ in range(20):  # it has looked at what there is
                echo(first, b"still")
            taken = s.descriptors() - idle
            expect(taken <= 4 + ahead, f"{taken} connections are inside, {arguments}")
        while waiting:
            ready = select.select(waiting, [], [], 10 * SCALE)[0]
            expect(ready, lambda: f"{len(waiting)} are not served after all others have gone")
            for c in ready:
                expect(receive(c, 5) == b"hello", "other bytes")
                waiting.remove(c)
                c.close()
        s.stop()
        s.expect_quiet()


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
        raise skip("a sanitizer's own memory would be counted")
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
        share = s.share(lambda: expect(not select.select(waiting, [], [], 1.0)[0],
                                       "one more was served"))
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
        expect("ulimit -Hn" in s.stderr(), s.stderr()[:200])
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
    for run in range(SUITE.options.runs):
        count, took = stop_under_load(backend, cores=1 + run // 2 % 2, depth=chance.choice((1, 8)),
                                      after=chance.randrange(100, 3000), frozen=run % 2 == 1)
        answered += count
        slowest = max(slowest, took)
    return f"{SUITE.options.runs} runs, {answered} answers, none lost; exit after at most {slowest:.3f} s"


@case(BOTH)
def stop_closes_the_door(backend):
    """While a session makes a stop last: who comes is refused, and another server can start."""
    for arguments in ((), ("--cores", "2"), ("--cores", "2", "--accept", "one"),
                      ("--max-connections", "2")):
        with server(backend, "--grace", "30", *arguments) as s, s.connect() as stuck, \
                s.connect() as idle:
            echo(idle, b"hello")
            echo(stuck, b"hello")
            flood(stuck, 64 << 20)
            waiting = s.connect()  # of --max-connections it finds no room
            waiting.sendall(b"before the stop")
            s.signal()
            expect(idle.recv(1) == b"", "an idle session at a stop")
            wait_until(lambda: is_refused(s), 5, "who comes after a stop is refused")
            with server(backend, port=s.port) as successor, successor.connect() as c:
                echo(c, b"hello")
                successor.stop()
            expect(receive(waiting, 100) == b"before the stop", "who had connected is not served")
            waiting.close()
            reset(stuck)
            expect(s.wait(5) == 0, "exit code")
            s.expect_quiet()
    return "1 and 2 cores, each and one, full"


@case(BOTH)
def out_of_memory(backend):
    """Who finds no memory is dropped; the others go on."""
    if SANITIZED:
        raise skip("a sanitizer ends the program where memory cannot be had")
    with server(backend, "--idle", "0") as s, contextlib.ExitStack() as ends:
        first = ends.enter_context(s.connect())
        echo(first, b"first")
        limits = resource.prlimit(s.pid, resource.RLIMIT_DATA)
        resource.prlimit(s.pid, resource.RLIMIT_DATA, (4096, limits[1]))
        count = 0
        # On epoll the stream's record is the first to find none, and the acceptor tells.
        words = "no memory: a connection was dropped" if backend == "uring" else "Cannot allocate"
        while words not in s.stderr():
            expect(count < 8000, lambda: f"memory lasts for 8000 sessions: {s.stderr()[:500]}")
            count += 1
            c = ends.enter_context(s.connect())
            with contextlib.suppress(ConnectionError):
                c.sendall(b"x")
                c.recv(1)
            echo(first, b"still here")
        echo(first, b"still here")
        resource.prlimit(s.pid, resource.RLIMIT_DATA, limits)
        with s.connect() as late:
            echo(late, b"again")
        s.stop()
    return f"the first of {count} was dropped"


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


@case(BOTH)
def stderr_that_nobody_reads(backend):
    """What is told is dropped, and counted, before a loop waits for its reader."""
    reader, writer = os.pipe()

    def fill():
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)  # for the server too: it is one pipe

    def drain() -> bytes:
        return os.read(reader, 1 << 20) if select.select([reader], [], [], 0)[0] else b""

    def before():
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        os.dup2(writer, 2)

    fill()
    with server(backend, "--idle", "0", before=before) as s, contextlib.ExitStack() as ends:
        ends.callback(os.close, reader)
        ends.callback(os.close, writer)
        first = ends.enter_context(s.connect())
        echo(first, b"begun")  # before that the signal is ignored
        s.signal(signal.SIGUSR1)
        for _ in range(20):  # each answer is a turn of the loop in which the signal may be taken
            echo(first, b"a report is due")
        for _ in range(150):  # more than there are descriptors: the library tells of that
            ends.enter_context(s.connect())
        for _ in range(20):
            echo(first, b"no descriptors")
        told = drain().lstrip(b"\0")
        expect(told == b"", f"told to a full pipe: {told[:200]!r}")

        def report():
            nonlocal told
            s.signal(signal.SIGUSR1)
            told += drain()
            return b"buffers=" in told

        wait_until(report, 5, "a report, once there is room")
        expect(b"messages dropped here, since nobody read them: " in told, f"{told[:500]!r}")
        fill()
        s.stop()
    return "reports and refused accepts: dropped, counted"


@case()
def doctor_raises_locked_memory_as_a_program_does(_):
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    unlimited = hard == resource.RLIM_INFINITY
    if not unlimited and hard <= 1 << 20:
        return "skipped: the hard limit leaves nothing to raise"

    def before():
        LIBC.prctl(24, 14, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_IPC_LOCK: with it nothing is counted
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, hard))

    code, out, err = call("doctor", "--json", before=before)
    told = json.loads(out)
    row = told["limits"]["locked memory"]
    wanted = f"1048576 bytes, up to {'unlimited' if unlimited else hard} without root"
    expect(code == 0 and err == "" and row["value"].startswith(wanted), f"{code}, {row}, {err!r}")
    expect("not counted" not in row["value"], f"{row}")
    expect((row["remedy"] is None) == (unlimited or hard >= 64 << 20), f"{row}")
    expect("1024 KiB of locked memory" not in told["loops"]["registered buffers"]["value"], out)
    return row["value"]


@case()
def nobody_listens(_):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % unheard.getsockname()[1]
        code, _, err = call("echo_client", "--connect", address, "--messages", "1")
    expect(code == 1 and "echo_server --listen" in err and err.count("\n") == 1, f"{code}, {err!r}")
    return err.strip()


if __name__ == "__main__":
    sys.exit(SUITE.run())
