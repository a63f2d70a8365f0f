# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel once
"""A stray write of the target into the agent's memory: what cannot be is found, said and, where
it would keep a thread from being sampled, mended (src/alloc/agent_health.h)."""
import os
import platform
import struct
import time

import pytest
from conftest import PROGRAMS
from hold import Hold
from test_agent import agenter, done, untouched

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# agent_format.h
SLOT_BYTES, SLOTS, CPU_BYTES, CPUS, ENTRY_BYTES = 64, 4096, 256, 256, 48
# whose the countdowns are
KINDS = {"processors": None, "threads": {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}}
MEAN = 1024


class Memory:
    def __init__(self, pid):
        said = done(agenter(pid, "look"))
        self.at = {k: int(said[k], 16) for k in ("slots", "cpus", "entries", "counters")}
        self.file = open(f"/proc/{pid}/mem", "r+b", buffering=0)

    def read(self, at, n):
        self.file.seek(at)
        return self.file.read(n)

    def write(self, at, data):
        self.file.seek(at)
        self.file.write(data)

    def countdowns(self, kind):
        """Addresses of all that are in use."""
        at, size, n = {"threads": (self.at["slots"], SLOT_BYTES, SLOTS),
                       "processors": (self.at["cpus"], CPU_BYTES, CPUS)}[kind]
        whole = self.read(at, size * n)
        used = [at + i * size for i in range(n) if struct.unpack_from("Q", whole, i * size)[0]]
        assert len(used) == 1 if kind == "threads" else 1 <= len(used) <= os.cpu_count(), used
        return used

    def entry(self, size_of_entry):
        """Address of an entry that is in use."""
        whole = self.read(self.at["entries"], (1 << 15) * 8 * size_of_entry)
        at = next(i for i in range(0, len(whole), size_of_entry)
                  if struct.unpack_from("Q", whole, i)[0] > 1)
        return self.at["entries"] + at


def damaged(record, damage, env=None):
    """-> (the report, what the program holds since the damage)"""
    with Hold(PROGRAMS / "hold", env=env) as hold:
        hold.command("warm 3")
        r = record("alloc", hold.pid, "--engine", "agent", "--sample", str(MEAN), "--json")
        hold.command("mark")
        hold.command("go 4")
        damage(Memory(hold.pid))
        time.sleep(2.5)
        for _ in range(10):
            hold.command("go 4")
            time.sleep(0.02)
        truth = sum(row["bytes"] for row in hold.truth()["sites"].values())
        got = r.interrupt().json()
        assert hold.alive()
        untouched(hold.pid)
        return got, truth


def test_what_is_whole_is_not_called_damaged(record):
    got, truth = damaged(record, lambda memory: None)
    assert "damaged_in_target" not in got, got
    assert got["held_bytes"] == pytest.approx(truth, rel=0.05)


def damaged_countdowns(record, kind, offset, value):
    """Each of them is said, and mended: what is allocated afterwards is seen."""
    n = 0

    def damage(memory):
        nonlocal n
        for at in memory.countdowns(kind):
            memory.write(at + offset, value)
            assert memory.read(at + offset, len(value)) == value
            n += 1
    got, truth = damaged(record, damage, KINDS[kind])
    assert f"{n} countdowns" in got["damaged_in_target"], got
    assert got["held_bytes"] == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("left", [1 << 62, 46 * MEAN * 64, 1 << 40])
def test_a_countdown(record, left, kind):
    """It would keep threads from ever being sampled again."""
    damaged_countdowns(record, kind, 8, struct.pack("q", left))


@pytest.mark.parametrize("kind", KINDS)
def test_a_countdowns_rate(record, kind):
    damaged_countdowns(record, kind, 36, struct.pack("I", 201))


def test_an_entry_of_the_set(record):

    def damage(memory):
        at = memory.entry(ENTRY_BYTES)
        memory.write(at + 16, bytes(b ^ 0x55 for b in memory.read(at + 16, 8)))
    got, _ = damaged(record, damage)
    assert "1 entries of the set" in got["damaged_in_target"], got
    assert got["lost_events"] == 1, got


def test_the_counters(record):
    got, _ = damaged(record, lambda memory: memory.write(memory.at["counters"], struct.pack("Q", 3)))
    assert "counters" in got["damaged_in_target"], got
