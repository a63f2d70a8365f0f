# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600
"""What a recording may cost its target: the engine is chosen by counting, the rate of sampling
changes while it records, its figures stay true, and a memwho that is killed in the middle of a
change leaves a process that works on."""
import json
import math
import os
import platform
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import MEMWHO, PROGRAMS, Recording, Target, run_memwho
from hold import library
from test_agent import SITES, agenter, done, truth, untouched  # noqa: F401
from victim import victim  # noqa: F401

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# every STEP-th step is tried in one run; 1: each of them
EVERY = int(os.environ.get("AGENT_EVERY", "97"))
RUNS = int(os.environ.get("AGENT_RUNS", "8"))
# how long the quiet and the busy phases are: the windows of 5 s see several of them
PACE_MS = os.environ.get("AGENT_PACE_MS", "1500")
SIZE = 1000  # agent_pace.c
# what `memwho alloc PID` is for people (conftest.py asks for the exact engine)
DEFAULT = {"MEMWHO_BUDGET": ""}


def sites_of(text):
    """agenter's "site" lines: {name: [bytes, variance]}"""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["site"]:
            estimate, variance = map(int, words[2:])
            site = found.setdefault("site_" + words[1], [0, 0])
            site[0] += estimate
            site[1] += variance
    return found


def known_sites(runs, record, work):
    """sites_of() of @runs recordings, each begun by record() and ended when work() has been done.
    Where memwho had so little of the processor that stacks were lost, nothing can be said of sites: those are
    done again."""
    done_so_far, tries = 0, 0
    while done_so_far < runs:
        tries += 1
        assert tries < 10 * runs + 20, "memwho does not get enough of the processor"
        p = subprocess.Popen(list(map(str, record)), stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline().startswith("attached")
        truth = work()
        p.send_signal(signal.SIGINT)
        out = p.communicate(timeout=60)[0]
        assert p.returncode == 0, out
        if "stacks_lost 0\n" in out:
            done_so_far += 1
            yield sites_of(out), truth
        else:
            yield None, truth


def test_estimates_stay_unbiased(truth):
    """The rate changes every 8 ms, between a sixteenth of the mean and 16 times it, while the
    sites allocate. Each site's mean over RUNS recordings is its truth within 4.5 standard
    errors, as its intervals have them; so is the sum."""
    t = truth()
    sums, variances = dict.fromkeys(SITES, 0.0), dict.fromkeys(SITES, 0.0)

    def allocate():
        t.say("round")
        assert t.line(60)

    for found, _ in known_sites(RUNS, (PROGRAMS / "agenter", "-m", 32768, "-c", 8, t.pid, "record", 60000), allocate):
        untouched(t.pid)
        for site, (estimate, variance) in (found or {}).items():
            sums[site] += estimate
            variances[site] += variance
        t.say("drop")
        assert t.line(60) == "dropped"
    for site, (size, count) in SITES.items():
        off = (sums[site] - RUNS * size * count) / math.sqrt(variances[site])
        assert abs(off) < 4.5, (site, off, sums[site] / RUNS / size / count)
        # and it is not for want of knowing anything that it is within the bounds
        assert math.sqrt(variances[site]) < 0.3 * RUNS * size * count, (site, variances[site])
    whole = RUNS * sum(size * count for size, count in SITES.values())
    off = (sum(sums.values()) - whole) / math.sqrt(sum(variances.values()))
    print(f"{RUNS} recordings: sum {sum(sums.values()) / whole:.4f} +- {math.sqrt(sum(variances.values())) / whole:.4f}")
    assert abs(off) < 4.5, (off, sum(sums.values()) / whole)


@pytest.mark.parametrize("modes,program", [("a", "victim"), ("acnefrsa", "victim"), ("aac", "victim-static")])
def test_killed_while_the_rate_changes(victim, modes, program):
    v = victim(modes, program=program)
    options = ("-m", 65536, "-c", 2)
    said = done(agenter(v.pid, "record", 60, options=options))
    first, last = int(said["attached_at"]), int(said["detached_at"])
    assert last - first > 20, said
    killed, every = 0, max((last - first) // 8, EVERY // 8, 1)
    for step in range(first + random.randrange(every), last, every):
        code, said, err = agenter(v.pid, "record", 60, options=(*options, "-k", step))
        if code != -signal.SIGKILL:  # other threads, other steps: it came through
            assert code == 0, (step, code, said, err)
            continue
        killed += 1
        wrong = v.goes_on()
        assert not wrong, (step, wrong)
        if killed % 2:
            done(agenter(v.pid, "record", 20, options=options))
        else:
            run_memwho("detach", v.pid)
        untouched(v.pid)
        wrong = v.goes_on()
        assert not wrong, (step, wrong)
    assert killed >= 3
    v.check()
    assert not v.tracers()


# ---- the budget ----

def kept(t):
    """It stands still then, until it is told to go on."""
    t.say("?")
    return int(t.line().split()[1])


def test_within_the_budget_whatever_the_pace(truth, tmp_path):
    """A target whose allocator becomes 100 times as busy and quiet again: no window of 5 s is
    above 1.2 budgets, and what is held is what the target counted."""
    t = truth(PACE_MS, program="agent_pace")
    before = kept(t)
    r = Recording(["alloc", t.pid, "--engine", "agent", "--budget", "2%", "--sample", "16K", "--json"],
                  tmp_path / "ready").wait_ready()
    t.say("go on")
    time.sleep(9)
    held = kept(t) - before
    r.interrupt()
    got = r.wait().json()
    assert got["engine"] == "agent" and got["ended_by"] == "signal" and got["budget_percent"] == 2
    assert got["duration_seconds"] > 8 and 0 < got["cost_percent"] <= got["worst_cost_percent"] <= 2.4, got
    means = [rate["sample_bytes"] for rate in got["rates"]]
    assert means[0] == 16384 == min(means) and max(means) > 8 * 16384, means
    assert got["coarsest_sample_bytes"] >= max(means)
    sd = (got["held_bytes_high"] - got["held_bytes_low"]) / 3.92
    assert abs(got["held_bytes"] - held) < 4.5 * sd, (got["held_bytes"], held, sd)
    untouched(t.pid)


def test_where_calls_alone_take_most_of_the_budget(truth, tmp_path):
    """No rate makes that cheaper: what is left of the budget is for samples, and they go on to the
    end, however coarse. Four fifths of the budget are what calls of this target take, by what a
    recording says that hardly draws any sample."""
    t = truth("0", program="agent_pace")
    calls = run_memwho("alloc", t.pid, "--engine", "agent", "--sample", "4M", "-d", "2s", "--json").json()["cost_percent"]
    before = kept(t)
    r = Recording(["alloc", t.pid, "--engine", "agent", "--budget", f"{calls / 0.8:.3f}%", "--sample", "64K", "--json"],
                  tmp_path / "ready").wait_ready()
    t.say("go on")
    time.sleep(5)
    held = kept(t) - before
    r.interrupt()
    got = r.wait().json()
    assert got["ended_by"] == "signal" and got["worst_cost_percent"] <= 1.2 * calls / 0.8, got
    means = [rate["sample_bytes"] for rate in got["rates"]]
    # above, it ran away: to GiB, and stayed there
    assert sorted(means)[len(means) // 2] <= 64 << 20 and got["samples"] > 50 * got["target_cpu_seconds"], (means, got)
    # few samples: by the truth, not by what was seen of it
    assert abs(got["held_bytes"] - held) < 4.5 * math.sqrt(got["coarsest_sample_bytes"] * held), (got["held_bytes"], held)
    untouched(t.pid)


# reads JSON: it begins its arrays by realloc(NULL, n), which has no fast way through the agent, and more often than
# anything is a sample
READER = """
import json
print("ready", flush=True)
keep = []
while True:
    keep.append(json.loads('[%s]' % ','.join('{"a%d":"%s"}' % (i, 'x' * 600) for i in range(50))))
    if len(keep) > 2000:
        keep.clear()
"""


def test_what_comes_by_and_is_no_sample_is_not_the_rates_fault():
    """Fewer samples make it no cheaper: the rate stays where something is known, or memwho leaves and says
    so."""
    path = library("libtcmalloc.so.4")
    if not path:
        pytest.skip("no tcmalloc")
    t = Target([sys.executable, "-c", READER], env={"LD_PRELOAD": path, "PYTHONMALLOC": "malloc"})
    try:
        assert t.line() == "ready"
        run = run_memwho("alloc", t.pid, "--engine", "agent", "--budget", "2%", "-d", "4s", "--json")
        got = run.json()
        means = [rate["sample_bytes"] for rate in got.get("rates", [])] or [got["sample_bytes"]]
        assert max(means) <= 256 << 20, means
        assert got["ended_by"] == "duration" or "came to cost" in run.err, run
        untouched(t.pid)
    finally:
        t.stop()


@pytest.mark.parametrize("pace", ["60000", PACE_MS])
def test_finer_where_it_costs_little(truth, tmp_path, pace):
    """Nothing was asked for: while the target is quiet there are more samples than one in 512 KiB
    would be; fewer again when it is not, with all their stacks."""
    t = truth(pace, program="agent_pace")
    before = kept(t)
    r = Recording(["alloc", t.pid, "--engine", "agent", "--budget", "2%", "--json"], tmp_path / "ready").wait_ready()
    t.say("go on")
    time.sleep(4)
    held = kept(t) - before
    r.interrupt()
    got = r.wait().json()
    means = [rate["sample_bytes"] for rate in got["rates"]]
    assert means[0] == 524288 and 32768 <= min(means) <= 131072, means
    assert got["worst_cost_percent"] <= 2.4 and got["stacks_not_stored"] == 0, got
    sd = (got["held_bytes_high"] - got["held_bytes_low"]) / 3.92
    # of the first, coarse samples there are few: by the truth, not by what was seen of it
    assert abs(got["held_bytes"] - held) < 4.5 * math.sqrt(524288 * held), (got["held_bytes"], held, sd)
    if pace == PACE_MS:
        assert max(means[means.index(min(means)):]) >= 4 * min(means), means
    else:
        assert sd < 0.7 * math.sqrt(524288 * held), (sd, held)  # 1 if it were 512 KiB throughout
    untouched(t.pid)


def test_the_default_chooses(truth, victim):
    """Samples where recording exactly would cost too much; exactly where it would not."""
    t = truth("0", program="agent_pace")
    got = run_memwho("alloc", t.pid, "-d", "1s", "--json", env=DEFAULT)
    report = got.json()
    assert report["engine"] == "agent" and report["budget_percent"] == 2, report
    assert "recording exactly would cost" in got.err and "the budget is 2 %" in got.err, got.err
    untouched(t.pid)
    quiet = victim("c")
    report = run_memwho("alloc", quiet.pid, "-d", "1s", "--json", env=DEFAULT).json()
    assert report["engine"] == "bpf" and report["budget_percent"] == 2 and report["cost_percent"] < 2
    untouched(quiet.pid)


def test_what_nothing_can_record_within_the_budget(truth):
    """Nothing but malloc and free in two threads: it is not begun, or it leaves at once."""
    t = truth("2")
    got = run_memwho("alloc", t.pid, "-d", "5s", "--budget", "0.1%", "--json", code=None)
    if got.code == 0:
        report = got.json()
        assert report["ended_by"] == "budget" and report["duration_seconds"] < 2, report
        assert re.search(r"came to cost .* the budget is 0.1 % \(--budget [0-9]+% allows more\)", got.err), got
    else:
        assert "budget is 0.1 %" in got.err and "--engine agent" in got.err, got
        # the way out that is named is one
        enough = re.search(r"hint: --budget (\d+)% is enough for the agent; --max-slowdown", got.err)
        assert enough, got
        # what it would refuse is not offered
        assert all(float(x) <= 100 for x in re.findall(r"--budget ([0-9.]+)%", got.err)), got
        report = run_memwho("alloc", t.pid, "-d", "1s", "--budget", f"{4 * int(enough[1])}%", "--json").json()
        assert report["engine"] == "agent", report
    untouched(t.pid)


def test_exactly_until_the_budget_is_passed(truth, tmp_path):
    """A quiet start, then more than breakpoints can follow: the agent takes over, and what the first
    engine knew is in the row of what was there before."""
    t = truth("0", program="agent_pace")
    before = kept(t)
    r = Recording(["alloc", t.pid, "--budget", "2%", "-d", "6s", "--json"], tmp_path / "ready").wait_ready()
    t.say("go on")
    time.sleep(4)
    held = kept(t) - before  # it stands still from now on
    run = r.wait()
    got = run.json()
    assert got["engine"] == "agent" and got["ended_by"] == "duration", got
    assert 0 < got["handed_over_after_seconds"] < 4 and 0 < got["handed_over_gap_seconds"] < 2, got
    assert "blocks are sampled from now on" in run.err, run.err
    older = sum(s["bytes"] for s in got["stacks"] if s["frames"][0] == "[before attach]")
    sd = (got["held_bytes_high"] - got["held_bytes_low"]) / 3.92
    # the sum is known whatever the samples are; the program holds some KiB of its own
    assert abs(sum(s["bytes"] for s in got["stacks"]) - got["allocator_bytes"]) < max(4.5 * sd, 65536)
    assert abs(got["allocator_bytes"] - (held + before) * (SIZE + 8) / SIZE) < 128 * 1024 + 0.02 * held
    assert older + got["held_bytes"] > held - 4.5 * sd
    assert got["handed_over_held_bytes"] <= older + 4.5 * sd + 65536, (got, older)
    assert got["worst_cost_percent"] < 2.4, got
    untouched(t.pid)


def test_by_name_it_leaves(truth, tmp_path):
    """--engine bpf is not replaced by another."""
    t = truth("0", program="agent_pace")
    kept(t)
    r = Recording(["alloc", t.pid, "--engine", "bpf", "--budget", "2%", "-d", "20s", "--json"],
                  tmp_path / "ready").wait_ready()
    t.say("go on")
    got = r.wait().json()
    assert got["engine"] == "bpf" and got["ended_by"] == "budget" and got["duration_seconds"] < 5, got
    assert got["cost_cpu_seconds"] < 1.2 * 0.02 * 5, got
    untouched(t.pid)


def started_by_run(tmp_path, *args, seconds):
    """-> (what agent_pace, busy from its start, counted; the result of memwho run)"""
    out = tmp_path / "held.json"
    t = Target([MEMWHO, "run", *args, "-o", out, "--", PROGRAMS / "agent_pace", "0"], env=DEFAULT)
    try:
        assert t.line() == "ready"
        time.sleep(seconds)
        held = kept(t)
        time.sleep(1)  # what it holds then is looked at, for it ends without a word
        t.process.stdin.close()
        assert t.process.wait(timeout=60) == 0
    finally:
        t.stop()
    return held, json.loads(out.read_text())


def test_run_keeps_the_default_too(tmp_path):
    """From the first instruction exactly, by the agent as soon as that costs more than 2 %."""
    held, got = started_by_run(tmp_path, seconds=4)
    assert got["engine"] == "agent" and got["ended_by"] == "exit" and got["budget_percent"] == 2, got
    assert 0 < got["handed_over_after_seconds"] < 4 and got["worst_cost_percent"] < 2.4, got
    older = sum(s["bytes"] for s in got["stacks"] if s["frames"][0] == "[before attach]")
    sd = (got["held_bytes_high"] - got["held_bytes_low"]) / 3.92
    assert abs(older + got["held_bytes"] - held) < 4.5 * sd + 0.02 * held + 128 * 1024, (older, held, got)


def test_run_at_any_price(tmp_path):
    held, got = started_by_run(tmp_path, "--budget", "none", seconds=1)
    assert got["engine"] == "bpf" and "budget_percent" not in got, got
    assert held <= got["held_bytes"] < held + 65536, (held, got)


def test_run_of_what_is_quiet():
    got = run_memwho("run", "--json", "--", "sleep", "1", env=DEFAULT).json()
    assert got["engine"] == "bpf" and got["budget_percent"] == 2 and got["ended_by"] == "exit", got
    # its maximum may be over when another engine takes over: recorded to the end
    got = run_memwho("run", "--peak", "--json", "--", "sleep", "0.1", env=DEFAULT).json()
    assert got["engine"] == "bpf" and "budget_percent" not in got, got


def test_options_that_the_agent_lacks(truth):
    t = truth("0", program="agent_pace")
    # asked for by name: it holds; the default would not forbid what only one engine does
    got = run_memwho("alloc", t.pid, "-d", "1s", "--budget", "1%", "--no-stacks", code=None)
    assert got.code != 0 and "budget is 1 %" in got.err and "--no-stacks" in got.err, got
    for wrong in (("--budget", "2%", "--max-slowdown", "2"), ("--budget", "0"), ("--budget", "-1%"),
                  ("--budget", "2x"), ("--budget", "200%")):
        got = run_memwho("alloc", t.pid, "-d", "1s", *wrong, code=None)
        assert got.code == 2 and "--budget" in got.err, got
    untouched(t.pid)


def test_the_measured_cost_is_what_the_target_feels(truth, tmp_path):
    """One sample in 16 pairs of malloc and free: what a pair takes more is what memwho says
    that it takes, as far as that can be told on a machine that others use, too."""
    t = truth()

    def pair_ns():
        best = []
        for _ in range(4):
            t.say("hot 400000")
            best.append(float(t.line(60)))
        return min(best)

    off = pair_ns()
    r = Recording(["alloc", t.pid, "--engine", "agent", "--sample", "1K", "--json"],
                  tmp_path / "ready").wait_ready()
    on = pair_ns()
    r.interrupt()
    got = r.wait().json()
    felt = 100 * (1 - off / on)
    assert felt > 30, (off, on)
    assert 0.5 * felt < got["cost_percent"] < 1.4 * felt, (felt, got["cost_percent"])


def test_what_exact_recording_costs_is_said(truth, tmp_path):
    """It keeps no budget; at least what is known of each call, of the time that the target used."""
    t = truth()
    r = Recording(["alloc", t.pid, "--engine", "agent", "--exact", "--json"], tmp_path / "ready").wait_ready()
    for _ in range(4):
        t.say("hot 400000")
        on = float(t.line(60))
    r.interrupt()
    got = r.wait().json()
    assert got["allocations"] >= 1_600_000, got
    assert got["cost_cpu_seconds"] == pytest.approx(1_600_000 * 70e-9, rel=0.05), got
    assert got["cost_percent"] == pytest.approx(100 * got["cost_cpu_seconds"] / got["target_cpu_seconds"], rel=0.01), got
    # a loop of nothing else: most of it
    assert 25 < got["cost_percent"] < 130, (on, got)
    text = run_memwho("alloc", t.pid, "--engine", "agent", "--exact", "-d", "300ms").out
    assert "cost, of the target's processor time, at least" in text, text
