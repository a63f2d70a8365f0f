# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""The sampling engine on other allocators than glibc's: preloaded, linked in, without symbols.
What it estimates for each call site of the truth programs is compared with what they hold."""
import bisect
import math
import os
import platform
import re
import subprocess
import time

import pytest
import silly
from conftest import BUILD, PROGRAMS, SOURCE
from hold import Hold, build_rust, compare, library, stacks_of_json
from test_agent import changed_code, untouched

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

MEAN = 1024
ROUNDS = 25
SURE = math.log(2 / 1e-6)  # one in a million honest figures is farther off; a run compares a thousand


def recorded(record, hold, commands):
    """One recording of @commands -> (its result, what is held). Where memwho got no processor
    for so long that samples lost their stacks, nothing can be said of sites: once more."""
    for _ in range(4):
        r = record("alloc", hold.pid, "--engine", "agent", "--sample", str(MEAN), "--json")
        assert changed_code(hold.pid)
        hold.command("mark")
        for command in commands:
            hold.command(command)
            time.sleep(0.015)
        truth = hold.truth()
        got = r.interrupt().json()
        untouched(hold.pid)
        if not got["stacks_not_stored"] and not got["pauses"]:
            return got, truth
    pytest.fail(f"memwho did not get enough of the processor: {got}")


def spread(row):
    """Standard deviation of the estimate of a site's bytes; its blocks are of like sizes. As by
    Horvitz and Thompson: each is drawn with p = 1 - e^(-size/mean)."""
    size = row["bytes"] / row["count"]
    p = -math.expm1(-size / MEAN)
    return size * math.sqrt(row["count"] * (1 - p) / p)


def farthest(variance, largest):
    """How far an estimate may be off, by Bernstein's inequality: it holds, too, where hardly
    any block is missed, and each that is makes a step as large as itself."""
    return math.sqrt(2 * variance * SURE) + largest * SURE / 3


class Sum:
    """Estimates and truth of several recordings, by caller and site."""

    def __init__(self):
        self.rows = {}
        self.n = 0

    def add(self, got, truth):
        score = compare(stacks_of_json(got), truth, deep_sites=frozenset())
        self.n += 1
        for path, row in truth["sites"].items():
            # 600 frames are more than are copied: the caller is not there
            if not row["bytes"] or path.endswith("site_18"):
                continue
            r = self.rows.setdefault(path, [0, 0, 0.0, 0.0])
            r[0] += score.reported.get(path, 0)
            r[1] += row["bytes"]
            r[2] += spread(row) ** 2
            size = row["bytes"] / row["count"]
            r[3] = max(r[3], size / -math.expm1(-size / MEAN))
        # nothing is under a site and caller that hold nothing
        extra = {k for k in score.reported if k not in truth["sites"] and not k.endswith("site_18")}
        assert not extra, score.explain()

    def check(self, rows):
        lines, wrong = [], False
        for path, (got, true, variance, largest) in sorted(self.rows.items()):
            # rounding, and blocks of a site that are not of one size
            bad = abs(got - true) - 0.005 * true - self.n > farthest(variance, largest)
            wrong |= bad
            lines.append(f"{path}: {got} instead of {true}, sd {math.sqrt(variance):.0f}{' <--' if bad else ''}")
        assert not wrong, "\n".join(lines)
        assert len(self.rows) >= rows, sorted(self.rows)
        got, true, variance, _ = (sum(column) for column in zip(*self.rows.values()))
        largest = max(row[3] for row in self.rows.values() if row[2] > 1)
        assert abs(got - true) < farthest(variance, largest) + 0.002 * true, (got, true, variance)


def commands():
    # a tenth of all that is held goes again, older blocks too
    return ["go 1"] * ROUNDS + ["free 10"] + ["go 1"] * ROUNDS


def check_truth(record, program, preload=None, sites=15, allocators="", gaps=(), names=lambda got: got):
    """Two recordings of one process: the second attach uses what the first has left."""
    with Hold(program, preload=preload) as hold:
        hold.command("warm 3")
        total = Sum()
        for _ in range(2):
            got, truth = recorded(record, hold, commands())
            assert got["lost_events"] == 0, got
            assert got["allocators"] == allocators, got["allocators"]
            assert {g["function"] for g in got.get("not_covered", [])} == set(gaps), got["not_covered"]
            total.add(names(got), truth)
        total.check(2 * sites)
        assert hold.alive()


def need(path):
    if not path or not os.path.exists(path):
        pytest.skip(f"{path} is not there")
    return str(path)


# Debian's, without symbol tables: what they export is what there is.
PRELOADED = {
    "jemalloc": ("libjemalloc.so.2", 26, ()),
    "tcmalloc": ("libtcmalloc.so.4", 25, ()),
    "tcmalloc_minimal": ("libtcmalloc_minimal.so.4", 25, ()),
    "mimalloc": ("libmimalloc.so.2", 24, ("mi_heap_destroy", "mi_heap_malloc_aligned_at", "mi_strdup")),
}


@pytest.mark.parametrize("name", PRELOADED)
def test_preloaded(record, name):
    """libc comes along: pvalloc of jemalloc's programs is its."""
    preload, sites, gaps = PRELOADED[name]
    check_truth(record, PROGRAMS / "hold", need(library(preload)), sites, name.split("_")[0] + ", libc", gaps)


