# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Heaps of language runtimes from outside, without symbols, against what the
runtime says of itself."""
import os
import pathlib
import re
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
                       env={**os.environ, "GO111MODULE": "off", "GOFLAGS": ""})
    assert p.returncode == 0, p.stderr
    return out


class Running(conftest.Target):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Go(Running):
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

        def look():
            (heap,), _ = ladder_truth.look("go", t.pid, stop=False)
            assert heap.inconsistent <= heap.checked / 100
            return heap.in_use

        def in_use():
            t.say("")
            own = t.own()
            return own["heap/objects"] + own["heap/unused"]
        ladder_truth.follows(look, in_use, looks=3)


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


# ---- Lua ----

LUA = """
kept = {}
for i = 1, 50000 do kept[i] = { i, "string" .. i, long = ("x"):rep(i % 100) } end
co = coroutine.wrap(function() local a = ("y"):rep(100000); coroutine.yield(); return a end)
co()
collectgarbage() collectgarbage()
io.write(string.format("%.0f\\n", collectgarbage("count") * 1024)) io.flush()
while io.read() do
    %s
    io.write(string.format("%%.0f\\n", collectgarbage("count") * 1024)) io.flush()
end
"""


# not every distribution still has 5.2
@pytest.mark.parametrize("version", ["5.1", *(["5.2"] if shutil.which("lua5.2") else []), "5.3",
                                     "5.4"])
def test_lua_count(version, tmp_path):
    program = tmp_path / "program.lua"
    program.write_text(LUA.replace("%s", "").replace("%%", "%"))
    with Running([tool("lua" + version), program]) as t:
        t.line()
        for _ in range(2):
            t.say("")
            count = int(t.line())
            (heap,), _ = ladder_truth.look("lua", t.pid)
            assert abs(heap.in_use - count) < 200  # the line that it printed
            assert f"Lua {version}" in heap.detail
            assert heap.inconsistent == 0 and heap.checked > 1000
            assert heap.ranges == []


@pytest.mark.parametrize("library", ["liblua5.4.so.0", "liblua5.3.so.0", "liblua5.1.so.0"])
def test_lua_states(library):
    """Three states of one process, in a program that is not Lua's; the handles lie in its heap."""
    program = f"""
import ctypes, sys
try:
    lua = ctypes.CDLL("{library}")
except OSError:
    print("none", flush=True)
    sys.exit()
lua.luaL_newstate.restype = ctypes.c_void_p
lua.luaL_openlibs.argtypes = [ctypes.c_void_p]
lua.luaL_loadstring.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
lua.lua_gc.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
call = getattr(lua, "lua_pcallk", None) or lua.lua_pcall
call.argtypes = [ctypes.c_void_p] + [ctypes.c_int] * 3 + [ctypes.c_void_p] * 2
states = []
for i in range(3):
    s = lua.luaL_newstate()
    lua.luaL_openlibs(s)
    text = f"t = {{{{}}}} for i = 1, {{i * 1000 + 100}} do t[i] = 'number' .. i end"
    assert lua.luaL_loadstring(s, text.encode()) == 0
    assert call(s, 0, 0, 0, None, None) == 0
    states.append(s)
print(*(lua.lua_gc(s, 3, 0) * 1024 + lua.lua_gc(s, 4, 0) for s in states), flush=True)
sys.stdin.readline()
"""
    with Running([tool("python3"), "-c", program]) as t:
        line = t.line(timeout=60)
        if line == "none":
            pytest.skip(f"no {library}")
        heaps, _ = ladder_truth.look("lua", t.pid)
        assert sorted(h.in_use for h in heaps) == sorted(map(int, line.split()))


def test_lua_running(tmp_path):
    """Counted while it allocates: within 2 % of what it says before and after."""
    program = tmp_path / "program.lua"
    program.write_text(LUA.replace("%s", """
    collectgarbage("stop")
    local e = os.clock() + 0.3
    while os.clock() < e do local a = {} end
    collectgarbage("restart") collectgarbage()""").replace("%%", "%"))
    with Running([tool("lua5.4"), program]) as t:
        t.line()
        for _ in range(3):
            t.say("")
            (heap,), _ = ladder_truth.look("lua", t.pid, stop=False)
            count = int(t.line())
            assert heap.in_use > 0.98 * count
            assert heap.inconsistent <= heap.checked / 50


