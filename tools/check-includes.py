#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers: `#pragma once`, no include twice, includes exist and are not empty
of use: own header, system, libraries, project, each group sorted by clang-format."""
import pathlib
import re
import sys

import tree


def check(root, path, bad):
    name = str(path.relative_to(root))
    text = path.read_text()
    seen = set()
    if path.suffix == ".h" and "#pragma once" not in text and not name.endswith(".bpf.h"):
        bad.append(f"{name}: no #pragma once")
    lines = text.splitlines()
    first = next((m[1] for m in map(lambda s: re.match(r'#include ([<"]\S+)', s), lines) if m), "")
    own = name[len("src/"):-2] + ".h"
    if path.suffix == ".c" and (pathlib.Path(root) / "src" / own).exists() and first != f'"{own}"':
        bad.append(f"{name}: its own header \"{own}\" comes first")
    for n, line in enumerate(lines, 1):
        m = re.match(r'#include ([<"])([^>"]+)[>"]', line)
        if not m:
            continue
        # a .inc is a table, read with different macros
        if m[2] in seen and path.suffix == ".c" and ".bpf." not in name and not m[2].endswith(".inc"):
            bad.append(f"{name}:{n}: {m[2]} is included twice")
        seen.add(m[2])
        if m[1] == '"' and "/" in m[2] and not (pathlib.Path(root) / "src" / m[2]).exists() \
                and not (path.parent / m[2]).exists():
            bad.append(f"{name}:{n}: no src/{m[2]}")


def main():
    root = sys.argv[1]
    bad = []
    for path in tree.files(root, ".c", ".h"):
        if path.relative_to(root).parts[0] == "src":
            check(root, path, bad)
    return tree.finish(bad)


sys.exit(main())
