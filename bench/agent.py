#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the sampling agent costs a malloc/free pair: CPU ns, and user instructions and cycles
by performance counters, which what else the machine does disturbs less; by many threads at once;
and its peers, each in turn with nothing in the same process."""
import ctypes
import os
import struct

import common
from common import Heaptrack, Hot, Memleak, Memwho, Profiler, figure, keep, library, say, span, table

WINDOW_MS = 100 if common.QUICK else 500
DEPTH = 5
THREADS = (1, 2, 64)
SAMPLED = 512 << 10
SYS_PERF_EVENT_OPEN = 298
COUNTERS = {"instructions": 1, "cycles": 0}  # PERF_COUNT_HW_*
SAMPLES = ("512K", "64K", "all")  # all: exact mode, each with its stack
libc = ctypes.CDLL(None, use_errno=True)


class Counter:
    """One hardware counter of one thread, user space only."""

    def __init__(self, what, tid):
        exclude_kernel, exclude_hv = 1 << 5, 1 << 6
        attr = struct.pack("=IIQQQQQIIQQ", 0, 112, COUNTERS[what], 0, 0, 0,
                           exclude_kernel | exclude_hv, 0, 0, 0, 0).ljust(112, b"\0")
        self.fd = libc.syscall(SYS_PERF_EVENT_OPEN, attr, tid, -1, -1, 0)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), f"no counter of {what}")

    def read(self):
        return struct.unpack("Q", os.read(self.fd, 8))[0]


def per_pair(hot, counters):
    """ns, and each counter, of one malloc/free pair."""
    before = {name: c.read() for name, c in counters.items()}
    pairs, ns = map(int, hot.command(f"spin {DEPTH} {WINDOW_MS}", 60).split())
    return {"ns": ns / pairs, **{name: (c.read() - before[name]) / pairs for name, c in counters.items()}}


def agent(sample):
    how = ("--exact",) if sample == "all" else ("--sample", sample)
    return Memwho("--engine", "agent", *how, name=f"memwho, {sample}")


def measure(sample):
    """Off and on in turn, in one process. The counters miss nothing: one thread."""
    exact = sample == "all"
    recorder = agent(sample)
    with Hot() as hot:
        counters = {}
        for name in COUNTERS:
            try:
                counters[name] = Counter(name, hot.pid)
            except OSError as e:
                print(f"# {e}")
        per_pair(hot, counters)
        rows = common.paired(lambda: per_pair(hot, counters), recorder, hot.pid)
    samples = recorder.result["allocations" if exact else "samples"]
    assert not exact or recorder.result["lost_events"] == 0, recorder.result
    recorder.close()
    pairs = [r for r in rows if "on" in r]
    out = {}
    for what in ("ns", *counters):
        off, on = [r["off"][what] for r in pairs], [r["on"][what] for r in pairs]
        out[what] = {"off": common.spread(off), "on": common.spread(on),
                     "added": common.spread([b - a for a, b in zip(off, on)]),
                     "ratio": common.spread([b / a for a, b in zip(off, on)]),
                     "after": rows[-1]["after"][what]}
    out["samples"] = samples
    for what in ("attach_s", "detach_s"):
        out[what] = common.spread([r[what] for r in pairs])
    return out


def crowds():
    """Threads that allocate at once; CPU ns of a pair, of all of them."""
    data, rows = {}, []
    for sample in ("512K", "all"):
        for threads in THREADS:
            recorder = agent(sample)
            with Hot() as hot:
                hot.crowd_ns(threads, DEPTH, WINDOW_MS)
                s = common.summary(common.paired(lambda: hot.crowd_ns(threads, DEPTH, WINDOW_MS),
                                                 recorder, hot.pid))
            recorder.close()
            data[f"{sample}, {threads}"] = s
            rows.append([sample, threads, figure(s["off"]["median"]), span(s["on"]), span(s["added"]),
                         span(s["ratio"])])
    table(["one sample in", "threads", "ns/pair without", "with", "added", "ratio"], rows)
    return data


def with_tcmalloc_sampling():
    """It is set for a process's whole life: two processes in turn. -> as common.summary()"""
    off, on = (Hot(preload="libtcmalloc.so.4", env={"TCMALLOC_SAMPLE_PARAMETER": str(n)})
               for n in (0, SAMPLED))
    with off, on:
        rows = [{"off": off.spin_ns(DEPTH, WINDOW_MS), "on": on.spin_ns(DEPTH, WINDOW_MS),
                 "attach_s": 0, "detach_s": 0} for _ in range(common.PAIRS)]
        return common.summary([*rows, {"after": off.spin_ns(DEPTH, WINDOW_MS)}])


def beside():
    """Each peer, and memwho on the same allocator."""
    prof = Profiler(SAMPLED)
    jemalloc = {"preload": prof.preload, "env": prof.env}
    tcmalloc = {"preload": "libtcmalloc.so.4"}
    data, rows = {}, []

    def add(allocator, name, s):
        data[f"{allocator}: {name}"] = s
        rows.append([allocator, name, figure(s["off"]["median"]), span(s["on"]), span(s["added"]),
                     span(s["ratio"]), figure(s["attach_s"]["median"], 2), figure(s["detach_s"]["median"], 2)])

    for allocator, how, recorders in (("glibc", {}, (agent("512K"), agent("all"), Heaptrack(), Memleak())),
                                      ("jemalloc", jemalloc, (agent("512K"), prof)),
                                      ("tcmalloc", tcmalloc, (agent("512K"),))):
        if how and not library(how["preload"]):
            say(f"# {allocator}: left out, no {how['preload']}")
            continue
        for recorder in common.usable(recorders):
            with Hot(**how) as hot:  # one each: heaptrack stays mapped
                recorder.hot = hot
                hot.spin_ns(DEPTH, WINDOW_MS)
                rest = common.paired(lambda: hot.spin_ns(DEPTH, WINDOW_MS), recorder, hot.pid)
            add(allocator, recorder.name, common.summary(rest))
            recorder.close()
        if allocator == "tcmalloc":
            add(allocator, "tcmalloc, TCMALLOC_SAMPLE_PARAMETER", with_tcmalloc_sampling())
    table(["allocator", "recorder", "ns/pair without", "with", "added", "ratio", "attach s", "detach s"], rows)
    return data


if __name__ == "__main__":
    data = {sample: measure(sample) for sample in SAMPLES}
    table(["one sample in", "a pair's", "without", "with", "added", "ratio", "after"],
          [[sample, what, figure(d[what]["off"]["median"]), span(d[what]["on"]), span(d[what]["added"]),
            span(d[what]["ratio"]), figure(d[what]["after"])]
           for sample, d in data.items() for what in ("ns", *COUNTERS) if what in d])
    table(["one sample in", "attach s", "detach s"],
          [[sample, span(d["attach_s"]), span(d["detach_s"])] for sample, d in data.items()])
    keep("agent", {**data, "threads": crowds(), "peers": beside()})
