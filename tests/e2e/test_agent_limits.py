# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 once
"""The sampling engine where a process is special in one thing: no memory may become executable
(PR_SET_MDWE), it gives up its privileges while it is recorded, it holds more samples than there is
room for, or so much that the allocator's own figure takes long to read."""
import platform
import sys
import time

import pytest
from conftest import Recording, Target
from test_agent import agenter, done, mappings, untouched
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
# allocates blocks by malloc itself, on command
PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
for line in sys.stdin:
    what, *n = line.split()
    if what == "malloc":
        malloc, size = libc.malloc, int(n[1])
        for _ in range(int(n[0])):
            malloc(size)
    elif what == "nobody":
        os.setgid(65534)
        os.setuid(65534)
    print("done", flush=True)
"""


@pytest.fixture
def python():
    t = Target([sys.executable, "-c", PROGRAM])
    yield t
    t.stop()


def told(t, what):
    t.say(what)
    assert t.line(60) == "done"


@pytest.mark.parametrize("options", [(), ("-p",), ("-x",)])
def test_nothing_becomes_executable(victim, options):
    v = victim("ac", args=("mdwe",))
    if v.process.poll() == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    done(agenter(v.pid, "record", 200, options=(*options, "-m", 32768)))
    assert not [m for m in mappings(v.pid) if "wx" in m[1]]
    untouched(v.pid)
    v.check()


@pytest.mark.parametrize("more", [[], ["--patch", "page"]])
def test_it_becomes_nobody(python, tmp_path, more):
    """Its credentials change while the agent is in: it is recorded on, and the agent leaves."""
    told(python, "malloc 10 10")
    r = Recording(["alloc", python.pid, "--engine", "agent", "--sample", "4K", "--json", *more], tmp_path / "ready").wait_ready()
    told(python, "malloc 1000 10000")
    told(python, "nobody")
    told(python, "malloc 1000 10000")
    time.sleep(0.2)
    got = r.interrupt().json()
    assert got["ended_by"] == "signal" and got["held_bytes_low"] <= 20_000_000 + 300_000, got
    assert got["held_bytes_high"] >= 20_000_000, got
    untouched(python.pid)
    told(python, "malloc 10 10")


def test_a_full_set_is_said(python, tmp_path):
    """340,000 blocks, of which 63 in 100 are samples: buckets of the set are full. What had no room is said
    in samples and bytes, and with what was held it is what there is."""
    told(python, "malloc 10 10")
    r = Recording(["alloc", python.pid, "--engine", "agent", "--sample", "1K", "--no-before", "--json"],
                  tmp_path / "ready").wait_ready()
    told(python, "malloc 340000 1024")
    got = r.interrupt().json()
    assert got["lost_events"] > 1000, got
    # a lost one counts as its size and a mean: here by 26 % more than it stands for
    lost = got["lost_bytes"]
    assert got["lost_events"] * 2000 < lost < got["lost_events"] * 2100, got
    assert abs(got["held_bytes"] + lost / 1.264 - 340_000 * 1024) < 0.01 * 340_000 * 1024, got
    untouched(python.pid)


def test_a_large_heap_is_looked_at_behind_the_detach(python, tmp_path):
    """What the allocator holds is read from all of its chunks: the agent does not wait for that in the
    process's code, and the row is as true."""
    told(python, "malloc 1000000 1016")
    r = Recording(["alloc", python.pid, "--engine", "agent", "--sample", "1M", "--json"], tmp_path / "ready").wait_ready()
    time.sleep(1.5)
    got = r.interrupt().json()
    look = got["before_attach_look_seconds"]
    assert look > 0.05 and got["detach_seconds"] < look, got
    rows = {s["frames"][0]: s["bytes"] for s in got["stacks"]}
    # 8 bytes of each chunk are its size; python has a few MiB of its own
    assert 1024_000_000 <= rows["[before attach]"] < 1024_000_000 + (24 << 20), got
    assert sum(rows.values()) == got["allocator_bytes"]
    untouched(python.pid)
