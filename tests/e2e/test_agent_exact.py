# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600
"""The agent's exact mode (alloc --engine agent --exact): every block with its stack,
0 bytes off; what cannot be known is said; and nothing is left in the target."""
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from conftest import PROGRAMS, Recording, Target, run_memwho
from test_agent import (agenter, done, kill_before_steps, mappings, next_attach, truth,  # noqa: F401 (a fixture)
                        untouched)
from victim import victim  # noqa: F401

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# every STEP-th step is tried in one run; 1: each of them
EVERY = int(os.environ.get("AGENT_EVERY", "397"))


@pytest.fixture
def record(tmp_path):
    numbers = iter(range(1000))

    def start(pid, *more):
        return Recording(["alloc", pid, "--engine", "agent", "--exact", "--json", "--rows", 0, *more],
                         tmp_path / f"ready{next(numbers)}").wait_ready()

    return start


def end(recording, pid):
    got = recording.interrupt().json()
    untouched(pid)
    assert got["mode"] == "exact" and got["lost_torn"] == 0 and got["lost_late"] == 0, got
    return got


def at(got, function):
    """Bytes in stacks with it, but for what threads cost the C library."""
    return sum(s["bytes"] for s in got["stacks"]
               if function in s["frames"] and "pthread_create" not in " ".join(s["frames"]))


def assert_whole(got):
    assert got["lost_events"] == 0 and got["stacks_not_stored"] == 0, got
    assert sum(s["bytes"] for s in got["stacks"]) == got["held_bytes"]
    assert got["allocated_bytes"] - got["freed_bytes"] == got["held_bytes"]


# ---- truth ----

@pytest.mark.parametrize("program,threads", [("agent_truth", "0"), ("agent_truth-static", "0"),
                                             ("agent_truth", "3")])
def test_nothing_is_off(truth, record, program, threads):  # noqa: F811
    t = truth(threads, program=program)
    before = len(mappings(t.pid))
    for _ in range(2):
        r = record(t.pid)
        t.say("round")
        words = t.line(60).split()
        said = dict(zip(words[::2], map(int, words[1::2])))
        got = end(r, t.pid)
        assert {site: at(got, site) for site in said} == said
        assert_whole(got)
        assert got["complete_stacks_percent"] == 100, got
        for s in got["stacks"]:
            assert "bytes_low" not in s
        t.say("drop")
        assert t.line(60) == "dropped"
    # the allocator maps by itself; ours was gigabytes
    assert len(mappings(t.pid)) < before + 20


def test_what_is_freed_is_gone(truth, record):  # noqa: F811
    t = truth()
    r = record(t.pid)
    t.say("round")
    t.line(60)
    t.say("drop")
    t.line(60)
    got = end(r, t.pid)
    assert got["held_bytes"] < 2000, got  # of the one thread that it made
    assert got["allocations"] > 40000 and got["allocated_bytes"] > 30 << 20
    assert_whole(got)


def test_blocks_of_before_are_not_counted(truth, record):  # noqa: F811
    t = truth()
    t.say("round")
    t.line(60)
    r = record(t.pid)
    t.say("drop")
    t.line(60)
    got = end(r, t.pid)
    assert got["held_bytes"] == 0 and got["frees"] == 0, got


def test_children_pass_through(truth, record):  # noqa: F811
    t = truth("2")
    r = record(t.pid)
    for word in ("fork", "vfork", "fork"):
        t.say(word)
        assert t.line(60) == "status 0"
    t.say("child")
    child = int(t.line())
    try:
        time.sleep(0.3)
        assert done(agenter(child, "look"))["state"] == "0"
        end(r, t.pid)
        assert done(agenter(child, "clean"))["agent"] == "1"
        untouched(child)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.fixture
def hard():
    started = []

    def start():
        started.append(Target([PROGRAMS / "exact_truth", PROGRAMS / "hold_plugin.so"]))
        assert started[-1].line() == "ready"
        return started[-1]

    yield start
    for t in started:
        t.stop()


def ask(t, *words):
    t.say(" ".join(map(str, words)))
    return int(t.line(60))


def test_deep_stacks(hard, record):
    t = hard()
    r = record(t.pid)
    assert ask(t, "deep", 300) == ask(t, "deep", 2000) == 4321
    got = end(r, t.pid)
    assert_whole(got)
    by_depth = {len(s["frames"]): s["frames"] for s in got["stacks"] if "site_deep" in s["frames"]}
    assert len(by_depth) == 2 and at(got, "site_deep") == 2 * 4321, by_depth.keys()
    whole, cut = (by_depth[n] for n in sorted(by_depth))
    assert whole.count("site_deep") == 301 and "main" in whole
    # 512 frames, and one that says so
    assert cut.count("site_deep") >= 510 and "main" not in cut
    assert any("deeper than 512 frames" in f for f in (cut[0], cut[-1]))


