# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 once
"""A signal has come to a thread between two instructions that the sampling engine's jump would lie
over, and its handler waits: the thread will return there. Nothing may be patched until it has."""
import contextlib
import ctypes
import os
import platform
import signal
import subprocess

import pytest
from conftest import PROGRAMS, Target, run_memwho
from test_agent import changed_code, places
from test_agent_offsets import instructions, where_it_is_patched

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
SEIZE, INTERRUPT, DETACH, SINGLESTEP, GETREGS = 0x4206, 0x4207, 17, 9, 12
RIP = 16  # in struct user_regs_struct
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
HOW = {"code": [], "page": ["--patch", "page"]}


def ptrace(request, pid, data=None):
    assert libc.ptrace(request, pid, None, data) == 0, (request, os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def stopped(pid):
    """Its only thread stands still, and is ours."""
    ptrace(SEIZE, pid)
    ptrace(INTERRUPT, pid)
    os.waitpid(pid, 0)
    yield
    ptrace(DETACH, pid)


def step_to(pid, at):
    """Until @at is the next instruction that it executes."""
    regs = (ctypes.c_ulonglong * 27)()
    for _ in range(200_000):
        ptrace(GETREGS, pid, ctypes.addressof(regs))
        if regs[RIP] == at:
            return
        ptrace(SINGLESTEP, pid)
        os.waitpid(pid, 0)
    raise AssertionError(f"it does not come to {at:#x}")


@pytest.fixture
def caught(tmp_path):
    """A program that a signal interrupted inside of the jump's place in calloc(), and that place."""
    t = Target([PROGRAMS / "caught"])
    assert t.line() == "ready"
    inside = instructions(t.pid, where_it_is_patched(t, "calloc", tmp_path))[1:]
    if not inside:
        t.stop()
        pytest.skip("this libc's calloc has one long instruction there: nobody can stand in it")
    with stopped(t.pid):
        step_to(t.pid, inside[-1])
        os.kill(t.pid, signal.SIGUSR1)
    assert t.line() == "caught"
    yield t, inside[-1]
    t.stop()


def goes_on(t):
    """From where it was, to the right result."""
    t.say()
    word, rounds, bad = t.line().split()
    assert word == "on" and int(rounds) > 0 and int(bad) == 0


@pytest.mark.parametrize("how", HOW)
def test_it_is_refused_and_says_which(caught, how):
    t, at = caught
    got = run_memwho("alloc", t.pid, "--engine", "agent", "-d", "1s", *HOW[how], code=1)
    assert f"thread {t.pid} stands in code that is to be changed" in got.err, got
    assert f"a signal came at {at:#x}" in got.err, got
    assert not changed_code(t.pid) and len(places(t.pid)) == 1
    goes_on(t)
    # and when it has left, nothing is in the way
    got = run_memwho("alloc", t.pid, "--engine", "agent", "--sample", "4K", "-d", "300ms", "--json", *HOW[how]).json()
    assert got["samples"] > 0 and got["patched_functions"] == 8, got
    assert not changed_code(t.pid)
    os.kill(t.pid, signal.SIGUSR1)
    assert t.line() == "caught"
    goes_on(t)


def test_it_is_waited_for(caught):
    """The handler ends while memwho tries again and again."""
    t, _ = caught
    p = subprocess.Popen([PROGRAMS / "agenter", "-m", "4096", str(t.pid), "record", "300"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, env={**os.environ, "MEMWHO_STEPS": "1"})
    try:
        # a dozen belong to its calls; the others are stops that were for nothing
        for _ in range(30):
            assert next(line for line in p.stderr if line.endswith("let go\n"))
        assert not changed_code(t.pid)
        goes_on(t)
        out, _ = p.communicate(timeout=60)
    finally:
        p.kill()
    assert p.returncode == 0 and "attached_at" in out, out
    assert not changed_code(t.pid)
