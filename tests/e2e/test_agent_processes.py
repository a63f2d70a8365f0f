# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The agent in several processes at once: each one's sites against what that one says it holds, by
samples and exactly; one that cannot be recorded is named, and the others go on."""
import os
import platform
import signal
import subprocess
import time

import conftest
import pytest
from conftest import PROGRAMS, Recording, Target, run_memwho
from hold import Hold
from victim import victim  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
MEAN = 32 * 1024


@pytest.fixture
def truths():
    started = []

    def start(*programs):
        for p in programs:
            started.append(Target([PROGRAMS / p, "0"]))
            assert started[-1].line() == "ready"
        return started

    yield start
    for t in started:
        t.stop()


@pytest.fixture
def record(tmp_path):
    def start(*args):
        return Recording(["alloc", *args, "--engine", "agent", "--json", "--rows", 0],
                         tmp_path / f"ready-{time.monotonic_ns()}").wait_ready()

    return start


def noise(true):
    """5 standard errors of an estimate of that many bytes, above what a block rounds to."""
    return 5 * (MEAN * true) ** 0.5 + 1024


def rounds(targets):
    """{pid: {site: bytes}}"""
    for t in targets:
        t.say("round")
    words = {t.pid: t.line(60).split() for t in targets}
    return {pid: dict(zip(w[::2], map(int, w[1::2]))) for pid, w in words.items()}


def sites(got, pid, names):
    """{site: (bytes, low, high)}; what threads cost the C library is no site's."""
    found = {name: [0, 0, 0] for name in names}
    for s in got["stacks"]:
        for name in set(names) & set(s["frames"]) if s["labels"]["pid"] == pid else ():
            if "pthread_create" in " ".join(s["frames"]):
                continue
            for i, key in enumerate(("bytes", "bytes_low", "bytes_high")):
                found[name][i] += s.get(key, s["bytes"])
    return found


def test_sampled(truths, record):
    """Two programs do different things at the same time."""
    a, b = truths("agent_truth", "agent_truth-static")
    r = record(a.pid, b.pid, "--sample", MEAN)
    said = rounds([a])
    said.update(rounds([a, b]))
    time.sleep(0.3)
    got = r.interrupt().json()
    # the first has made two rounds
    for pid, times in ((a.pid, 2), (b.pid, 1)):
        found = sites(got, pid, said[pid])
        for name, true in said[pid].items():
            true *= times
            assert abs(found[name][0] - true) < noise(true), (pid, name, true, found[name])
        held = sum(v[0] for v in found.values())
        true = times * sum(said[pid].values())
        assert abs(held - true) < noise(true), (pid, held, true)
    whole = 2 * sum(said[a.pid].values()) + sum(said[b.pid].values())
    assert abs(got["held_bytes"] - whole) < noise(whole)
    width = 2 * 1.96 * (MEAN * whole) ** 0.5
    assert 0.7 * width < got["held_bytes_high"] - got["held_bytes_low"] < 1.1 * width, got
    # what there is of one process is the sum of both
    assert sum(s["bytes"] for s in got["stacks"]
               if not s["frames"][0].startswith("[")) == pytest.approx(got["held_bytes"], abs=len(got["stacks"]))
    assert abs(sum(s["bytes"] for s in got["stacks"]) - got["allocator_bytes"]) < noise(whole)
    assert [p["pid"] for p in got["processes"]] == [a.pid, b.pid]
    assert got["target"].endswith("and 1 more") and got["lost_events"] == 0
    assert got["samples_held"] == sum(s["samples"] for s in got["stacks"] if not s["frames"][0].startswith("["))
    for t in (a, b):
        assert conftest.changed_code(t.pid) == []


def test_exact(truths, record):
    a, b = truths("agent_truth", "agent_truth")
    r = record(a.pid, b.pid, "--exact")
    said = rounds([a, b])
    got = r.interrupt().json()
    for pid in said:
        assert {k: v[0] for k, v in sites(got, pid, said[pid]).items()} == said[pid]
    assert got["lost_events"] == 0 and got["mode"] == "exact"
    assert sum(s["bytes"] for s in got["stacks"]) == got["held_bytes"]
    assert got["allocated_bytes"] - got["freed_bytes"] == got["held_bytes"]


