# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""[before attach]: what the allocator held before memwho came, by the allocator's own live
figure less what was recorded; against a program that knows how old its blocks are."""
import platform
import time

import conftest
import pytest
from conftest import PROGRAMS, Recording, Target, run_memwho
from hold import library

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
BEFORE, ROUNDING = "[before attach]", "[headers and rounding of these]"
REST, BOTH = "[since the attach, in no sample]", "[before attach, and rounding]"
# 8 bytes of each of glibc's chunks are its size; usable bytes of the others are all of it
HEADER = {None: 8}
MEAN = 4096


class Truth:
    def __init__(self, target):
        self.target, self.pid = target, target.pid

    def command(self, text):
        self.target.say(text)
        assert self.target.line(60) == "done"

    def say(self):
        self.target.say("say")
        words = self.target.line(60).split()
        return {"old": (int(words[1]), int(words[2])), "young": (int(words[4]), int(words[5])),
                "asked": int(words[7]), "in_use": int(words[9])}


@pytest.fixture
def truth():
    started = []

    def start(preload=None):
        env = {"LD_PRELOAD": library(preload)} if preload else {}
        if preload and not env["LD_PRELOAD"]:
            pytest.skip(f"{preload} is not installed")
        started.append(Target([PROGRAMS / "before_truth"], env=env))
        assert started[-1].line() == "ready"
        return Truth(started[-1])

    yield start
    for t in started:
        t.stop()


@pytest.fixture
def record(tmp_path):
    def start(pid, *args, form="--json", sample=MEAN):
        ready = tmp_path / f"ready-{time.monotonic_ns()}"
        args = ["alloc", pid, "--engine", "agent", *(["--sample", sample] if sample else []), *args]
        return Recording([*args, *([form] if form else [])], ready).wait_ready()

    return start


def widths(result):
    """{what is not recorded code: bytes}, and all of it"""
    rows = {s["frames"][0]: s for s in result["stacks"] if s["frames"][0].startswith("[")}
    return rows, sum(s["bytes"] for s in result["stacks"])


def old(said, preload=None):
    return said["old"][0] + said["old"][1] * HEADER.get(preload, 0)


ALLOCATORS = [None, "libjemalloc.so.2", "libtcmalloc_minimal.so.4"]


@pytest.mark.parametrize("preload", ALLOCATORS)
def test_an_idle_process(truth, record, preload):
    """All of it is older; to the byte but for what the program's own libraries hold."""
    t = truth(preload)
    t.command("fill 5000")
    t.command("mark")
    r = record(t.pid)
    result = r.interrupt().json()
    rows, total = widths(result)
    name = BOTH if BOTH in rows else BEFORE
    true = old(t.say(), preload)
    assert abs(rows[name]["bytes"] - true) < 64 * 1024 + true // 200, (rows, true)
    assert total == rows[name]["bytes"] == result["allocator_bytes"] == result["before_attach_bytes"]
    assert result["allocator_inconsistent"] == 0
    assert (rows[name]["count"], rows[name]["alloc_bytes"]) == (0, 0)
    if not preload:
        # what malloc says of itself, but for blocks in the thread's cache
        assert abs(result["allocator_bytes"] - t.say()["in_use"]) < 64 * 1024
    assert conftest.changed_code(t.pid) == []


@pytest.mark.parametrize("preload", ALLOCATORS[:2])
def test_it_shrinks_as_older_blocks_are_freed(truth, record, preload):
    """With as much that is younger: the widths sum to what the allocator holds."""
    t = truth(preload)
    t.command("fill 6000")
    t.command("mark")
    r = record(t.pid)
    time.sleep(0.2)
    t.command("free 2")
    t.command("fill 4000")
    time.sleep(0.2)
    result = r.interrupt().json()
    said = t.say()
    rows, total = widths(result)
    true = old(said, preload)
    noise = 5 * (MEAN * said["asked"]) ** 0.5 + 64 * 1024
    assert abs(rows[BEFORE]["bytes"] - true) < noise, (rows, said)
    # one interval of 95 % misses one time in 20; 2.5 times as wide is 4.9 standard errors
    low, high = rows[BEFORE]["bytes_low"], rows[BEFORE]["bytes_high"]
    assert low < rows[BEFORE]["bytes"] < high
    assert abs(true - (low + high) / 2) < 2.5 * (high - low) / 2 + 64 * 1024, (rows, said)
    assert abs(total - result["allocator_bytes"]) <= 2 * len(result["stacks"])
    every = said["young"][0] + said["young"][1] * HEADER.get(preload, 0)
    assert abs(rows[ROUNDING]["bytes"] - (every - said["asked"])) < 0.1 * (every - said["asked"]) + 32768
    assert abs(result["held_bytes"] - said["asked"]) < noise


