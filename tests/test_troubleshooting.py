#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Copyright (c) 2026 The ringlet authors
"""Checks that each message which docs/troubleshooting.md quotes is one that a program can say.

usage: test_troubleshooting.py SOURCE_ROOT
"""
import ctypes
import errno
import os
import pathlib
import re
import signal
import sys

root = pathlib.Path(sys.argv[1])
GAI_STRERROR = ctypes.CDLL(None).gai_strerror
GAI_STRERROR.restype = ctypes.c_char_p

# What the C library says, and every literal of ours, those joined that stand one behind the other.
said = [os.strerror(number) for number in errno.errorcode]
said += [signal.strsignal(number) or "" for number in signal.valid_signals()]
said += [GAI_STRERROR(number).decode() for number in range(-12, 0)]
for folder in ("include", "lib", "samples"):
    for path in sorted((root / folder).rglob("*.?pp")):
        text = re.sub(r'(?<!\\)"\s*\n\s*"', "", path.read_text())
        said += re.findall(r'"((?:[^"\\\n]|\\.)*)"', text)

# What stands in code in the first two columns of the table and has a blank in it is a message, but
# for what differs from one time to the next: `...`, numbers, and what : ; = and " surround.
quoted = [message for row in re.findall(r"^\| (.*\|.*)\|.*\|$",
                                        (root / "docs" / "troubleshooting.md").read_text(), re.M)
          for message in re.findall(r"`([^`]+)`", row) if " " in message]
missing = [message for message in quoted
           for piece in re.split(r'\.\.\.|[:;] |, \d+ | \d+$|[="]', message)
           if not any(piece.strip() in one for one in said)]
for message in missing:
    print(f"docs/troubleshooting.md: no program says `{message}`")
print(f"{len(quoted)} messages, {len(missing)} unknown")
sys.exit(1 if missing or len(quoted) < 20 else 0)
