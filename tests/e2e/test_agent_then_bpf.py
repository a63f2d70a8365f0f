# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Breakpoints of the exact engine never lie in the sampling engine's jumps: the process would die of
it. So whoever counts or records exactly first takes out what a killed memwho has left, or what a child has
inherited; and leaves a process alone that another memwho records."""
import os
import platform
import random
import signal
import subprocess
import time

import pytest
from conftest import PROGRAMS, Recording, run_memwho
from test_agent import agenter, changed_code, done, places, truth, untouched  # noqa: F401
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
# what `memwho alloc PID` is for people (conftest.py asks for the exact engine)
DEFAULT = {"MEMWHO_BUDGET": ""}
# it counts and leaves; it counts, and samples if it must; it records
WAYS = {"counts": (["--engine", "bpf", "--max-slowdown", "1.0001"], {}), "default": ([], DEFAULT),
        "records": (["--engine", "bpf", "--max-slowdown", "100000"], {})}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("modes,program,options", [("aaaa", "victim", ()), ("acnefrsa", "victim", ("-p",)),
                                                   ("a", "victim-static", ("-x",))])
def test_after_one_that_was_killed(victim, needs_bpf, way, modes, program, options):
    """With all jumps in."""
    v = victim(modes, program=program)
    args, env = WAYS[way]
    p = subprocess.Popen([PROGRAMS / "agenter", *options, str(v.pid), "record", "60000"], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline().startswith("attached")
    p.kill()
    p.wait()
    p.stdout.close()
    assert options == ("-p",) or changed_code(v.pid)
    got = run_memwho("alloc", v.pid, "-d", "200ms", "--json", *args, env=env, code=None)
    # or nothing is within its limits, where the victim does nothing else
    assert got.code == 0 or {"counts": "the limit is", "default": "would cost"}.get(way, "-") in got.err, got
    assert "an agent of memwho's that nobody reads is taken out" in got.err, got
    untouched(v.pid)
    assert not v.goes_on()
    v.check()
    assert "nothing of memwho's" in run_memwho("detach", v.pid).out or not changed_code(v.pid)


def test_after_a_kill_at_any_step(victim, needs_bpf):
    v = victim("aac")
    step = random.randrange(100)
    while True:
        code, said, err = agenter(v.pid, "record", 30, options=("-k", step))
        if code != -signal.SIGKILL:
            assert code == 0, (step, code, said, err)
            break
        run_memwho("alloc", v.pid, "-d", "50ms", "--engine", "bpf", "--max-slowdown", "100000")
        # the first call's stub, behind the code, may be there still
        run_memwho("detach", v.pid)
        # a place that was only mapped so far has no table to be emptied by: the next agent's
        assert not changed_code(v.pid) and len(places(v.pid)) <= 1, (step, places(v.pid))
        wrong = v.goes_on()
        assert not wrong, (step, wrong)
        step += 150
    v.check()


@pytest.mark.parametrize("way", WAYS)
def test_a_child_has_inherited_the_jumps(truth, needs_bpf, tmp_path, way):
    """Its parent is recorded still."""
    t = truth("2")
    r = Recording(["alloc", t.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
    t.say("child")
    child = int(t.line())
    try:
        assert changed_code(child)
        args, env = WAYS[way]
        got = run_memwho("alloc", child, "-d", "200ms", "--json", *args, env=env, code=None)
        assert got.code == 0 or way == "counts" and "the limit is" in got.err, got
        untouched(child)
        assert changed_code(t.pid)
        got = r.interrupt().json()
        assert got["ended_by"] == "signal" and "changed_by_others" not in got, got
        untouched(t.pid)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_beside_one_that_records(victim, needs_bpf, tmp_path):
    """It is told by whom, and the first one goes on."""
    v = victim("aac")
    r = Recording(["alloc", v.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
    for args, env in (*WAYS.values(), (("--engine", "agent"), None)):
        got = run_memwho("alloc", v.pid, "-d", "200ms", *args, env=env, code=1)
        assert f"process {v.pid} is recorded by another memwho, process {r.pid}" in got.err, got
        assert "--engine" not in got.err, got
    assert not v.goes_on()
    got = r.interrupt().json()
    assert got["ended_by"] == "signal" and "changed_by_others" not in got, got
    untouched(v.pid)
    v.check()


def test_breakpoints_of_another_memwho(victim, needs_bpf, tmp_path):
    """The agent is told by whom it is kept away, as long as it is."""
    v = victim("aac")
    r = Recording(["alloc", v.pid, "--engine", "bpf", "--max-slowdown", "100000", "--json"], tmp_path / "ready").wait_ready()
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "200ms", code=1)
    assert f"process {v.pid} is recorded by another memwho, process {r.pid}: its breakpoints" in got.err, got
    assert "hint: --engine bpf can record beside it" in got.err, got
    assert r.interrupt().json()["ended_by"] == "signal"
    run_memwho("alloc", v.pid, "--engine", "agent", "-d", "200ms")
    untouched(v.pid)
    v.check()


def test_two_that_begin_at_once(victim, needs_bpf):
    """Whoever is first: one of them records, or both, the second by what the first leaves; nobody's jump has
    a breakpoint in it."""
    v = victim("aac")
    for i in range(6):
        agent = [PROGRAMS / "agenter", str(v.pid), "record", "300"]
        p = subprocess.Popen(agent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(random.uniform(0, 0.06))
        got = run_memwho("alloc", v.pid, "-d", "100ms", "--engine", "bpf", "--max-slowdown", "100000", code=None)
        out, err = p.communicate(timeout=60)
        assert got.code == 0 or "another memwho" in got.err, got
        assert p.returncode == 0 or "breakpoint" in err or "another memwho" in err, (out, err)
        assert "changed" not in out, out
        untouched(v.pid)
        wrong = v.goes_on()
        assert not wrong, (i, wrong)
    v.check()
