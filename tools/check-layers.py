#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fail when a folder of src/ includes a folder that it may not depend on."""
import pathlib
import re
import sys

MAY_USE = {
    "base": "",
    "profile": "base",
    "target": "base",
    # programs include nothing; what loads them includes these
    "bpf": "base target",
    # the form of plans, which includes nothing
    "agent": "bpf",
    "symbol": "base target",
    # rows go into BPF maps, and stacks that come out of them become frames of a profile
    "unwind": "base profile target symbol bpf",
    "inject": "base target symbol unwind agent",
    # plans are shared with the BPF interpreter
    "runtime": "base profile target symbol inject bpf",
    "map": "base profile target symbol unwind bpf agent inject runtime",
    "alloc": "base profile target symbol unwind bpf agent inject runtime",
    "refs": "base profile target symbol unwind bpf agent inject runtime",
    "capture": "base profile target symbol unwind bpf agent inject runtime map alloc refs",
    "render": "base profile",
    "serve": "base profile target symbol unwind bpf agent inject runtime map alloc refs capture render",
    "cli": "base profile target symbol unwind bpf agent inject runtime map alloc refs capture render serve",
}


def main():
    root = pathlib.Path(sys.argv[1]) / "src"
    bad = []
    for path in sorted(root.glob("**/*.[ch]")):
        parts = path.relative_to(root).parts
        if len(parts) < 2:
            bad.append(f"src/{path.name}: belongs into a folder")
            continue
        folder = parts[0]
        if folder not in MAY_USE:
            bad.append(f"{path.relative_to(root.parent)}: folder {folder}/ is not in DESIGN's table")
            continue
        allowed = set(MAY_USE[folder].split()) | {folder}
        for n, line in enumerate(path.read_text().splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"/]+)/([^"]*)', line)
            if not m:
                continue
            if m[1] not in allowed:
                bad.append(f"{path.relative_to(root.parent)}:{n}: {folder}/ may not include {m[1]}/")
            # one runtime never includes another
            elif folder == m[1] == "runtime" and len(parts) == 3 and "/" in m[2]:
                if m[2].split("/")[0] != parts[1]:
                    bad.append(f"{path.relative_to(root.parent)}:{n}: a runtime may not include another")
    print("\n".join(bad))
    return 1 if bad else 0


sys.exit(main())
