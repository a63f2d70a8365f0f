# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/programs/ladder_truth, a heap with a known answer, and what one runtime
sees of it from outside (tests/programs/regions)."""
import collections
import subprocess

import conftest

Heap = collections.namedtuple("Heap", "kind name in_use cached checked inconsistent detail "
                              "evidence figures ranges")


class Truth(conftest.Target):
    """A running ladder_truth; @program may begin with a loader and its arguments."""

    def __init__(self, *args, program="ladder_truth", env=None):
        argv = program if isinstance(program, list) else [conftest.PROGRAMS / program]
        super().__init__([*argv, *map(str, args)], env=env)
        ready = self.line(timeout=60)
        assert ready == f"ready {self.pid}"

    def ask(self, command):
        self.say(command)
        lines = []
        while (line := self.line(timeout=60)) != "ok":
            lines.append(line)
        return lines

    def own(self):
        """What the allocator reports, and "held", "held_bytes"."""
        figures = {}
        for line in self.ask("stats"):
            words = line.split()
            if words[0] == "held":
                figures.update(held=int(words[1]), held_bytes=int(words[2]))
            else:
                figures[words[1]] = int(words[2])
        return figures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def _regions(runtime, pid, *args):
    p = subprocess.run([conftest.PROGRAMS / "regions", runtime, str(pid), *map(str, args)],
                       capture_output=True, timeout=120, check=False)
    assert p.returncode == 0, p.stderr.decode(errors="replace")
    return [line.split("\t") for line in p.stdout.decode(errors="replace").splitlines()]


def look(runtime, pid, stop=True):
    """Heaps and findings as the runtime sees them."""
    rows = _regions(runtime, pid, "heaps", *(["stop"] if stop else []))
    heaps, findings = {}, {}
    for kind, *row in rows:
        if kind == "heap":
            figures = {k: int(v) for k, v in (f.split("=") for f in row[8:])}
            heaps[row[0], row[1]] = Heap(row[0], row[1], *map(int, row[2:6]), *row[6:8], figures,
                                         [])
        elif kind == "range":
            heaps[row[0], row[1]].ranges.append((int(row[2], 16), int(row[3], 16)))
        elif kind == "finding":
            findings[row[0]] = (int(row[1]), *row[2:])
    return list(heaps.values()), findings


def find_blocks(runtime, pid, path):
    """Each address of the file -> (kind, start, size, state) or None."""
    found = {}
    for _, addr, *row in _regions(runtime, pid, "blocks", path):
        found[int(addr, 16)] = (row[0], int(row[1], 16), int(row[2]),
                                row[3]) if len(row) > 1 else None
    return found


def mappings(pid):
    """(start, end, prot, name) of each mapping."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as f:
        for line in f:
            words = line.split(maxsplit=5)
            start, end = (int(w, 16) for w in words[0].split("-"))
            yield start, end, words[1], words[5].strip() if len(words) > 5 else ""


def follows(look, own, share=0.02, looks=5, tries=4):
    """A figure of a running target against its own: what it had before and after
    the look bounds it, @share apart. A look that the machine held up for long is
    taken again."""
    for _ in range(looks):
        for left in reversed(range(tries)):
            before = own()
            seen = look()
            after = own()
            low, high = min(before, after) * (1 - share), max(before, after) * (1 + share)
            if low <= seen <= high:
                break
            assert left, f"{seen} is not within {low:.0f} and {high:.0f}"
