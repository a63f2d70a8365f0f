#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""memwho's own speed: a profile of 50,000 stacks made, written, read and drawn."""
import os
import pathlib
import subprocess
import tempfile
import time

import common
from common import MEMWHO, Hot, Memwho, figure, keep, say, spread, table

STACKS = 2000 if common.QUICK else 50000
FORMATS = ("svg", "html", "folded", "stap", "pb.gz", "json", "speedscope.json", "txt")


def timed(*argv):
    begin = time.monotonic()
    p = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise RuntimeError(f"{argv}: {p.returncode}")
    return {"s": time.monotonic() - begin, "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_mib": usage.ru_maxrss / 1024}


def folded(path):
    """Made up: 20 frames each, half of them shared, 5000 names."""
    with open(path, "w") as f:
        x = 1
        for i in range(STACKS):
            frames = ["main", "serve", "request"]
            for depth in range(17):
                x = (x * 6364136223846793005 + 1442695040888963407) % (1 << 64)
                frames.append(f"function_{depth}_{(x >> 40) % (4 + 15 * depth)}")
            f.write(";".join(frames) + f" {x >> 50}\n")


def record(folder):
    m = Memwho("--format", "pprof", name="memwho")
    with Hot() as hot:
        m.attach(hot.pid)
        hot.command(f"stacks {STACKS}", 600)
        begin = time.monotonic()
        m.interrupt()
        end = time.monotonic() - begin
    data = (m.folder / "result.json").read_bytes()
    m.close()
    (folder / "recorded.pb.gz").write_bytes(data)
    return end


def main():
    data = {}
    with tempfile.TemporaryDirectory(prefix="memwho-bench-") as folder:
        folder = pathlib.Path(folder)
        ends = [record(folder) for _ in range(common.PAIRS)]
        say(f"Ctrl-C to exit with {STACKS:,} recorded stacks (symbols looked up, pprof written): "
            f"{figure(spread(ends)['median'])} s\n")
        data["end_s"] = ends
        folded(folder / "made.folded")
        rows = []
        for source in ("made.folded", "recorded.pb.gz"):
            for ending in FORMATS:
                out = folder / f"out.{ending}"
                runs = [timed(MEMWHO, "render", folder / source, "-o", out) for _ in range(common.PAIRS)]
                s = {k: spread([r[k] for r in runs]) for k in runs[0]}
                data[f"{source} to {ending}"] = {**s, "bytes": out.stat().st_size}
                rows.append([source, ending, figure(s["s"]["median"], 2), figure(s["cpu_s"]["median"], 2),
                             figure(s["peak_mib"]["median"]), figure(out.stat().st_size / 1e6, 2)])
        table(["from", "to", "s", "CPU s", "peak MiB", "MB written"], rows)
    keep("own", data)


if __name__ == "__main__":
    main()
