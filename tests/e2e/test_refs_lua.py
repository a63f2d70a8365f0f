# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs on programs with Lua 5.3 and 5.4 inside, which say what each of their roots keeps."""
import fcntl
import os
import shutil
import signal
import subprocess
import time

import conftest
import pytest

SCRIPT = conftest.SOURCE / "tests" / "programs" / "refs.lua"
EMBEDDING = conftest.SOURCE / "tests" / "programs" / "lua_refs.c"
VERSIONS = ["5.3", "5.4"]


def need(path, what):
    if not path:
        assert not conftest.CI, f"{what} is not installed"
        pytest.skip(f"no {what}")
    return path


def embedded(version, stripped=False):
    include = f"/usr/include/lua{version}"
    need(os.path.exists(include), f"liblua{version}-dev")
    to = conftest.BUILD / "refs-programs"
    to.mkdir(exist_ok=True)
    path = to / f"lua_refs-{version}{'-stripped' if stripped else ''}"
    with open(to / "lua.lock", "w") as lock:  # another test file may run it: it stays the file that it is
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() or path.stat().st_mtime < os.stat(EMBEDDING).st_mtime:
            subprocess.run(["cc", "-O2", "-I", include, "-o", f"{path}.new", EMBEDDING, "-Wl,-Bstatic", f"-llua{version}",
                            "-Wl,-Bdynamic", "-lm", "-ldl"], check=True)
            if stripped:
                subprocess.run(["strip", f"{path}.new"], check=True)
            os.replace(f"{path}.new", path)
    return [path, "1", SCRIPT]


def interpreter(version):
    return [need(shutil.which(f"lua{version}"), f"lua{version}"), SCRIPT]


class Program:
    def __init__(self, command):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.pid = self.process.pid
        self.roots, self.objects, self.counts = {}, {}, []
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "ready":
                break
            if words[0] == "root":
                self.roots[" ".join(words[1:-1])] = int(words[-1])
            elif words[0] == "object":
                self.objects[int(words[1], 16)] = words[2], words[3]
            else:
                self.counts.append(int(words[1]))
        assert self.counts, "the program failed"

    def stop(self):
        conftest.end(self.process)


@pytest.fixture
def program():
    started = []

    def start(command):
        started.append(Program(command))
        return started[-1]

    yield start
    for p in started:
        p.stop()


def refs(*args):
    return conftest.run_memwho("refs", *args, "--json").json()


def check_sum(result, p, exact=True):
    """What is live and what is garbage are all, and as many bytes as Lua counts."""
    assert result["live_bytes"] + result["garbage_bytes"] == result["own_live_bytes"]
    if exact:
        assert result["own_live_bytes"] == sum(p.counts)
    else:  # what was printed after it was counted
        assert 0 <= result["own_live_bytes"] - sum(p.counts) < 1024
    assert result["typed_bytes"] == result["live_bytes"]


def check_roots(result, p):
    found = {r["name"]: r["retained_bytes"] for r in result["roots"]}
    shared = {s["name"]: s["retained_bytes"] for s in result["shared"]}
    found["shared"] = shared["shared by _G.left, _G.right"]
    assert len(p.roots) >= 9
    for name, expected in p.roots.items():
        assert abs(found[name] - expected) <= expected / 100, (name, found[name], expected)
    kinds = {r["name"]: r["kind"] for r in result["roots"]}
    assert kinds["_G.sessions"] == "global"
    assert kinds["package.loaded.mymod"] == "module"
    assert kinds['registry["refs.held"]'] == "registry"
    coroutines = [r for r in result["roots"] if r["kind"] == "coroutine"]
    assert len(coroutines) == 20
    assert all(100000 < r["retained_bytes"] < 103000 for r in coroutines)
    assert found["_G.weak"] < 40000


def check_objects(result, p):
    objects = {int(o["address"], 16): o["type"] for o in result["objects"]}
    assert len(p.objects) > 1000
    for address, (kind, name) in p.objects.items():
        if kind in ("refs", "userdata"):  # the block lies behind the header
            types = [objects.get(address - k) for k in (40, 72, 48, 112)]
            assert "userdata refs.box" in types
        else:
            assert objects[address].split()[0] == kind, (name, objects[address])


