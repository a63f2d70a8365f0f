#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Who still refers to a Go heap: memwho refs, goref, viewcore, in turn on one
process (bench/refs_heap, which knows how much is live), then on its core by gcore
(which makes pages in the process that were not there: so not before):
CPU seconds, wall time, memory of their own, how long the process stood still,
whether the total is right.

The peers are built from their Go modules by the go command. One that the module
proxy does not serve is left out, and said to be.

  refs.py                 1 GiB of mixed objects (BENCH=quick: 64 MiB)
  refs.py mix:4096 small:50000000 idle"""
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import common
from common import MEMWHO, OUT, SOURCE, figure, keep, span, spread, table, usable

DEFAULT = ["mix:64"] if common.QUICK else ["mix:1024"]
PEERS = {"grf": "github.com/cloudwego/goref/cmd/grf@latest",
         "viewcore": "golang.org/x/debug/cmd/viewcore@latest"}
# a program of 22 MB whose heap is almost empty
EXPORTER = "github.com/prometheus/node_exporter@v1.8.2"
MIB = 1 << 20


def installed(name, module):
    """(path, "") or (None, why)."""
    folder = OUT / "go"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).exists():
        p = subprocess.run(["go", "install", module], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, cwd="/", env=dict(os.environ, GOBIN=str(folder), GOFLAGS="-mod=mod"))
        if p.returncode:
            return None, p.stdout.strip().splitlines()[0]
    return folder / name, ""


class Heap:
    """bench/refs_heap, with so much in it."""

    def __init__(self, kind, amount):
        self.exe = OUT / "refs_heap"
        OUT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "build", "-o", self.exe, "."], cwd=SOURCE / "bench" / "refs_heap", check=True,
                       env=dict(os.environ, CGO_ENABLED="0"))
        self.process = subprocess.Popen([self.exe, kind, str(amount)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.live, self.objects = map(int, self.process.stdout.readline().split()[1:])
        self.pid = self.process.pid

    def gap_ms(self):
        """How long it stood still at most since the last time."""
        print("", file=self.process.stdin)
        return int(self.process.stdout.readline().split()[1]) / 1000

    def close(self):
        self.process.kill()
        self.process.wait()


class Exporter:
    def __init__(self):
        self.exe, why = installed("node_exporter", EXPORTER)
        if why:
            raise SystemExit(f"{EXPORTER}: {why}")
        self.process = subprocess.Popen([self.exe, "--web.listen-address=127.0.0.1:0"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        time.sleep(1)
        self.pid, self.live, self.objects = self.process.pid, None, None

    def gap_ms(self):
        return None

    close = Heap.close


def anonymous(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def measured(argv, folder):
    """One run: CPU and wall seconds, peaks of memory, its output."""
    begin, peak = time.monotonic(), 0
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        p = subprocess.Popen([str(a) for a in argv], stdout=out, stderr=err, cwd=folder)
    while True:
        peak = max(peak, anonymous(p.pid))
        pid, status, usage = os.wait4(p.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.003)
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        raise RuntimeError(f"{argv}: {(folder / 'err').read_text(errors='replace')[-500:]}")
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "wall_s": time.monotonic() - begin, "anonymous": peak,
            "resident": usage.ru_maxrss * 1024}


class Tool:
    on_core = False

    def __init__(self, name):
        self.name, self.rows = name, []

    def missing(self):
        return ""

    def run(self, heap, core, folder):
        heap.gap_ms()
        row = measured(self.argv(heap, core, folder), folder)
        row["gap_ms"] = None if self.on_core else heap.gap_ms()
        self.rows.append({**row, **self.result(folder)})


class Memwho(Tool):
    def __init__(self, name, *options):
        super().__init__(name)
        self.options, self.on_core = options, name.endswith("core")

    def argv(self, heap, core, folder):
        target = [core, "--exe", heap.exe] if self.on_core else [heap.pid]
        return [MEMWHO, "refs", *target, "--json", *self.options]

    def result(self, folder):
        r = json.loads((folder / "out").read_text())
        return {"live": r["live_bytes"], "objects": r["live_objects"], "typed": r["typed_bytes"] / r["live_bytes"],
                "pause_ms": r.get("pause_ms")}


class OneProcessor(Memwho):
    """What the second thread is worth: both take turns on one processor."""

    def __init__(self):
        super().__init__("memwho refs, one processor")

    def argv(self, heap, core, folder):
        return ["taskset", "-c", "0", *super().argv(heap, core, folder)]


class Saved(Memwho):
    """The graph alone, as it was saved."""

    def __init__(self):
        super().__init__("memwho refs a.mwg")
        self.on_core = True

    def argv(self, heap, core, folder):
        subprocess.run([MEMWHO, "refs", str(heap.pid), "--save", folder / "a.mwg"], check=True,
                       stdout=subprocess.DEVNULL)
        return [MEMWHO, "refs", folder / "a.mwg", "--json"]


class Peer(Tool):
    def missing(self):
        self.path, why = installed(self.program, PEERS[self.program])
        return why


class Goref(Peer):
    program = "grf"

    def __init__(self, on_core):
        super().__init__("grf core" if on_core else "grf attach")
        self.on_core = on_core

    def argv(self, heap, core, folder):
        return [self.path, "core", heap.exe, core] if self.on_core else [self.path, "attach", heap.pid]

    def result(self, folder):
        """Its pprof file, read by memwho. What has no type of its own is a frame $sub_objects$."""
        p = subprocess.run([MEMWHO, "render", folder / "grf.out", "--type", "inuse_space", "--json"],
                           stdout=subprocess.PIPE, check=True)
        stacks = json.loads(p.stdout)["stacks"]
        live = sum(s["bytes"] for s in stacks)
        rest = sum(s["bytes"] for s in stacks if any("$sub_objects$" in f for f in s["frames"]))
        return {"live": live, "typed": 1 - rest / live if live else 0}


class Viewcore(Peer):
    program, on_core = "viewcore", True

    def argv(self, heap, core, folder):
        return [self.path, core, "--exe", heap.exe, "histogram"]

    def result(self, folder):
        """count, size, bytes, type: the third is the sum of a type."""
        live = rest = 0
        for line in (folder / "out").read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) >= 4 and words[0].isdigit():
                size = int(words[0]) * int(words[1])
                live += size
                rest += size if words[3].startswith("unk") else 0
        return {"live": live, "typed": 1 - rest / live if live else 0}


def core_of(heap, folder):
    subprocess.run(["gcore", "-o", folder / "core", str(heap.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return folder / f"core.{heap.pid}"


def gib(live):
    return live / (1 << 30)


def report(heap, tools):
    rows = []
    for t in (t for t in tools if t.rows):
        def of(key, scale=1.0, t=t):
            values = [r[key] / scale for r in t.rows if r.get(key) is not None]
            return span(spread(values)) if values else "-"
        live, n = heap.live or t.rows[0]["live"], heap.objects or t.rows[0].get("objects")
        most = max(r["anonymous"] for r in t.rows)
        rows.append([t.name, of("cpu_s"), of("cpu_s", gib(live)), of("wall_s"),
                     f"{most / MIB:,.0f}", figure(most / n, 3) if n else "-",
                     figure(max(most - 100 * MIB, 0) / n, 3) if n else "-",
                     of("pause_ms"), of("gap_ms"),
                     f"{100 * t.rows[0]['live'] / live:.2f}" if heap.live else "-",
                     f"{100 * t.rows[0]['typed']:.1f}"])
    table(["", "CPU s", "CPU s a GiB live", "wall s", "anonymous MiB", "bytes an object", "without 100 MiB",
           "pause ms by its own account", "longest gap in the target ms", "live bytes in % of the truth",
           "typed %"], rows)


def pairs_of(tools):
    """Peers against memwho, process with process and core with core."""
    for t in tools:
        base = next(b for b in tools if b.on_core == t.on_core)
        if isinstance(t, Peer) and t.rows and base.rows:
            ratios = [b["cpu_s"] / a["cpu_s"] for a, b in zip(base.rows, t.rows)]
            common.say(f"# {t.name}: {span(spread(ratios))} times the CPU time of {base.name}, pair by pair")


def bench(word, tools):
    kind, _, amount = word.partition(":")
    heap = Exporter() if kind == "idle" else Heap(kind, amount)
    common.say(f"# {word}: {heap.live and f'{heap.live:,}'} bytes, {heap.objects and f'{heap.objects:,}'} objects live")
    with tempfile.TemporaryDirectory(prefix="memwho-bench-") as name:
        folder = pathlib.Path(name)
        try:
            for on_core in (False, True):
                those = [t for t in tools if t.on_core == on_core]
                core = core_of(heap, folder) if on_core and those else None
                for _ in range(common.PAIRS):
                    for t in those:
                        try:
                            t.run(heap, core, folder)
                        except (RuntimeError, subprocess.CalledProcessError, KeyError, ValueError) as e:
                            common.say(f"# {t.name}: {e}")
        finally:
            heap.close()
    report(heap, tools)
    pairs_of(tools)
    return {"live": heap.live, "objects": heap.objects, **{t.name: t.rows for t in tools}}


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = {}
    for word in sys.argv[1:] or DEFAULT:
        lean = os.environ.get("BENCH_LEAN")  # no cores: for heaps of many GiB
        tools = [Memwho("memwho refs")]
        if not lean:
            tools += [OneProcessor(), Memwho("memwho refs core"), Saved(), Goref(False), Goref(True), Viewcore("viewcore histogram")]
        data[word] = bench(word, list(usable(tools)))
    keep("refs", data)


if __name__ == "__main__":
    main()
