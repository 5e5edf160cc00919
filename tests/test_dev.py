#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Runs ./dev with programs in the place of apt-get, meson and ninja: nothing is installed or built.

usage: test_dev.py PATH_OF_DEV
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

# What they do stands in $THERE: a file for each library that is installed.
STAND_INS = {
    "apt-get": 'case "$*" in *install*) touch "$THERE/asio" "$THERE/libuv" "$THERE/event";; esac',
    # Looks once, as the real one does, and remembers what it has not found.
    "meson": '[ "$1" = setup ] || exit 0\n'
             'mkdir -p "$2/meson-private"\n'
             'touch "$2/build.ninja" "$2/meson-private/coredata.dat"\n'
             'ls "$THERE" >"$2/found"\n'
             'echo set-up >>"$THERE/../calls"',
    "ninja": 'mkdir -p "$2/bench"\n'
             'printf "#!/bin/sh\\ncat %s/found\\n" "$2" >"$2/bench/compare"\n'
             'chmod +x "$2/bench/compare"',
    "g++": 'cat >/dev/null; case "$*" in *asio*) [ -e "$THERE/asio" ];; esac',
    "pkg-config": 'case "$*" in *libuv) [ -e "$THERE/libuv" ];;\n'
                  '*event*) [ -e "$THERE/event" ];; esac',
    "sudo": 'while [ "$1" = -n ]; do shift; done; exec "$@"',
    "valgrind": "", "vgdb": "", "gnuplot": "", "python3": "",
}


class place:
    """A folder with ./dev in it, and a PATH with the stand-ins before all else."""

    def __init__(self, folder: pathlib.Path, dev: str):
        self.folder = folder
        self.there = folder / "there"
        programs = folder / "programs"
        self.there.mkdir()
        programs.mkdir()
        shutil.copy(dev, folder / "dev")
        for name, text in STAND_INS.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        self.environment = {"PATH": f"{programs}:/usr/bin:/bin", "THERE": str(self.there)}

    def dev(self, *arguments: str) -> set[str]:
        """What the program that measures would measure beside."""
        done = subprocess.run([self.folder / "dev", *arguments], env=self.environment, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        if done.returncode != 0:
            sys.exit(f"dev {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return set(done.stdout.split()) & {"asio", "libuv", "event"}

    def set_ups(self) -> int:
        return (self.folder / "calls").read_text().count("set-up")


def expect(got, wanted, what: str) -> None:
    if got != wanted:
        sys.exit(f"{what}: {got}, not {wanted}")


def each(dev: str, case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        case(place(pathlib.Path(folder), dev))
        print(f"ok   {case.__name__}")


def compare_after_demo_has_all(p: place) -> None:
    expect(p.dev("demo"), set(), "demo installs nothing")
    expect(p.dev("compare"), {"asio", "libuv", "event"}, "compare after demo")
    expect(p.set_ups(), 2, "folders set up")


def what_was_installed_by_hand_is_found(p: place) -> None:
    expect(p.dev("demo"), set(), "demo installs nothing")
    (p.there / "libuv").touch()
    expect(p.dev("demo"), {"libuv"}, "demo after libuv has come")


def nothing_new_is_no_new_folder(p: place) -> None:
    p.dev("compare")
    p.dev("compare")
    p.dev("demo")
    expect(p.set_ups(), 1, "folders set up")


if __name__ == "__main__":
    for one in (compare_after_demo_has_all, what_was_installed_by_hand_is_found,
                nothing_new_is_no_new_folder):
        each(sys.argv[1], one)
