# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""The rest of a Go process's memory: rows that add up to what is resident."""
import os
import re
import subprocess
import time

import conftest
import gotools
import pytest
import test_refs

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_rss"
SLACK = 256 << 10


def build(minor=None):
    """With cgo, if there is a C compiler, which the tests need anyway."""
    return gotools.build(SOURCE, f"rss-{minor or 'own'}", minor=minor, CGO_ENABLED="1")


class Parts:
    """Memory of known size, each part by its name."""

    def __init__(self, path, **environment):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, **environment))
        self.pid, self.parts = self.process.pid, {}
        self.read()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("ready"):
                break
            self.parts[line.split()[1]] = int(line.split()[2])

    def again(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.read()

    def settle(self):
        """Until the scavenger has given back what it wants to."""
        same = 0
        for _ in range(60):
            before = self.parts["idle"]
            time.sleep(0.4)
            self.again()
            same = same + 1 if self.parts["idle"] == before else 0
            if same == 3:
                return
        raise AssertionError("the scavenger does not come to rest")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        conftest.end(self.process)


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) << 10


def near(value, true, percent=2):
    return abs(value - true) <= true * percent / 100 + SLACK


def check_sum(result, true):
    """What is explained is what is resident, within 2 %."""
    assert result["memory_by"] == "resident"
    rows = sum(row["resident_bytes"] for row in result["memory"])
    assert rows == result["explained_bytes"]
    assert abs(rows - true) <= true / 50, (rows, true, result["memory"])
    assert abs(result["changed_meanwhile_bytes"]) <= true / 50, result["changed_meanwhile_bytes"]


@pytest.mark.parametrize("minor", [18, 22, None])
@pytest.mark.parametrize("how", [(), ("--stop",)], ids=["copy", "stop"])
def test_known_parts(memwho, minor, how):
    with Parts(build(minor)) as p:
        p.settle()
        result = memwho("refs", p.pid, "--json", *how).json()
        check_sum(result, rss(p.pid))
        row = {r["part"]: r["resident_bytes"] for r in result["memory"] if r["owner"] == "go"}
        for name in ("live", "garbage"):
            assert near(row[name], p.parts[name]), (name, row, p.parts)
        # the runtime counts pages that were used and never touched (of stacks), too
        assert 0.7 * p.parts["idle"] <= row["idle"] <= 1.02 * p.parts["idle"] + SLACK, (row, p.parts)
        assert row["idle"] > 8 << 20
        # stacks double, and what they grew out of is used by the next
        assert p.parts["stacks"] <= row["stacks"] <= 1.4 * p.parts["stacks"]
        outside = {}
        for r in result["memory"]:
            if r["owner"] == "outside":
                outside[r["part"]] = outside.get(r["part"], 0) + r["resident_bytes"]
        malloc = outside.get("glibc-mmapped", 0) + outside.get("glibc-arena", 0)
        assert near(malloc, p.parts["malloc"]), outside
        # whatever else nobody owns, little of it, is with the mapping
        assert near(outside["unnamed"], p.parts["mmap"]), outside
        classes = {c["object_bytes"]: c for c in result["fragmentation"]}
        assert near(classes[64]["wasted_bytes"], p.parts["holes"]), classes[64]
        assert near(classes[64]["in_use_bytes"], p.parts["holes"]), classes[64]
        assert sum(c["wasted_bytes"] for c in result["fragmentation"]) == row["fragmentation"]
        # the slices that nobody touched are live, and no memory
        assert near(result["live_bytes"] - row["live"], (64 + 56) << 20)


def test_huge_pages(memwho):
    """Up to 1.22 Go asks for them: what shares one with touched memory is there, too."""
    with Parts(build(18), WITH_HUGE_PAGES="1") as p:
        p.settle()
        result = memwho("refs", p.pid, "--json").json()
        check_sum(result, rss(p.pid))


def test_truth_program(memwho):
    p = test_refs.Program(test_refs.build())
    try:
        result = memwho("refs", p.pid, "--json").json()
        check_sum(result, rss(p.pid))
        out = memwho("refs", p.pid).out
        assert re.search(r"resident: live \d+\.\d · garbage \d", out), out
        assert "together" in out and "\nfragmentation\n" in out and "\nself_check\n" not in out
    finally:
        p.stop()


def test_core_says_mapped(memwho, tmp_path):
    """A core does not know which pages were there."""
    with Parts(build()) as p:
        subprocess.run(["gcore", "-o", tmp_path / "core", str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        result = memwho("refs", tmp_path / f"core.{p.pid}", "--json").json()
        assert result["memory_by"] == "mapped" and "rss_bytes" not in result
        row = {r["part"]: r["mapped_bytes"] for r in result["memory"]}
        assert near(row["live"], result["live_bytes"]) and near(row["garbage"], p.parts["garbage"])
        assert "idle" not in row and all(r["owner"] == "go" for r in result["memory"])
