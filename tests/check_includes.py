#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Checks that includes point downward only, and what public headers may name.

usage: check_includes.py SOURCE_ROOT
"""
import pathlib
import re
import sys

# include/ringlet/ and lib/ share these floors; a file includes its own floor and those below.
FLOORS = {"base": 0, "config": 0, "kernel": 1, "core": 2, "coro": 3, "io": 4, "sync": 4,
          "run": 5}
TOP = 6  # samples, bench and the umbrella header

BANNED_IN_PUBLIC = re.compile(r"^(liburing|sys/epoll\.h|linux/|fmt/)")
# System headers that only some floors of lib/ may include directly.
CONFINED = {"liburing.h": {"kernel", "io"}, "sys/epoll.h": {"kernel"}}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
SOURCE_SUFFIXES = {".hpp", ".cpp", ".h", ".c", ".py"}


def room_of(path: pathlib.PurePath) -> str:
    """The first word of a path below include/ringlet/ or lib/: a folder, or a file's stem."""
    return path.parts[0].split(".")[0]


class checker:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.public = root / "include" / "ringlet"
        self.lib = root / "lib"
        self.faults: list[str] = []

    def fault(self, path: pathlib.Path, line: int, text: str) -> None:
        self.faults.append(f"{path.relative_to(self.root)}:{line}: {text}")

    def floor(self, path: pathlib.Path):
        """(floor, room, public) of a file in the tree; floor None for a folder without one."""
        for base, public in ((self.public, True), (self.lib, False)):
            if path.is_relative_to(base):
                room = room_of(path.relative_to(base))
                if room == "ringlet":
                    return TOP, room, public
                return FLOORS.get(room), room, public
        return TOP, path.relative_to(self.root).parts[0], False

    def resolve(self, source: pathlib.Path, quote: str, name: str):
        if name == "ringlet/config.hpp":
            return self.public / "config.hpp"
        bases = [self.root / "include", self.lib]
        if quote == '"':
            bases.insert(0, source.parent)
        for base in bases:
            found = (base / name).resolve()
            if found.is_file() and found.is_relative_to(self.root):
                return found
        return None

    def check(self, source: pathlib.Path) -> int:
        text = source.read_text(encoding="utf-8")
        floor, room, public = self.floor(source)
        if floor is None:
            self.fault(source, 1, f"'{room}' is on no floor; known: {', '.join(FLOORS)}")
            return 0
        count = 0
        for match in INCLUDE.finditer(text):
            count += 1
            quote, name = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            if public and BANNED_IN_PUBLIC.match(name):
                self.fault(source, line, f"a public header must not include <{name}>")
            in_lib = source.is_relative_to(self.lib)
            if in_lib and name in CONFINED and room not in CONFINED[name]:
                rooms = " and ".join(sorted(CONFINED[name]))
                self.fault(source, line, f"<{name}> may be included in lib/ by {rooms} only")
            target = self.resolve(source, quote, name)
            if target is None:
                if name.startswith("ringlet/"):
                    self.fault(source, line, f"no such header: <{name}>")
                continue
            if public and target.is_relative_to(self.lib):
                self.fault(source, line, f"a public header must not include lib/'s {name}")
            if room == "samples" and target.is_relative_to(self.lib):
                self.fault(source, line, f"a sample must not include lib/'s {name}")
            target_floor, target_room, _ = self.floor(target)
            if target_floor is not None and target_floor > floor:
                self.fault(source, line, f"{room} (floor {floor}) includes {name} "
                                         f"of {target_room} (floor {target_floor})")
        return count

    def check_listed(self, folder: pathlib.Path, pattern: str) -> None:
        """Each file must be named in the folder's meson.build, or it is neither built nor installed."""
        listed = (folder / "meson.build").read_text(encoding="utf-8")
        for path in sorted(folder.rglob(pattern)):
            name = path.relative_to(folder).as_posix()
            if f"'{name}'" not in listed:
                self.fault(path, 1, f"not listed in {folder.relative_to(self.root)}/meson.build")

    def check_licence(self, source: pathlib.Path) -> None:
        with source.open(encoding="utf-8") as lines:
            head = [lines.readline() for _ in range(3)]
        if not any("SPDX-License-Identifier: MIT" in line for line in head):
            self.fault(source, 1, "no 'SPDX-License-Identifier: MIT' in the first three lines")


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    root = pathlib.Path(sys.argv[1]).resolve()
    look = checker(root)
    files = includes = 0
    for top in ("include", "lib", "samples", "bench", "tests"):
        for source in sorted((root / top).rglob("*")):
            if not source.is_file() or source.suffix not in SOURCE_SUFFIXES:
                continue
            files += 1
            look.check_licence(source)
            if source.suffix != ".py" and top != "tests":
                includes += look.check(source)
    look.check_listed(look.public, "*.hpp")
    look.check_listed(look.lib, "*.cpp")
    if files == 0:
        look.faults.append(f"{root}: no source files found")
    for fault in look.faults:
        print(fault)
    print(f"{files} files, {includes} includes, {len(look.faults)} faults")
    return 1 if look.faults else 0


if __name__ == "__main__":
    sys.exit(main())