def test_not_lua():
    with ladder_truth.Truth(2, 3000) as t:
        assert ladder_truth.look("lua", t.pid) == ([], {})


# ---- CPython ----

PYTHON = """
import gc, os, sys, threading
kept = [{"number": i, "text": str(i), "list": [i]} for i in range(60000)]
del kept[::3]
gc.collect()
if len(sys.argv) > 1:
    def churn():
        while True:
            [{"a": i} for i in range(100)]
    threading.Thread(target=churn, daemon=True).start()
ids = [id(x["list"]) for x in kept[::50]] + [id(x["text"]) for x in kept[::50]]
print(*map(hex, ids))
gc.collect()
print(len(gc.get_objects()), flush=True)
while sys.stdin.readline():
    sys._debugmallocstats()
    os.write(2, b"end\\n")
    print("told", flush=True)
"""


def pythons():
    """System and pyenv interpreters, one of each minor version."""
    found = {}
    at = [shutil.which("python3") or "",
          *sorted(map(str, pathlib.Path.home().glob(".pyenv/versions/3.*/bin/python3")))]
    for path in filter(None, at):
        p = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2], "
                            "hasattr(sys, '_debugmallocstats'), 't' in sys.abiflags)"],
                           capture_output=True, check=False)
        words = p.stdout.decode().split()
        if len(words) == 4 and words[0] == "3" and 8 <= int(words[1]) <= 13 and words[3] == "False":
            found.setdefault((path == at[0], int(words[1])), path)
    return list(found.values())


class Python(Running):
    def __init__(self, path, tmp_path, *args):
        self.log = tmp_path / "stats"
        with open(self.log, "wb") as err:
            super().__init__([path, "-c", PYTHON, *args], stderr=err)
        self.ids = [int(w, 16) for w in self.line(timeout=60).split()]
        self.n_objects = int(self.line(timeout=60))

    def own(self):
        before = self.log.stat().st_size
        self.say("")
        assert self.line(timeout=60) == "told"
        text = self.log.read_text()[before:]
        return {name: int(value.replace(",", "")) for name, value in
                re.findall(r"^# ([a-z ]+?) +(?:\([^)]*\) +)?= +([0-9,]+)$", text, re.M)}


@pytest.mark.parametrize("path", pythons())
def test_python_stats(path, tmp_path):
    with Python(path, tmp_path) as t:
        t.own()
        own = t.own()
        (heap,), _ = ladder_truth.look("cpython", t.pid)
        check_sound(heap, t.pid)
        assert heap.kind == "python" and heap.inconsistent == 0
        assert abs(heap.in_use - own["bytes in allocated blocks"]) < 4096
        assert abs(heap.figures["available_bytes"] - own["bytes in available blocks"]) < 65536
        assert heap.figures["arenas"] == own["arenas allocated current"]
        size = (1 << 20) if "1024 KiB" in heap.detail else 256 << 10
        assert sum(e - s for s, e in heap.ranges) == own["arenas allocated current"] * size
        assert abs(heap.figures["gc_objects"] - t.n_objects) < 50


@pytest.mark.parametrize("path", pythons())
def test_python_blocks(path, tmp_path):
    """The program's lists and strings, by their id()."""
    addresses = tmp_path / "addresses"
    with Python(path, tmp_path) as t:
        addresses.write_text("".join(f"{a:x}\n" for a in t.ids))
        found = ladder_truth.find_blocks("cpython", t.pid, addresses)
        for address in t.ids:
            kind, start, size, state = found[address]
            assert (kind, state) == ("python", "live")
            assert start <= address < start + size <= start + 512


def test_python_running(tmp_path):
    with Python(tool("python3"), tmp_path, "churn") as t:
        def look():
            (heap,), _ = ladder_truth.look("cpython", t.pid, stop=False)
            assert heap.inconsistent <= heap.checked / 100
            return heap.in_use
        ladder_truth.follows(look, lambda: t.own()["bytes in allocated blocks"], looks=3)


