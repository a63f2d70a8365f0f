# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs on Go programs with something that most have not: user arenas, plugins, a
C program around them."""
import os
import shutil
import subprocess

import conftest
import gotools
import pytest
from test_refs import near

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_modes"
MINORS = [0] + [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]
# cgo makes the standard library anew for each toolchain
FEW = MINORS if "REFS_MINORS" in os.environ else [0, 18]


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


def compile_host(name, flags):
    path = gotools.PROGRAMS / name
    subprocess.run(["cc", "-o", path, SOURCE / "host.c", *flags], check=True)
    return path


@pytest.mark.parametrize("minor", FEW)
def test_library(memwho, minor, tmp_path):
    """Go inside a C program: as an archive, as a library, as one that was opened; stripped, and in a core."""
    for mode, name in ("c-archive", f"libgo-{minor}.a"), ("c-shared", f"libgo-{minor}.so"):
        gotools.build(SOURCE / "lib", name, [f"-buildmode={mode}"], minor=minor, CGO_ENABLED="1")
    lib = gotools.PROGRAMS / f"libgo-{minor}.so"
    archive = compile_host(f"refs-archive-{minor}", ["-DLINKED", gotools.PROGRAMS / f"libgo-{minor}.a", "-lpthread"])
    linked = compile_host(f"refs-shared-{minor}", ["-DLINKED", lib, f"-Wl,-rpath,{gotools.PROGRAMS}"])
    opener = compile_host(f"refs-opener-{minor}", ["-ldl"])
    bare = tmp_path / "bare.so"
    subprocess.run(["strip", "-o", bare, lib], check=True)
    for command in [archive], [linked], [opener, lib], [opener, bare]:
        p = Program(memwho, *command)
        p.check_totals()
        assert p.result["runtime"].startswith("go1."), p.result["runtime"]
        if bare in command:
            assert sum(near(r["retained_bytes"], p.roots["main.gList"][0]) for r in p.result["roots"]) == 1
            continue
        roots = {r["name"].split(" ")[0]: r for r in p.result["roots"]}
        assert near(roots["main.gList"]["retained_bytes"], p.roots["main.gList"][0]), roots["main.gList"]
        assert roots["main.gTable"]["retained_bytes"] > 8 * 4096
        assert len(p.objects) == 308 and {(t, f) for t, f in p.types()} == {("main.node", "main.node")}, p.types()


def test_library_in_a_core(memwho, tmp_path):
    """What the core has not comes from the library, if it is the very one."""
    lib = tmp_path / "libgo.so"
    built = gotools.build(SOURCE / "lib", "libgo-core.so", ["-buildmode=c-shared"], CGO_ENABLED="1")
    shutil.copy(built, lib)
    process = subprocess.Popen([compile_host("refs-opener-core", ["-ldl"]), lib], stdout=subprocess.PIPE, text=True)
    try:
        live = next(int(line.split()[1]) for line in process.stdout if line.startswith("live"))
        subprocess.run(["gcore", "-o", tmp_path / "core", str(process.pid)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    finally:
        conftest.end(process)
    core = tmp_path / f"core.{process.pid}"
    result = memwho("refs", core, "--json").json()
    assert near(result["live_bytes"], live)
    assert any(r["name"].startswith("main.gList ") and r["retained_bytes"] > 300 * 4096 for r in result["roots"])
    # another library lies there now: nothing is taken from it
    gotools.build(SOURCE / "lib", "libgo-other.so", ["-buildmode=c-shared", "-ldflags=-X main.unused=1"], CGO_ENABLED="1")
    shutil.copy(gotools.PROGRAMS / "libgo-other.so", lib)
    assert "no runtime inside" in memwho("refs", core, "--json", code=1).err


@pytest.mark.parametrize("minor", FEW)
@pytest.mark.parametrize("stripped", [False, True], ids=["", "stripped"])
def test_plugin(memwho, minor, stripped):
    """Variables of a plugin are roots as those of the program are; its types are never called by wrong names."""
    flags, end = (["-ldflags=-s -w"], "-stripped") if stripped else ([], "")
    plug = gotools.build(SOURCE / "plug", f"refs-plug-{minor}{end}.so", ["-buildmode=plugin", *flags], minor=minor, CGO_ENABLED="1")
    host = gotools.build(SOURCE / "host", f"refs-host-{minor}{end}", flags, minor=minor, CGO_ENABLED="1")
    p = Program(memwho, host, plug)
    p.check_totals()
    # one that is stripped, too, is called by its file
    held = [r for r in p.result["roots"] if "gPieces" in r["name"] or r["name"].startswith(f"{plug.name} ")]
    assert any(near(r["retained_bytes"], p.roots["gPieces"][0]) for r in held), (held, p.roots)
    # the goroutine that runs the plugin's code
    assert any(r["kind"] == "stack" and 4096 < r["retained_bytes"] < 3 * 4096 for r in p.result["roots"]), p.result["roots"]
    wrong = [(t, f) for t, f in p.types() if f and f.rstrip("?") != t]
    assert not wrong and all(f is not None for _, f in p.types()), wrong
    if not minor or minor >= 22:
        # by malloc header
        assert all(f == "main.piece" for t, f in p.types() if t == "main.piece")
