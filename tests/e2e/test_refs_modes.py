# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300
"""memwho refs on Go programs with something that most have not: user arenas."""
import os
import subprocess

import conftest
import gotools
import pytest
from test_refs import near

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_modes"
MINORS = [0] + [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]


class Program:
    """What it said until it was ready, and what memwho says of it."""

    def __init__(self, memwho, *command, **kw):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **kw)
        self.roots, self.objects, self.held, self.live = {}, {}, 0, None
        try:
            for line in process.stdout:
                words = line.split()
                if words[0] == "ready":
                    break
                if words[0] == "root":
                    self.roots[words[1]] = int(words[2]), int(words[3])
                elif words[0] == "object":
                    self.objects[int(words[1], 16)] = words[2]
                elif words[0] == "held":
                    self.held = int(words[1])
                else:
                    self.live = int(words[1]), int(words[2])
            self.run = memwho("refs", process.pid, "--json", "--objects", code=None)
        finally:
            conftest.end(process)
        assert self.run.code == 0, self.run.err
        self.result = self.run.json()
        self.found = {int(o["address"], 16): o["type"] for o in self.result["objects"]}

    def check_totals(self):
        assert near(self.result["live_bytes"], self.live[0]), (self.result["live_bytes"], self.live)
        assert abs(self.result["live_objects"] - self.live[1]) <= self.live[1] / 100 + 10
        assert not self.run.err, self.run.err

    def types(self):
        """Pairs of true types and what is said of those that were found."""
        return [(t, self.found.get(a, self.found.get(a - 8))) for a, t in self.objects.items()]


@pytest.mark.parametrize("stripped", [False, True], ids=["", "stripped"])
@pytest.mark.parametrize("minor", [m for m in MINORS if not m or m >= 20])
def test_user_arena(memwho, minor, stripped):
    """Its chunks lie far from the heap and are one object each, as for the collector; what they hold is
    held, and one that was freed is nothing any more."""
    path = gotools.build(SOURCE / "arena", f"refs-arena-{minor}{'-stripped' if stripped else ''}",
                         ["-ldflags=-s -w"] if stripped else [], minor=minor, GOEXPERIMENT="arenas")
    p = Program(memwho, path)
    p.check_totals()
    assert len(p.objects) == 100 and all(f is not None for _, f in p.types())
    chunks = [o for o in p.result["objects"] if o["bytes"] > 8_000_000]
    assert len(chunks) == 2, chunks
    if not stripped:
        dump = subprocess.run([conftest.PROGRAMS / "go_layout_dump", "-c", path], check=True, capture_output=True, text=True)
        assert dump.stdout == "", dump.stdout
    if not minor or minor >= 22:
        assert chunks[0]["type"] == "chunk of a user arena"
    # three variables hold the chunk together
    shared = max(p.result["shared"], key=lambda s: s["retained_bytes"])
    assert near(shared["retained_bytes"], p.held + chunks[0]["bytes"]), shared
