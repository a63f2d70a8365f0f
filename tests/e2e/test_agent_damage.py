# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel once
"""A stray write of the target into the agent's memory: what cannot be is found, said and, where
it would keep a thread from being sampled, mended (src/alloc/agent_health.h)."""
import platform
import struct
import time

import pytest
from conftest import PROGRAMS
from hold import Hold
from test_agent import agenter, done, untouched

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# agent_format.h
SLOT_BYTES, SLOTS, ENTRY_BYTES = 64, 4096, 48
MEAN = 1024


class Memory:
    def __init__(self, pid):
        said = done(agenter(pid, "look"))
        self.at = {k: int(said[k], 16) for k in ("slots", "entries", "counters")}
        self.file = open(f"/proc/{pid}/mem", "r+b", buffering=0)

    def read(self, at, n):
        self.file.seek(at)
        return self.file.read(n)

    def write(self, at, data):
        self.file.seek(at)
        self.file.write(data)

    def slot(self):
        """Address of the first slot that has an owner."""
        all_slots = self.read(self.at["slots"], SLOT_BYTES * SLOTS)
        used = [i for i in range(SLOTS) if struct.unpack_from("Q", all_slots, i * SLOT_BYTES)[0]]
        assert len(used) == 1, used
        return self.at["slots"] + used[0] * SLOT_BYTES

    def entry(self, size_of_entry):
        """Address of an entry that is in use."""
        whole = self.read(self.at["entries"], (1 << 15) * 8 * size_of_entry)
        at = next(i for i in range(0, len(whole), size_of_entry)
                  if struct.unpack_from("Q", whole, i)[0] > 1)
        return self.at["entries"] + at


def damaged(record, damage):
    """-> (the report, what the program holds since the damage)"""
    with Hold(PROGRAMS / "hold") as hold:
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


@pytest.mark.parametrize("left", [1 << 62, 46 * MEAN * 64, 1 << 40])
def test_a_countdown(record, left):
    """It would keep the thread from ever being sampled again. It is said, and mended: what is
    allocated afterwards is seen."""
    got, truth = damaged(record, lambda memory: memory.write(memory.slot() + 8, struct.pack("q", left)))
    assert "1 countdowns" in got["damaged_in_target"], got
    assert got["held_bytes"] == pytest.approx(truth, rel=0.05)


def test_a_slots_rate(record):
    def damage(memory):
        memory.write(memory.slot() + 36, struct.pack("I", 201))
        assert struct.unpack("I", memory.read(memory.slot() + 36, 4))[0] == 201
    got, truth = damaged(record, damage)
    assert "1 countdowns" in got["damaged_in_target"], got
    assert got["held_bytes"] == pytest.approx(truth, rel=0.05)


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
