# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel once
"""Stopping a process for a moment (target/freeze.h) changes nothing that it can
see: blocking system calls side by side with a run that nobody stops."""
import os
import re
import shutil
import subprocess
import time

import pytest

import conftest

LINE = re.compile(r"(\S+) rounds (\d+) wrong (\d+) early (\d+) errno (\d+) longest_ms (\d+)$")
# a finite timeout of these begins again after a stop, until it has passed since the first (freeze_regs.h)
BEGINS_AGAIN = {"io_getevents-timed"}
KILLS = 12


def freeze(pid, times, hold_us, pause_us, code=0, **kw):
    p = subprocess.run([conftest.PROGRAMS / "freezer", *map(str, (pid, times, hold_us, pause_us))],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=60, **kw)
    assert p.returncode == code, p.stderr
    return {k: int(v) for k, v in (line.split() for line in p.stdout.splitlines())} if code == 0 else p.stderr


def calls(target, meanwhile, *wrapper):
    """{call: (rounds, wrong, early, errno, longest ms)}"""
    t = target(wrapper[0], *wrapper[1:], conftest.PROGRAMS / "interrupted") if wrapper else target("interrupted")
    assert t.line() == "ready"
    time.sleep(0.1)
    meanwhile(t)
    t.say()
    found = {}
    for _ in range(1000):
        try:
            m = LINE.match(t.line())
        except EOFError:
            break
        found[m[1]] = tuple(map(int, m.groups()[1:]))
    assert len(found) >= 30
    return found


def test_calls_that_nobody_stops(target):
    """The control: what the next ones are compared with."""
    for name, (rounds, wrong, early, errno, _) in calls(target, lambda t: time.sleep(1)).items():
        assert rounds >= 20 and not wrong and not early, (name, errno)


def test_calls_under_hundreds_of_stops(target):
    def stop(t):
        figures = freeze(t.pid, 300, 500, 3000)
        assert figures["frozen"] == 300
    for name, (rounds, wrong, early, errno, _) in calls(target, stop).items():
        # a timeout of 15 ms never passes between two of these stops: held up, but not for good
        assert rounds >= (10 if name in BEGINS_AGAIN else 20), name
        assert not wrong and not early, (name, wrong, errno)


def test_timeouts_that_pass_between_two_stops(target):
    found = calls(target, lambda t: freeze(t.pid, 25, 500, 50000))
    for name, (rounds, wrong, early, errno, _) in found.items():
        assert rounds >= 20 and not wrong and not early, (name, wrong, errno)


def test_calls_in_another_pid_namespace(target):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")

    def stop(t):
        inner = int(open(f"/proc/{t.pid}/task/{t.pid}/children").read().split()[0])
        assert freeze(inner, 50, 200, 2000)["frozen"] == 50
    found = calls(target, stop, shutil.which("unshare"), "--pid", "--fork", "--kill-child", "--")
    for name, (_, wrong, early, errno, _) in found.items():
        assert not wrong and not early, (name, wrong, errno)


def test_who_may_not(target):
    if os.geteuid():
        pytest.skip("needs root, to be somebody else")
    t = target("interrupted")
    t.line()
    err = freeze(t.pid, 1, 0, 0, code=1, user=65534, group=65534, extra_groups=[])
    assert "not permitted" in err and "CAP_SYS_PTRACE" in err


def test_a_freezer_that_is_killed(target):
    """Its target goes on, whatever it was doing."""
    def stop(t):
        for i in range(KILLS):
            p = subprocess.Popen([conftest.PROGRAMS / "freezer", str(t.pid), "100000", "300", "300"])
            time.sleep(0.02 + i % 5 / 1000)
            p.kill()
            p.wait()
        time.sleep(0.2)
    for name, (rounds, wrong, early, errno, longest) in calls(target, stop).items():
        # killed between a stop and the repair of its call: that one EINTR stays
        assert wrong <= KILLS and early <= wrong, (name, wrong, errno)
        assert rounds >= 5 or name in BEGINS_AGAIN, name
