# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Storms with a known answer (programs/stress.c): threads that free and move
each other's blocks, threads, children, libraries and programs that come and go
faster than anybody can look. What is reported must be the truth to the byte;
what cannot be recorded must be a figure.
"""
import json
import os
import shutil
import signal
import time

import pytest

from conftest import PROGRAMS, run_memwho
from hold import Hold, compare, library, stacks_of_json

ALL = ("--max-slowdown", "100000")
NO_MULTI = {"MEMWHO_WITHOUT": "uprobe_multi"}
SITES = ("site_malloc", "site_calloc", "site_realloc", "site_memalign", "site_reallocarray")
CATCH_UP_S = 1.5  # what begins and ends is told to memwho, which may have had no processor yet
LOSSES = ("lost_events", "lost_bytes", "lost_calls", "stacks_not_stored", "late_modules")


def by_site(result, pid=None):
    """{site: [bytes, blocks]} of one process."""
    held = {}
    for s in result["stacks"]:
        if pid and s["labels"]["pid"] != pid or not s["count"]:
            continue
        site = next((f for f in s["frames"] if f.startswith("site_")), None)
        row = held.setdefault(site, [0, 0])
        row[0] += s["bytes"]
        row[1] += s["count"]
    return held


def truth_of(target, timeout=120):
    line = target.line(timeout)
    assert line.startswith("truth "), line
    return {k: v for k, v in json.loads(line[6:]).items() if v != [0, 0]}


def storm(record, target, *args, options=(), env=None, preload=None, timeout=120):
    """Attach, let it storm; (result, truth, pid)."""
    environment = {"LD_PRELOAD": str(library(preload) or PROGRAMS / preload)} if preload else {}
    t = target("stress", *args, env=environment)
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", *ALL, *options, env=env)
    t.say()
    truth = truth_of(t, timeout)
    if "--follow" in options:
        time.sleep(CATCH_UP_S)
    return r.interrupt().json(), truth, t.pid


def sites_only(held):
    return {k: v for k, v in held.items() if k}


def nothing_lost(result):
    assert {k: result[k] for k in LOSSES} == dict.fromkeys(LOSSES, 0)


@pytest.mark.parametrize("preload", [None, "libjemalloc.so.2", "libtcmalloc.so.4"])
@pytest.mark.parametrize("env", [None, NO_MULTI], ids=["multi", "perf"])
def test_blocks_that_change_hands(record, target, needs_bpf, preload, env):
    result, truth, pid = storm(record, target, "swap", 16, 2000, env=env, preload=preload)
    assert sites_only(by_site(result)) == truth
    assert sum(v[0] for v in truth.values()) > 1_000_000
    nothing_lost(result)
    assert result["failed_allocations"] > 100  # and the blocks lived on


@pytest.mark.parametrize("env", [None, NO_MULTI], ids=["multi", "perf"])
def test_an_allocator_that_jumps(record, target, needs_bpf, env):
    """Functions that jump to one another, also within a call of another."""
    n = 600
    result, truth, pid = storm(record, target, "grow", n, env=env, preload="tail_alloc.so")
    assert sites_only(by_site(result)) == truth
    nothing_lost(result)
    # each once: made and moved, and a second one for every second
    assert result["allocations"] == 2 * n + n // 2
    assert result["internal_calls"] >= 2 * n  # calloc, and the malloc that it jumps to


def test_a_throng_of_threads(record, target, needs_bpf):
    """More threads in the middle of an allocation than there are processors."""
    result, truth, pid = storm(record, target, "throng", 600, 60)
    assert sites_only(by_site(result)) == truth
    nothing_lost(result)


def test_thousands_of_threads(record, target, needs_bpf):
    result, truth, pid = storm(record, target, "threads", 3000)
    assert sites_only(by_site(result)) == truth
    nothing_lost(result)


def test_a_thread_that_is_named_later(record, target, needs_bpf):
    result, truth, pid = storm(record, target, "named")
    assert sites_only(by_site(result)) == truth
    assert {s["labels"]["thread"] for s in result["stacks"]
            if "site_malloc" in s["frames"]} == {"worker"}


@pytest.mark.parametrize("env", [None, NO_MULTI], ids=["multi", "perf"])
def test_a_fork_storm_disturbs_nothing(record, target, needs_bpf, env):
    result, truth, pid = storm(record, target, "forks", 1500, 0, env=env)
    assert sites_only(by_site(result)) == truth
    assert {s["labels"]["pid"] for s in result["stacks"]} == {pid}
    nothing_lost(result)


def test_a_fork_storm_is_followed_or_counted(record, target, needs_bpf):
    n = 300
    result, truth, pid = storm(record, target, "forks", n, 1, options=("--follow",))
    assert sites_only(by_site(result, pid)) == truth
    children = [p for p in result["processes"] if p["pid"] != pid]
    # nobody is forgotten: each child was recorded or is counted
    assert len(children) + result["lost_children"] == n
    assert all(p["ended_by"] == "exit" for p in children)
    assert result["lost_events"] == 0


def test_children_that_stay_are_recorded_each_for_itself(record, target, needs_bpf):
    result, truth, pid = storm(record, target, "forks", 12, 3000, options=("--follow",))
    assert sites_only(by_site(result, pid)) == truth
    children = [p["pid"] for p in result["processes"] if p["pid"] != pid]
    assert len(children) == 12 and result["lost_children"] == 0
    # what they allocated before we came is not known; nothing is that is not theirs
    for child in children:
        assert set(by_site(result, child)) <= {"site_malloc"}
        assert by_site(result, child).get("site_malloc", [0, 0])[0] <= 10 * 1000


@pytest.mark.parametrize("rounds,ms", [(30, 20), (8, 500)], ids=["quick", "slow"])
def test_libraries_at_the_same_place(record, target, needs_bpf, rounds, ms):
    """A stack has the name of the library that was there, not of the one that has
    come in its place; what came and went before we could look has none."""
    result, truth, pid = storm(record, target, "plugins", PROGRAMS / "stress_first.so",
                               PROGRAMS / "stress_second.so", rounds, ms)
    named, unknown = {"first_site": 0, "second_site": 0}, 0
    for s in result["stacks"]:
        if s["frames"][0] in named:
            assert s["bytes"] == s["count"] * (1000 if s["frames"][0] == "first_site" else 2000)
            named[s["frames"][0]] += s["count"]
        elif s["bytes"] % 1000 == 0 and s["bytes"]:
            assert s["frames"][0].startswith("[") or "+0x" in s["frames"][0], s
            unknown += s["bytes"]
    assert named["first_site"] * 1000 + named["second_site"] * 2000 + unknown == rounds * 3000
    # the second call of each visit comes when it has been seen
    if ms == 500:
        assert named == {"first_site": rounds, "second_site": rounds} and not unknown
        assert sum(s["count"] for s in result["stacks"]
                   if s["frames"][0] in named and "main" in s["frames"]) >= rounds


def test_throws_and_jumps_by_the_thousand(record, needs_bpf):
    for preload in (None, "libjemalloc.so.2"):
        with Hold(PROGRAMS / "hold", preload=preload) as hold:
            hold.command("warm 1")
            r = record("alloc", hold.pid, "--json", *ALL)
            hold.command("mark")
            for command in ("throw 2000", "longjmp 2000", "go 2", "throw 2000", "regrow 5"):
                hold.command(command)
            truth = hold.truth()
            result = r.interrupt().json()
            assert hold.alive()
        score = compare(stacks_of_json(result), truth)
        assert score.path_error == 0, score.explain()
        nothing_lost(result)


def test_a_chain_of_programs(record, target, needs_bpf):
    """Every life of a process that replaces itself is a record of its own, or
    is counted."""
    n = 6
    t = target("stress", "chain", n, 1500)
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", "--follow", *ALL)
    t.say()
    truth = truth_of(t)
    time.sleep(CATCH_UP_S)
    result = r.interrupt().json()
    assert len(result["processes"]) + result["lost_children"] == n + 1
    ended = [p["ended_by"] for p in result["processes"]]
    assert set(ended[:-1]) == {"exec"}
    # on a slow machine we may come too late for one
    assert ended[-1] == "" or result["lost_children"]
    assert len(ended) >= 4
    each = truth["site_malloc"][1]
    assert each <= by_site(result)["site_malloc"][1] <= (n + 1) * each


def test_a_quick_chain_of_programs(record, target, needs_bpf):
    """Faster than anybody can attach: the last life is the one that is left."""
    n = 40
    t = target("stress", "chain", n, 0)
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", "--follow", *ALL)
    t.say()
    truth_of(t)
    time.sleep(2)
    t.say()
    result = r.wait().json()
    assert len(result["processes"]) + result["lost_children"] >= 2
    ended = [p["ended_by"] for p in result["processes"]]
    assert set(ended[:-1]) <= {"exec"}
    assert ended[-1] == "exit" or ended[-1] == "exec" and result["lost_children"]
    assert result["ended_by"] == ended[-1]


def test_children_of_a_shell_are_recorded_or_counted(needs_bpf, tmp_path):
    """Programs that are over before anybody can attach to them."""
    n = 25
    out = tmp_path / "held.json"
    run_memwho("run", "--follow", "-o", out, "--", "sh", "-c",
               f"i=0; while [ $i -lt {n} ]; do /bin/true; i=$((i+1)); done; echo over")
    result = json.loads(out.read_text())
    # one that was recorded until it became /bin/true, and lost then, is there as a shell, too
    recorded = [p for p in result["processes"][1:] if p["ended_by"] != "exec"]
    assert len(recorded) + result["lost_children"] == n
    assert result["ended_by"] == "exit"


def test_another_program_in_the_child(needs_bpf, tmp_path):
    """A child that has replaced its program before it was seen: what was found in
    the parent does not hold for it."""
    out = tmp_path / "held.json"
    run_memwho("run", "--follow", "-o", out, "--", "sh", "-c",
               f"(sleep 5; printf 'mark\\nmany 33\\nquit\\n') | {PROGRAMS / 'hold-static'}; true")
    result = json.loads(out.read_text())
    assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 33
    assert "hold-static" in [p["command"] for p in result["processes"]]


def test_stopped_for_a_while(record, target, needs_bpf):
    """memwho may be stopped: the target goes on, and nothing is lost."""
    t = target("stress", "swap", 4, 3000)
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", *ALL)
    os.kill(r.pid, signal.SIGSTOP)
    t.say()
    truth = truth_of(t)
    os.kill(r.pid, signal.SIGCONT)
    result = r.interrupt().json()
    assert sites_only(by_site(result)) == truth
    nothing_lost(result)


def test_it_ends_while_it_is_stopped(record, target, needs_bpf):
    t = target("stress", "forks", 4000, 0)
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", "--follow", *ALL)
    os.kill(r.pid, signal.SIGSTOP)
    t.say()
    truth = truth_of(t)
    t.say()
    t.process.wait()
    os.kill(r.pid, signal.SIGCONT)
    result = r.wait(timeout=60).json()
    assert result["ended_by"] == "exit"
    assert sites_only(by_site(result, t.pid)) == truth


JIT = """
const keep = [];
let n = 0;
console.log("ready");
setInterval(() => {
  for (let i = 0; i < 100; i++) {
    const f = new Function("a", `let s = 0; for (let k = 0; k < 60; k++) s += a * k; return s + ${n++};`);
    for (let j = 0; j < 200; j++) f(j);
    keep.push(Buffer.alloc(300 + n % 100));
    if (keep.length > 3000) keep.splice(0, 1500);
  }
}, 5);
"""


def test_code_that_is_made_while_we_look(record, target, needs_bpf, tmp_path):
    """A JIT makes executable mappings all the time; looking at them must not
    take our time from the end of the recording, nor the target's."""
    node = shutil.which("node")
    if not node:
        pytest.skip("needs node (apt-get install nodejs)")
    (tmp_path / "jit.js").write_text(JIT)
    t = target(node, tmp_path / "jit.js")
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", *ALL)
    time.sleep(5)
    begun = time.monotonic()
    result = r.interrupt().json()
    assert time.monotonic() - begun < 10
    assert result["ended_by"] == "signal"
    nothing_lost(result)
    assert result["allocations"] > 1000
    assert result["memwho_cpu_seconds"] < 5
    assert t.process.poll() is None
