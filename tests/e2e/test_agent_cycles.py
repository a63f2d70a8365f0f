# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 once
"""The sampling engine in and out of one process again and again: 64 threads that allocate and check
what they wrote, while children are forked, signals come and a library is loaded and unloaded."""
import os
import platform

import pytest
from test_agent import CODE_BYTES, agenter, changed_code, mappings, places
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
CYCLES = int(os.environ.get("AGENT_CYCLES", "8"))
PIECE = int(os.environ.get("AGENT_PIECE", "50"))  # between two looks at the process


def our_mappings(pid):
    """Anonymous ones that can be executed, which nobody else makes here; and how many there are."""
    return [m for m in mappings(pid) if m[1].startswith("r-x") and len(m) == 5]


def test_cycles(victim, capsys):
    # a session of its own, as a service has: its 64 threads leave memwho its share of the processors
    v = victim("A" * 61 + "Fdk", program="victim-busy", prepare=os.setsid)
    done, stops = 0, []
    while done < CYCLES:
        n = min(PIECE, CYCLES - done)
        code, said, err = agenter(v.pid, "cycles", n, 20, timeout=1200)
        assert code == 0, (done, code, said, err)
        # a thread that is in the way 100 times is not the rule; the next time it is gone
        assert int(said["cycles"]) >= n - 2 and int(said["not_left"]) <= 2, (done, said, err)
        done += n
        stops.append(said)
        wrong = v.goes_on(60)
        assert not wrong, (done, wrong)
        assert v.bad == 0 and v.short_sleeps == 0
        assert not changed_code(v.pid) and len(our_mappings(v.pid)) == 1
        assert places(v.pid) == [[CODE_BYTES, 0]]
    v.check()
    assert not v.tracers()
    worst = {name: max(int(s[name]) for s in stops) for name in stops[0] if name.endswith("_us")}
    with capsys.disabled():
        print(f"\n{done} cycles; all threads stood still, microseconds, worst of pieces of {PIECE}: {worst}")
    # a firm limit only against stops that go wrong: a busy machine's are its own
    assert worst["longest_max_us"] < 2_500_000
