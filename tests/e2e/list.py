#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""For meson: "NAME TIMEOUT PARALLEL" for every test_NAME.py. A file may say
"# meson: timeout=600 parallel" in its first five lines; else it has 300
seconds and runs alone, for tests that trace disturb each other's figures. "once"
is for tools/test-again.py."""
import pathlib
import re
import sys

for path in sorted(pathlib.Path(sys.argv[1]).glob("test_*.py")):
    head = "\n".join(path.read_text().splitlines()[:5])
    wish = re.search(r"^# meson:(.*)$", head, re.M)
    words = wish[1].split() if wish else []
    timeout = next((w.split("=")[1] for w in words if w.startswith("timeout=")), "300")
    print(path.stem[len("test_"):], timeout, "true" if "parallel" in words else "false")
