#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fail on calls that have no safe use, on printing or leaving below cli/, and on the marks
that a merge leaves."""
import re
import subprocess
import sys

import tree

EVERYWHERE = {
    "strcpy": "snprintf, or memcpy with a length", "strcat": "snprintf", "stpcpy": "snprintf",
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "gets": "fgets",
    "strncpy": "snprintf", "atoi": "strtol and a look at its end", "atol": "strtol",
    "atoll": "strtoll", "atof": "strtod", "alloca": "an array of fixed size, or malloc",
    "strtok": "strtok_r", "tmpnam": "mkstemp", "mktemp": "mkstemp", "system": "posix_spawn",
}
BELOW_CLI = {
    "printf": "log_note", "puts": "log_note", "putchar": "log_note", "perror": "error_sys",
    "vprintf": "log_note", "exit": "an error", "abort": "an error", "_exit": "an error",
    "err": "an error", "errx": "an error", "warn": "log_note", "warnx": "log_note",
}
# files whose code forks a process that must end by itself, without our atexit handlers
FORKS = ("src/symbol/inlines.c", "src/alloc/calibrate.c", "src/capture/launch.c")
PRINTS = ("src/cli/", "src/serve/", "src/bpf/")  # bpf/: may not exist there anyway


def marks_of_a_merge(root):
    found = subprocess.run(["git", "-C", root, "grep", "-nIE", r"^(<{7}|>{7}) "], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return [":".join(line.split(":", 2)[:2]) + ": a mark of a merge" for line in found.splitlines()]


def main():
    root = sys.argv[1]
    bad = marks_of_a_merge(root)
    for path in tree.files(root, ".c", ".h"):
        name = str(path.relative_to(root))
        banned = dict(EVERYWHERE)
        if name.startswith("src/") and not name.startswith(PRINTS):
            banned.update(BELOW_CLI)
        if name in FORKS:
            banned.pop("_exit")
        if name.startswith("tests/programs/"):  # targets: small, and nobody attacks them
            banned.pop("atol"), banned.pop("atoi")
        pattern = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
        for n, line in enumerate(tree.c_code(path.read_text()).splitlines(), 1):
            for m in pattern.finditer(line):
                bad.append(f"{name}:{n}: {m[1]}() is banned: use {banned[m[1]]}")
    return tree.finish(bad)


sys.exit(main())
