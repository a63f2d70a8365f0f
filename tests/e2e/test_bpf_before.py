# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""--before of the exact engine: [before attach] by the allocator's own live figure, less what was
recorded to the byte; against a program that knows how old its blocks are."""
import time

import pytest
from conftest import PROGRAMS, Recording, run_memwho
from hold import Hold
from test_agent_before import ALLOCATORS, BEFORE, BOTH, REST, ROUNDING, old, truth, widths  # noqa: F401

SLACK = 64 * 1024  # what the program's own libraries hold


@pytest.fixture
def record(tmp_path, needs_bpf):
    def start(*args, form="--json"):
        args = ["alloc", *args, "--engine", "bpf", "--max-slowdown", 1000, "--rows", 0, *([form] if form else [])]
        return Recording(args, tmp_path / f"ready-{time.monotonic_ns()}").wait_ready()

    return start


@pytest.mark.parametrize("preload", ALLOCATORS)
def test_it_shrinks_and_the_widths_are_whole(truth, record, preload):  # noqa: F811
    t = truth(preload)
    t.command("fill 6000")
    t.command("mark")
    at_first = old(t.say(), preload)
    r = record(t.pid, "--before")
    t.command("free 2")
    t.command("fill 4000")
    got = r.interrupt().json()
    said = t.say()
    rows, total = widths(got)
    name = BOTH if BOTH in rows else BEFORE
    true = old(said, preload)
    if name == BOTH:  # what all blocks take beyond their bytes is in it
        true += said["young"][0] + said["young"][1] * 8 - said["asked"] if not preload else 0
        assert true - SLACK < rows[name]["bytes"] < at_first
    else:
        assert abs(rows[name]["bytes"] - true) < SLACK + at_first // 200, (rows, said)
        assert abs(rows[ROUNDING]["bytes"] - (said["young"][0] - said["asked"])) < SLACK + said["young"][1] * 8
    assert at_first > true + SLACK
    assert got["held_bytes"] == said["asked"]
    assert total == got["allocator_bytes"] == pytest.approx(got["held_bytes"] + sum(r["bytes"] for r in rows.values()), abs=4)
    assert REST not in rows or rows[REST]["bytes"] < SLACK
    assert got["before_attach_bytes_low"] == got["before_attach_bytes"] == got["before_attach_bytes_high"]


def test_of_several_processes_each_has_its_own(truth, record):  # noqa: F811
    a, b = truth(), truth()
    for t, n in ((a, 3000), (b, 6000)):
        t.command(f"fill {n}")
        t.command("mark")
    r = record(a.pid, b.pid, "--before")
    b.command("free 2")
    got = r.interrupt().json()
    rows = {s["labels"]["pid"]: s["bytes"] for s in got["stacks"] if s["frames"][0] == BEFORE}
    for t in (a, b):
        assert abs(rows[t.pid] - old(t.say())) < SLACK, (rows, t.pid)
    assert sum(rows.values()) == pytest.approx(got["before_attach_bytes"], abs=2)


def test_a_process_that_ends(truth, record):  # noqa: F811
    t = truth()
    t.command("fill 4000")
    t.command("mark")
    true = old(t.say())
    r = record(t.pid, "--before", "-d", "30s")
    time.sleep(1.5)
    t.target.stop()
    got = r.wait().json()
    assert abs(widths(got)[0][BEFORE]["bytes"] - true) < SLACK and got["ended_by"] == "exit"


@pytest.mark.parametrize("option", [(), ("--before", "--min-size", "100"), ("--before", "--older-than", "1ms"),
                                    ("--before", "--peak")])
def test_without_it_rows_are_what_was_asked_for(truth, record, option):  # noqa: F811
    t = truth()
    t.command("fill 4000")
    r = record(t.pid, *option)
    t.command("fill 4000")
    time.sleep(0.1)
    got = r.interrupt().json()
    rows, total = widths(got)
    assert not set(rows) & {BEFORE, ROUNDING, REST, BOTH} and total > 0
    assert ("allocator_bytes" in got) is bool(option)


def test_table_and_pictures_have_it(truth, tmp_path, needs_bpf):  # noqa: F811
    t = truth()
    t.command("fill 4000")
    for name in ("x.svg", "x.pb.gz", "x.json"):
        out = run_memwho("alloc", t.pid, "--before", "--engine", "bpf", "-d", "300ms", "-o", tmp_path / name)
        if name == "x.pb.gz":
            run_memwho("render", tmp_path / name, "-o", tmp_path / "y.folded")
            name = "y.folded"
        assert BEFORE in (tmp_path / name).read_text(errors="replace"), name
    out = run_memwho("alloc", t.pid, "--before", "--engine", "bpf", "-d", "300ms").out
    assert "allocator holds" in out and BEFORE in out


def test_where_it_is_not_known(needs_bpf):
    """Or is: nothing is left out silently."""
    with Hold(PROGRAMS / "hold") as hold:
        got = run_memwho("alloc", hold.pid, "--before", "--engine", "bpf", "-d", "300ms", "--json").json()
        assert "before_attach_bytes" in got or "before_attach_unknown" in got