def test_python_without_obmalloc(tmp_path):
    with Running([tool("python3"), "-c", "print('ready', flush=True); input()"],
                         env={"PYTHONMALLOC": "malloc"}) as t:
        t.line()
        assert ladder_truth.look("cpython", t.pid) == ([], {})


# ---- OpenJDK ----


@pytest.fixture(scope="module")
def java_classes(tmp_path_factory):
    out = tmp_path_factory.mktemp("java")
    subprocess.run([tool("javac"), "-d", out,
                    conftest.SOURCE / "tests" / "programs" / "LadderJava.java"], check=True)
    return out


class Java(Running):
    def __init__(self, classes, *options):
        super().__init__([tool("java"), "-Xmx512m", "-XX:NativeMemoryTracking=summary", *options,
                          "-cp", classes, "LadderJava"])
        assert self.line(timeout=60) == "ready"

    def jcmd(self, command):
        return subprocess.run([tool("jcmd"), str(self.pid), command], check=True,
                              capture_output=True, timeout=60).stdout.decode()


def java_used(text, collector):
    """Bytes that GC.heap_info calls used, in KiB as it says."""
    if collector == "G1":
        return int(re.search(r"garbage-first heap +total \d+K, used (\d+)K", text)[1])
    names = {"Serial": ("def new generation", "tenured generation"),
             "Parallel": ("PSYoungGen", "ParOldGen")}[collector]
    return sum(int(re.search(name + r" +total \d+K, used (\d+)K", text)[1]) for name in names)


@pytest.mark.parametrize("collector, options", [
    ("G1", []), ("Serial", []), ("Parallel", []), ("G1", ["-Xshare:off"]),
    ("G1", ["-XX:-UseCompressedOops"])], ids=lambda x: x if isinstance(x, str) else "".join(x))
def test_java(java_classes, collector, options):
    with Java(java_classes, f"-XX:+Use{collector}GC", *options) as t:
        own = t.jcmd("VM.native_memory")
        used = java_used(t.jcmd("GC.heap_info"), collector)
        heaps, _ = ladder_truth.look("jvm", t.pid)
        rows = {h.name: h for h in heaps}
        assert set(rows) == {"Java heap", "code cache", "metaspace", "collector's tables"}
        for heap in heaps:
            check_sound(heap, t.pid)
            assert heap.kind == "jvm" and heap.inconsistent == 0

    def reserved(name):
        return int(re.search(rf" {name} \(reserved=(\d+)KB", own)[1]) << 10

    def mapped(name):
        return int(re.search(rf" {name} \(.*?mmap: reserved=(\d+)KB", own, re.S)[1]) << 10

    heap = rows["Java heap"]
    assert f"{collector} collector" in heap.detail
    assert heap.figures["reserved_bytes"] == reserved("Java Heap")
    # jcmd itself makes a few objects; G1 counts them in the region it allocates from
    assert abs(heap.in_use - (used << 10)) <= (used << 10) / 50
    assert rows["code cache"].figures["reserved_bytes"] == mapped("Code")
    meta = sum(e - s for s, e in rows["metaspace"].ranges)
    known = mapped("Class") + mapped("Metaspace")
    # what the reservation for the archive has left over is counted with the archive there
    assert known <= meta <= known + (16 << 20)
    tables = rows["collector's tables"].figures["reserved_bytes"]
    assert 0 < tables <= mapped("GC") + 8192
    assert tables > mapped("GC") * 0.9 or collector != "G1"


def test_not_java():
    with ladder_truth.Truth(1, 1000) as t:
        assert ladder_truth.look("jvm", t.pid) == ([], {})


# ---- V8 ----

