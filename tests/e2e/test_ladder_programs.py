# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""The ladder of whole programs, as they are: each byte of them has a row, each row
its evidence, and next to nothing is without an owner. What the rows' figures are
worth is for test_ladder_{glibc,musl,allocators,languages}.py; here is whether all
of it comes together on a program that nobody wrote for it."""
import contextlib
import subprocess
import sys

import pytest

import conftest
import postgres
from conftest import BUILD, SOURCE
from hold import build_rust
from ladder_truth import Truth
from test_ladder_allocators import (preload, redis, redis_fill,  # noqa: F401 (a fixture)
                                    redis_port)
from test_ladder_core import (check_against_kernel, figure, parts, present_bytes,  # noqa: F401
                              state_of, stopped)
from test_ladder_languages import Running, tool

MIB = 1 << 20
BLOCK_BYTES = WORKER_BYTES = 32  # of tests/programs/ladder_truth.c
RUST_BOOKS = 128 * MIB  # tests/programs/rust maps its book-keeping


def pages(n):
    return (n + 4095) & ~4095


def arrays(threads, blocks):
    """What ladder_truth maps for itself."""
    return pages(threads * WORKER_BYTES) + threads * pages(blocks * BLOCK_BYTES)


def check(memwho, stopped, pid, kinds, own=0, bounded=True):
    """All that holds for every program; returns the ladder. @kinds must be there;
    @own bytes are the program's own mappings; not @bounded: its heap has no rows."""
    stopped(pid)
    ladder = memwho(pid, "--json").json()
    check_against_kernel(ladder, pid)
    assert ladder["resident_bytes"] + ladder["zero_page_bytes"] == present_bytes(pid)
    check_rows(ladder)
    check_findings(ladder)
    assert set(kinds) <= {p["kind"] for p in ladder["parts"]}
    if bounded:
        assert 0 <= ladder["unnamed_bytes"] - own < ladder["virtual_bytes"] / 100, [
            p for p in ladder["parts"] if p["kind"] == "unnamed"]
    return ladder


def check_rows(ladder):
    keys = [(p["kind"], p["name"], p["detail"]) for p in ladder["parts"] if p["kind"] != "file"]
    assert sorted(keys) == sorted(set(keys))
    for p in ladder["parts"]:
        if p["virtual_bytes"]:  # else inside another row
            assert (p["in_use_bytes"] or 0) <= p["virtual_bytes"], p
        assert (p["cached_bytes"] or 0) <= (p["in_use_bytes"] or 0), p
        assert p["inconsistent"] == 0, (p["name"], p["evidence"], p["figures"])
    assert len(parts(ladder, "main-stack")) == 1


def check_findings(ladder):
    for f in ladder["findings"]:
        assert f["text"] and f["evidence"], f
        assert 0 <= f["bytes"] <= max(ladder["virtual_bytes"], 64 << 40), f
    keys = [f["key"] for f in ladder["findings"]]
    assert sorted(keys) == sorted(set(keys)), ladder["findings"]


@pytest.mark.parametrize("program, env, kinds", [
    ("ladder_truth", None, ["glibc-arena", "glibc-mmapped", "thread-stack"]),
    ("ladder_truth-static", None, ["glibc-arena", "glibc-mmapped", "thread-stack"]),
    ("ladder_truth-musl", None, ["musl", "thread-stack"]),
    ("ladder_truth", "jemalloc", ["jemalloc", "thread-stack"]),
    ("ladder_truth", "tcmalloc", ["tcmalloc", "thread-stack"]),
    ("ladder_truth", "tcmalloc_minimal", ["tcmalloc", "thread-stack"]),
    ("ladder_truth", "mimalloc", ["mimalloc", "thread-stack"]),
], ids=lambda x: x if isinstance(x, str) else "")
def test_allocators(memwho, stopped, program, env, kinds):
    with Truth(8, 3000, program=program, env=preload(env) if env else None) as t:
        ladder = check(memwho, stopped, t.pid, kinds, own=arrays(8, 3000))
    assert len(parts(ladder, "thread-stack")) == 7
    if program != "ladder_truth-musl" and env is None:
        assert len(parts(ladder, "glibc-arena")) == 8
        assert [f["key"] for f in ladder["findings"]].count("arenas") == 1


