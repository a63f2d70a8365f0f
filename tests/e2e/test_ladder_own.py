# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""What memwho itself has in a process is a row of its own, to the byte of what came into
/proc/PID/maps: while it records, and what stays behind it."""
import pathlib
import platform

import pytest
from conftest import PROGRAMS, run_memwho
from hold import Hold

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")


def anonymous(pid):
    """Bytes of mappings without a file or a name."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split()
        if len(words) == 5:
            start, end = (int(x, 16) for x in words[0].split("-"))
            total += end - start
    return total


def rows(pid):
    """{kind: virtual bytes}, {name of a row of ours: it}"""
    parts = run_memwho(pid, "--json").json()["parts"]
    sums = {}
    for p in parts:
        sums[p["kind"]] = sums.get(p["kind"], 0) + p["virtual_bytes"]
    return sums, {p["name"]: p for p in parts if p["kind"] == "memwho"}


@pytest.mark.parametrize("mode", [(), ("--exact",), ("--patch", "page")])
def test_our_own_row(record, mode):
    with Hold(PROGRAMS / "hold") as hold:
        hold.command("warm 3")
        before, before_rows = anonymous(hold.pid), rows(hold.pid)[0]
        assert "memwho" not in before_rows
        r = record("alloc", hold.pid, "--engine", "agent", *mode, "--json")
        during, ours = rows(hold.pid)  # the program itself does nothing meanwhile
        assert during["memwho"] == anonymous(hold.pid) - before > 20 << 20
        assert during.get("unnamed", 0) == before_rows.get("unnamed", 0)
        assert ours["agent"]["resident_bytes"] > 0 and "records" in ours["agent"]["detail"], ours
        r.interrupt()
        after, ours = rows(hold.pid)
        assert after["memwho"] == anonymous(hold.pid) - before
        assert after.get("unnamed", 0) == before_rows.get("unnamed", 0)
        assert "left by a recording" in ours["agent"]["detail"] and ours["agent"]["resident_bytes"] < 1 << 20, ours
        # as a person reads it
        assert "memwho's own" in run_memwho(hold.pid).out