NODE = """
const v8 = require('v8'), workers = require('worker_threads');
const held = [];
for (let i = 0; i < 100000; i++) held.push({ number: i, text: 'x' + i, list: [i] });
for (let i = 0; i < 10; i++) held.push(new Array(100000).fill(i));
if (workers.isMainThread && process.argv.length > 2)
    new workers.Worker(__filename);
setTimeout(() => {
    gc(); gc();
    setTimeout(() => {
        if (workers.isMainThread)
            console.log(v8.getHeapStatistics().total_heap_size);
    }, process.argv.length > 2 ? 2000 : 500);
}, 500);
process.stdin.on('data', () => {});
setInterval(() => held.length, 100000);
"""


def is_node_20():
    path = shutil.which("node")
    return path and subprocess.run([path, "--version"], capture_output=True,
                                   check=False).stdout.startswith(b"v20.")


@pytest.mark.parametrize("isolates", [1, 2])
def test_node(isolates, tmp_path):
    if not is_node_20():
        pytest.skip("no Node 20: layouts of other versions of V8 were not looked at")
    program = tmp_path / "program.js"
    program.write_text(NODE)
    with Running(["node", "--expose-gc", program, *["worker"] * (isolates - 1)]) as t:
        total = int(t.line(timeout=60))
        heaps, _ = ladder_truth.look("v8", t.pid)
        assert len(heaps) == isolates
        sizes = [h.figures["page_bytes"] for h in heaps]
        assert any(abs(size - total) <= total / 100 for size in sizes)
        for heap in heaps:
            check_sound(heap, t.pid)
            assert heap.kind == "v8" and heap.in_use == -1
        assert sum(h.figures.get("code_range_bytes", 0) for h in heaps) > 64 << 20


def test_not_v8():
    with ladder_truth.Truth(4, 3000) as t:
        assert ladder_truth.look("v8", t.pid) == ([], {})


# ---- the whole ladder ----


def check_ladder(pid, kind):
    ladder = conftest.run_memwho(pid, "--json").json()
    parts = ladder["parts"]
    assert sum(p["virtual_bytes"] for p in parts) == ladder["virtual_bytes"]
    assert any(p["kind"] == kind for p in parts)
    assert ladder["unnamed_bytes"] < ladder["virtual_bytes"] / 100, \
        [p for p in parts if p["kind"] == "unnamed"]
    return [p for p in parts if p["kind"] == kind]


def test_ladder_go(go_program):
    with Go([go_program]) as t:
        t.own()
        (part,) = check_ladder(t.pid, "go")
        assert part["virtual_bytes"] > 500 << 20 and part["in_use_bytes"] > 50 << 20


def test_ladder_python(tmp_path):
    with Python(tool("python3"), tmp_path) as t:
        (part,) = check_ladder(t.pid, "python")
        assert 0 < part["in_use_bytes"] < part["virtual_bytes"]


@pytest.mark.parametrize("version", ["5.1", "5.3", "5.4"])
def test_ladder_lua(version, tmp_path):
    program = tmp_path / "program.lua"
    program.write_text(LUA.replace("%s", "").replace("%%", "%"))
    with Running([tool("lua" + version), program]) as t:
        count = int(t.line())
        (part,) = check_ladder(t.pid, "lua")
        assert part["virtual_bytes"] == 0 and part["inside"] == "glibc-arena"
        assert abs(part["in_use_bytes"] - count) < 200


def test_ladder_java(java_classes):
    with Java(java_classes) as t:
        assert len(check_ladder(t.pid, "jvm")) == 4


def test_ladder_node(tmp_path):
    if not is_node_20():
        pytest.skip("no Node 20")
    program = tmp_path / "program.js"
    program.write_text(NODE)
    with Running(["node", "--expose-gc", program]) as t:
        t.line(timeout=60)
        (part,) = check_ladder(t.pid, "v8")
        assert "inside unknown" in part["unknown_why"]


@pytest.mark.parametrize("runtime", ["go", "lua", "cpython", "jvm", "v8"])
def test_no_allocator_to_record(runtime):
    """They have nothing to probe, so --allocator does not take them."""
    result = conftest.run_memwho("alloc", os.getpid(), "--allocator", runtime, "-d", "1s", code=None)
    assert result.code != 0 and f"no allocator '{runtime}'" in result.err
