#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the triggers of `memwho serve` cost: 100 targets, each looked at ten times a second by
three rules; quiet ones, and ones whose memory never stands still, by less and by more than a 64th
of what the rules wait for."""
import os
import pathlib
import subprocess

import common
from common import keep, say, table

LOOKER = pathlib.Path(os.environ.get("BUILD", "build")) / "tests" / "programs" / "looker"
SECONDS = 2 if common.QUICK else 10


def measure(n, mib):
    out = subprocess.run([LOOKER, str(n), str(SECONDS), str(mib)], stdout=subprocess.PIPE, check=True, text=True).stdout
    part, looks = out.split()
    return float(part), int(looks)


def main():
    rows, data = [], {}
    for how, mib in (("quiet", 0), ("moving by 3 MiB", 3), ("moving by 6 MiB", 6)):
        runs = sorted(measure(100, mib) for _ in range(min(3, common.PAIRS)))
        part, looks = runs[len(runs) // 2]
        data[how] = part
        rows.append([how, f"{part:.3%}", f"{part * SECONDS / looks * 1e6:.2f}"])
    say("100 targets at 10 looks a second, three rules each:\n")
    table(["targets", "of one CPU", "us a look"], rows)
    keep("triggers", data)


main()