def test_signal_handlers(hard, record):
    t = hard()
    r = record(t.pid)
    truth_of = ask(t, "signal")
    got = end(r, t.pid)
    assert_whole(got)
    assert at(got, "site_signal") == truth_of
    assert all("main" in s["frames"] for s in got["stacks"] if "site_signal" in s["frames"])
    r = record(t.pid)
    truth_of = ask(t, "alternate")
    got = end(r, t.pid)
    assert_whole(got)
    # how far such a stack reaches is not known: the bytes are there, some stacks are cut
    assert at(got, "site_signal") <= truth_of
    cut = sum(s["bytes"] for s in got["stacks"] if "not known]" in " ".join(s["frames"]))
    assert at(got, "site_signal") + cut >= truth_of


def test_a_library_that_comes_and_goes(hard, record):
    t = hard()
    r = record(t.pid)
    sums = [ask(t, "plugin"), ask(t, "unload"), ask(t, "plugin")]
    got = end(r, t.pid)
    assert_whole(got)
    whole = sum(s["bytes"] for s in got["stacks"]
                if "plugin_site" in s["frames"] and "main" in s["frames"])
    cut = sum(s["bytes"] for s in got["stacks"] if "no unwind table" in " ".join(s["frames"]))
    assert sums[1] == 0 and whole + cut == sums[0] + sums[2], got["stacks"]
    # seen within a fraction of the time
    assert whole > 0.7 * (sums[0] + sums[2]), (whole, cut)


def test_more_lists_of_code_than_have_numbers(hard, record):
    """A library comes and goes more often than there are generations of the list (16): the walks of
    older ones must be over before a number is given again."""
    t = hard()
    r = record(t.pid)
    truth_of = 0
    for _ in range(12):
        for word in ("plugin", "unload"):
            truth_of += ask(t, word)
            time.sleep(0.13)  # memwho looks every 100 ms
            truth_of += ask(t, "many", 50)
    truth_of += ask(t, "plugin")
    time.sleep(0.3)
    before = ask(t, "many", 1000)
    got = end(r, t.pid)
    assert_whole(got)
    whole = sum(s["bytes"] for s in got["stacks"] if "main" in s["frames"])
    cut = sum(s["bytes"] for s in got["stacks"] if "no unwind table" in " ".join(s["frames"]))
    mine = sum(s["bytes"] for s in got["stacks"] if {"site_many", "plugin_site"} & set(s["frames"]))
    assert mine <= truth_of + before <= mine + cut, (mine, cut, truth_of, before)
    assert mine >= before and whole > 0.8 * (truth_of + before), (whole, cut, truth_of)


def test_short_lived_threads(hard, record):
    """Threads that memwho never sees: glibc notes how far their stacks reach."""
    t = hard()
    r = record(t.pid)
    truth_of = ask(t, "threads", 500)
    got = end(r, t.pid)
    assert_whole(got)
    assert at(got, "site_thread") == truth_of
    assert got["stacks_cut"] == 0 and got["complete_stacks_percent"] == 100, got


