# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho trim: what an allocator would give back, what it did, and all the cases in which it is
not asked. The program under test verifies its blocks and its errno (programs/caches.c)."""
import ctypes
import os
import platform
import signal
import subprocess
import time

import conftest
import pytest
from caches import ALLOCATORS, caches  # noqa: F401, a fixture
from conftest import run_memwho
from hold import Hold, build_rust
from refusal import refused
from test_agent_seccomp import CALLS, KILL, filtered, only  # noqa: F401
from victim import injector, victim  # noqa: F401

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are for x86-64")
MIB = 1 << 20
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17


def trim(pid, *options, allocator=None):
    got = run_memwho("trim", pid, "--json", *options).json()
    assert got["result"] == "trim" and got["pid"] == pid
    rows = [a for a in got["allocators"] if a["allocator"] == allocator]
    return got, rows[0] if allocator else None


def filled(start, allocator, **kw):
    """Some 32 MiB free of 48, in holes between blocks, and one whole cache of another thread."""
    c = start(3, allocator, **kw)
    c.command("fill 0 32000 1000")
    c.command("fill 1 16000 1000")
    c.command("fill 2 1000 1000")
    dropped = c.command("thin 0 100")[1] + c.command("drop 1")[1]
    return c, dropped


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_what_was_predicted_comes_back(caches, allocator):
    c, dropped = filled(caches, allocator)
    before = c.resident()
    got, row = trim(c.pid, allocator=allocator)
    after = c.resident()
    came = row["came_back_bytes"]
    # what it says is what the kernel says, less the pages of the stub and of its stack
    assert abs((before - after) - came) <= 256 * 1024, (before, after, row)
    assert abs((got["resident_before_bytes"] - got["resident_after_bytes"]) - (before - after)) <= 256 * 1024
    assert got["pss_before_bytes"] - got["pss_after_bytes"] > came - MIB
    assert abs(came - row["predicted_bytes"]) <= 0.01 * came + 300 * 1024, row
    assert came > {"glibc": 28, "jemalloc": 14, "tcmalloc": 8, "mimalloc": 15}[allocator] * MIB, row
    assert came <= dropped + MIB
    assert row["live_before_bytes"] == row["live_after_bytes"] and row["inconsistent"] == 0
    # there is nothing more, and the program's blocks are what they were
    assert trim(c.pid, allocator=allocator)[1]["came_back_bytes"] <= 64 * 1024
    for k in 0, 2:
        c.command(f"drop {k}")
    c.command("fill 1 16000 1000")
    c.command("drop 1")


@pytest.mark.parametrize("allocator", ["jemalloc", "tcmalloc"])
def test_caches_of_threads(caches, allocator):
    c = caches(3, allocator)
    for k in range(3):
        c.command(f"fill {k} 30000 200")
        c.command(f"thin {k} 50")
    trim(c.pid)
    before = trim(c.pid, "--predict", allocator=allocator)[1]
    cached = before["figures"]["thread_free_bytes"][0] if allocator == "tcmalloc" else before["cached_before_bytes"]
    assert cached > 0, before
    row = trim(c.pid, "--caches", allocator=allocator)[1]
    now = row["figures"]["thread_free_bytes"][1] if allocator == "tcmalloc" else row["cached_after_bytes"]
    assert row["calls"] == 4 and now < cached / 10, row
    for k in range(3):
        c.command(f"drop {k}")
        c.command(f"fill {k} 30000 200")


def test_text(caches):
    c, _ = filled(caches, "glibc")
    said = run_memwho("trim", c.pid, "--predict").out
    assert "malloc_trim(0) would give back" in said and "call" not in said.replace("malloc_trim", "")
    assert injector(c.pid, "find")[0] == 4, "something was made in the process"
    said = run_memwho("trim", c.pid).out
    assert "predicted" in said and "came back" in said and "resident" in said and "1 call in the process" in said
    assert "memory of memwho's" in run_memwho("detach", c.pid).out
    c.command("drop 0")


def test_a_static_program(caches):
    c, _ = filled(caches, "glibc", program="caches-static")
    row = trim(c.pid, allocator="glibc")[1]
    assert row["came_back_bytes"] > 28 * MIB and abs(row["came_back_bytes"] - row["predicted_bytes"]) < MIB
    c.command("drop 0")


def test_rust_with_jemalloc_linked_in():
    """By the name that Rust's build gives it."""
    t = Hold(build_rust(conftest.SOURCE, str(conftest.BUILD)))
    try:
        row = trim(t.pid, allocator="jemalloc")[1]
        assert row["refused"] is None and row["calls"] == 1 and row["figures"]["purge_bytes"][1] == 0, row
        t.truth()
    finally:
        t.process.kill()
        t.process.communicate()


