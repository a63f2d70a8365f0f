#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Each `./dev bench NAME` and `./dev matrix NAME` of the documents is there and can be run."""
import os
import pathlib
import re
import sys

import tree

FOLDERS = {"bench": "bench", "matrix": "tests/matrix"}
COMMAND = re.compile(r"\./dev (bench|matrix) ([a-z_]+)")


def is_there(root, folder, name):
    return any(os.access(root / folder / (name + ending), os.X_OK) for ending in ("", ".sh", ".py"))


def main():
    root, bad, n = pathlib.Path(sys.argv[1]), [], 0
    for path in tree.files(root):
        if path.suffix != ".md":
            continue
        for kind, name in COMMAND.findall(path.read_text()):
            n += 1
            if not is_there(root, FOLDERS[kind], name):
                bad.append(f"{path.relative_to(root)}: ./dev {kind} {name}: nothing that can be run in {FOLDERS[kind]}/")
    if n < 20:
        bad.append(f"only {n} commands were found in the documents")
    return tree.finish(bad)


sys.exit(main())
