# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho alloc on a Go program: its own heap profile, read from outside, against
what the program itself says at the same moment."""
import collections
import os
import pathlib
import struct
import subprocess
import urllib.request

import conftest
import gopprof
import gotools
import pytest
from test_refs import MINORS

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_manager"


def build(*flags, name="manager", minor=None, source=SOURCE, cgo="0"):
    return gotools.build(source, name, flags, minor=minor, CGO_ENABLED=cgo)


class Manager:
    """The program; it collects only when told to."""

    def __init__(self, path, *args):
        self.process = subprocess.Popen([path, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, GOGC="off"))
        self.pid, self.path, self.http = self.process.pid, path, None
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "ready":
                break
            if words[0] == "held":
                self.held = int(words[1])
            else:
                self.http = words[1]

    def do(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line == "done\n":
                return said
            said.append(line.strip())

    def stop(self):
        conftest.end(self.process)


@pytest.fixture
def manager():
    started = []

    def start(path, *args):
        started.append(Manager(path, *args))
        return started[-1]

    yield start
    for p in started:
        p.stop()


def counted(path, only=None):
    """How often each (stack, values, size of its objects) is there."""
    types, samples = gopprof.read(path)
    assert types == ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
    return collections.Counter((s.frames, s.values, s.labels.get("bytes")) for s in samples
                               if any(s.values) and (not only or any(f[0].startswith(only) for f in s.frames)))


def check_equal(memwho, p, tmp_path):
    theirs, ours = tmp_path / "theirs.pb.gz", tmp_path / "ours.pb.gz"
    p.do("heap", theirs)
    r = memwho("alloc", p.pid, "-o", ours)
    a, b = counted(theirs), counted(ours)
    assert a and a == b, (a - b, b - a)
    assert sum(n for (frames, _, _), n in a.items() if frames[0][0] == "main.(*pool).get") >= 3
    assert "own heap profile" in r.err
    return ours


@pytest.mark.parametrize("flags", [(), ("-ldflags=-s -w",), ("-buildmode=pie", "-ldflags=-s -w"),
                                   ("-gcflags=-N -l",), ("-trimpath",)],
                         ids=["plain", "stripped", "pie", "no-inlining", "trimpath"])
def test_equal(memwho, manager, tmp_path, flags):
    p = manager(build(*flags, name="manager" + "".join(flags).replace("=", "-").replace(" ", "")))
    ours = check_equal(memwho, p, tmp_path)
    # more, and something freed again
    p.do("drop", 3000)
    p.do("grow", 1000)
    p.do("gc")
    check_equal(memwho, p, tmp_path)
    _, samples = gopprof.read(ours)
    named = {f[0] for s in samples for f in s.frames}
    assert "main.(*clusterManager).reserve" in named, "inlined, and named all the same"


@pytest.mark.parametrize("minor", MINORS)
def test_other_versions(memwho, manager, tmp_path, minor):
    for flags in (), ("-ldflags=-s -w",):
        p = manager(build(*flags, name=f"manager-1.{minor}{'-stripped' if flags else ''}", minor=minor))
        check_equal(memwho, p, tmp_path)
        p.do("drop", 1000)
        p.do("gc")
        check_equal(memwho, p, tmp_path)


def test_http(memwho, manager, tmp_path):
    """The same as net/http/pprof serves."""
    p = manager(build("-tags=http", name="manager-http"))
    theirs, ours = tmp_path / "theirs.pb.gz", tmp_path / "ours.pb.gz"
    urllib.request.urlretrieve(f"http://{p.http}/debug/pprof/heap", theirs)
    memwho("alloc", p.pid, "-o", ours)
    assert counted(theirs) == counted(ours)


def test_with_c(memwho, manager, tmp_path):
    """cgo: the same profile, and a word on what is not in it."""
    p = manager(build("-tags=http", name="manager-cgo", cgo="1"))
    theirs, ours = tmp_path / "theirs.pb.gz", tmp_path / "ours.pb.gz"
    p.do("heap", theirs)
    r = memwho("alloc", p.pid, "-o", ours)
    assert counted(theirs) == counted(ours)
    assert "--allocator libc" in r.err
    assert "--allocator libc" not in memwho("alloc", manager(build()).pid).err


def test_before_any_collection(memwho, manager, tmp_path):
    """Nothing is published yet: what is waiting is taken, as runtime.MemProfile does."""
    p = manager(build(), "no-gc")
    theirs, ours = tmp_path / "theirs.pb.gz", tmp_path / "ours.pb.gz"
    memwho("alloc", p.pid, "-o", ours)
    p.do("heap", theirs)
    a, b = counted(theirs, "main.(*pool)"), counted(ours, "main.(*pool)")
    assert a and a == b, (a - b, b - a)


def symbols(path):
    out = subprocess.run(["nm", path], check=True, capture_output=True, text=True).stdout
    return {words[-1]: int(words[0], 16) for words in map(str.split, out.splitlines()) if len(words) == 3}


def end_a_collection(p, path):
    """As mProf_NextCycle() leaves it, which the runtime does before it adds what is due."""
    known = symbols(path)
    with open(f"/proc/{p.pid}/mem", "r+b", 0) as memory:
        if "runtime.mProfCycle" in known:
            memory.seek(known["runtime.mProfCycle"])
            cycle, after = struct.unpack("<I", memory.read(4))[0] >> 1, b""
        else:
            memory.seek(known["runtime.mProf"])
            cycle, after = struct.unpack("<I", memory.read(4))[0], b"\0"
        memory.seek(-4, 1)
        memory.write(struct.pack("<I", cycle + 1 if after else (cycle + 1) << 1) + after)


@pytest.mark.parametrize("stripped", [False, True], ids=["plain", "stripped"])
@pytest.mark.parametrize("minor", [None, *MINORS])
def test_between_a_collection_and_its_sweep(memwho, manager, tmp_path, minor, stripped):
    """What is due is added only when it is asked for: the same then."""
    path = build(name=f"manager-1.{minor}" if minor else "manager", minor=minor)
    program = tmp_path / "program"
    subprocess.run(["strip", "-o", program, path] if stripped else ["cp", path, program], check=True)
    p, totals = manager(program), []
    p.do("grow", 2000)
    for _ in range(3):
        end_a_collection(p, path)
        # the program adds it when it is asked, so it comes last
        theirs, ours = tmp_path / "theirs.pb.gz", tmp_path / "ours.pb.gz"
        memwho("alloc", p.pid, "-o", ours)
        p.do("heap", theirs)
        a, b = counted(theirs), counted(ours)
        assert a and a == b, (a - b, b - a)
        totals.append(sum(s.values[1] for s in gopprof.read(ours)[1]))
    # two cycles later what was allocated is there
    assert totals[1] > totals[0] + 1500 * 4096, totals


def test_core(memwho, manager, tmp_path):
    p = manager(build("-ldflags=-s -w", name="manager-ldflags--s-w"))
    theirs, ours = tmp_path / "theirs.pb.gz", tmp_path / "ours.pb.gz"
    p.do("heap", theirs)
    subprocess.run(["gcore", "-o", tmp_path / "core", str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    core = tmp_path / f"core.{p.pid}"
    memwho("alloc", core, "-o", ours)
    assert counted(theirs) == counted(ours)
    assert "--duration needs a process" in memwho("alloc", core, "-d", "1s", code=2).err


def test_growth(memwho, record, manager, tmp_path):
    p = manager(build())
    p.do("gc")
    running = subprocess.Popen([conftest.MEMWHO, "alloc", str(p.pid), "-d", "3s", "--json"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    import json
    import time
    time.sleep(1)
    p.do("grow", 4000)
    p.do("gc")
    out = json.loads(running.communicate(timeout=30)[0])
    assert running.returncode == 0
    grown = {s["frames"][1]: s for s in out["stacks"] if s["frames"][0] == "main.(*pool).get"}
    print(grown)
    assert abs(grown["main.grow"]["delta"] - 4000 * 4096) < 0.35 * 4000 * 4096
    assert not grown.get("main.fill", {}).get("delta")


def test_busy(memwho, manager):
    """A program that allocates and collects all the time: each reading is of one moment."""
    p = manager(build())
    p.do("churn")
    churned = [0]
    for _ in range(20):
        result = memwho("alloc", p.pid, "--type", "alloc_space", "--json").json()
        assert "unsettled" not in result
        kept = [s for s in result["stacks"] if s["frames"][:2] == ["main.(*pool).get", "main.fill"]]
        assert abs(sum(s["bytes"] for s in kept) - p.held) < 0.15 * p.held
        churned.append(sum(s["bytes"] for s in result["stacks"] if s["frames"][0] == "main.churn"))
    assert churned == sorted(churned) and churned[-1] > churned[1] + (4 << 20), churned
    assert p.process.poll() is None


def test_views(memwho, manager, tmp_path):
    p, other = manager(build()), manager(build())
    r = memwho("alloc", p.pid)
    assert "main.(*pool).get" in r.out and "memwho refs" in r.out and "engine go" in r.out
    result = memwho("alloc", p.pid, "--json").json()
    assert result["engine"] == "go" and result["sample_rate_bytes"] == 64 << 10
    assert abs(result["held_bytes"] - p.held - (256 << 14) - (256 << 12)) < 0.15 * p.held
    both = memwho("alloc", p.pid, other.pid, "--by", "pid", "--json").json()
    assert {s["frames"][-1] for s in both["stacks"]} == {str(p.pid), str(other.pid)}, both["stacks"][0]
    for ending in ("svg", "html", "folded", "txt"):
        memwho("alloc", p.pid, "-o", tmp_path / f"a.{ending}")
    assert "main.main;main.fill;main.(*pool).get" in (tmp_path / "a.folded").read_text()


def test_refused(memwho, manager, target):
    silent = manager(build(name="silent", source=conftest.SOURCE / "tests" / "programs" / "refs"))
    r = memwho("alloc", silent.pid, code=1)
    assert "records no heap profile" in r.err and "memwho refs" in r.err, r.err
    p = manager(build())
    assert "--peak needs a recording" in memwho("alloc", p.pid, "--engine", "go", "--peak", code=2).err
    demo = target("demo")
    while "/demo" not in pathlib.Path(f"/proc/{demo.pid}/maps").read_text():
        pass  # in exec its memory is the new program's before that is mapped
    assert "not a Go program" in memwho("alloc", demo.pid, "--engine", "go", code=1).err
    # what only a recording can answer asks for one, and this program has no malloc
    assert "nothing was attached" not in memwho("alloc", p.pid, "--engine", "bpf", "-d", "1s", code=1).err
    assert memwho("alloc", p.pid, "--exe", "x", code=2).err
