#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Sums the results of 'meson test' by test case and prints 'N passed, N failed' as the last line.

Before the sum it names every test that failed, with the lines that say why: on a machine that is gone
they are all that is left.

A program counts with the test cases it reports, as doctest does or by a line "N cases, N failed"
and perhaps ", N skipped"; any other test counts as one. A program that fails without reporting a
failed case (a crash, a time-out, a sanitizer) adds one failure, and so does a build folder without
a test log: what did not run has not passed.

usage: sum_tests.py [--each] [--extra NAME=pass|fail]... BUILD_FOLDER...
"""
import argparse
import json
import pathlib
import re
import sys
from dataclasses import dataclass

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
CASES = re.compile(r"^\[doctest\] test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed"
                   r"\s*\|\s*(\d+) skipped", re.MULTILINE)
SCRIPT_CASES = re.compile(r"^(\d+) cases, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)
WHY = re.compile(r"ERROR:|WARNING: ThreadSanitizer|runtime error:|: FAILED|^FAIL |Traceback|Assertion")
LINES_OF_ONE = 24  # how many lines of a failed test are repeated
GOOD = {"OK", "EXPECTEDFAIL"}
SKIPPED = {"SKIP", "IGNORED"}


@dataclass
class counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __iadd__(self, other: "counts") -> "counts":
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self) -> str:
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")


def reported(text: str) -> list[counts]:
    found = [counts(*map(int, report)) for report in CASES.findall(text)]
    for report in SCRIPT_CASES.findall(text):
        cases, failed, skipped = (int(number or 0) for number in report)
        found.append(counts(max(cases - failed - skipped, 0), failed, skipped))
    return found


def count_test(entry: dict) -> counts:
    result = entry.get("result", "ERROR")
    reports = reported(ESCAPES.sub("", entry.get("stdout") or ""))
    if result in SKIPPED:
        return counts(skipped=1)
    if not reports:
        return counts(passed=1) if result in GOOD else counts(failed=1)
    total = counts()
    for report in reports:
        total += report
    if result not in GOOD and total.failed == 0:
        total.failed = 1
    return total


def reason(entry: dict) -> list[str]:
    """The lines of a failed test that say why: from the first that names an error, or the last ones."""
    text = "\n".join(entry.get(stream) or "" for stream in ("stdout", "stderr"))
    lines = [line for line in ESCAPES.sub("", text).splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if WHY.search(line)), None)
    if first is None:
        return lines[-LINES_OF_ONE:]
    return lines[max(first - 4, 0):][:LINES_OF_ONE]


def count_build(folder: pathlib.Path) -> counts:
    total = counts()
    try:
        with (folder / "meson-logs" / "testlog.json").open(encoding="utf-8") as log:
            entries = [json.loads(line) for line in log if line.strip()]
    except (OSError, ValueError) as why:
        print(f"{folder}: no usable test log: {why}")
        return counts(failed=1)
    for entry in entries:
        found = count_test(entry)
        if found.failed:
            print(f"failed in {folder.name}: {entry.get('name')} ({entry.get('result')})")
            print("\n".join(f"    {line}" for line in reason(entry)))
        total += found
    if not entries:
        total.failed = 1
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description="sums the results of 'meson test' by test case")
    parser.add_argument("--each", action="store_true", help="one line per folder before the sum")
    parser.add_argument("--extra", action="append", default=[], metavar="NAME=pass|fail",
                        help="a result that is in no log")
    parser.add_argument("folders", nargs="*", type=pathlib.Path, metavar="BUILD_FOLDER")
    options = parser.parse_args()

    total = counts()
    rows = [(folder.name, count_build(folder)) for folder in options.folders]
    for extra in options.extra:
        name, _, result = extra.partition("=")
        good = result == "pass"
        rows.append((name, counts(passed=int(good), failed=int(not good))))
    width = max((len(name) for name, _ in rows), default=0)
    for name, found in rows:
        total += found
        if options.each:
            print(f"  {name:<{width}}  {found}")
    if not rows:
        total.failed = 1
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
