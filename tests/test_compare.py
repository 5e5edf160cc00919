#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs bench/compare in a small way: its files, its verdicts, its ends, and servers that lie.

usage: test_compare.py FOLDER    (the build's bench folder)
"""
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import termios
import time

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
LIMIT = 60  # seconds, for whatever should take one
TINY = ("--rounds", "1", "--seconds", "0.05", "--retries", "0")
ONE_CELL = ("--only", "echo/8x64", "--servers", "ringlet epoll,C epoll", *TINY)
FOLDER = pathlib.Path()

# One whose answers are files, the tenth with a byte changed or a length that is not the file's.
HTTP_LIAR = """#!/usr/bin/env python3
import pathlib, socket
door = socket.create_server(("127.0.0.1", 0))
print(f"liar: listening on 127.0.0.1:{door.getsockname()[1]} backend=epoll", flush=True)
peer, _ = door.accept()
for turn in range(1000):
    name = peer.recv(65536).split()[1].decode().strip("/")
    body = bytearray(pathlib.Path(name).read_bytes())
    length = len(body)
    if turn == 10:
        ACTION
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % length + body)
"""

LIAR = """#!/usr/bin/env python3
import socket
door = socket.create_server(("127.0.0.1", 0))
print(f"liar: listening on 127.0.0.1:{door.getsockname()[1]} backend=epoll", flush=True)
peer, _ = door.accept()
for turn in range(1000):
    got = bytearray(peer.recv(65536))
    if turn == 20:
        ACTION
    peer.sendall(got)
"""


# One that accepts the fourth connection only when the three before it have nothing more to say.
SLOW_DOOR = """#!/usr/bin/env python3
import select, socket
door = socket.create_server(("127.0.0.1", 0))
print(f"slow: listening on 127.0.0.1:{door.getsockname()[1]} backend=epoll", flush=True)
watched = [door]
open_to_all = False
while True:
    ready = select.select(watched, [], [], None if open_to_all else 0.2)[0]
    if not ready:
        open_to_all = True
        if door not in watched:
            watched.append(door)
    for one in ready:
        if one is door:
            watched.append(door.accept()[0])
            if len(watched) == 4 and not open_to_all:
                watched.remove(door)
        elif got := one.recv(65536):
            one.sendall(got)
        else:
            watched.remove(one)
            one.close()
