#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes under the wrong (caller, site), in percent of the truth, on a program
that knows what it holds; see tests/programs/hold.c and compare() in
tests/e2e/hold.py. A byte under the wrong caller counts twice: up to 200 %."""
import os
import re
import shutil
import subprocess
import time

from common import (BUILD, PROGRAMS, SOURCE, Heaptrack, Hold, Memleak, Memwho, Recorder, keep, library,
                    say, table)
from hold import build_rust, compare, complete_share

ROUNDS = 100
TARGETS = {
    # what is run, what is preloaded
    "dynamic glibc": ("hold", None),
    "static glibc": ("hold-static", None),
    "static musl": ("hold-musl", None),
    "jemalloc preloaded": ("hold", "libjemalloc.so.2"),
    "tcmalloc preloaded": ("hold", "libtcmalloc.so.4"),
    "mimalloc preloaded": ("hold", "libmimalloc.so.2.0"),
    "Rust, tikv-jemallocator": (None, None),
}


def program_of(name):
    program, preload = TARGETS[name]
    if preload and not library(preload):
        raise FileNotFoundError(preload)
    path = PROGRAMS / program if program else build_rust(str(SOURCE), str(BUILD))
    return path, preload


def object_of(name):
    program, preload = TARGETS[name]
    if name == "dynamic glibc":
        return None
    return os.path.realpath(library(preload)) if preload else program_of(name)[0]


class MemleakReport(Memleak):
    """With reports every two seconds; the last one is read."""

    def __init__(self, object=None):
        super().__init__("-T", "1000000", "2")
        if object:  # it cuts paths at 31 characters
            link = self.folder / "o"
            link.symlink_to(object)
            self.options = ("-O", str(link), *self.options)

    def stop(self):
        # a report that began after now
        n = self.output().count("outstanding allocations:")
        self.wait_until("report", lambda: self.output().count("outstanding allocations:") > n + 1)
        super().stop()

    def stacks(self):
        report = self.output().rsplit("outstanding allocations:", 1)[1]
        stacks = []
        for line in report.splitlines():
            m = re.match(r"(\d+) bytes in \d+ allocations", line)
            if m:
                stacks.append(([], int(m[1])))
            m = re.match(r"\s+\d+ \[<\w+>\] ([^\s+\[]*)", line)
            if m and stacks:
                stacks[-1][0].insert(0, m[1])
        return stacks


class Massif(Recorder):
    """Not an attach: the program runs in valgrind from its start."""
    name = "massif"

    def missing(self):
        return "" if shutil.which("valgrind") else "apt-get install valgrind"

    def wrapper(self):
        return ["valgrind", "-q", "--tool=massif", "--threshold=0", "--depth=200", "--vgdb=yes",
                f"--massif-out-file={self.folder}/end"]

    def snapshot(self, pid):
        path = self.folder / "snapshot"
        subprocess.run(["vgdb", f"--pid={pid}", "detailed_snapshot", str(path)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        end = time.monotonic() + 30
        while not (path.exists() and "heap_tree=detailed" in path.read_text()):
            if time.monotonic() > end:
                raise TimeoutError("no snapshot")
            time.sleep(0.05)
        time.sleep(0.5)
        return path.read_text()

    @staticmethod
    def parse(text):
        """[(stack, root first, bytes)]: a node's bytes less its children's, which are
        above 0 for a leaf and for what massif has cut off."""
        nodes, open_nodes = [], []
        for line in text.split("heap_tree=detailed\n", 1)[1].splitlines():
            m = re.match(r"( *)n(\d+): (\d+) (?:0x\w+: (\S+)|(.*))", line)
            if not m:
                break
            del open_nodes[len(m[1]):]
            if open_nodes:
                open_nodes[-1][1] -= int(m[3])
            above = open_nodes[-1][0] if open_nodes else []
            node = [[m[4] or "?"] + above if open_nodes else [], int(m[3])]
            nodes.append(node)
            open_nodes.append(node)
        return [(path, size) for path, size in nodes if size]


def drive(hold):
    hold.command(f"go {ROUNDS}", 600)
    hold.command("free 30", 600)
    hold.command(f"go {ROUNDS // 4}", 600)
    return hold.truth()


def score_attached(name, recorder):
    program, preload = program_of(name)
    with Hold(program, preload=preload) as hold:
        hold.command("warm 20")
        recorder.attach(hold.pid)
        hold.command("mark")
        truth = drive(hold)
        recorder.detach()
    stacks = recorder.stacks()
    return compare(stacks, truth), complete_share(stacks)


def score_massif(name, massif):
    program, preload = program_of(name)
    env = {"HOLD_NO_PVALLOC": "1"}  # valgrind aborts there
    with Hold(program, preload=preload, wrapper=massif.wrapper(), env=env) as hold:
        truth = drive(hold)  # nothing is older: it counts from the program's start
        stacks = massif.parse(massif.snapshot(hold.pid))
    return compare(stacks, truth), complete_share(stacks, ("_start", "main", "clone"))


def cell(score, share):
    if not score.reported_bytes:
        return "nothing recorded"
    error = "0.0 %" if score.path_error == 0 else f"{100 * score.path_error:.3g} %"
    return f"{error} / {100 * share:.1f} %"


def main():
    peers = {"memwho": lambda: Memwho("--type", "inuse_space", name="memwho"), "heaptrack -p": Heaptrack,
             "memleak (libbpf)": MemleakReport, "massif": Massif}
    rows, data = [], {}
    for name in TARGETS:
        row = [name]
        for peer, make in peers.items():
            # memleak is told where the allocator is; the others find it
            recorder = make(object_of(name)) if make is MemleakReport else make()
            why = recorder.missing()
            say(f"# {name}, {peer}")
            try:
                if why:
                    raise RuntimeError(why)
                if peer == "massif" and name != "dynamic glibc":
                    row.append("-")  # it puts its own malloc in libc's place, and only there
                    continue
                score, share = (score_massif if peer == "massif" else score_attached)(name, recorder)
                row.append(cell(score, share))
                data[f"{name}, {peer}"] = {"path_error": score.path_error, "whole": share,
                                           "reported": score.reported_bytes, "true": score.true_bytes,
                                           "elsewhere": score.other, "wrong": score.wrong}
                if score.path_error:
                    say(f"# {name}, {peer}: " + "\n#   ".join(score.explain().splitlines()[:4]))
            except Exception as e:
                say(f"# {name}, {peer}: {type(e).__name__}: {str(e).strip()[:300]}")
                data[f"{name}, {peer}"] = {"failed": str(e)[:2000]}
                row.append("does not work")
            finally:
                recorder.close()
        rows.append(row)
    table(["target", *(f"{p}: path error / bytes with whole stacks" for p in peers)], rows)
    keep("patherror", data)


if __name__ == "__main__":
    main()
