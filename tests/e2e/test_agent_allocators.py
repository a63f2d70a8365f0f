# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600
"""The sampling engine on other allocators than glibc's: preloaded, linked in, without symbols.
What it estimates for each call site of the truth programs is compared with what they hold."""
import math
import platform
import subprocess
import time

import pytest
from conftest import PROGRAMS
from hold import Hold, compare, library, stacks_of_json
from test_agent import changed_code, untouched

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

MEAN = 1024
ROUNDS = 25
Z = 4.5  # one in 150,000 honest figures is farther off; a run compares some hundred

JEMALLOC, TCMALLOC = "libjemalloc.so.2", "libtcmalloc.so.4"


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
            r = self.rows.setdefault(path, [0, 0, 0.0])
            r[0] += score.reported.get(path, 0)
            r[1] += row["bytes"]
            r[2] += spread(row) ** 2
        # nothing is under a site and caller that hold nothing
        extra = {k for k in score.reported if k not in truth["sites"] and not k.endswith("site_18")}
        assert not extra, score.explain()

    def check(self, rows):
        lines, wrong = [], False
        for path, (got, true, variance) in sorted(self.rows.items()):
            # rounding, and blocks of a site that are not of one size
            off = abs(got - true) - 0.005 * true - 1 * self.n
            bad = off > Z * math.sqrt(variance)
            wrong |= bad
            lines.append(f"{path}: {got} instead of {true}, sd {math.sqrt(variance):.0f}{' <--' if bad else ''}")
        assert not wrong, "\n".join(lines)
        assert len(self.rows) >= rows, sorted(self.rows)
        got, true, variance = (sum(column) for column in zip(*self.rows.values()))
        assert abs(got - true) < Z * math.sqrt(variance) + 0.002 * true, (got, true, variance)


def commands():
    # a tenth of all that is held goes again, older blocks too
    return ["go 1"] * ROUNDS + ["free 10"] + ["go 1"] * ROUNDS


def check_truth(record, program, preload=None, sites=15, allocator=None, gaps=()):
    """Two recordings of one process: the second attach uses what the first has left."""
    with Hold(program, preload=preload) as hold:
        hold.command("warm 3")
        total = Sum()
        for _ in range(2):
            got, truth = recorded(record, hold, commands())
            assert got["lost_events"] == 0, got
            assert allocator is None or allocator in got["allocators"].split(", "), got["allocators"]
            assert {g["function"] for g in got.get("not_covered", [])} == set(gaps), got["not_covered"]
            total.add(got, truth)
        total.check(2 * sites)
        assert hold.alive()


def stripped(program, to):
    subprocess.run(["strip", "-s", "-o", to, program], check=True)
    return to


def need(name):
    if not library(name):
        pytest.skip(f"{name} is not installed")
    return name


@pytest.mark.parametrize("preload,allocator,sites", [(JEMALLOC, "jemalloc", 26), (TCMALLOC, "tcmalloc", 25)])
def test_preloaded(record, preload, allocator, sites):
    check_truth(record, PROGRAMS / "hold", need(preload), sites, allocator)


# ---- new that throws ----

@pytest.mark.parametrize("preload", [None, JEMALLOC, TCMALLOC])
def test_new_that_throws(record, preload):
    """An exception finds no way through a frame of the agent's, and would end the program: so
    a sampled operator new is not called with one. Each of these is sampled, by its size."""
    with Hold(PROGRAMS / "hold", preload=preload and need(preload)) as hold:
        hold.command("warm 2")
        total = Sum()
        for _ in range(2):
            got, truth = recorded(record, hold, ["throw 40", "longjmp 40"] * 10)
            assert got["lost_events"] == 0
            assert truth["caught"] == 400 and hold.alive()
            total.add(got, truth)
        total.check(1)
