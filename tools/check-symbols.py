#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fail when a file exports a name that does not begin with the file's name.

usage: check-symbols.py ARCHIVE...
"""
import os
import re
import subprocess
import sys

import tree


def exported(archive):
    out = subprocess.run(["nm", "-g", "--defined-only", archive], capture_output=True, text=True,
                         check=True).stdout
    member = ""
    for line in out.splitlines():
        m = re.match(r"(?:.*/)?([^/]+)\.o:$", line)
        if m:
            # "glibc_malloc.c.o" is glibc/malloc.c: Meson joins folders by '_'
            member = m[1]
        elif line:
            yield member, line.split()[-1]


def own(member, name):
    stem = re.sub(r"\.c$", "", member)
    # any tail of the joined path may be the file's name: a_b_c -> a_b_c, b_c, c
    parts = stem.replace("-", "_").replace(".", "_").split("_")
    tails = ["_".join(parts[i:]) for i in range(len(parts))]
    return any(name == t or name.startswith(t + "_") or name.startswith(t + "s_") for t in tails)


def main():
    bad = []
    for archive in sys.argv[1:]:
        if not os.path.exists(archive):
            bad.append(f"{archive}: not built")
            continue
        for member, name in exported(archive):
            # sanitizers and coverage add names of their own
            if name.startswith(("__asan", "__odr_asan", "__gcov", "__ubsan", "asan.")):
                continue
            if not own(member, name):
                bad.append(f"{member} exports {name}: make it static, or begin it with the file's name")
    return tree.finish(bad)


sys.exit(main())
