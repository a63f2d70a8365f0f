# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""A target that rewrites its heap's bookkeeping while it is looked at: memwho
answers, within its time and memory, with rows that add up, and what contradicts
itself is counted or stays unnamed. (65,530 mappings, names with escape sequences,
targets that end at each step and another user's: test_ladder_core.py.)"""
import random
import resource
import subprocess

import pytest

import conftest
from conftest import MEMWHO, PROGRAMS, Target
from test_ladder_allocators import preload
from test_ladder_core import check_sums, parts, status

KINDS = {None: "glibc-arena", "jemalloc": "jemalloc", "tcmalloc": "tcmalloc",
         "mimalloc": "mimalloc"}
MIB = 1 << 20


@pytest.fixture
def scribble(target):
    def start(allocator, seed, spin):
        t = target("scribble", 60, seed, spin, env=preload(allocator) if allocator else None)
        assert t.line() == "ready"
        return t

    return start


def look(*args, code=0):
    """As a user does, with a bound on what it may take: no answer is a hang. (Its
    address space is not bounded under sanitizers, which need terabytes.)"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    result = conftest.run_memwho(*args, code=code, timeout=40)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert after == before or after < 300 * 1024, f"{args}: {after} KiB"
    return result


def addresses(pid, n):
    found = []
    for line in open(f"/proc/{pid}/maps", encoding="utf-8"):
        start, end = (int(w, 16) for w in line.split()[0].split("-"))
        if " rw-p " in line and "/" not in line and end < 1 << 47:
            found += [random.randrange(start, end) for _ in range(n)]
    return [hex(a) for a in random.sample(found, min(n, len(found)))]


@pytest.mark.parametrize("allocator", KINDS, ids=str)
@pytest.mark.parametrize("spin", [0, 3000, 3000000])
def test_a_heap_that_is_rewritten(scribble, allocator, spin, tmp_path):
    t = scribble(allocator, random.randrange(1, 1 << 32), spin)
    for args in (["--json"], ["--json", "--stop"], ["--json", "--pss"]):
        ladder = look(t.pid, *args).json()
        check_sums(ladder)
        assert ladder["virtual_bytes"] == status(t.pid)["VmSize"]
        assert len(parts(ladder, "thread-stack")) == 4
        for p in ladder["parts"]:
            assert 0 <= p["inconsistent"] <= p["checked"], p
    if spin == 3000000: # hardly hurt: it is still known for what it is
        assert parts(ladder, KINDS[allocator])
    look(t.pid)
    look(t.pid, "-o", tmp_path / "x.html")
    look("what", t.pid, *addresses(t.pid, 40))
    assert t.process.poll() is None


@pytest.mark.parametrize("allocator", KINDS, ids=str)
def test_it_may_end_meanwhile(allocator):
    """An alarm ends the target in the middle of the looks: they answer, or say so."""
    t = Target([PROGRAMS / "scribble", 1, 7, 3000], env=preload(allocator) if allocator else None)
    try:
        assert t.line() == "ready"
        answered = ended = 0
        while not ended:
            p = subprocess.run([MEMWHO, str(t.pid)], capture_output=True, timeout=40, check=False)
            assert p.returncode in (0, 1), p.stderr
            answered += p.returncode == 0
            ended += p.returncode == 1
        assert answered > 0
        assert b"no process" in p.stderr or b"ended" in p.stderr, p.stderr
    finally:
        t.stop()
