#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""embed-text.py NAME OUT.h IN...: text files as one C string, `static const char NAME[]`.

Lines that hold only a // comment are dropped: a picture need not carry them."""
import json
import pathlib
import sys


def main():
    name, out, *inputs = sys.argv[1:]
    lines = [f"/* Made by tools/embed-text.py. */", f"static const char {name}[] ="]
    for path in inputs:
        text = pathlib.Path(path).read_text(encoding="ascii")
        # the text stands in a CDATA section (SVG) or in a <script> or <style> element (HTML)
        for bad in ("]]>", "</script", "</style", "<!--"):
            if bad in text.lower():
                sys.exit(f"{path}: may not contain {bad!r}")
        for line in text.splitlines():
            line = line.strip()
            if line and not line.startswith("//") and not line.startswith("/* SPDX"):
                lines.append("\t" + json.dumps(line + "\n").replace("?", "\\?"))
    pathlib.Path(out).write_text("\n".join(lines) + ";\n")


main()
