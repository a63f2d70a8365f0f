# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs on Lua as programs embed it: pools, threads, a collector in the midst of its work, and beside Go."""
import os
import re
import subprocess

import conftest
import gotools
import pytest
from test_refs_lua import VERSIONS, need, paths_of, refs, waits

USERS = conftest.SOURCE / "tests" / "programs" / "lua_users.c"
BESIDE_GO = conftest.SOURCE / "tests" / "programs" / "refs_lua"


def link(version):
    need(os.path.exists(f"/usr/include/lua{version}"), f"liblua{version}-dev")
    return ["-Wl,-Bstatic", f"-llua{version}", "-Wl,-Bdynamic", "-lm", "-ldl", "-lpthread"]


def users(version):
    path = conftest.BUILD / "refs-programs" / f"lua_users-{version}"
    path.parent.mkdir(exist_ok=True)
    subprocess.run(["cc", "-O2", "-I", f"/usr/include/lua{version}", "-o", path, USERS, *link(version)], check=True)
    return path


class Users:
    def __init__(self, version, *args):
        self.process = subprocess.Popen([users(version), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid, self.roots, self.counts, self.reference = self.process.pid, {}, [], None
        self.read()

    def read(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "ready":
                return
            if words[0] == "root":
                self.roots.setdefault(words[1], []).append(int(words[2]))
            elif words[0] == "count":
                self.counts.append(int(words[1]))
            else:
                self.reference = int(words[1])
        raise AssertionError("the program failed")

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.read()


@pytest.fixture
def program():
    started = []

    def start(*args):
        started.append(Users(*args))
        return started[-1]

    yield start
    for p in started:
        p.process.kill()
        conftest.end(p.process)


def retained(result, name):
    """Of that root in all states."""
    return sorted(r["retained_bytes"] for r in result["roots"] if re.sub(r" \(state \d+\)$", "", r["name"]) == name)


@pytest.mark.parametrize("version", VERSIONS)
def test_own_allocators(program, version):
    p = program(version, "pools")
    result = refs(str(p.pid))
    assert result["own_live_bytes"] == sum(p.counts) == result["live_bytes"] + result["garbage_bytes"]
    assert result["self_check"]["mismatch_bytes"] == 0
    for found, expected in zip(retained(result, "_G.kept"), sorted(p.roots["_G.kept"]), strict=True):
        assert found == pytest.approx(expected, rel=0.01)
    # what is resident: Lua's rows and the rest, each byte once
    rows = result["memory"]
    own = {r["part"]: r["resident_bytes"] for r in rows if r["owner"] == "lua"}
    assert own["live"] == pytest.approx(result["live_bytes"], rel=0.001)
    assert sum(r["resident_bytes"] for r in rows) == result["explained_bytes"]
    assert result["explained_bytes"] == pytest.approx(result["rss_bytes"], rel=0.02)
    # a pool of powers of two wastes a part, and is in no row twice
    assert 0 < result["outside_bytes"] < result["rss_bytes"] - own["live"] + 4096
    assert "outside Lua" in result["memory_line"]


@pytest.mark.parametrize("version", VERSIONS)
def test_threads_that_run(program, version):
    """Copies at any moment of three collectors: what does not change is the same each time."""
    p = program(version, "busy")
    quiet = retained(refs(str(p.pid)), "_G.kept")
    assert len(quiet) == 3
    p.go()
    for i in range(int(os.environ.get("LUA_COPIES", "6"))):
        result = refs(str(p.pid))
        assert retained(result, "_G.kept") == quiet, i
        off = result["own_live_bytes"] - result["live_bytes"] - result["garbage_bytes"]
        assert abs(off) < 3 << 17, (i, off)  # a table (of strings, too) that was just growing in each
        assert result["typed_bytes"] == result["live_bytes"]


@pytest.mark.parametrize("version", VERSIONS)
def test_holders(program, version):
    p = program(version, "holders")
    result = refs(str(p.pid))
    assert result["own_live_bytes"] == sum(p.counts) == result["live_bytes"] + result["garbage_bytes"]
    kinds = {r["name"]: r["kind"] for r in result["roots"]}
    name = f"registry[{p.reference}]"
    assert kinds[name] == "registry"
    for root, expected in ((name, p.roots["reference"]), ("_G.peek", p.roots["_G.peek"]),
                           ("_G.workers", p.roots["_G.workers"])):
        assert retained(result, root) == [pytest.approx(expected[0], rel=0.01)], root
    coroutines = [r for r in result["roots"] if r["kind"] == "coroutine"]
    assert len(coroutines) == 5000
    assert sum(r["retained_bytes"] for r in coroutines) < p.roots["_G.workers"][0]
    paths = paths_of(p)
    assert "_G.peek;function by_upvalue [C];upvalue 2 table;[…] string" in paths
    assert "_G.workers;table;[…] thread;text string" in paths


@pytest.mark.parametrize("version", VERSIONS)
def test_finalizers(program, version):
    """One is being called; what the others wait with is kept by them alone."""
    p = program(version, "finalizer")
    result = refs(str(p.pid))
    root = next(r for r in result["roots"] if r["kind"] == "finalizer")
    assert root["name"] == "waiting for finalizers"
    stacks = {tuple(s["frames"]): s for s in result["stacks"]}
    tables = stacks["table", "waiting for finalizers"]
    strings = stacks["[…] string, long", "table", "waiting for finalizers"]
    # a table with one place, and a string of 10,000 letters and a number; beside them are boxes of lauxlib
    assert (tables["count"], tables["bytes"]) == (99, 99 * (56 + 16))
    assert strings["count"] == 99 and 99 * (24 + 10002) <= strings["bytes"] <= 99 * (24 + 10005)
    assert root["retained_bytes"] >= tables["bytes"] + strings["bytes"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("n", [0, 1, 1000, 30000])
def test_in_the_midst_of_a_collection(program, version, n):
    """Stopped while an object is being freed: it is in no list any more and is counted still."""
    p = program(version, "free", str(n))
    result = refs(str(p.pid))
    off = result["own_live_bytes"] - result["live_bytes"] - result["garbage_bytes"]
    assert 0 <= off <= 128
    assert retained(result, "_G.kept") == [pytest.approx(p.roots["_G.kept"][0], rel=0.01)]
    assert result["own_live_bytes"] <= p.counts[0]


def test_beside_go(tmp_path):
    """Go's objects unless Lua's are asked for, and a word about the other."""
    flags = {"CGO_ENABLED": "1", "CGO_CFLAGS": "-I/usr/include/lua5.4", "CGO_LDFLAGS": " ".join(link("5.4"))}
    path = gotools.build(BESIDE_GO, "refs_lua", **flags)
    process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        count = int(process.stdout.readline())
        r = conftest.run_memwho("refs", process.pid, "--json")
        go = r.json()
        assert go["runtime"].startswith("go1.") and go["other_runtime"] == "Lua 5.4"
        assert "has Lua 5.4 inside, too: --runtime lua shows its objects" in r.err
        assert any(root["name"].startswith("main.held ") for root in go["roots"])
        lua = refs(str(process.pid), "--runtime", "lua")
        assert lua["runtime"] == "Lua 5.4" and lua["own_live_bytes"] == count
        assert retained(lua, "_G.sessions")[0] > 1000 * 100
        assert refs(str(process.pid), "--runtime", "go")["runtime"] == go["runtime"]
        assert lua["explained_bytes"] == pytest.approx(lua["rss_bytes"], rel=0.02)
    finally:
        process.kill()
        process.wait()


def test_runtime_that_is_not_there(program):
    p = program("5.4", "pools")
    r = conftest.run_memwho("refs", p.pid, "--runtime", "go", code=1)
    assert "has no Go inside" in r.err
    r = conftest.run_memwho("refs", p.pid, "--runtime", "perl", code=2)
    assert "--runtime: no 'perl' whose objects are known" in r.err and "go, lua" in r.err
    process = waits("sleep", "100")
    try:
        assert "has no Lua inside" in conftest.run_memwho("refs", process.pid, "--runtime", "lua", code=1).err
    finally:
        process.kill()
        process.wait()
