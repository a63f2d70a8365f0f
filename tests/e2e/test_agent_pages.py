# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 once
"""alloc --engine agent --patch page: the jumps are in copies of the code's pages. Uprobes of others
may be anywhere in the functions, before and while it records, and hit; the file's own pages come back
when it ends; and memwho is killed before its steps."""
import os
import platform
import signal
import time

import pytest
from conftest import PROGRAMS, Recording, run_memwho
from test_agent import (EVERY, KILLED, agenter, changed_code, done, kill_before_steps, kill_mean,  # noqa: F401
                        kill_while_cleaning, mappings, next_attach, truth, untouched)
from test_agent_offsets import Uprobe, instructions, where_it_is_patched
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
PAGE = 4096
MIMALLOC = next((p for p in ("/usr/lib/x86_64-linux-gnu/libmimalloc.so.2",) if os.path.exists(p)), None)


def code_of_files(pid):
    """[(start, end, offset, file)] of what can be executed, joined where it goes on."""
    found = []
    for m in mappings(pid):
        if "x" not in m[1] or len(m) < 6 or not m[5].strip().startswith("/"):
            continue
        start, end = (int(x, 16) for x in m[0].split("-"))
        offset, name = int(m[2], 16), m[5].strip()
        if found and found[-1][1] == start and found[-1][3] == name and found[-1][2] + start - found[-1][0] == offset:
            start, offset = found.pop()[0::2][:2]
        found.append((start, end, offset, name))
    return found


def copies(pid):
    """Pages of code between two pieces of one file that are of no file."""
    rows, found = mappings(pid), 0
    for before, m, behind in zip(rows, rows[1:], rows[2:]):
        if m[1] == "r-xp" and m[4] == "0" and len(m) == 5 and len(before) == len(behind) == 6 and before[5] == behind[5]:
            start, end = (int(x, 16) for x in m[0].split("-"))
            found += (end - start) // PAGE
    return found


def home(pid, before):
    """All is as it was."""
    untouched(pid)
    assert code_of_files(pid) == before


@pytest.mark.parametrize("modes, program, preload", [
    ("acnefrsa", "victim", None), ("ac", "victim-static", None), ("ac", "victim", MIMALLOC)])
def test_pages_come_and_go(victim, modes, program, preload):
    v = victim(modes, program=program, preload=preload)
    before = code_of_files(v.pid)
    for _ in range(3):
        done(agenter(v.pid, "record", 100, options=("-p", "-m", 32768)))
        home(v.pid, before)
    # and the other way in the same place
    done(agenter(v.pid, "record", 50))
    home(v.pid, before)
    v.check()
    assert v.eintr == 0 and not v.tracers()


@pytest.mark.parametrize("more", [["--sample", "16K"], ["--exact"]])
def test_what_is_recorded(victim, tmp_path, more):
    v = victim("aa")
    before = code_of_files(v.pid)
    r = Recording(["alloc", v.pid, "--engine", "agent", "--patch", "page", "--json", *more], tmp_path / "ready").wait_ready()
    assert copies(v.pid) and not changed_code(v.pid)
    time.sleep(1.2)  # the modules are looked at again meanwhile
    got = r.interrupt().json()
    assert got["patched_pages"] >= 1 and got["patched_functions"] == 8 and got["lost_events"] == 0, got
    known = [s for s in got["stacks"] if {"allocate", "work"} & set(s["frames"])]
    assert got.get("stacks_not_stored") or known, got["stacks"]
    home(v.pid, before)
    v.check()


def test_uprobes_anywhere(victim, tmp_path):
    """One is set into each instruction under our jumps of two functions, before and later, and all are
    hit all the time; while the copies are there they do not fire, later they do."""
    v = victim("aac")
    before = code_of_files(v.pid)
    for name in ("malloc", "calloc"):
        first = where_it_is_patched(v, name, tmp_path)
        for at in instructions(v.pid, first):
            early = Uprobe(v.pid, at)
            r = Recording(["alloc", v.pid, "--engine", "agent", "--patch", "page", "--json"], tmp_path / f"r{at}").wait_ready()
            assert copies(v.pid)
            assert early.end() >= 0  # it is taken away while its page is aside
            # set later: the file's page is where the kernel finds it
            m = next(c for c in before if c[0] <= at < c[1])
            later = Uprobe(v.pid, at, file=(m[3], at - m[0] + m[2]))
            assert not v.goes_on(30)
            time.sleep(0.3)
            got = r.interrupt().json()
            assert got["ended_by"] == "signal" and "changed_by_others" not in got, got
            assert changed_code(v.pid) == [at]  # theirs, where it belongs
            assert not v.goes_on(30)
            assert later.end() > (10 if name == "malloc" else -1)
            home(v.pid, before)
    v.check()


def test_a_child_has_the_copies(truth, tmp_path):  # noqa: F811
    t = truth("2")
    r = Recording(["alloc", t.pid, "--engine", "agent", "--patch", "page"], tmp_path / "ready").wait_ready()
    for _ in range(3):
        t.say("fork")
        assert t.line(60) == "status 0"
    t.say("child")
    child = int(t.line())
    try:
        r.interrupt()
        r.wait()
        untouched(t.pid)
        assert copies(child)
        assert done(agenter(child, "clean"))["agent"] == "1"
        untouched(child)
        assert not copies(child)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("modes, program", KILLED)
def test_killed_before_every_step(victim, modes, program):
    v = victim(modes, program=program)
    before = code_of_files(v.pid)

    def clean(killed):
        if killed % 3:
            next_attach(v.pid, killed, ("-p",) if killed % 3 == 1 else ())
        else:
            run_memwho("detach", v.pid)
        home(v.pid, before)

    # three quarters of the steps are those of the other way, too
    killed = kill_before_steps(v, (EVERY + 3) // 4, ("-p", "-m", kill_mean(modes)), clean)
    assert killed
    assert v.eintr <= killed


def test_killed_while_cleaning(victim):
    v = victim("acnefrsa")
    before = code_of_files(v.pid)
    kill_while_cleaning(v, ("-p",), lambda: home(v.pid, before), lambda: copies(v.pid))


def test_what_is_said(victim):
    v = victim("a")
    for args, says in ((["--engine", "bpf", "--patch", "page"], "--patch is the agent's"),
                       (["--engine", "agent", "--patch", "all"], "--patch all: code or page")):
        got = run_memwho("alloc", v.pid, *args, "-d", "1s", code=None)
        assert got.code == 2 and says in got.err, got
    untouched(v.pid)
