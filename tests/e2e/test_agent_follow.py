# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""--follow of the agent: children by fork, theirs, what they exec, and those that end at once;
against processes that say themselves what they hold (tests/programs/forker.c)."""
import json
import platform
import time

import conftest
import pytest
from conftest import PROGRAMS, Recording, Target, run_memwho
from hold import Hold, compare, stacks_of_json

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")


class Forker:
    def __init__(self, target):
        self.target, self.pid = target, target.pid

    def command(self, text):
        self.target.say(text)
        return self.target.line(60).split()

    def pids(self, text):
        return [int(w) for w in self.command(text)]

    def fill(self):
        words = [int(w) for w in self.command("fill")]
        return dict(zip(words[::2], words[1::2]))


@pytest.fixture
def forker():
    t = Target([PROGRAMS / "forker"])
    assert t.line().split()[0] == "ready"
    yield Forker(t)
    t.stop()


@pytest.fixture
def record(tmp_path):
    def start(pid, *args):
        return Recording(["alloc", pid, "--engine", "agent", "--follow", "--json", "--rows", 0, *args],
                         tmp_path / f"ready-{time.monotonic_ns()}").wait_ready()

    return start


def filled(got):
    """{pid: bytes} of what was allocated by the program's site."""
    sums = {}
    for s in got["stacks"]:
        if "site_fill" in s["frames"]:
            sums[s["labels"]["pid"]] = sums.get(s["labels"]["pid"], 0) + s["bytes"]
    return sums


def settle(n):
    """Until memwho has taken in that many (on a loaded machine)."""
    time.sleep(0.5 + 0.25 * n)


def test_children_grandchildren_and_what_they_exec(forker, record):
    """0 bytes off: each was taken in before it allocated."""
    r = record(forker.pid, "--exact")
    workers = forker.pids("workers 3")
    settle(3)
    grand = forker.pids("grand")
    settle(3)
    first = forker.fill()
    assert set(first) == {forker.pid, *workers, *grand} and len(set(first.values())) > 3
    second = forker.fill()
    got = r.interrupt().json()
    assert "children_unseen_seconds" not in got
    assert filled(got) == second, {k: v for k, v in got.items() if k != 'stacks'}
    assert got["lost_children"] == 0 and got["lost_events"] == 0
    assert [p["pid"] for p in got["processes"]][0] == forker.pid
    assert {p["pid"] for p in got["processes"]} == set(second)
    for pid in second:
        assert conftest.changed_code(pid) == []
    assert sum(s["bytes"] for s in got["stacks"]) == got["held_bytes"]


def test_a_child_that_execs(forker, record):
    """Another program, so other addresses, and a plan of its own."""
    r = record(forker.pid, "--exact")
    workers = forker.pids("workers 2")
    settle(2)
    forker.command("exec")
    settle(2)
    said = forker.fill()
    got = r.interrupt().json()
    assert filled(got) == said, {k: v for k, v in got.items() if k != 'stacks'}
    how = {}
    for p in got["processes"]:
        how.setdefault(p["pid"], []).append(p["ended_by"])
    assert how == {forker.pid: [""], workers[0]: ["exec", ""], workers[1]: ["exec", ""]}
    assert got["lost_children"] == 0
    for pid in said:
        assert conftest.changed_code(pid) == []


def test_sampled(forker, record):
    mean = 4096
    for _ in range(3):
        before = forker.fill()[forker.pid]
    r = record(forker.pid, "--sample", mean)
    forker.pids("workers 3")
    settle(3)
    for _ in range(4):
        said = forker.fill()
        time.sleep(0.1)
    time.sleep(0.3)
    got = r.interrupt().json()
    found = filled(got)
    said[forker.pid] -= before
    older = {s["labels"]["pid"]: s["bytes"] for s in got["stacks"] if s["frames"][0] == "[before attach]"}
    for pid, true in said.items():
        assert abs(found.get(pid, 0) - true) < 5 * (mean * true) ** 0.5, (pid, found, said)
        # what a child has inherited was there before; 16 bytes of each block are the allocator's
        assert abs(older[pid] - before) < 5 * (mean * true) ** 0.5 + 0.08 * before, (pid, older, before)


