#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the triggers of `memwho serve` cost: 100 targets, each looked at ten times a second by
three rules; quiet ones, and ones whose memory never stands still."""
import os
import pathlib
import subprocess

import common
from common import keep, say, table

LOOKER = pathlib.Path(os.environ.get("BUILD", "build")) / "tests" / "programs" / "looker"
SECONDS = 2 if common.QUICK else 10


def measure(n, how):
    out = subprocess.run([LOOKER, str(n), str(SECONDS), how], stdout=subprocess.PIPE, check=True, text=True).stdout
    part, looks = out.split()
    return float(part), int(looks)


def main():
    rows, data = [], {}
    for how in ("quiet", "moving"):
        runs = sorted(measure(100, how) for _ in range(min(3, common.PAIRS)))
        part, looks = runs[len(runs) // 2]
        data[how] = part
        rows.append([how, f"{part:.3%}", f"{part * SECONDS / looks * 1e6:.2f}"])
    say("100 targets at 10 looks a second, three rules each:\n")
    table(["targets", "of one CPU", "us a look"], rows)
    keep("triggers", data)


main()
