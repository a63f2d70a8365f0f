# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300
"""The black box: a process that is killed for want of memory, in a memory cgroup of its own, still
leaves the profile of what it held, since the tables are memwho's. BLACKBOX_KILLS: how many (`./dev
matrix blackbox`: 100)."""
import os
import pathlib
import struct

import pytest

import cgroups
from conftest import PROGRAMS, Target

KILLS = int(os.environ.get("BLACKBOX_KILLS", "4"))
LIMIT = 48 << 20
V1 = pathlib.Path("/sys/fs/cgroup/memory")
FUNCTIONS = ("open_session", "fill_cache", "take_buffer")


def limit(path):
    """v1 counts swap in memsw, where it is built in."""
    for name, value in (("memory.limit_in_bytes", LIMIT), ("memory.memsw.limit_in_bytes", LIMIT),
                        ("memory.max", LIMIT), ("memory.swap.max", 0)):
        if (path / name).exists():
            (path / name).write_text(str(value))


@pytest.fixture
def cgroup():
    """A memory cgroup with a limit, of v1 or v2."""
    top = V1 if (V1 / "memory.limit_in_bytes").exists() else V1.parent
    with cgroups.made(top, f"memwho-blackbox-{os.getpid()}") as path:
        limit(path)
        if not (path / "memory.stat").exists():
            pytest.skip("no memory controller for a cgroup of the test's own")
        yield path


def oom_kills(path):
    events = path / "memory.oom_control" if (path / "memory.oom_control").exists() else path / "memory.events"
    return int(dict(line.split() for line in events.read_text().splitlines())["oom_kill"])


def kill_one(record, cgroup, folder):
    """What was held by the program's own account, by memwho's, and the cgroup's anonymous memory."""
    before = oom_kills(cgroup)
    t = Target([PROGRAMS / "oom", folder / "account"],
               preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())))
    try:
        assert t.line() == "ready"
        r = record("alloc", t.pid, "--json", "--max-slowdown", "1000")
        t.say()
        result = r.wait(timeout=60).json()
        assert t.process.wait(10) == -9 and oom_kills(cgroup) == before + 1
    finally:
        t.stop()
    assert result["ended_by"] == "exit"
    truth = dict(zip(FUNCTIONS, struct.unpack("3Q", (folder / "account").read_bytes())))
    found = {name: sum(s["bytes"] for s in result["stacks"] if name in s["frames"]) for name in FUNCTIONS}
    return truth, found


def test_killed_for_memory(needs_bpf, record, cgroup, tmp_path):
    profiles = exact = 0
    shares = []
    for _ in range(KILLS):
        truth, found = kill_one(record, cgroup, tmp_path)
        total = sum(truth.values())
        assert total > LIMIT // 2  # it was a large one that died
        profiles += sum(found.values()) >= 0.95 * total
        # the block that it died of was given out, and is not in its account
        exact += all(0 <= found[n] - truth[n] <= 60000 for n in FUNCTIONS)
        shares.append(sum(found.values()) / LIMIT)
    print(f"{KILLS} kills: {profiles} profiles, {exact} exact; of the cgroup's limit they explain "
          f"{min(shares):.1%} to {max(shares):.1%}")
    assert profiles >= 0.95 * KILLS
    assert exact >= 0.95 * KILLS
    assert sorted(shares)[KILLS // 20] >= 0.9
