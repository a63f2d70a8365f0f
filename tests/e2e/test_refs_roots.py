# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs: each kind of root that a Go program has, on a program that says what each keeps."""
import os
import subprocess

import conftest
import gotools
import pytest
import test_refs

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_roots"
MINORS = [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]


class Program:
    def __init__(self, path, *args):
        self.process = subprocess.Popen([path, *args], stdout=subprocess.PIPE, text=True)
        self.pid, self.path = self.process.pid, path
        self.roots, self.waits, self.objects, self.live = [], {}, {}, None
        for line in self.process.stdout:
            words = line.rstrip("\n").split(" ")
            if words[0] == "ready":
                break
            if words[0] == "root":
                number = next(i for i, w in enumerate(words) if w.isdigit())
                self.roots.append((" ".join(words[1:number]), int(words[number]), " ".join(words[number + 1:])))
            elif words[0] == "wait":
                self.waits[words[1]] = " ".join(words[2:])
            elif words[0] == "object":
                self.objects[int(words[1], 16)] = words[2]
            else:
                self.live = int(words[1])

    def stop(self):
        conftest.end(self.process)


def build(minor, flags=(), cgo=0):
    """With the files that go1.MINOR can build."""
    files = None
    if minor:
        newer = ["older"] if minor < 21 else ["pinned", "middle" if minor < 24 else "newest"]
        files = [SOURCE / f"{name}.go" for name in ["main", "nocgo", *newer]]
    return gotools.build(SOURCE, f"refs-roots-{minor}-{cgo}{'-stripped' if flags else ''}", flags, minor=minor, files=files, CGO_ENABLED=str(cgo))


@pytest.fixture
def program():
    started = []

    def start(*args, minor=None, **kw):
        started.append(Program(build(minor, **kw), *args))
        return started[-1]

    yield start
    for p in started:
        p.stop()


def check(result, p, least=0.97, strays=0):
    """@strays: how many roots may share something: of a frame that is interrupted anywhere all words
    count, and one of them may be of another goroutine that had the stack before."""
    wrong = []
    for kind, size, name in p.roots:
        found = [r for r in result["roots"] if r["name"].startswith(tuple(name.split("|")))]
        kept = sum(r["retained_bytes"] for r in found)
        if not found or any(r["kind"] not in kind.split(",") for r in found) or not test_refs.near(kept, size):
            wrong.append((kind, name, size, kept))
    assert len(wrong) <= strays, wrong
    waiting = {g["name"]: g["waiting"] for g in result["goroutines"]}
    for name, reason in p.waits.items():
        found = [w for g, w in waiting.items() if g.startswith(f"goroutines of {name} ")]
        # on a machine under load one that runs may have been preempted, and waits for a thread
        alike = [reason, "runnable", "preempted"] if reason == "running" else [reason]
        assert len(found) == 1 and found[0] in alike, (name, reason, waiting)
    found = {int(o["address"], 16): o["type"] for o in result["objects"]}
    pairs = [((found.get(a) or "").rstrip("?"), t) for a, t in p.objects.items()]
    typed = [(f, t) for f, t in pairs if f]
    assert all(f == t for f, t in typed), [(f, t) for f, t in typed if f != t]
    assert len(typed) >= least * len(pairs), (len(typed), len(pairs))


@pytest.mark.parametrize("minor", [None, *MINORS])
def test_each_kind(memwho, program, minor):
    p = program(minor=minor)
    result = memwho("refs", p.pid, "--json", "--objects").json()
    assert test_refs.near(result["live_bytes"], p.live), (result["live_bytes"], p.live)
    # DWARF before 1.23 does not tell where a closure has what
    check(result, p, 0.95 if minor and minor < 23 else 0.97)
    frames = {f.split(" ")[0] for s in result["stacks"] for f in s["frames"]}
    assert {"main.parameters.s", "main.array.a", "main.maps.m", "main.waitSend.h"} <= frames, frames


def while_both_run(memwho, p, *how):
    for _ in range(30):
        r = memwho("refs", p.pid, "--json", "--objects", *how)
        if sum(g["waiting"] == "running" for g in r.json()["goroutines"]) == 2:
            break
    return r


def test_stopped(memwho, program):
    """Of what runs --stop has registers, as a copy has; --no-stop has none and says so."""
    p = program("busy")
    for how, known in ((), True), (("--stop",), True), (("--no-stop",), False):
        r = while_both_run(memwho, p, *how)
        result = r.json()
        check(result, p, strays=2)
        assert sum(g["waiting"] == "running" for g in result["goroutines"]) == 2, result["goroutines"]
        seen = {s["frames"][-2] for s in result["stacks"] if s["frames"][-1].startswith("goroutines of main.runTight ")}
        # it is in a register all the time
        assert ("main.spin.h main.holder" in seen) == known, (how, seen)
        assert result["self_check"]["goroutines_without_registers"] == (0 if known else 2)
        assert ("registers are not known" in r.err) != known


@pytest.mark.parametrize("minor", [None, MINORS[0], MINORS[-1]])
def test_preempted(memwho, program, minor):
    """Of two that compute and never call anything one runs, the other was stopped by a signal."""
    p = program("preempted", minor=minor)
    seen = set()
    for _ in range(5):
        result = memwho("refs", p.pid, "--json", "--objects").json()
        check(result, p, 0.95, strays=2)
        seen |= {(g["name"].split(" ")[2], g["waiting"]) for g in result["goroutines"]}
    assert {("main.runTight", "running"), ("main.runCalls", "running")} & seen
    assert {w for n, w in seen if n.startswith("main.run")} & {"runnable", "preempted"}, seen


@pytest.mark.parametrize("minor", [None, *MINORS])
def test_stripped(memwho, program, minor):
    """What hangs on the runtime's own records is found by the code that uses them."""
    p = program(minor=minor, flags=("-ldflags=-s -w",))
    # a pool is called by its place, and by its function New, which this one has not
    p.roots = [(kind, size, name.replace("sync.Pool of main.pool", "sync.Pool of bss+")) for kind, size, name in p.roots]
    result = memwho("refs", p.pid, "--json", "--objects").json()
    assert test_refs.near(result["live_bytes"], p.live), (result["live_bytes"], p.live)
    assert any(r["kind"] == "sync.Pool" and r["name"].endswith(("New: fmt.init.func1", "New: fmt.glob..func1"))
               for r in result["roots"]), result["roots"]
    # before 1.22 no object says itself what it is; whether its map gives itself away depends on its hash
    check(result, p, 0.5 if not minor or minor >= 22 else 0.02)


def test_cgo(memwho, program):
    """Handles that C holds; threads of the C library."""
    p = program(cgo=1)
    assert "cgo handle" in {kind for kind, _, _ in p.roots}
    check(memwho("refs", p.pid, "--json", "--objects").json(), p)


def test_running(memwho, program, tmp_path):
    """Busy goroutines: live, and in a core."""
    p = program("busy")
    check(memwho("refs", p.pid, "--json", "--objects").json(), p, strays=2)
    subprocess.run(["gcore", "-o", tmp_path / "core", str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    check(memwho("refs", tmp_path / f"core.{p.pid}", "--json", "--objects").json(), p, strays=2)
