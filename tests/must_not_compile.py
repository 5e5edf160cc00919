#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Compiles what the library promises to refuse and requires that it is refused.

Each case is a .cpp file whose first line is '// refuses: REGEX'. It must fail to compile, and the
compiler's output must match REGEX. The file accepted.cpp beside the cases must compile, which
shows that the cases fail for their own reason and not for a missing header.

usage: must_not_compile.py --cases FOLDER [--include FOLDER]... -- COMPILER [ARG]...
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

HEADING = re.compile(r"^//\s*refuses:\s*(\S.*?)\s*$")
# [[nodiscard]] and its like are warnings of the compiler and errors here.
FLAGS = ["-fsyntax-only", "-std=c++20", "-Wall", "-Wextra", "-Werror"]


def compile_case(command: list[str], source: pathlib.Path) -> tuple[bool, str]:
    done = subprocess.run([*command, str(source)], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
                          env={**os.environ, "LC_ALL": "C"}, check=False)
    if done.returncode < 0 or "internal compiler error" in done.stdout:
        raise RuntimeError(f"the compiler itself failed:\n{done.stdout}")
    return done.returncode == 0, done.stdout


def judge(command: list[str], source: pathlib.Path) -> str:
    """What is wrong with this case, or an empty string."""
    if source.name == "accepted.cpp":
        compiled, output = compile_case(command, source)
        return "" if compiled else f"must compile but was refused:\n{output}"
    with source.open(encoding="utf-8") as lines:
        heading = HEADING.match(lines.readline())
    if not heading:
        return "the first line must be '// refuses: REGEX'"
    try:
        expected = re.compile(heading.group(1))
    except re.error as why:
        return f"bad regular expression '{heading.group(1)}': {why}"
    compiled, output = compile_case(command, source)
    if compiled:
        return "compiled, but must be refused"
    # Only diagnostics count: the compiler also quotes source lines, the heading among them.
    said = "\n".join(line for line in output.splitlines()
                     if re.search(r"(error|note|warning|required from|In instantiation)", line)
                     and not re.match(r"^\s*\d*\s*\|", line))
    if not expected.search(said):
        return f"was refused, but the output does not match '{expected.pattern}':\n{output}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description="requires that misuse does not compile")
    parser.add_argument("--cases", type=pathlib.Path, required=True)
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("compiler", nargs="+")
    options = parser.parse_args()

    command = [*options.compiler, *FLAGS, *(f"-I{folder}" for folder in options.include)]
    sources = sorted(options.cases.glob("*.cpp"))
    if options.cases / "accepted.cpp" not in sources:
        print(f"{options.cases}: accepted.cpp is missing")
        return 1
    if len(sources) < 2:
        print(f"{options.cases}: no case to refuse")
        return 1

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        futures = [(source, pool.submit(judge, command, source)) for source in sources]
        for source, future in futures:
            try:
                wrong = future.result()
            except (OSError, RuntimeError) as why:
                wrong = str(why)
            print(f"{'FAILED' if wrong else 'ok'}: {source.name}{': ' + wrong if wrong else ''}")
            failed += bool(wrong)
    print(f"{len(sources) - 1} refusals and one acceptance tried, {failed} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
