# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600
"""The agent's rate of sampling changes while it records: its figures stay true, and a memwho
that is killed in the middle of a change leaves a process that works on."""
import math
import os
import platform
import random
import signal
import subprocess
import time

import pytest
from conftest import PROGRAMS, run_memwho
from test_agent import SITES, agenter, done, truth, untouched  # noqa: F401
from victim import victim  # noqa: F401

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# every STEP-th step is tried in one run; 1: each of them
EVERY = int(os.environ.get("AGENT_EVERY", "97"))
RUNS = int(os.environ.get("AGENT_RUNS", "8"))


def sites_of(text):
    """agenter's "site" lines: {name: [bytes, variance]}"""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["site"]:
            estimate, low, high = map(int, words[2:])
            site = found.setdefault("site_" + words[1], [0, 0])
            site[0] += estimate
            site[1] += ((high - low) / 3.92) ** 2
    return found


def test_estimates_stay_unbiased(truth):
    """The rate changes every 8 ms, between a sixteenth of the mean and 16 times it, while the
    sites allocate. Each site's mean over RUNS recordings is its truth within 4.5 standard
    errors, as its intervals have them; so is the sum."""
    t = truth()
    sums, variances = dict.fromkeys(SITES, 0.0), dict.fromkeys(SITES, 0.0)
    for _ in range(RUNS):
        p = subprocess.Popen([PROGRAMS / "agenter", "-m", "32768", "-c", "8", str(t.pid), "record", "60000"],
                             stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline().startswith("attached")
        t.say("round")
        assert t.line(60)
        p.send_signal(signal.SIGINT)
        out = p.communicate(timeout=60)[0]
        assert p.returncode == 0, out
        untouched(t.pid)
        for site, (estimate, variance) in sites_of(out).items():
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