@pytest.mark.parametrize("how", ["quick", "vquick"])
def test_children_that_end_at_once_are_counted(forker, record, how):
    """Never silent: each of them was recorded, or is counted as lost."""
    r = record(forker.pid, "--exact")
    for _ in range(2):
        assert forker.command(f"{how} 30") == ["ok"]
    said = forker.fill()
    got = r.interrupt().json()
    seen = {p["pid"] for p in got["processes"]} - {forker.pid}
    assert len(seen) + got["lost_children"] >= 60 and got["lost_children"] <= 60, (seen, got["lost_children"])
    # that one has ended is no fault of its code
    assert not [x for x in got.get("left_out", []) if "cannot be" in x["reason"]], got["left_out"]
    assert filled(got) == said
    assert conftest.changed_code(forker.pid) == []


def test_a_vfork_child_is_not_touched(forker, record):
    """It has its parent's memory for half a second: whoever undid the jumps there would undo them here."""
    r = record(forker.pid, "--exact")
    patched = conftest.changed_code(forker.pid)
    forker.target.say("vslow")
    time.sleep(0.3)
    assert conftest.changed_code(forker.pid) == patched != []
    assert forker.target.line(60) == "ok"
    assert conftest.changed_code(forker.pid) == patched
    said = forker.fill()
    got = r.interrupt().json()
    assert filled(got) == said and conftest.changed_code(forker.pid) == []


def test_without_the_kernels_events(forker, record, monkeypatch):
    """As without privileges: by /proc, which cannot count those that end at once, and says so."""
    monkeypatch.setenv("MEMWHO_WITHOUT", "fork_events")
    r = record(forker.pid, "--exact")
    workers = forker.pids("workers 2")
    settle(2)
    grand = forker.pids("grand")
    settle(2)
    forker.command("quick 5")
    said = forker.fill()
    got = r.interrupt().json()
    assert set(said) == {forker.pid, *workers, *grand}
    assert filled(got) == said
    assert got["children_unseen_seconds"] >= 0.02


def test_until_it_is_taken_in_a_copy_only_passes(forker, tmp_path):
    """And without --follow it is left so."""
    r = Recording(["alloc", forker.pid, "--engine", "agent", "--exact", "--json"], tmp_path / "ready").wait_ready()
    forker.pids("workers 2")
    said = forker.fill()
    got = r.interrupt().json()
    assert filled(got) == {forker.pid: said[forker.pid]} and "lost_children" not in got


def test_each_site_of_a_child(record):
    with Hold(PROGRAMS / "hold") as hold:
        r = record(hold.pid, "--exact")
        hold.command("mark")
        child = int(hold.command("fork"))
        time.sleep(1.5)
        hold.command("child mark")
        hold.command("child go 3")
        hold.command("go 2")
        ours, theirs = hold.truth(), hold.truth(child=True)
        got = r.interrupt().json()
    for pid, truth in ((hold.pid, ours), (child, theirs)):
        stacks = [s for s in got["stacks"] if s["labels"]["pid"] == pid]
        score = compare(stacks_of_json({"stacks": stacks}), truth)
        assert score.path_error == 0, (pid, score.explain())


def test_run(tmp_path):
    """The shell's child; the shell waits for it."""
    out = tmp_path / "held.json"
    run_memwho("run", "--engine", "agent", "--sample", "16K", "--follow", "-o", out, "--", "sh", "-c",
               f"(sleep 3; printf 'mark\\nmany 20000\\n'; sleep 1; printf 'quit\\n') | {PROGRAMS / 'hold'} >/dev/null; true")
    got = json.loads(out.read_text())
    n = sum(s["count"] for s in got["stacks"] if "site_01" in s["frames"])
    assert abs(n - 20000) < 6000 and got["engine"] == "agent", got
    assert len(got["processes"]) > 1