def test_rust_with_jemalloc(memwho, stopped, target):
    try:
        program = build_rust(SOURCE, BUILD)
    except RuntimeError as e:
        pytest.skip(str(e))
    t = target(program)
    assert t.line() == "ready"
    t.say("warm 200")
    assert t.line(timeout=60) == "ok"
    check(memwho, stopped, t.pid, ["jemalloc"], own=RUST_BOOKS)


def test_redis_server(memwho, stopped, redis_port):  # noqa: F811
    port, pid = redis_port
    redis_fill(port, [900] * 5000)
    kind = "jemalloc" if "jemalloc" in redis(port, "INFO", "memory") else "glibc-arena"
    ladder = check(memwho, stopped, pid, [kind, "thread-stack"])
    assert sum(p["in_use_bytes"] for p in parts(ladder, kind)) > 5000 * 900


def test_postgres(memwho, stopped):
    postgres.need(15)
    with postgres.Server(15) as server:
        backend = server.session()
        backend.do("create table t as select g, repeat('x', 100) from generate_series(1, 50000) g;"
                   "select sum(length(repeat)) from t")
        for pid in (backend.pid, server.postmaster):
            ladder = check(memwho, stopped, pid, ["postgres"])
            buffers = sum(p["virtual_bytes"] for p in ladder["parts"]
                          if p["kind"] in ("postgres", "shared"))
            assert buffers > 32 * MIB, ladder["parts"]


# What each holds when it says "ready"; then it waits for a line.
PYTHON = """
import sys, threading
held = [{"number": i, "text": str(i)} for i in range(60000)]
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
"""
LUA = """
held = {}
for i = 1, 60000 do held[i] = { i, tostring(i) } end
print("ready") io.stdout:flush()
io.read()
"""
NODE = """
let held = [];
for (let i = 0; i < 60000; i++) held.push({ number: i, text: String(i) });
process.stdin.resume();
console.log("ready");
"""
JAVA = """
public class Held {
	public static void main(String[] args) throws Exception {
		java.util.ArrayList<byte[]> held = new java.util.ArrayList<>();
		for (int i = 0; i < 3000; i++)
			held.add(new byte[3000]);
		System.out.println("ready");
		System.in.read();
	}
}
"""


@contextlib.contextmanager
def language(name, tmp_path):
    if name == "go":
        program = tmp_path / "ladder_go"
        subprocess.run([tool("go"), "build", "-o", program,
                        SOURCE / "tests" / "programs" / "ladder_go.go"], check=True,
                       capture_output=True, env={**conftest.os.environ, "GO111MODULE": "off"})
        argv = [program]
    else:
        text, file, *argv = {
            "python": (PYTHON, "held.py", sys.executable, "-S"),
            "lua": (LUA, "held.lua", "lua5.4"),
            "node": (NODE, "held.js", "node"),
            "java": (JAVA, "Held.java", "java", "-Xmx64m"),
        }[name]
        (tmp_path / file).write_text(text)
        argv = [tool(argv[0]), *argv[1:], tmp_path / file]
    with Running(argv) as t:
        while t.line(timeout=60).split()[0] not in ("ready", "end"):
            pass
        yield t


@pytest.mark.parametrize("name, kinds, bounded", [
    ("python", ["python", "glibc-arena"], True),
    ("lua", ["lua", "glibc-arena"], True),
    ("go", ["go"], True),
    ("java", ["jvm", "glibc-arena", "thread-stack"], True),
    ("node", ["v8", "glibc-arena", "thread-stack"], True),
], ids=lambda x: x if isinstance(x, str) else "")
def test_languages(memwho, stopped, tmp_path, name, kinds, bounded):
    with language(name, tmp_path) as t:
        check(memwho, stopped, t.pid, kinds, bounded=bounded)