@pytest.mark.parametrize("allocator", ["glibc", "jemalloc", "tcmalloc", "mimalloc"])
def test_killed_while_it_trims(caches, allocator):
    c, _ = filled(caches, allocator)
    for i in range(8):
        p = subprocess.Popen([conftest.MEMWHO, "trim", str(c.pid)], stdout=subprocess.DEVNULL)
        time.sleep(0.004 * i + (0.02 if allocator == "glibc" else 0.004))
        p.kill()
        p.wait()
        c.command("fill 1 500 1000")
        c.command("drop 1")
    trim(c.pid)
    c.command("drop 0")


# ---- when it is not asked ----


def test_musl_has_no_such_function(caches):
    if not (conftest.PROGRAMS / "caches-musl").exists():
        pytest.skip("no musl-gcc")
    c = caches(2, program="caches-musl")
    c.command("fill 0 1000 1000")
    refused("trim", c.pid, said=("musl has no function", "memwho "))
    c.command("drop 0")


def test_stripped(caches):
    c, _ = filled(caches, "glibc", program="caches-stripped")
    refused("trim", c.pid, said=("malloc_trim", "must not be stripped"))
    c.command("drop 0")


def test_stopped_and_traced(caches):
    c, _ = filled(caches, "glibc")
    os.kill(c.pid, signal.SIGSTOP)
    time.sleep(0.1)
    refused("trim", c.pid, "--timeout", "1s", said="stopped by a signal")
    os.kill(c.pid, signal.SIGCONT)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    assert libc.ptrace(SEIZE, c.pid, 0, 0) == 0
    refused("trim", c.pid, said=f"process {os.getpid()} traces")
    assert libc.ptrace(INTERRUPT, c.pid, 0, 0) == 0
    os.waitpid(c.pid, 0x40000000)
    libc.ptrace(DETACH, c.pid, 0, 0)
    trim(c.pid)
    c.command("drop 0")


def test_two_memwhos(victim):
    v = victim("aan")
    other = subprocess.Popen([conftest.PROGRAMS / "injector", "-n", "100000", str(v.pid), "call", "malloc_trim", "0"],
                             stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        refused("trim", v.pid, said=f"another memwho is at work in process {v.pid}", hint=False)
    finally:
        other.kill()
        other.wait()
    v.check()


@pytest.mark.parametrize("call", ["madvise", "munmap"])
def test_a_filter_that_would_kill(filtered, call):
    v = filtered("cn", only(CALLS[call], KILL))
    result = run_memwho("trim", v.pid, code=1)
    assert call in result.err and result.out == "", result
    v.check()


def test_no_thread_at_a_safe_point(victim):
    v = victim("v")  # its only thread waits for a vfork child, again and again
    deadline = time.monotonic() + 20
    while True:
        result = run_memwho("trim", v.pid, "--timeout", "500ms", code=None)
        if result.code == 1:
            break
        assert time.monotonic() < deadline, "was never in the call"
    assert "nothing was changed" in result.err and f"process {v.pid}" in result.err, result
    v.check()


def test_gone_and_wrong(caches):
    c = caches(1)
    c.stop()
    refused("trim", c.pid, said="no process")
    assert "needs a TARGET" in run_memwho("trim", code=2).err
    assert "--timeout" in run_memwho("trim", os.getpid(), "--timeout", "2h", code=2).err
