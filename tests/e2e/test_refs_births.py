# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho refs --births: who holds what was born where. Every buffer of the program
comes from one function of a pool; a cluster manager holds most of them."""
import re
import subprocess

import pytest
from test_go_profile import build, manager  # noqa: F401 (a fixture)
from test_refs import MINORS
import conftest

POOL, HOLDER = "main.(*pool).get", "main.manager *main.clusterManager"


def near(row, true):
    """Within four times what sampling errs by."""
    return abs(row["bytes"] - true) < 4 * true / row["samples"] ** .5 + 4096


def check(result, p, names=True):
    rows = result["births"]
    assert rows[0]["born_in"] == POOL and rows[0]["bytes"] > 0.8 * result["birth_live_bytes"]
    assert not names or rows[0]["held_by"] == HOLDER
    assert near(rows[0], p.held), (rows[0], p.held)
    others = [r for r in rows[1:] if r["born_in"] == POOL and r["held_by"] != "[garbage]"]
    assert near(others[0], 256 << 14), others
    assert near(dict(bytes=result["birth_live_bytes"], samples=result["birth_samples"]), result["live_bytes"])
    assert sum(r["bytes"] for r in rows) == result["birth_live_bytes"] + result["birth_garbage_bytes"]
    stacks = [s["frames"] for s in result["stacks"]]
    assert sum(s["bytes"] for s in result["stacks"]) == sum(r["bytes"] for r in rows)
    biggest = stacks[0]
    at = biggest.index("[held by]")
    assert biggest[at + 1:] == [POOL, "main.fill", "main.main", "runtime.main"], biggest
    assert biggest[at - 1] == rows[0]["held_by"]
    return rows


def test_the_report_s_case(memwho, manager):  # noqa: F811
    """alloc says the pool, refs the manager, --births both."""
    p = manager(build())
    born = memwho("alloc", p.pid, "--json").json()["stacks"]
    assert born[0]["frames"][0] == POOL
    held = memwho("refs", p.pid, "--json").json()["roots"]
    assert held[0]["name"] == HOLDER
    check(memwho("refs", p.pid, "--births", "--json").json(), p)
    out = memwho("refs", p.pid, "--births").out
    assert re.search(r"births\nborn_in +held_by +bytes", out) and "[held by]" in out
    narrow = memwho("refs", p.pid, "--births", "--columns", "60").out
    assert re.search(r"births\nborn_in +held_by +bytes", narrow), narrow


def test_garbage(memwho, manager):  # noqa: F811
    p = manager(build())
    p.do("drop", 4000)
    rows = check(memwho("refs", p.pid, "--births", "--json").json(), p)
    dead = [r for r in rows if r["held_by"] == "[garbage]" and r["born_in"] == POOL]
    assert near(dead[0], 4000 * 4096), dead
    p.do("gc")
    rows = check(memwho("refs", p.pid, "--births", "--json").json(), p)
    assert not [r for r in rows if r["held_by"] == "[garbage]" and r["born_in"] == POOL]


def test_stripped_and_cores(memwho, manager, tmp_path):  # noqa: F811
    p = manager(build("-ldflags=-s -w", name="manager-ldflags--s-w"))
    live = memwho("refs", p.pid, "--births", "--json").json()
    check(live, p, names=False)
    subprocess.run(["gcore", "-o", tmp_path / "core", str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    result = memwho("refs", tmp_path / f"core.{p.pid}", "--births", "--json").json()
    check(result, p, names=False)
    assert result["births"] == live["births"]


@pytest.mark.parametrize("minor", MINORS)
def test_other_versions(memwho, manager, minor):  # noqa: F811
    p = manager(build(name=f"manager-1.{minor}", minor=minor))
    check(memwho("refs", p.pid, "--births", "--json").json(), p)
    stripped = manager(build("-ldflags=-s -w", name=f"manager-1.{minor}-stripped", minor=minor))
    check(memwho("refs", stripped.pid, "--births", "--json").json(), stripped, names=False)


def test_saved(memwho, manager, tmp_path):  # noqa: F811
    p = manager(build())
    saved = tmp_path / "a.mwg"
    live = memwho("refs", p.pid, "--births", "--save", saved, "--json").json()
    again = memwho("refs", saved, "--births", "--json").json()
    assert again["births"] == live["births"] and again["stacks"] == live["stacks"]
    old = bytearray(saved.read_bytes())
    old[12] = 2
    saved.write_bytes(old)
    assert "version 2 of the format" in memwho("refs", saved, code=1).err


def test_views(memwho, manager, tmp_path):  # noqa: F811
    p = manager(build())
    only = memwho("refs", p.pid, "--births", "--only-from", r"^main\.gOther$", "--json").json()
    assert {r["held_by"] for r in only["births"]} == {"main.gOther [][]uint8"}
    first = memwho("refs", p.pid, "--births", "--view", "first-come", "--json").json()
    check(first, p)
    for ending in ("svg", "html", "pb.gz", "folded", "txt"):
        memwho("refs", p.pid, "--births", "-o", tmp_path / f"b.{ending}")
    assert f"main.fill;{POOL};[held by];{HOLDER};" in (tmp_path / "b.folded").read_text()
    assert "not with --view types" in memwho("refs", p.pid, "--births", "--view", "types", code=2).err


def test_without_a_profile(memwho, manager):  # noqa: F811
    silent = manager(build(name="silent", source=conftest.SOURCE / "tests" / "programs" / "refs"))
    r = memwho("refs", silent.pid, "--births", code=1)
    assert "no births" in r.err and "net/http/pprof" in r.err