def paths_of(p):
    """Chains from the root down, as text."""
    return conftest.run_memwho("refs", p.pid, "--format", "folded").out


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("how", ["interpreter", "static", "stripped"])
def test_known_structures(program, version, how):
    p = program(interpreter(version) if how == "interpreter" else embedded(version, how == "stripped"))
    result = refs(str(p.pid), "--objects")
    assert result["runtime"] == f"Lua {version}"
    check_sum(result, p, how != "interpreter")
    check_roots(result, p)
    check_objects(result, p)
    paths = paths_of(p)
    for chain in ("_G.sessions;table;[…] table;.data string",
                  "_G.cache;table;[…] string",
                  "_G.tree;table;.left table;.right table",
                  "hidden upvalue;table;[…] string",
                  "_G.workers;table;[…] thread;buf string",
                  "package.loaded.mymod;table;.list table;[…] string",
                  "_G.keys;table;[…] table;[weak key's value] table;[…] string"):
        assert chain in paths, chain
    assert "_G.peek;function refs.lua:" in paths.replace(str(SCRIPT), "refs.lua") or "_G.peek;function ..." in paths \
        or "_G.peek;function" in paths
    if how == "static":
        assert "function newbox [C]" in paths
    if how != "interpreter":
        assert "[…] userdata refs.box;[user value] string" in paths


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("option", ["generational", "midcycle", "garbage"])
def test_collector_at_work(program, version, option):
    p = program(embedded(version) + [option])
    result = refs(str(p.pid))
    check_sum(result, p)
    check_roots(result, p)
    if option == "garbage":
        assert 20000 * 100 < result["garbage_bytes"] < 20000 * 300


@pytest.mark.parametrize("version", VERSIONS)
def test_several_states(program, version):
    command = embedded(version)
    command[1] = "3"
    p = program(command)
    assert len(p.counts) == 3
    result = refs(str(p.pid))
    check_sum(result, p)
    found = {r["name"]: r["retained_bytes"] for r in result["roots"]}
    sizes = [found["_G.sessions" + s] for s in ("", " (state 2)", " (state 3)")]
    assert all(abs(s - p.roots["_G.sessions"]) < s / 100 for s in sizes)