"""


class failure(Exception):
    """What was expected and did not happen."""


def expect(condition, text) -> None:
    if not condition:
        raise failure(text() if callable(text) else text)


def wait_until(condition, text: str):
    deadline = time.monotonic() + LIMIT
    while not (value := condition()):
        expect(time.monotonic() < deadline, f"not within {LIMIT} s: {text}")
        time.sleep(0.01)
    return value


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(*arguments, folder=None, **streams) -> subprocess.Popen:
    program = (folder or FOLDER) / "compare"
    return subprocess.Popen([program, *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
                            errors="replace", **{"preexec_fn": die_with_parent, **streams})


def call(*arguments, folder=None, **more):
    """Runs it to its end: (exit code, stdout, stderr)."""
    child = start(*arguments, folder=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    try:
        out, err = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise failure(f"{arguments}: no end within {LIMIT} s; it said {out[-300:]}") from None
    return child.returncode, out, err


def measured(scratch: pathlib.Path, *more):
    file = scratch / "report.json"
    code, out, err = call(*ONE_CELL, "--json", file, *more)
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    return json.loads(file.read_text()), out


def parent_of(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        state, parent = text.rsplit(")", 1)[1].split()[:2]
        return 0 if state == "Z" else int(parent)
    return 0


def children_of(pid: int) -> set[int]:
    return {int(p.name) for p in pathlib.Path("/proc").iterdir()
            if p.name.isdigit() and parent_of(int(p.name)) == pid}


def is_alive(pid: int) -> bool:
    return parent_of(pid) != 0


# --- the cases ------------------------------------------------------------------------------------

def test_a_cell_and_its_files(scratch):
    table = scratch / "report.csv"
    report, out = measured(scratch, "--csv", table)
    expect("echo/8x64" in out and "ringlet epoll" in out, lambda: f"no table: {out}")
    for word in ("kernel", "CPU", "ring", "mitigations", "congestion", "limits", "regime"):
        expect(any(f["name"] == word for f in report["facts"]) or word == "regime", f"no {word}")
    rows = report["cells"][0]["rows"]
    expect([r["server"] for r in rows] == ["ringlet epoll", "C epoll"], lambda: f"{rows}")
    for row in rows:
        run = row["runs"][0]
        expect(run["messages"] > 0 and run["cpu_us"] > 0 and run["p50_us"] > 0, lambda: f"{run}")
        expect(run["p50_us"] <= run["p99_us"] <= run["max_us"], lambda: f"{run}")
    lines = table.read_text().splitlines()
    expect(len(lines) == 3 and len({line.count(",") for line in lines}) == 1, lambda: f"{lines}")
    code, out, _ = call("--render", scratch / "report.json")
    expect(code == 0 and "**echo/8x64" in out and "| C epoll |" in out, lambda: f"{code}: {out}")
    document = scratch / "document.md"
    document.write_text("before\n<!-- report: begin -->\nold\n<!-- report: end -->\nafter\n")
    for _ in range(2):
        code, _, err = call("--render", scratch / "report.json", "--into", document)
        text = document.read_text()
        expect(code == 0 and text.startswith("before\n") and text.endswith("-->\nafter\n")
               and "old" not in text and text.count("**echo/8x64") == 1, lambda: f"{err}{text}")


def test_every_traffic(scratch):
    file = scratch / "traffic.json"
    cells = "churn/8x64,sink/8x64K,source/8x64K,open5k/64x64,pipe16/8x1K"
    code, out, err = call("--only", cells, "--servers", "ringlet epoll,C epoll", *TINY, "--json",
                          file)
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    cells = json.loads(file.read_text())["cells"]
    expect(len(cells) == 5, lambda: f"{[c['name'] for c in cells]}")
    for cell in cells:
        for row in cell["rows"]:
            expect(row["runs"] and not row["failures"], lambda: f"{cell['name']}: {row}")


def test_proxies_and_files(scratch):
    file = scratch / "more.json"
    servers = "tcp_proxy epoll,C proxy copy,file_server epoll,C file,haproxy*,nginx stream,nginx"
    code, out, err = call("--only", "proxy/8x64,proxy-bulk/1x64K,file/64x64K,file/16x1M",
                          "--servers", servers, *TINY, "--seconds", "0.2", "--json", file)
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    cells = json.loads(file.read_text())["cells"]
    expect([c["name"] for c in cells] == ["proxy/8x64", "proxy-bulk/1x64K", "file/64x64K",
                                          "file/16x1M"], lambda: f"{[c['name'] for c in cells]}")
    for cell in cells:
        ours = "tcp_proxy" if cell["name"].startswith("proxy") else "file_server"
        found = [row["server"] for row in cell["rows"]]
        expect(f"{ours} epoll" in found and len(found) >= 2, lambda: f"{cell['name']}: {found}")
        for row in cell["rows"]:
            expect(row["runs"] and not row["failures"], lambda: f"{cell['name']}: {row}")
            fairness = row["runs"][0]["fairness"]
            expect(fairness is None if cell["connections"] == 1 else 0 <= fairness <= 1,
                   lambda: f"{cell['name']}: fairness {fairness}")
    expect("fair" in out and "/peer" in out, lambda: out)


def test_waiting(scratch):
    file = scratch / "waits.json"
    servers = "ringlet uring,uring spin*,uring min-wait*"
    code, out, err = call("--only", "echo/1x64", "--servers", servers, *TINY, "--json", file)
    report = json.loads(file.read_text())
    if any(f["name"] == "ring" and f["value"].startswith("refused") for f in report["facts"]):
        return
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    rows = report["cells"][0]["rows"]
    expect(len(rows) == 4 and all(r["runs"] and not r["failures"] for r in rows), lambda: f"{rows}")


def test_a_baseline(scratch):
    report, _ = measured(scratch)
    file = scratch / "baseline.json"

    def with_baseline(factor: float):
        changed = json.loads(json.dumps(report))
        for row in changed["cells"][0]["rows"]:
            if row["kind"] == "ours":
                row["runs"][0]["cpu_us"] *= factor
        file.write_text(json.dumps(changed))
        return call(*ONE_CELL, "--baseline", file)

    code, out, err = with_baseline(0.01)
    expect(code == 1 and "REGRESSED" in out, lambda: f"slower: exit {code}: {out}{err}")
    code, out, err = with_baseline(100)
    expect(code == 0 and "REGRESSED" not in out, lambda: f"faster: exit {code}: {out}{err}")
    other = json.loads(file.read_text())
    other["cells"][0]["name"] = "echo/1x64"
    nothing = scratch / "nothing.json"
    nothing.write_text(json.dumps(other))
    code, _, err = call(*ONE_CELL, "--baseline", nothing)
    expect(code == 2 and "nothing" in err, lambda: f"nothing compared: exit {code}: {err}")
    # The same from the files alone.
    before, now = scratch / "before.json", scratch / "now.json"
    before.write_text(json.dumps(report))
    for row in (slower := json.loads(json.dumps(report)))["cells"][0]["rows"]:
        if row["kind"] == "ours":
            row["runs"][0]["cpu_us"] *= 1.5
    now.write_text(json.dumps(slower))
    for more, wanted in (((), 1), (("--threshold", "60"), 0)):
        code, out, err = call("--render", now, "--baseline", before, *more)
        expect(code == wanted and ("REGRESSED" in out) == (wanted == 1),
               lambda: f"rendered {more}: exit {code}: {out}{err}")
    code, _, err = call("--render", now, "--baseline", nothing)
    expect(code == 2 and "nothing" in err, lambda: f"nothing compared: exit {code}: {err}")
    code, out, err = call("--render", now, "--plot", "a.txt")
    expect(code == 2 and "a.txt" in err and not out, lambda: f"plot: exit {code}: {out}{err}")
    code, _, err = call(*ONE_CELL, "--baseline", file, "--beside", "hog")
    expect(code == 2 and "regimes" in err, lambda: f"other regime: exit {code}: {err}")


def test_neighbours(scratch):
    for name in ("hog", "compiler", "server"):
        if name == "compiler" and shutil.which("c++") is None:
            continue
        report, _ = measured(scratch, "--beside", name)
        expect(name in report["regime"], lambda: f"the regime is {report['regime']}")


def test_a_compiler_that_compiles_nothing(scratch):
    (scratch / "c++").write_text("#!/bin/sh\nexit 1\n")
    (scratch / "c++").chmod(0o755)
    code, _, err = call(*ONE_CELL, "--beside", "compiler",
                        env={**os.environ, "PATH": f"{scratch}:{os.environ['PATH']}"})
    expect(code == 2 and "cannot compile" in err, lambda: f"exit {code}: {err}")


def test_a_congestion_of_its_own(scratch):
    available = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()
    code, out, err = call(*ONE_CELL, "--congestion", "nonsense")
    expect(code == 2 and err.count("\n") == 1 and "nonsense" in err and not out,
           lambda: f"exit {code}: {out}{err}")
    if "a network namespace cannot be had" in err:
        print(f"    skipped: {err.strip()}")
        return
    expect(all(name in err for name in available.split()), lambda: f"no names: {err}")
    names_before = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    report, out = measured(scratch, "--congestion", "reno")
    expect(report["regime"] == "quiet, reno", lambda: report["regime"])
    expect({"name": "congestion", "value": "reno"} in report["facts"], lambda: f"{report['facts']}")
    expect("pacing" not in out, lambda: out)
    for row in report["cells"][0]["rows"]:
        expect(row["runs"] and not row["failures"], lambda: f"{row}")
    names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    expect(names == names_before, lambda: f"{names_before} became {names}")
    code, _, err = call(*ONE_CELL, "--baseline", scratch / "report.json")
    expect(code == 2 and "regimes" in err, lambda: f"other regime: exit {code}: {err}")


def test_a_plot(scratch):
    file, one, curves = scratch / "two.json", scratch / "one.json", scratch / "curves.svg"
    code, out, err = call("--only", "echo/8x64,echo/64x64", "--servers", "ringlet epoll,C epoll",
                          *TINY, "--json", file)
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    report = json.loads(file.read_text())
    report["cells"].pop()
    one.write_text(json.dumps(report))

    def plot(measured: pathlib.Path, path=scratch):
        done = call("--render", measured, "--plot", curves, env={**os.environ, "PATH": str(path)})
        expect("**echo/8x64" in done[1] and "<svg" not in done[1], lambda: f"{done}")
        return done

    code, out, err = call(*ONE_CELL, "--plot", curves)
    expect(code == 2 and "nothing to draw" in err and not out, lambda: f"{code}: {out}{err}")
    # No gnuplot is no failure; one that fails is, and so is what cannot be drawn at all.
    code, _, err = plot(file)
    expect(code == 0 and "gnuplot-nox" in err and err.count("\n") == 1, lambda: f"{code}: {err}")
    expect(not curves.exists(), "an empty file is left")
    (scratch / "gnuplot").write_text("#!/bin/sh\nexit 1\n")
    (scratch / "gnuplot").chmod(0o755)
    code, _, err = plot(file)
    expect(code == 2 and "gnuplot failed" in err, lambda: f"failed: {code}: {err}")
    code, _, err = plot(one)
    expect(code == 2 and "nothing to draw" in err, lambda: f"one cell: {code}: {err}")
    if shutil.which("gnuplot") is None:
        print("    the rest skipped: gnuplot is not installed")
        return
    code, _, err = plot(file, os.environ["PATH"])
    expect(code == 0 and "<svg" in curves.read_text(), lambda: f"drawn: {code}: {err}")


def test_bad_flags(_):
    for arguments, word in ((("--only", "nothing/*"), "nothing/*"), (("--servers", "x"), "x"),
                            (("--only", "echo/*", "--servers", "nginx*"), "takes part"),
                            (("--rounds", "0"), "rounds"), (("--plot", "a.txt"), "a.txt"),
                            (("--quick", "--full"), "--full"), (("--beside", "cat"), "beside"),
                            (("--baseline", "/nowhere.json"), "/nowhere.json"),
                            (("--render", "/dev/null"), "/dev/null"),
                            (("--realtime", "--beside", "hog"), "--realtime"),
                            (("--json", "/nowhere/x.json"), "/nowhere/x.json"),
                            (("--plot", "/nowhere/x.svg"), "/nowhere/x.svg"),
                            (("--into", "x.md"), "--into"), (("--wat",), "--wat"),
                            (("word",), "word")):
        code, out, err = call(*arguments)
        expect(code == 2 and err.count("\n") == 1 and word in err and not out,
               lambda: f"{arguments}: exit {code}, stdout {out!r}, stderr {err!r}")


def test_the_load_refuses(_):
    cases = [(kind, (option, "2")) for kind in ("file", "churn", "source", "sink")
             for option in ("--pipeline", "--rate")]
    cases += [(kind, ("--active", "2")) for kind in ("churn", "source", "sink")]
    cases.append(("echo", ("--rate", "10", "--pipeline", "2")))
    for kind, more in cases:
        done = subprocess.run([FOLDER / "load", "--traffic", kind, *more], capture_output=True,
                              text=True, timeout=LIMIT)
        expect(done.returncode == 2 and f"--traffic {kind}: no {more[-2]}" in done.stderr,
               lambda: f"{kind} {more}: {done}")


def test_instructions_that_are_missing(scratch):
    def count(path: str, *more) -> subprocess.CompletedProcess:
        dead = "dead=/bin/sh -c 'echo listening on 127.0.0.1:1; exit 3'"
        return subprocess.run([sys.executable, FOLDER / "instructions.py", "--server", dead, *more],
                              env={**os.environ, "PATH": path}, capture_output=True, text=True,
                              timeout=LIMIT)

    done = count(str(scratch))
    expect(done.returncode == 77 and "apt-get install valgrind" in done.stderr, lambda: f"{done}")
    if shutil.which("valgrind") is None:
        print("    the rest skipped: valgrind is not installed")
        return
    # Only a machine where nothing can be counted is excused, not a server that has died.
    done = count(os.environ["PATH"])
    expect(done.returncode == (77 if "nothing can be counted" in done.stderr else 1),
           lambda: f"{done}")
    if done.returncode == 1:
        done = count(os.environ["PATH"], "--server",
                     f"alive={FOLDER / 'limit_epoll'} --listen 127.0.0.1:0", "--json")
        expect(done.returncode == 1 and "dead" in done.stderr
               and [f["server"] for f in json.loads(done.stdout)] == ["alive"], lambda: f"{done}")
    refusing = scratch / "vgdb"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    done = count(f"{scratch}:{os.environ['PATH']}")
    expect(done.returncode == 77 and "ptrace" in done.stderr, lambda: f"{done}")


def test_list(_):
    code, out, _ = call("--list")
    expect(code == 0 and "echo/4096x64" in out and "ringlet uring" in out,
           lambda: f"{code}: {out}")


def interrupt(scratch, which: signal.Signals):
    file = scratch / f"{which.name}.json"
    child = start("--only", "echo/*", "--rounds", "20", "--seconds", "0.5", "--json", file,
                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                  env={**os.environ, "TMPDIR": str(scratch)})
    started = wait_until(lambda: len(both := children_of(child.pid)) >= 2 and both,
                         "server and client")
    child.send_signal(which)
    out, _ = child.communicate(timeout=LIMIT)
    wait_until(lambda: not any(map(is_alive, started)), f"{started} gone after {which.name}")
    return child.returncode, out, file


def test_interrupts(scratch):
    for which in (signal.SIGINT, signal.SIGTERM):
        code, out, file = interrupt(scratch, which)
        expect(code == 130 and "interrupted" in out, lambda: f"exit {code}: {out}")
        expect(json.loads(file.read_text())["interrupted"] is True, "the file does not say so")
        expect(not list(scratch.glob("ringlet-compare-*")), "its folder is still there")


def test_nobody_reads(scratch):
    file = scratch / "unread.json"
    reader, writer = os.pipe()
    os.close(reader)
    child = start(*ONE_CELL, "--json", file, stdout=writer, stderr=writer,
                  env={**os.environ, "TMPDIR": str(scratch)})
    os.close(writer)
    code = child.wait(timeout=LIMIT)
    expect(code == 0, f"exit {code}")
    report = json.loads(file.read_text())
    expect(report["cells"][0]["rows"][1]["runs"] and not report["interrupted"],
           lambda: f"not whole: {report}")
    expect(not list(scratch.glob("ringlet-compare-*")), "its folder is still there")


def on_terminal(terminal: int):
    def before() -> None:
        die_with_parent()
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    return before


def test_a_hang_up(scratch):
    file = scratch / "hung-up.json"
    master, terminal = os.openpty()
    child = start("--only", "echo/*", "--servers", "ringlet epoll,C epoll", "--rounds", "20",
                  "--seconds", "0.5", "--json", file, stdout=terminal, stderr=terminal,
                  preexec_fn=on_terminal(terminal), env={**os.environ, "TMPDIR": str(scratch)})
    os.close(terminal)
    started = wait_until(lambda: len(both := children_of(child.pid)) >= 2 and both,
                         "server and client")
    os.close(master)
    code = child.wait(timeout=LIMIT)
    wait_until(lambda: not any(map(is_alive, started)), f"{started} gone after the hang-up")
    expect(code == 130, f"exit {code}")
    expect(json.loads(file.read_text())["interrupted"] is True, "the file does not say so")
    expect(not list(scratch.glob("ringlet-compare-*")), "its folder is still there")


def test_killed(scratch):
    code, _, _ = interrupt(scratch, signal.SIGKILL)
    expect(code == -signal.SIGKILL, f"exit {code}")


def test_killed_later(scratch):
    file = scratch / "killed.json"
    child = start("--only", "echo/*", "--servers", "ringlet epoll,C epoll", *TINY, "--json", file,
                  stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(scratch)})
    wait_until(lambda: file.exists() and file.stat().st_size > 0, "the first cell in the file")
    child.kill()
    child.wait(timeout=LIMIT)
    report = json.loads(file.read_text())
    expect(report["interrupted"] is True and report["cells"][0]["rows"][0]["runs"],
           lambda: f"{report}")


def programs_with(scratch, twin: str, text: str) -> pathlib.Path:
    """A folder of the same programs, with another text in the place of one."""
    folder = scratch / f"bench-{abs(hash(text))}"
    folder.mkdir()
    for name in ("compare", "load", "echo_bench", "limit_epoll", "limit_uring"):
        shutil.copy2(FOLDER / name, folder / name)
    liar = folder / twin
    liar.write_text(text)
    liar.chmod(liar.stat().st_mode | stat.S_IXUSR)
    return folder


def with_false_twin(scratch, action: str, twin="limit_epoll", text=LIAR,
                    servers="C epoll,ringlet epoll", cell="echo/1x64", more=(), status=0) -> str:
    """A liar in the place of a server by hand: why it failed."""
    folder = programs_with(scratch, twin, text.replace("ACTION", action))
    file = folder / "report.json"
    code, out, err = call("--only", cell, "--servers", servers, *TINY, "--json", file,
                          *more, folder=folder)
    expect(code == status, lambda: f"exit {code}: {out}{err}")
    rows = {r["server"]: r for r in json.loads(file.read_text())["cells"][0]["rows"]}
    false = rows.pop(servers.split(",")[0])
    expect(all(r["runs"] for r in rows.values()), "the honest server was not measured")
    expect(not false["runs"], "the false one has a figure")
    return false["failures"][0]["why"]


def test_nothing_measured_replaces_nothing(scratch):
    folder = programs_with(scratch, "echo_bench", "#!/bin/sh\nexec tail -f /dev/null\n")
    file = scratch / "before.json"
    file.write_text("what was there")
    child = start(*ONE_CELL, "--json", file, folder=folder, stdout=subprocess.DEVNULL,
                  stderr=subprocess.DEVNULL)
    wait_until(lambda: children_of(child.pid), "the server that says nothing")
    child.send_signal(signal.SIGINT)
    code = child.wait(timeout=LIMIT)
    expect(code == 130 and file.read_text() == "what was there", lambda: f"exit {code}")


def test_a_file_is_replaced_whole(scratch):
    report, _ = measured(scratch)
    real, link = scratch / "real.json", scratch / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    old = real.open()
    code, out, err = call(*ONE_CELL, "--json", link)
    expect(code == 0 and link.is_symlink(), lambda: f"exit {code}: {out}{err}")
    expect(json.loads(real.read_text())["rounds"] == report["rounds"] and old.read() == "old",
           "it was written over, and not replaced")
    old.close()
    expect(sorted(p.name for p in scratch.iterdir()) == ["link.json", "real.json", "report.json"],
           lambda: f"{list(scratch.iterdir())}")


def test_everybody_is_served_before_anything_counts(scratch):
    folder = programs_with(scratch, "limit_epoll", SLOW_DOOR)
    file = scratch / "slow.json"
    code, out, err = call("--only", "echo/8x64", "--servers", "C epoll", *TINY, "--json", file,
                          folder=folder)
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    run = json.loads(file.read_text())["cells"][0]["rows"][0]["runs"][0]
    expect(run["fairness"] > 0 and run["max_us"] < 400_000, lambda: f"{run}")


def test_a_technique_that_is_not_there(scratch):
    why = with_false_twin(scratch, "pass", "echo_bench", servers="uring bundles,C epoll",
                          cell="echo/64x64")
    expect("it is without `bundles`" in why, lambda: why)


def test_a_server_that_lies(scratch):
    why = with_false_twin(scratch, "got[10] ^= 1")
    expect("wrong bytes" in why and "byte" in why, lambda: why)


def test_a_server_of_files_that_lies(scratch):
    for action, said in (("body[10] ^= 1", "byte 10"), ("length += 1", "not the file"),
                         ("body += bytes(body)", "more came"), ("peer.close()", "ended with")):
        why = with_false_twin(scratch, action, "limit_file", HTTP_LIAR, "C file", "file/1x4K")
        expect(said in why, lambda: f"{action}: {why}")


def test_a_server_that_dies(scratch):
    why = with_false_twin(scratch, "raise SystemExit(3)")
    expect("ended with 3" in why, lambda: why)


def test_a_server_that_dies_with_bytes_that_are_no_text(scratch):
    why = with_false_twin(scratch, r'import os; os.write(2, b"\xff"); raise SystemExit(3)',
                          text=LIAR.replace("turn == 20", "turn == 0"))
    expect("ended with 3: \ufffd" in why, lambda: why)


def test_a_server_of_ours_that_dies_has_regressed(scratch):
    file = scratch / "before.json"
    servers = "ringlet epoll,C epoll"
    code, out, err = call("--only", "echo/1x64", "--servers", servers, *TINY, "--json", file)
    expect(code == 0, lambda: f"exit {code}: {out}{err}")
    why = with_false_twin(scratch, "raise SystemExit(4)", "echo_bench", servers=servers,
                          more=("--baseline", file), status=1)
    expect("ended with 4" in why, lambda: why)


def main() -> int:
    global FOLDER
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    FOLDER = pathlib.Path(sys.argv[1]).resolve()
    failed = 0
    tests = [(n, t) for n, t in globals().items() if n.startswith("test_")]
    for name, test in tests:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            try:
                test(pathlib.Path(scratch))
                verdict = "ok"
            except failure as why:
                verdict = f"FAILED: {why}"
                failed += 1
        print(f"{name} ({time.monotonic() - began:.1f} s): {verdict}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