@pytest.mark.parametrize("program,sites,allocators", [
    ("hold", 24, "libc"), ("hold-static", 24, "libc"), ("hold-musl", 15, "musl"), ("hold-musl-dynamic", 15, "musl"),
    ("hold-jemalloc-static", 25, "jemalloc"), ("hold-tcmalloc_minimal-static", 24, "tcmalloc")])
def test_linked_in(record, program, sites, allocators):
    check_truth(record, need(PROGRAMS / program), None, sites, allocators)


def named_by(program):
    """For results of a stripped copy: frames by the symbols of the program itself."""
    symbols = []
    for line in subprocess.run(["nm", program], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tT":
            symbols.append((int(words[0], 16), words[2]))
    symbols.sort()

    def name(frame):
        at = re.fullmatch(r"stripped\+0x([0-9a-f]+)", frame)
        i = bisect.bisect(symbols, (int(at[1], 16), "~")) if at else 0
        return symbols[i - 1][1] if i else frame

    return lambda got: {**got, "stacks": [{**s, "frames": list(map(name, s["frames"]))} for s in got["stacks"]]}


@pytest.mark.parametrize("program,name", [("hold", None), ("hold", "jemalloc"), ("hold", "tcmalloc"),
                                          ("hold", "mimalloc"), ("hold-musl-dynamic", None)])
def test_stripped(record, tmp_path, program, name):
    """The program has no symbols left. (One that is static, too:
    test_object_code.py.)"""
    copy, (preload, sites, gaps) = tmp_path / "stripped", PRELOADED[name] if name else (None, 15, ())
    subprocess.run(["strip", "-s", "-o", copy, need(PROGRAMS / program)], check=True)
    check_truth(record, copy, preload and need(library(preload)), sites,
                f"{name}, libc" if name else "musl" if "musl" in program else "libc", gaps, named_by(PROGRAMS / program))


def test_rust(record):
    """jemalloc, linked in as _rjem_...; freed by sdallocx."""
    try:
        program = build_rust(SOURCE, BUILD)
    except RuntimeError as e:
        pytest.skip(str(e))
    check_truth(record, program, None, 11, "jemalloc", ["libc's free and 7 more"])


def test_two_in_one_program(record, tmp_path):
    """glibc's malloc, and jemalloc with other names."""
    archive = silly.renamed_jemalloc(tmp_path)
    flags = ("-O2 -D_GNU_SOURCE -DHOLD_STATIC -fomit-frame-pointer -fno-builtin -fno-optimize-sibling-calls "
             "-w -static").split()
    source = SOURCE / "tests" / "programs"
    subprocess.run(["cc", *flags, "-o", tmp_path / "two", source / "hold.c", source / "hold_no_cxx.c",
                    "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lm",
                    "-lstdc++"], check=True)
    check_truth(record, tmp_path / "two", None, 18, "jemalloc, libc")


# ---- new that throws ----

@pytest.mark.parametrize("program,preload", [
    ("hold", None), ("hold", "jemalloc"), ("hold", "tcmalloc"), ("hold-jemalloc-static", None),
    ("hold-tcmalloc_minimal-static", None)])
def test_new_that_throws(record, program, preload):
    """An exception finds no way through a frame of the agent's, and would end the program: so
    a sampled operator new is not called with one. Each of these is sampled, by its size."""
    preload = preload and need(library(PRELOADED[preload][0]))
    with Hold(need(PROGRAMS / program), preload=preload) as hold:
        hold.command("warm 2")
        hold.command("throw 1")  # the unwinder sorts its tables, and keeps them
        total = Sum()
        for _ in range(2):
            got, truth = recorded(record, hold, ["throw 40", "longjmp 40"] * 10)
            assert got["lost_events"] == 0
            assert truth["caught"] == 400 and hold.alive()
            total.add(got, truth)
        total.check(1)