def test_other_ways_to_read(program, tmp_path):
    p = program(embedded("5.4"))
    for way in ("--stop", "--no-stop"):
        result = refs(str(p.pid), way)
        check_sum(result, p)
        check_roots(result, p)
    assert result["error_bound_bytes"] == result["garbage_bytes"]
    subprocess.run([need(shutil.which("gcore"), "gcore"), "-o", tmp_path / "core", str(p.pid)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    result = refs(str(tmp_path / f"core.{p.pid}"))
    check_sum(result, p)
    check_roots(result, p)
    saved = tmp_path / "a.mwg"
    conftest.run_memwho("refs", p.pid, "--save", saved)
    check_roots(refs(str(saved)), p)
    for view in ("first-come", "types"):
        assert refs(str(p.pid), "--view", view)["live_bytes"] == result["live_bytes"]
    address = next(a for a, (kind, name) in p.objects.items() if name == "_G.sessions")
    why = conftest.run_memwho("refs", p.pid, "--why", hex(address)).out
    assert why.startswith("_G.sessions (global)\n"), why


def test_why_as_json(program):
    """The way to one string, as data: by the field's name, and what each on the way keeps."""
    p = program(embedded("5.4"))
    graph = refs(str(p.pid))
    session = next(a for a, (kind, name) in p.objects.items() if name == "_G.sessions")
    why = refs(str(p.pid), "--why", hex(session))
    chain, *_ = why["shortest"]
    assert (why["result"], why["runtime"], why["type"]) == ("why", "Lua 5.4", "table")
    assert (chain["root"], chain["kind"]) == ("_G.sessions", "global")
    assert [s["type"] for s in chain["steps"]] == ["table", "table"]
    assert chain["steps"][-1]["address"] == hex(session)
    # a table of 56 bytes, and two nodes of 24
    assert chain["steps"][-1]["bytes"] == why["size_bytes"] == 104
    widest = why["widest"]
    root = next(r for r in graph["roots"] if r["name"] == "_G.sessions")
    assert widest["root"] == "_G.sessions" and widest["retained_bytes"] == root["retained_bytes"]
    # its string: 100 bytes and a number, a head of 24, a NUL
    assert 104 + 126 <= widest["steps"][-1]["retained_bytes"] <= 104 + 130
    found = refs(str(p.pid), "--type", "^userdata refs.box$")
    assert (found["objects"], found["bytes"]) == (1000, 1000 * (40 + 2 * 16 + 500))
    assert [w["frames"] for w in found["widest"]] == [["_G.boxes", "table", "[…] userdata refs.box"]]
    what, = conftest.run_memwho("what", p.pid, hex(session), "--json").json()["addresses"]
    assert what["object"]["type"] == "table" and what["object"]["shortest"][0]["root"] == "_G.sessions"
    # the middle of a userdata's block, and a place that is no object
    box = next(a for a, (kind, name) in p.objects.items() if kind in ("refs", "userdata"))
    what, middle = conftest.run_memwho("what", p.pid, hex(box + 100), hex(session + 8), "--json").json()["addresses"]
    assert what["object"]["type"] == "userdata refs.box"
    assert middle["object"]["address"] == hex(session)
    assert "_G.boxes (global)" in conftest.run_memwho("what", p.pid, hex(box)).out
    r = conftest.run_memwho("refs", p.pid, "--why", hex(session + 8), code=1)
    assert "no live object is at" in r.err


def test_running(program):
    """Whatever it is doing when it is copied, the sums are what Lua itself has counted by then."""
    lua = need(shutil.which("lua5.4"), "lua5.4")
    code = "kept = {} for i = 1, 50000 do kept[i] = { tostring(i) } end " \
           "while true do local t = {} for i = 1, 1000 do t[i] = { i .. 'x' } end end"
    process = subprocess.Popen([lua, "-e", code])
    try:
        time.sleep(1)
        for _ in range(10):
            result = refs(str(process.pid))
            off = result["own_live_bytes"] - result["live_bytes"] - result["garbage_bytes"]
            assert abs(off) < 65536, off  # a table that was just growing
            kept = next(r for r in result["roots"] if r["name"] == "_G.kept")
            assert 50000 * (56 + 16) < kept["retained_bytes"] < 50000 * 130 + 2**21
        result = refs(str(process.pid), "--no-stop")
        assert result["error_bound_bytes"] > 0
    finally:
        process.kill()
        process.wait()


def waits(*command):
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    time.sleep(1)
    return process


@pytest.mark.parametrize("version", ["5.1", "5.2"])
def test_not_supported_yet(version):
    lua = need(shutil.which(f"lua{version}"), f"lua{version}")
    process = waits(lua, "-e", "io.read()")
    try:
        r = conftest.run_memwho("refs", process.pid, code=1)
        assert f"has Lua {version} inside, which refs does not know yet" in r.err
        assert "hint: refs is for Lua 5.3 and 5.4, and Go" in r.err
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_neither_go_nor_lua():
    process = waits("sleep", "100")
    try:
        r = conftest.run_memwho("refs", process.pid, code=1)
        assert "Go 1.17 to 1.26" in r.err and "Lua 5.3 and 5.4" in r.err
    finally:
        process.kill()
        process.wait()


def test_redis(tmp_path):
    """A static 5.1 inside a program without symbols."""
    server = need(shutil.which("redis-server"), "redis-server")
    process = waits(server, "--port", "0", "--unixsocket", tmp_path / "socket", "--save", "")
    try:
        r = conftest.run_memwho("refs", process.pid, code=1)
        assert "has Lua 5.1 inside, which refs does not know yet" in r.err
    finally:
        process.kill()
        process.wait()


def test_haproxy(tmp_path):
    """A real program: 5.3, a state for each of its threads, and objects of its own classes."""
    haproxy = need(shutil.which("haproxy") or (os.path.exists("/usr/sbin/haproxy") and "/usr/sbin/haproxy"), "haproxy")
    (tmp_path / "a.lua").write_text("stats = {} for i = 1, 20000 do "
                                    "stats[i] = { name = 'backend-number-' .. i .. string.rep('z', 40) } end")
    (tmp_path / "a.cfg").write_text(f"global\n  lua-load {tmp_path}/a.lua\ndefaults\n  mode http\n  timeout client 1s\n"
                                    "  timeout server 1s\n  timeout connect 1s\n"
                                    f"frontend f\n  bind unix@{tmp_path}/socket\n")
    process = waits(haproxy, "-f", tmp_path / "a.cfg", "-db")
    try:
        result = refs(str(process.pid))
        assert result["runtime"] in ("Lua 5.3", "Lua 5.4")
        assert result["live_bytes"] + result["garbage_bytes"] == result["own_live_bytes"]
        # which of the states is the first is by chance
        stats = next(r for r in result["roots"] if r["name"].split(" (")[0] == "_G.stats")
        # a table with one node, and its string
        assert stats["retained_objects"] == pytest.approx(40001, abs=10)
    finally:
        process.kill()
        process.wait()
