#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of mmap and munmap a second while somebody watches who makes them:
memwho map, strace -f -k, strace without stacks, perf trace, bpftrace. All but
memwho give a log or counts, not what is still mapped. By the wall clock, as
strace and perf trace stop the target and do their work on another processor."""
import os
import shutil
import signal
import subprocess
import time

import common
from common import MEMWHO, Hot, Recorder, figure, keep, span, table

DEPTH = 10
WINDOW_MS = 300 if common.QUICK else 1000


class Map(Recorder):
    name = "memwho map"

    def start(self, pid):
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        self.spawn([MEMWHO, "map", pid, "-d", "600s", "--quiet", "-o", self.folder / "result.json",
                    "--ready-file", ready])
        self.wait_until("ready file", ready.exists)

    def stop(self):
        self.interrupt()


class Strace(Recorder):
    def __init__(self, *options):
        super().__init__()
        self.options = options
        self.name = " ".join(("strace", "-f", *options))

    def missing(self):
        return "" if shutil.which("strace") else "apt-get install strace"

    def start(self, pid):
        self.spawn(["strace", "-f", *self.options, "-e", "trace=mmap,munmap", "-o", "/dev/null", "-p", pid])
        self.wait_until("attach", lambda: "attached" in self.output("err"))

    def stop(self):
        self.interrupt()


class PerfTrace(Recorder):
    def __init__(self, *options):
        super().__init__()
        self.options = options
        self.name = " ".join(("perf trace", *options))

    def missing(self):
        if not shutil.which("perf"):
            return "apt-get install linux-perf"
        p = subprocess.run(["perf", "trace", "-e", "mmap", "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return "" if p.returncode == 0 else p.stdout.decode(errors="replace").strip().splitlines()[-1][:100]

    def start(self, pid):
        self.spawn(["perf", "trace", *self.options, "-e", "mmap,munmap", "-o", "/dev/null", "-p", pid])
        time.sleep(1)

    def stop(self):
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(60)


class Bpftrace(Recorder):
    name = "bpftrace, count by user stack"

    def missing(self):
        return "" if shutil.which("bpftrace") else "apt-get install bpftrace"

    def start(self, pid):
        # by the C library's functions: tracepoints of calls are not there on every kernel
        libc = common.mapped_file(pid, "libc.so.6")
        self.spawn(["bpftrace", "-p", pid, "-e", f"uprobe:{libc}:mmap {{ @[ustack] = count(); }} "
                    f"uprobe:{libc}:munmap {{ @[ustack] = count(); }}"])
        self.wait_until("breakpoint", lambda: common.has_breakpoint(pid))
        time.sleep(0.3)

    def stop(self):
        self.interrupt()


def ns_a_pair(hot):
    pairs, _, wall = hot.command(f"map {DEPTH} {WINDOW_MS}", WINDOW_MS / 1000 + 60).split()
    return int(wall) / int(pairs)


def main():
    rows, data = [], {}
    peers = [Map(), Bpftrace(), PerfTrace(), PerfTrace("--call-graph=dwarf"), Strace(), Strace("-k")]
    for recorder in common.usable(peers):
        with Hot() as hot:
            ns_a_pair(hot)
            s = data[recorder.name] = common.summary(common.paired(lambda: ns_a_pair(hot), recorder, hot.pid))
        alone, watched = s["off"]["median"], s["on"]["median"]
        rows.append([recorder.name, figure(1e9 / alone), figure(1e9 / watched), span(s["ratio"]) + "x"])
        recorder.close()
        print("#", recorder.name, figure(watched / alone), flush=True)
    table(["recorder", "pairs/s alone", "watched", "ratio of times"], rows)
    keep("map", data)


if __name__ == "__main__":
    main()
