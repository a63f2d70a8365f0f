# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""memwho serve: its own memory in a target that it records is told, and is no growth of the target."""
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import conftest
import pytest
from conftest import Target
from serving import Serve, until

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
MIB = 1 << 20


def own_bytes(s):
    found = re.search(r'^memwho_recording_resident_bytes\{target="api"\} (\d+)', s.get("/metrics").text, re.M)
    return int(found[1]) if found else 0


# always as many blocks, and busy: it is sampled from inside
FLAT = """
kept = [bytearray(3000) for _ in range(20000)]
print("ready", flush=True)
while True:
    for i in range(len(kept)):
        kept[i] = None
        kept[i] = bytearray(3000)
"""


@pytest.fixture
def flat():
    p = subprocess.Popen([sys.executable, "-c", FLAT], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    yield p
    conftest.end(p)


def anonymous(pid):
    _, resident, shared, *_ = map(int, pathlib.Path(f"/proc/{pid}/statm").read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGESIZE")


def test_own_memory_is_no_growth(tmp_path, flat):
    """A rule whose limit only memwho's own memory passes does not fire."""
    before = anonymous(flat.pid)
    with Serve(tmp_path, f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {flat.pid}", "record = always",
               '[trigger "high"]', f"rule = above {(before + 2 * MIB) // 1024}K", "capture = ladder", "warmup = 15s") as s:
        until(lambda: own_bytes(s) > 3 * MIB, 60)
        parts = s.get("/targets/api/ladder", status=200).json()["parts"]
        ours = sum(p["resident_bytes"] for p in parts if p["kind"] == "memwho")
        assert abs(own_bytes(s) - ours) < MIB, (own_bytes(s), ours)
        assert anonymous(flat.pid) > before + 2 * MIB
        until(lambda: s.get("/captures").json()["captures"], 60)  # the baseline: the rule is warm
        time.sleep(3)
        kept = [(c["trigger"], c["reason"]) for c in s.get("/captures").json()["captures"]]
        assert [trigger for trigger, _ in kept] == ["baseline"], kept


def test_a_recording_that_gives_up_is_told(tmp_path):
    """A quiet target that gets a hundred times as busy: its recording leaves, for the budget. What it
    last knew is not shown as if it were of now, and it is tried again later."""
    pace = Target([conftest.PROGRAMS / "agent_pace", "8000"])
    try:
        assert pace.line() == "ready"
        with Serve(tmp_path, "budget = 0.4%", '[target "api"]', f"pid = {pace.pid}", "record = always") as s:
            until(lambda: 'memwho_held_bytes{target="api"}' in s.get("/metrics").text, 30)
            s.wait_line("target api is not recorded: it allocates too much for the budget.*next try in 30 s", 60)
            assert s.get("/targets/api").json()["recording"] == "failed"
            assert "too much for the budget" in s.get("/targets/api").json()["recording_error"]
            assert 'memwho_held_bytes{target="api"}' not in s.get("/metrics").text
            assert "not recorded: it allocates too much" in s.get("/").text
    finally:
        pace.stop()
