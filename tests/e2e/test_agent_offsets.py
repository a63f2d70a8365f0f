# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""Uprobes of others in the middle of the functions that the sampling engine patches (perf can set
them; bpftrace checks that an instruction begins there, and may, too): before, and while it records."""
import platform
import re
import signal
import subprocess
import time

import pytest
from conftest import PROGRAMS, Recording, Target, run_memwho
from test_agent import changed_code, first_bytes, mappings, places
from victim import Victim

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")


class Uprobe:
    """At run-time address @at of @pid, which is at @file's (name, offset)."""

    def __init__(self, pid, at, file=None):
        if not file:
            m = next(m for m in mappings(pid) if int(m[0].split("-")[0], 16) <= at < int(m[0].split("-")[1], 16))
            file = m[5].strip(), at - int(m[0].split("-")[0], 16) + int(m[2], 16)
        self.process = subprocess.Popen([PROGRAMS / "uprobe_raw", file[0], hex(file[1]), str(pid)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "set\n":
            said = self.process.communicate()
            if self.process.returncode == 77:
                pytest.skip(f"no uprobes by perf: {said[1]}")
            raise AssertionError(said)

    def end(self):
        """-> hits"""
        out, _ = self.process.communicate(timeout=30)
        return int(out)


@pytest.fixture
def truth():
    started = []

    def start(*args):
        started.append(Target([PROGRAMS / "agent_truth", *args]))
        assert started[-1].line() == "ready"
        return started[-1]
    yield start
    for t in started:
        t.stop()


def its_sums(t):
    t.say("round")
    words = t.line(60).split()
    t.say("drop")
    assert t.line(60) == "dropped"
    return words


def where_it_is_patched(t, name, tmp_path, mode=()):
    """Where the jump lies in @name; found by a recording. (One of the other kind would have other code,
    and a place of its own.)"""
    r = Recording(["alloc", t.pid, "--engine", "agent", *mode, "--json"], tmp_path / "look").wait_ready()
    at = first_bytes(t.pid, name)
    found = [a for a in changed_code(t.pid) if at <= a < at + 32]
    r.interrupt()
    (tmp_path / "look").unlink(missing_ok=True)
    assert found and not changed_code(t.pid)
    return found[0]


def instructions(pid, at):
    """Where the file's instructions begin in the five bytes of our jump."""
    m = next(m for m in mappings(pid) if int(m[0].split("-")[0], 16) <= at < int(m[0].split("-")[1], 16))
    bias = at - (int(m[0].split("-")[0], 16) - int(m[2], 16))  # libc: addresses are offsets, but for data
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", f"--start-address={bias}", f"--stop-address={bias + 32}",
                          m[5].strip()], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = [int(w[1], 16) for w in re.finditer(r"^ +([0-9a-f]+):\t", out, re.M)]
    assert found[0] == bias, out
    return [at + f - bias for f in found if f < bias + 5]


@pytest.mark.parametrize("name", ["malloc", "free"])
def test_set_before(truth, tmp_path, name):
    """At each instruction that our jump would lie over. Without free there is no recording; without
    malloc it is left out, which is said. Nothing of theirs is touched."""
    t = truth()
    for at in instructions(t.pid, where_it_is_patched(t, name, tmp_path)):
        probe = Uprobe(t.pid, at)
        assert changed_code(t.pid) == [at]
        got = run_memwho("alloc", t.pid, "--engine", "agent", "-d", "300ms", code=None)
        assert f"{name} cannot be patched: somebody's breakpoint is in it" in got.out + got.err, got
        assert (got.code == 0) == (name == "malloc"), got
        assert changed_code(t.pid) == [at]
        its_sums(t)
        assert probe.end() > 1000
        assert not changed_code(t.pid)


@pytest.mark.parametrize("name", ["malloc", "free"])
def test_set_later(truth, tmp_path, name):
    """While the target makes no calls: memwho sees it and leaves. Then the probe stands among the file's
    own bytes, and fires."""
    t = truth()
    for at in instructions(t.pid, where_it_is_patched(t, name, tmp_path)):
        r = Recording(["alloc", t.pid, "--engine", "agent", "--json"], tmp_path / f"ready{at}").wait_ready()
        time.sleep(0.3)
        start = time.monotonic()
        probe = Uprobe(t.pid, at)
        got = r.wait(timeout=20).json()
        took = time.monotonic() - start
        assert got["ended_by"] == "guard" and got["changed_by_others"] == name, got
        assert took < 8, took  # it looks a hundred times a second; the rest is the report, on a machine that is in use
        assert changed_code(t.pid) == [at]
        its_sums(t)
        assert probe.end() > 1000
        assert not changed_code(t.pid)
        its_sums(t)


@pytest.mark.parametrize("name, stands, mode", [("malloc", False, []), ("malloc", True, []), ("free", False, []),
                                                ("free", True, []), ("malloc", True, ["--exact"])])
def test_set_while_it_is_called(tmp_path, name, stands, mode):
    """Our jump lies on one instruction there, so that theirs is at its first byte: it is hit before memwho
    has left (which stands still for a second at first, if @stands)."""
    v = Victim(tmp_path / "board", "aac")
    try:
        at = where_it_is_patched(v, name, tmp_path, mode)
        assert instructions(v.pid, at) == [at]
        r = Recording(["alloc", v.pid, "--engine", "agent", *mode, "--json"], tmp_path / "ready").wait_ready()
        if stands:
            r.process.send_signal(signal.SIGSTOP)
        probe = Uprobe(v.pid, at)
        time.sleep(1 if stands else 0)
        assert not v.goes_on(30)
        r.process.send_signal(signal.SIGCONT)
        got = r.wait(timeout=30).json()
        assert got["ended_by"] == "guard" and got["changed_by_others"] == name, got
        assert changed_code(v.pid) == [at]
        assert not v.goes_on(30)
        assert probe.end() > 100
        assert not v.goes_on(30)
        v.check()
        assert changed_code(v.pid) == [] and len(places(v.pid)) <= 1
    finally:
        v.stop()
