#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""List long files (500 lines) and functions (55); fail over 1000 and 100.

A file's first lines may say "sizes: table" where it is data, not logic.
"""
import re
import sys

import tree

LONG_FILE, MAX_FILE, LONG_FUNCTION, MAX_FUNCTION = 500, 1000, 55, 100


def functions(code):
    """(name, first line, lines) of functions in kernel style: '{' and '}' in column 0."""
    lines = code.splitlines()
    start = None
    for n, line in enumerate(lines):
        if line.startswith("{"):
            start = n
        elif line.startswith("}") and start is not None:
            head = "\n".join(lines[max(0, start - 6):start])
            names = re.findall(r"(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$", head)
            yield (names[-1] if names else "?"), start + 1, n - start + 1
            start = None


def main():
    root = sys.argv[1]
    listed, bad = [], []
    for path in tree.files(root, ".c", ".h"):
        name = str(path.relative_to(root))
        text = path.read_text()
        if "sizes: table" in text[:600]:
            continue
        n = text.count("\n")
        if n > LONG_FILE:
            (bad if n > MAX_FILE else listed).append(f"{name}: {n} lines")
        for function, at, lines in functions(tree.c_code(text)):
            if lines > LONG_FUNCTION:
                (bad if lines > MAX_FUNCTION else listed).append(
                    f"{name}:{at}: {function}() has {lines} lines")
    print("\n".join(["long:"] + listed))
    if bad:
        print("too long:")
    return tree.finish(bad)


sys.exit(main())