def test_another_tools_return_probes(hard, record):
    """The return address is the kernel's then: bytes are right, and the stack says it."""
    if not shutil.which("bpftrace"):
        assert not conftest.CI, "bpftrace is not installed"
        pytest.skip("no bpftrace")
    t = hard()
    script = f'uretprobe:{PROGRAMS / "exact_truth"}:site_many {{ @ = count(); }} interval:ms:100 {{ print(@); }}'
    probe = subprocess.Popen(["bpftrace", "-p", str(t.pid), "-e", script], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        os.set_blocking(probe.stdout.fileno(), False)
        text, end_of_wait = "", time.monotonic() + 20
        while not re.search(r"@: [1-9]", text):
            assert time.monotonic() < end_of_wait and probe.poll() is None, text
            ask(t, "many", 1)
            text += (probe.stdout.read() or b"").decode()
            time.sleep(0.05)
        r = record(t.pid)
        truth_of = ask(t, "many", 1000)
        got = r.interrupt().json()
        assert_whole(got)
        mine = [s for s in got["stacks"] if "site_many" in s["frames"]]
        assert sum(s["bytes"] for s in mine) == truth_of
        assert all("return probe" in " ".join(s["frames"]) for s in mine), mine
    finally:
        probe.send_signal(signal.SIGINT)
        probe.communicate(timeout=30)
    untouched(t.pid)
    r = record(t.pid)
    ask(t, "many", 1000)
    got = end(r, t.pid)
    assert got["complete_stacks_percent"] == 100, got


@pytest.mark.parametrize("name", ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"])
def test_other_allocators(truth, record, name):  # noqa: F811
    library = f"/usr/lib/x86_64-linux-gnu/{name}"
    if not os.path.exists(library):
        assert not conftest.CI, f"no {library}"
        pytest.skip(f"no {library}")
    t = truth("1", env={"LD_PRELOAD": library})
    r = record(t.pid)
    t.say("round")
    words = t.line(60).split()
    said = dict(zip(words[::2], map(int, words[1::2])))
    got = end(r, t.pid)
    assert {site: at(got, site) for site in said} == said
    assert_whole(got)


def test_chains_over_threads(hard, record):
    t = hard()
    r = record(t.pid)
    truth_of = ask(t, "chains")
    got = end(r, t.pid)
    assert_whole(got)
    assert at(got, "site_chain") == truth_of


def test_a_full_table_is_said(hard):
    """In objects and bytes: the set's, and what is held, are the truth together."""
    t = hard()
    p = subprocess.Popen([PROGRAMS / "agenter", "-x", "-e", "1000", str(t.pid), "record", "60000"],
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline().startswith("attached")
    truth_of = ask(t, "many", 300000)
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=60)[0]
    said = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    held, full, full_bytes = (int(said[k]) for k in ("held", "set_full", "set_full_bytes"))
    assert held + full_bytes == truth_of and full * 32 == full_bytes, said
    # 7 * 2^14 places, and two of them for each block
    assert 0.85 * 7 * 16384 * 32 < held <= 7 * 16384 * 32, said
    untouched(t.pid)


# ---- the target's life ----

@pytest.mark.parametrize("modes,program", [("a", "victim"), ("aaaaaaaa", "victim"),
                                           ("acnefrsa", "victim"), ("aac", "victim-static")])
def test_killed_before_every_step(victim, modes, program):  # noqa: F811
    v = victim(modes, program=program)
    before = len(mappings(v.pid))
    every = EVERY if len(modes) > 3 else (EVERY + 3) // 4

    def clean(killed):
        # what is next may be exact or not, or only clean up
        if killed % 3:
            next_attach(v.pid, killed, ("-x",) * (killed % 3 - 1))
        else:
            run_memwho("detach", v.pid)
        untouched(v.pid)

    killed = kill_before_steps(v, every, ("-x",), clean)
    assert killed * every >= 50, killed
    assert v.eintr <= killed
    assert len(mappings(v.pid)) <= before + (40 if "a" in modes else 2)


def test_killed_at_random_times(victim):  # noqa: F811
    v = victim("aaacnefs")
    for i in range(int(os.environ.get("AGENT_RANDOM", "10"))):
        p = subprocess.Popen([PROGRAMS / "agenter", "-x", str(v.pid), "record", "60"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.4))
        p.kill()
        p.wait()
        wrong = v.goes_on()
        assert not wrong, (i, wrong)
    run_memwho("detach", v.pid)
    untouched(v.pid)
    v.check()


def test_an_orphan_gives_up(truth):  # noqa: F811
    """Nothing is recorded 2 s after its memwho's death, and 4 s after it costs no more than
    its countdown."""
    t = truth()
    t.say("hot 200000")
    without = float(t.line(60))
    p = subprocess.Popen([PROGRAMS / "agenter", "-x", str(t.pid), "record", "60000"],
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline().startswith("attached")
    t.say("hot 200000")
    with_it = float(t.line(60))
    p.kill()
    p.wait()
    p.stdout.close()
    time.sleep(4.2)
    t.say("hot 1000")  # the first to come says that it has ended
    t.line(60)
    t.say("hot 200000")
    orphaned = float(t.line(60))
    assert with_it > without + 20
    assert orphaned < without + (with_it - without) / 3, (without, with_it, orphaned)
    run_memwho("detach", t.pid)
    untouched(t.pid)


def test_what_is_refused(truth):  # noqa: F811
    t = truth()
    for args, why in ((("--exact",), "--exact is the agent's"),
                      (("--engine", "bpf", "--exact"), "--exact is the agent's"),
                      (("--engine", "agent", "--exact", "--sample", "64K"), "takes no samples")):
        got = run_memwho("alloc", t.pid, *args, code=None)
        assert got.code != 0 and why in got.err, got
    untouched(t.pid)
