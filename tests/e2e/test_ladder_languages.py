# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Heaps of language runtimes from outside, without symbols, against what the
runtime says of itself."""
import shutil
import subprocess

import pytest

import conftest
import ladder_truth


def tool(name):
    path = shutil.which(name)
    if not path:
        pytest.skip(f"no {name}")
    return path


def covered(heaps, start, end):
    return sum(max(0, min(end, e) - max(start, s)) for h in heaps for s, e in h.ranges)


def check_sound(heap, pid):
    """Ranges lie in mappings, each byte once."""
    assert heap.checked > 0
    last = 0
    for start, end in sorted(heap.ranges):
        assert last <= start < end
        last = end
    mapped = sum(covered([heap], s, e) for s, e, _, _ in ladder_truth.mappings(pid))
    assert mapped == sum(e - s for s, e in heap.ranges)


def anonymous(pid):
    """Bytes of private memory without a file, the main stack left out."""
    return [(s, e) for s, e, prot, name in ladder_truth.mappings(pid)
            if prot.endswith("p") and (not name or name.startswith("[anon"))]


# ---- Go ----


@pytest.fixture(scope="module", params=["", "-s -w"], ids=["plain", "stripped"])
def go_program(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("go") / "ladder_go"
    p = subprocess.run([tool("go"), "build", "-ldflags=" + request.param, "-o", out,
                        conftest.SOURCE / "tests" / "programs" / "ladder_go.go"],
                       capture_output=True, check=False,
                       env={**conftest.os.environ, "GO111MODULE": "off", "GOFLAGS": ""})
    assert p.returncode == 0, p.stderr
    return out


class Go(conftest.Target):
    def __init__(self, *args):
        super().__init__(*args)
        self.blocks = {}

    def own(self):
        figures = {}
        while not (line := self.line(timeout=60)).startswith("end"):
            name, *values = line.split()
            if name == "block":
                self.blocks[int(values[0], 16)] = int(values[1])
            else:
                name = name.removeprefix("/memory/classes/").removesuffix(":bytes")
                figures[name] = int(values[0])
        return figures

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def test_go_equals_its_metrics(go_program):
    with Go([go_program]) as t:
        t.own()
        t.say("")
        own = t.own()
        (heap,), _ = ladder_truth.look("go", t.pid)
        assert heap.kind == "go" and heap.inconsistent == 0
        check_sound(heap, t.pid)
        assert heap.in_use == own["heap/objects"] + own["heap/unused"]
        assert abs(heap.figures["objects_bytes"] - own["heap/objects"]) < own["heap/objects"] / 100
        assert heap.figures["stack_bytes"] == own["heap/stacks"]
        assert heap.figures["idle_bytes"] == own["heap/free"]
        assert heap.figures["released_bytes"] == own["heap/released"]
        # nearly all that is anonymous in a program without C: 1.2 GiB, mostly reserved
        total = sum(e - s for s, e in anonymous(t.pid))
        assert total - sum(covered([heap], *r) for r in anonymous(t.pid)) < total / 1000
        assert "go1." in heap.detail or "devel" in heap.detail


def test_go_running(go_program):
    with Go([go_program, "churn"]) as t:
        t.own()
        for _ in range(3):
            (heap,), _ = ladder_truth.look("go", t.pid, stop=False)
            t.say("")
            own = t.own()
            assert heap.inconsistent <= heap.checked / 100
            in_use = own["heap/objects"] + own["heap/unused"]
            assert abs(heap.in_use - in_use) < in_use * 0.02


def test_go_blocks(go_program, tmp_path):
    """The program's own objects, looked for by an address inside."""
    with Go([go_program]) as t:
        t.own()
        addresses = tmp_path / "addresses"
        addresses.write_text("".join(f"{a:x}\n" for a in t.blocks))
        found = ladder_truth.find_blocks("go", t.pid, addresses)
        assert len(t.blocks) == 501
        for address, size in t.blocks.items():
            kind, start, room, state = found[address]
            assert (kind, state) == ("go", "live")
            assert start <= address < start + room
            assert size <= room <= size * 1.25 + 8192 * (size > 32768)


def test_not_go():
    with ladder_truth.Truth(1, 1000) as t:
        assert ladder_truth.look("go", t.pid) == ([], {})
