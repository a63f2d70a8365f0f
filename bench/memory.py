#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory of memwho with many live pointers: its own resident memory, and the
kernel's for its tables (memlock in /proc/PID/fdinfo)."""
import sys

import common
from common import Hot, Memwho, figure, keep, map_bytes, resident_bytes, table

MILLIONS = (0.1,) if common.QUICK else (0, 1, 3, 10)


def main():
    rows, data = [], {}
    for millions in [float(x) for x in sys.argv[1:]] or MILLIONS:
        n = int(millions * 1_000_000)
        m = Memwho(name="memwho")
        with Hot() as hot:
            m.attach(hot.pid)
            hot.command(f"many {n}", 1800)
            rss, maps = resident_bytes(m.process.pid), map_bytes(m.process.pid)
            m.detach()
        r = m.result
        exact = r["held_bytes"] == 64 * n and r["lost_events"] == 0
        data[n] = {"resident": rss, "maps": maps, "peak": m.peak_bytes, "end_s": m.detach_seconds,
                   "held": r["held_bytes"], "true": 64 * n, "lost": r["lost_events"],
                   "cpu_s": r["memwho_cpu_seconds"]}
        rows.append([f"{n:,}", f"{r['held_bytes']:,}", "yes" if exact else f"NO, {64 * n:,}",
                     *(figure(x / (1 << 20)) for x in (rss, m.peak_bytes, maps)),
                     figure(maps / n, 3) if n else "-", figure(m.detach_seconds, 2),
                     figure(r["memwho_cpu_seconds"], 2)])
        m.close()
    table(["live pointers", "held bytes reported", "exact", "memwho resident MiB",
           "at its peak MiB (making the result)", "tables in the kernel MiB", "bytes a pointer",
           "Ctrl-C to exit s", "memwho's CPU s"], rows)
    keep("memory", data)


if __name__ == "__main__":
    main()
