#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Compiles every C++ block of a Markdown file: nothing it shows may be wrong.

A block that begins with a function's head stands in a namespace of its own, any other in a
coroutine; the names they use are declared in a header. An error's line is that of the text.

usage: test_tutorial.py --text FILE --names HEADER [--include FOLDER]... -- COMPILER [ARG]...
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FUNCTION = re.compile(r"(?:ringlet::)?task<")
# [[nodiscard]] is a warning of the compiler and an error here; a fragment's results may go unused.
FLAGS = ["-fsyntax-only", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable",
         "-Wno-unused-but-set-variable"]


def program(text: str, names: pathlib.Path) -> tuple[str, int]:
    """What is compiled, line for line the text, and the number of blocks in it."""
    lines = text.split("\n")
    out = [f'#include "{names}"']
    inside = False
    count = 0
    for line, following in zip(lines[1:], lines[2:] + [""]):
        if inside and line == "```":
            inside = False
            out.append("}")
        elif inside:
            out.append(line)
        elif line in ("```c++", "```cpp"):
            inside = True
            count += 1
            out.append(f"namespace block_{count} {{" if FUNCTION.match(following)
                       else f"task<> block_{count}() {{")
        else:
            out.append("")
    return "\n".join(out) + "\n", count


def main() -> int:
    parser = argparse.ArgumentParser(description="compiles every C++ block of a Markdown file")
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--names", type=pathlib.Path, required=True)
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("compiler", nargs="+")
    options = parser.parse_args()
    source, count = program(options.text.read_text(encoding="utf-8"), options.names)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / f"{options.text.name}.cpp"
        file.write_text(source, encoding="utf-8")
        includes = [f"-I{path}" for path in options.include]
        done = subprocess.run([*options.compiler, *FLAGS, *includes, str(file)],
                              stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
                              check=False)
    print(f"{count} blocks, {'all compile' if done.returncode == 0 else 'not all compile'}")
    return 0 if done.returncode == 0 and count > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