def test_few_samples_make_a_large_row_no_less_sure(truth, record):
    """What is not known of what is older is what is not known of the rest, be it that of one sample."""
    t = truth()
    t.command("fill 60000")
    t.command("mark")
    r = record(t.pid, sample=512 * 1024)
    t.command("fill 1500")
    time.sleep(0.2)
    result = r.interrupt().json()
    rows, _ = widths(result)
    row = rows[BEFORE]
    assert row["bytes"] > 16 << 20 and 0 < result["samples_held"] < 20, result
    # upwards there is a bound besides: what was there at the first look
    unsure = 2 * (row["bytes"] - result["before_attach_bytes_low"])
    assert 0 < row["bytes_high"] - row["bytes_low"] < 1.5 * unsure + 512 * 1024, (row, unsure)


def test_exactly(truth, record):
    """Without samples there is no noise."""
    t = truth()
    t.command("fill 6000")
    t.command("mark")
    r = record(t.pid, "--exact", "--before", sample=None)
    time.sleep(0.2)
    t.command("free 2")
    t.command("fill 4000")
    result = r.interrupt().json()
    said = t.say()
    rows, total = widths(result)
    assert abs(rows[BEFORE]["bytes"] - old(said)) < 64 * 1024, (rows, said)
    assert result["held_bytes"] == said["asked"] and total == result["allocator_bytes"]


def test_all_of_it_is_freed(truth, record):
    t = truth()
    t.command("fill 4000")
    t.command("mark")
    r = record(t.pid)
    t.command("free 1")
    t.command("fill 2000")
    result = r.interrupt().json()
    rows, _ = widths(result)
    said = t.say()
    assert said["old"] == (0, 0)
    noise = 5 * (MEAN * said["asked"]) ** 0.5 + 64 * 1024
    assert rows.get(BEFORE, {"bytes": 0})["bytes"] < noise
    assert result["before_attach_bytes_low"] < 64 * 1024


def test_a_process_that_ends(truth, record):
    """The last look is what is known of it."""
    t = truth()
    t.command("fill 4000")
    t.command("mark")
    true = old(t.say())
    r = record(t.pid, "-d", "30s")
    time.sleep(1.5)
    t.target.stop()
    result = r.wait().json()
    rows, _ = widths(result)
    assert result["ended_by"] == "exit"
    assert abs(rows[BEFORE]["bytes"] - true) < 64 * 1024


@pytest.mark.parametrize("option", [("--no-before",), ("--min-size", "100"), ("--older-than", "1ms")])
def test_it_is_left_out(truth, record, option):
    """When told to, and by filters of what is not known of it: sizes and ages."""
    t = truth()
    t.command("fill 4000")
    r = record(t.pid, *option)
    t.command("fill 4000")
    time.sleep(0.1)
    result = r.interrupt().json()
    rows, total = widths(result)
    assert not set(rows) & {BEFORE, ROUNDING, REST, BOTH} and total > 0
    assert ("allocator_bytes" in result) is (option != ("--no-before",))


def test_pictures_have_it(truth, tmp_path):
    t = truth()
    t.command("fill 4000")
    for name in ("x.svg", "x.html", "x.folded", "x.pb.gz", "x.json"):
        run_memwho("alloc", t.pid, "--engine", "agent", "-d", "300ms", "-o", tmp_path / name)
        if name == "x.pb.gz":
            run_memwho("render", tmp_path / name, "-o", tmp_path / "y.folded")
            name = "y.folded"
        assert BEFORE in (tmp_path / name).read_text(errors="replace"), name
    assert "allocator holds" in run_memwho("alloc", t.pid, "--engine", "agent", "-d", "300ms").out


def test_growth_of_it_is_negative(truth, record):
    """--every: what was there before can only become less."""
    t = truth()
    t.command("fill 8000")
    t.command("mark")
    r = record(t.pid, "--every", "500ms", form=None)
    time.sleep(0.8)
    t.command("free 2")
    time.sleep(1.2)
    out = r.interrupt().out
    looks = [look.split("\n\n")[1] for look in out.split("before_truth (")[1:] if "GROWTH" in look]
    grown = [line.split()[6:8] for look in looks for line in look.splitlines() if BEFORE in line]
    assert grown[0] == ["0", "B"] and any(g[0].startswith("-") for g in grown), out
    assert not any(g[0].startswith("+") for g in grown), out
