# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel once
"""Whose the agent's countdowns are: the processors' where glibc says at a known place which one a
thread is on, else the threads' (src/alloc/agent_cpu.h)."""
import ctypes
import platform
import shutil
import struct
import subprocess

import pytest
from conftest import PROGRAMS
from hold import Hold, library
from test_agent import agenter, done, untouched
from test_agent_damage import Memory

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
LAST_OF_CPU_ID_START = 3
THREADS = {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}


def offset():
    """What libc says of this process, which is the same build as the fixtures' one."""
    libc = ctypes.CDLL(None)
    assert ctypes.c_uint.in_dll(libc, "__rseq_size").value
    return ctypes.c_ssize_t.in_dll(libc, "__rseq_offset").value


def cpu_at(record, program, preload=None, env=None):
    with Hold(program, preload=preload, env=env) as hold:
        hold.command("warm 3")
        r = record("alloc", hold.pid, "--engine", "agent", "--sample", "1024", "--json")
        said = int(done(agenter(hold.pid, "look"))["cpu_at"])
        hold.command("mark")
        for _ in range(20):
            hold.command("go 4")
        truth = sum(row["bytes"] for row in hold.truth()["sites"].values())
        got = r.interrupt().json()
        assert got["held_bytes"] == pytest.approx(truth, rel=0.1), (got["held_bytes"], truth)
        assert hold.alive()
        untouched(hold.pid)
        return said


@pytest.mark.parametrize("preload", [None, "libjemalloc.so.2", "libtcmalloc.so.4"])
def test_the_processors(record, preload):
    if preload and not library(preload):
        pytest.skip(f"{preload} is not installed")
    assert cpu_at(record, PROGRAMS / "hold", preload) == offset() + LAST_OF_CPU_ID_START


def test_a_static_program(record):
    """Another build of the same libc: the program's own symbol."""
    assert cpu_at(record, PROGRAMS / "hold-static") == offset() + LAST_OF_CPU_ID_START


@pytest.mark.parametrize("program, env", [("hold", THREADS), ("hold-musl", None), ("hold-musl-dynamic", None)])
def test_the_threads(record, program, env):
    if not (PROGRAMS / program).exists():
        pytest.skip(f"{program} could not be built")
    assert cpu_at(record, PROGRAMS / program, env=env) == 0


def test_a_stripped_program(record, tmp_path):
    """Its libc is not its own: the loader's symbol stays."""
    program = tmp_path / "hold"
    shutil.copy(PROGRAMS / "hold", program)
    subprocess.run(["strip", program], check=True)
    assert cpu_at(record, program) == offset() + LAST_OF_CPU_ID_START


def test_a_childs_countdowns_rest(record):
    """The copy that fork() makes has the jumps, and no countdown: the first call on each processor
    comes to the agent, and then none does."""
    with Hold(PROGRAMS / "hold") as hold:
        hold.command("warm 3")
        r = record("alloc", hold.pid, "--engine", "agent", "--sample", "1024", "--json")
        child = int(hold.command("fork"))
        for _ in range(5):
            hold.command("child go 4")
        memory = Memory(child)
        rests = [struct.unpack("qQQII", memory.read(at + 8, 32)) for at in memory.countdowns("processors")]
        assert rests and all(1 << 35 < left < 1 << 36 and rate == 0xff for left, _, _, _, rate in rests), rests
        assert int(done(agenter(child, "look"))["samples"]) == 0
        r.interrupt()
        untouched(hold.pid)