def test_one_that_cannot_be_recorded_is_named(truths, record):
    """Stopped by somebody, gone, or without an allocator: the others are recorded."""
    a, b = truths("agent_truth", "agent_truth")
    os.kill(b.pid, signal.SIGSTOP)
    gone = subprocess.Popen(["true"])
    gone.wait()
    r = record(b.pid, gone.pid, a.pid, "--sample", MEAN)
    said = rounds([a])
    time.sleep(0.3)
    got = r.interrupt().json()
    os.kill(b.pid, signal.SIGCONT)
    assert [p["pid"] for p in got["processes"]] == [a.pid]
    left = {x["pid"]: x["reason"] for x in got["left_out"]}
    assert set(left) == {b.pid, gone.pid} and "stopped" in left[b.pid], left
    held = sum(v[0] for v in sites(got, a.pid, said[a.pid]).values())
    assert abs(held - sum(said[a.pid].values())) < noise(held)
    assert conftest.changed_code(b.pid) == [] == conftest.changed_code(a.pid)


def test_none_that_can_be_recorded(truths):
    a, b = truths("agent_truth", "agent_truth")
    for t in (a, b):
        os.kill(t.pid, signal.SIGSTOP)
    got = run_memwho("alloc", a.pid, b.pid, "--engine", "agent", "-d", "1s", code=None)
    assert got.code == 1 and "stopped" in got.err, got


def test_what_was_held_at_the_maximum(truths, record):
    """Of both at the same time; what is freed again before the end."""
    a, b = truths("agent_truth", "agent_truth")
    r = record(a.pid, b.pid, "--sample", MEAN, "--peak")
    said = rounds([a, b])
    time.sleep(0.4)
    for t in (a, b):
        t.say("drop")
        assert t.line(60) == "dropped"
    time.sleep(0.3)
    got = r.interrupt().json()
    for pid in said:
        held, true = sum(v[0] for v in sites(got, pid, said[pid]).values()), sum(said[pid].values())
        lost = sum(s["bytes"] for s in got["stacks"] if "not stored" in s["frames"][0])
        assert -noise(true) - lost < held - true < noise(true), (pid, held, true)
    whole = sum(sum(x.values()) for x in said.values())
    assert abs(got["peak_held_bytes"] - whole) < noise(whole) + 0.02 * whole
    assert not any("before attach" in s["frames"][0] for s in got["stacks"])


def test_peak_is_not_for_exact_recordings(truths):
    got = run_memwho("alloc", truths("agent_truth")[0].pid, "--engine", "agent", "--exact", "--peak", code=None)
    assert got.code != 0 and "--peak with --exact" in got.err, got


def test_one_ends_and_the_others_go_on(truths, record):
    a, b = truths("agent_truth", "agent_truth")
    r = record(a.pid, b.pid, "--sample", MEAN)
    said = rounds([a, b])
    time.sleep(0.6)
    a.stop()
    time.sleep(0.5)
    said[b.pid] = {k: v + said[b.pid][k] for k, v in rounds([b])[b.pid].items()}
    time.sleep(0.3)
    got = r.interrupt().json()
    assert {p["pid"]: p["ended_by"] for p in got["processes"]} == {a.pid: "exit", b.pid: ""}
    for pid in (a.pid, b.pid):
        held = sum(v[0] for v in sites(got, pid, said[pid]).values())
        true = sum(said[pid].values())
        lost = sum(x["bytes"] for x in got["stacks"] if "not stored" in x["frames"][0])
        assert abs(held - true) < noise(true), (pid, held, true, lost, got)


def test_the_choice_by_itself_is_for_several_too(victim, needs_bpf, tmp_path):  # noqa: F811
    """A hot one and a quiet one: together too dear to be recorded exactly."""
    hot = victim("aa")
    with Hold(PROGRAMS / "hold") as quiet:
        r = Recording(["alloc", quiet.pid, hot.pid, "--json", "--budget", "2%"], tmp_path / "ready").wait_ready()
        quiet.command("many 300")
        time.sleep(1)
        got = r.interrupt().json()
    assert got["engine"] == "agent" and got["budget_percent"] == 2, got
    assert [p["pid"] for p in got["processes"]] == [quiet.pid, hot.pid], got
    hot.check()
