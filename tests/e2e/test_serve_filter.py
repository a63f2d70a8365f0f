# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""packaging/memwho.service: what its SystemCallFilter takes away is not missed. The service runs under
that filter, as systemd would install it, and does all that it can."""
import ctypes
import errno
import os
import pathlib
import re
import struct
import subprocess
import sys

import pytest

from conftest import PROGRAMS, SOURCE
from hold import Hold
from serving import Serve, until

UNISTD = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
ALLOW, ERRNO, KILL = 0x7fff0000, 0x00050000, 0x80000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22


def denied():
    """Names of the unit's filter, which is a list of what is not to be called."""
    unit = (SOURCE / "packaging" / "memwho.service").read_text()
    words = [w for line in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M) for w in line.split()]
    assert words and words[0].startswith("~") and re.search(r"^SystemCallErrorNumber=EPERM$", unit, re.M)
    return [w.lstrip("~") for w in words]


def numbers(names):
    known = dict(re.findall(r"^#define __NR_(\w+) (\d+)$", UNISTD.read_text(), re.M))
    assert not [n for n in names if n not in known]
    return [int(known[n]) for n in names]


def program(calls):
    """BPF: EPERM for these, and nothing but the machine's own calls (SystemCallArchitectures=native)."""
    def op(code, jt, jf, k):
        return struct.pack("HBBI", code, jt, jf, k)
    out = [op(0x20, 0, 0, 4), op(0x15, 1, 0, 0xc000003e), op(0x06, 0, 0, KILL), op(0x20, 0, 0, 0)]
    for n in calls:
        out += [op(0x15, 0, 1, n), op(0x06, 0, 0, ERRNO | errno.EPERM)]
    return out + [op(0x06, 0, 0, ALLOW)]


def install(code):
    buffer = ctypes.create_string_buffer(b"".join(code))
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer)))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, 2, head, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


@pytest.fixture(scope="module")
def code():
    if not UNISTD.exists():
        pytest.skip("the numbers are those of x86-64")
    return program(numbers(denied()))


def test_it_denies(code):
    """Else the next test could not fail."""
    script = "import os; os.chroot('/')"
    p = subprocess.run([sys.executable, "-c", script], preexec_fn=lambda: install(code), stderr=subprocess.PIPE, text=True)
    assert p.returncode and "PermissionError" in p.stderr


def test_everything_works(tmp_path, needs_bpf, code):
    with Hold(PROGRAMS / "hold") as hold, \
            Serve(tmp_path, "budget = none", f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {hold.pid}", '[target "all"]',
                  f"pid = {os.getpid()}", '[trigger "g"]', "rule = growth 1G in 10m", "capture = ladder", "warmup = 0",
                  "target = api", preexec_fn=lambda: install(code)) as s:
        assert s.status_lines()["Seccomp"] == "2"
        hold.command("warm 5")
        until(lambda: s.get("/captures").json()["captures"])
        for path in ("ladder", "debug/pprof/heap?seconds=1", "map?seconds=1", "debug/pprof/cmdline",
                     "flamegraph?kind=ladder", "captures"):
            s.get(f"/targets/api/{path}", status=200)
        assert s.get("/targets/api/refs").status == 501  # no heap of Go or Lua: not forbidden
        s.write("budget = 2%", f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {hold.pid}", "record = always")
        s.process.send_signal(1)
        until(lambda: s.get("/targets/api").json()["recording"] == "yes", 60)
        hold.command("go 5")
        text = s.get("/targets/api/debug/pprof/heap?debug=1", status=200).text
        assert "memory held" in text
        for worker in s.workers():
            assert s.status_lines(worker)["Seccomp"] == "2"
        s.get("/metrics", status=200)
        s.get("/sd", status=200)
        assert s.stop() == 0
