#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Every source file names its licence in its first lines, and no tracked file
names the machine that it was made on."""
import re
import sys

import tree

SOURCES = (".c", ".h", ".py", ".sh", ".build", ".rs", ".go", ".js", ".css", ".in", ".S")
NAMED = {"dev", "run", "meson.build", "meson_options.txt"}
ALLOWED = {"GPL-2.0-or-later", "GPL-2.0-or-later OR BSD-2-Clause", "GPL-2.0-only OR BSD-2-Clause"}
PLACES = re.compile(r"/work/(?:wt|main|shared)\b|/root/\.|\bhttps?://[\w.-]*(?:\.internal|localhost:\d+/repository)")


def main():
    root = sys.argv[1]
    bad = []
    for path in tree.files(root):
        name = str(path.relative_to(root))
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if name != "tools/check-spdx.py":
            for n, line in enumerate(text.splitlines(), 1):
                if PLACES.search(line):
                    bad.append(f"{name}:{n}: names a place of one machine")
        if "/corpus/" in name or "/fixtures/" in name or "/golden/" in name:
            continue
        if path.suffix in SOURCES or path.name in NAMED:
            m = re.search(r"SPDX-License-Identifier: ([^*\n]*?)\s*(?:\*/|-->)?\s*$",
                          "\n".join(text.splitlines()[:4]), re.M)
            if not m or m[1] not in ALLOWED:
                bad.append(f"{name}: no SPDX line that the tree allows in its first four lines")
    return tree.finish(bad)


sys.exit(main())
