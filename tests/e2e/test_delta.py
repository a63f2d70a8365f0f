# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho delta: how much releasing something gave back. The report's demo, two caches of 1 MiB
each that are dropped one after the other (it had 1,048,576 and 1,038,336 bytes, by jemalloc's own
statistics), on four allocators, against what the program itself counts (programs/caches.c)."""
import signal
import subprocess
import sys

import conftest
import pytest
from caches import ALLOCATORS, Caches, caches  # noqa: F401, a fixture
from conftest import run_memwho
from refusal import refused
from victim import injector, victim  # noqa: F401

MIB = 1 << 20


def truth(allocator, blocks, usable):
    """As the allocator counts: glibc's chunks have a word for their size."""
    return usable + 8 * blocks if allocator == "glibc" else usable


class Delta:
    """A delta that waits for ENTER."""

    def __init__(self, pid, *options):
        self.process = subprocess.Popen([conftest.MEMWHO, "delta", str(pid), "--json", *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = self.process.stderr.readline()
        assert b"press ENTER" in self.said, self.said + self.process.stderr.read()

    def enter(self):
        return conftest.json.loads(self.process.communicate(b"\n", timeout=60)[0])


def row(got, allocator):
    assert got["result"] == "delta"
    return next(a for a in got["allocators"] if a["allocator"] == allocator)


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_two_caches_of_a_mebibyte(caches, allocator):
    c = caches(3, allocator)
    for k in range(2):
        assert c.command(f"fill {k} 1024 1024")[1] >= MIB
    c.command("fill 2 3000 700")  # what stays
    for k in range(2):
        rss, delta = c.resident(), Delta(c.pid)
        blocks, usable = c.command(f"drop {k}")
        got = delta.enter()
        released = row(got, allocator)["released_bytes"]
        print(f"{allocator}: {released} bytes of {truth(allocator, blocks, usable)}")
        assert abs(released - truth(allocator, blocks, usable)) <= 0.01 * MIB
        # nothing else happens in the program, so that it is even exact
        assert released == truth(allocator, blocks, usable), row(got, allocator)
        assert got["released_bytes"] == released and got["command"] is None
        assert abs(got["came_back_bytes"] - (rss - c.resident())) <= 128 * 1024
        assert got["stood_still_us"][0] > 0 and got["stood_still_us"][1] > 0
    assert injector(c.pid, "find")[0] == 4, "something of memwho's is in the process"
    c.command("drop 2")


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_all_of_it(caches, allocator):
    """Nothing is left: the heap is recognised all the same, or gone."""
    c = caches(3, allocator)
    for k in range(3):
        c.command(f"fill {k} 30000 200")
    delta, expected = Delta(c.pid), 0
    for k in range(3):
        expected += truth(allocator, *c.command(f"drop {k}"))
    got = delta.enter()
    assert abs(got["released_bytes"] - expected) <= 0.01 * expected, (expected, got)
    assert row(got, allocator)["unknown_why"] == "", got
    assert got["came_back_bytes"] >= row(got, allocator)["resident_before_bytes"] - row(got, allocator)["resident_after_bytes"] - 128 * 1024


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_many_sizes_in_threads(caches, allocator):
    """Caches of threads take some of what is freed; it counts as freed."""
    c = caches(4, allocator)
    for k, (n, size) in enumerate([(3000, 24), (9000, 100), (500, 5000), (20, 300000)]):
        c.command(f"fill {k} {n} {size}")
    delta, expected = Delta(c.pid), 0
    for k in range(4):
        n, usable = c.command(f"thin {k} 7")
        # large ones of glibc are mappings of their own, counted whole: two words and the rest
        if allocator == "glibc" and k == 3:
            expected += n * ((300000 + 16 + 4095) // 4096 * 4096)
        else:
            expected += truth(allocator, n, usable)
    got = delta.enter()
    assert abs(got["released_bytes"] - expected) <= 0.01 * expected, (expected, got)


def test_a_command(caches):
    c = caches(2, "jemalloc")
    c.command("fill 0 1024 1024")
    c.command("fill 1 3000 100")
    result = run_memwho("delta", c.pid, "--", "sh", "-c", f"echo said; echo drop 0 >/proc/{c.pid}/fd/0; sleep 0.3; exit 3")
    assert "1.0 MiB of blocks were released (1048576 bytes)" in result.out and "memwho trim" in result.out, result
    assert "said" in result.err and "said" not in result.out and "ended with 3" in result.err, result
    assert c.process.stdout.readline().startswith(b"dropped")
    got = run_memwho("delta", c.pid, "--json", "--", "true").json()
    assert got["command"] == "true" and got["command_status"] == 0 and got["released_bytes"] == 0


def test_with_jemallocs_own_profile(monkeypatch):
    """Which stack's blocks went: to the byte, as every block is sampled."""
    monkeypatch.setenv("MALLOC_CONF", "prof:true,prof_active:true,lg_prof_sample:0")
    c = Caches(2, "jemalloc")
    try:
        c.command("fill 0 1024 1024")
        used = c.command("fill 1 300 5000")[1]
        drop = ["--", "sh", "-c", f"echo drop 1 >/proc/{c.pid}/fd/0; sleep 0.5"]
        got = run_memwho("delta", c.pid, "--json", *drop).json()
        assert c.process.stdout.readline().startswith(b"dropped")
        [row] = [r for r in got["profile"] if "fill" in r["frames"]]
        assert row["delta_bytes"] == -used, (row, used)
        # a block that the profiler samples takes 16 KiB (arena_prof_promote)
        assert abs(got["released_bytes"] - 300 * 16384) <= 0.01 * 300 * 16384, got["released_bytes"]
        drop[3] = drop[3].replace("drop 1", "drop 0")
        result = run_memwho("delta", c.pid, *drop)
        assert c.process.stdout.readline().startswith(b"dropped")
        assert "jemalloc's own profile: 1 stack changed" in result.out and "-1.0 MiB  fill <" in result.out, result
        assert run_memwho("delta", c.pid, "--json", "--no-profile", "--", "true").json()["profile"] is None
    finally:
        c.stop()


def test_what_is_beside_the_heaps():
    """Memory that no allocator has: the ladder's rows before and after."""
    p = subprocess.Popen([sys.executable, "-c", "import mmap, sys; m = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE); "
                          "m.write(b'x' * (8 << 20)); print(flush=True); sys.stdin.readline(); m.close(); "
                          "print(flush=True); sys.stdin.readline()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert p.stdout.readline()
        delta = Delta(p.pid)
        p.stdin.write(b"\n")
        p.stdin.flush()
        assert p.stdout.readline()
        got = delta.enter()
        assert abs(got["came_back_bytes"] - (8 << 20)) <= 128 * 1024 and abs(got["released_bytes"]) <= 64 * 1024, got
        gone = [d["resident_before_bytes"] - d["resident_after_bytes"] for d in got["differences"]]
        assert abs(max(gone) - (8 << 20)) <= 64 * 1024, got["differences"]
    finally:
        conftest.end(p)


def test_until(caches):
    c = caches(1, "glibc")
    c.command("fill 0 1024 1024")
    got = run_memwho("delta", c.pid, "--until", "300ms", "--json").json()
    assert 0.3 <= got["duration_seconds"] < 20 and got["released_bytes"] == 0
    delta = Delta(c.pid, "--no-stop", "--until", "enter")
    c.command("fill 0 2048 1024")
    delta.process.send_signal(signal.SIGINT)
    got = conftest.json.loads(delta.process.communicate(timeout=60)[0])
    assert abs(got["released_bytes"] + 1024 * 1040) <= 0.01 * MIB and got["stood_still_us"] == [0, 0], got


def test_the_process_is_as_it_was(victim):
    v = victim("cacnefrs")
    for options in [], ["--no-stop"]:
        run_memwho("delta", v.pid, *options, "--until", "100ms")
        v.check()
    assert v.eintr == 0 and not v.tracers()


def test_bad_input(caches):
    c = caches(1, "glibc")
    refused("delta", c.pid, said="no heap of which memwho knows")  # it has not allocated anything so far
    c.command("fill 0 100 100")
    assert "needs a TARGET" in run_memwho("delta", code=2).err
    assert "ENTER, or a time" in run_memwho("delta", c.pid, "--until", "later", code=2).err
    assert "not both" in run_memwho("delta", c.pid, "--until", "1s", "--", "true", code=2).err
    result = run_memwho("delta", c.pid, "--", "/no/such/program", code=1)
    assert "could not be run" in result.err and result.out == "", result
    delta = Delta(c.pid)
    c.process.kill()
    c.process.wait()
    out, err = delta.process.communicate(b"\n", timeout=30)
    assert delta.process.returncode == 1 and out == b"" and b"has ended" in err, err
    refused("delta", c.pid, said="no process")
