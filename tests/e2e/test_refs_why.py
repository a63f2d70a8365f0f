# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Why an object is kept: memwho refs --why, --type, and memwho what."""
import json
import re

import pytest
from test_go_profile import build, manager  # noqa: F401 (a fixture)

HOLDER = "main.manager *main.clusterManager"


@pytest.fixture
def known(memwho, manager):  # noqa: F811
    p = manager(build())
    return p, memwho("refs", p.pid, "--json").json()


def check_chains(graph, order, o):
    """The chains to manager.order as JSON: as data what the lines of text say."""
    chain, *_ = o["shortest"]
    assert (chain["root"], chain["kind"], chain["left_out"]) == (HOLDER, "global", 0)
    assert chain["steps"][-1] == {"label": ".order", "address": order["address"], "bytes": 1 << 20, "type": "[]string"}
    assert o["more_roots"] == 0
    widest = o["widest"]
    assert (widest["root"], widest["kind"]) == (HOLDER, "global")
    assert widest["steps"][-1] == {"address": order["address"], "bytes": 1 << 20, "type": "[]string",
                                   "retained_bytes": 1 << 20}
    kept = [widest["retained_bytes"]] + [s["retained_bytes"] for s in widest["steps"]]
    assert kept == sorted(kept, reverse=True)
    root = next(r for r in graph["roots"] if r["name"] == HOLDER)
    assert kept[0] == root["retained_bytes"]


def test_chains_as_json(memwho, known, tmp_path):
    p, graph = known
    order = next(b for b in graph["big"] if b["type"] == "[]string" and b["bytes"] == 1 << 20)
    why = memwho("refs", p.pid, "--why", order["address"], "--json").json()
    assert why["result"] == "why" and why["runtime"].startswith("go1.") and str(p.pid) in why["target"]
    assert (why["address"], why["size_bytes"], why["type"]) == (order["address"], 1 << 20, "[]string")
    check_chains(graph, order, why)
    # of a saved graph, and to a file
    saved, file = tmp_path / "a.mwg", tmp_path / "why.json"
    memwho("refs", p.pid, "--save", saved, "--json")
    assert memwho("refs", saved, "--why", order["address"], "-o", file).out == ""
    again = json.loads(file.read_text())
    assert again["widest"] == why["widest"]
    r = memwho("refs", saved, "--why", order["address"], "-o", tmp_path / "why.svg", code=2)
    assert "--why is text or JSON, not svg" in r.err and not (tmp_path / "why.svg").exists()


def test_a_type_as_json(memwho, known):
    p, graph = known
    found = memwho("refs", p.pid, "--type", r"^main\.host$", "--format", "json").json()
    assert (found["result"], found["type"], found["objects"]) == ("type", r"^main\.host$", 4096)
    kind = next(t for t in graph["types"] if t["name"] == "main.host")
    assert (found["objects"], found["bytes"]) == (kind["objects"], kind["bytes"])
    way, *_ = found["widest"]
    assert way["frames"][0] == HOLDER and (way["objects"], way["bytes"]) == (4096, found["bytes"])
    assert ".hosts []*main.host" in way["frames"]
    assert sum(w["objects"] for w in found["widest"]) + found["unreached"] == 4096
    chain = next(c for c in found["shortest"] if c["root"] == HOLDER)
    assert chain["steps"][-1]["type"] == "main.host" and chain["steps"][-1]["bytes"] == kind["bytes"] // 4096


def test_what_an_object_is(memwho, known):
    p, graph = known
    order = next(b for b in graph["big"] if b["type"] == "[]string" and b["bytes"] == 1 << 20)
    # its middle, too
    for address in order["address"], hex(int(order["address"], 16) + 4096):
        found, = memwho("what", p.pid, address, "--json").json()["addresses"]
        o = found["object"]
        assert (o["address"], o["size_bytes"], o["type"]) == (order["address"], 1 << 20, "[]string")
        assert o["born_in"] == ["main.(*clusterManager).reserve", "main.fill", "main.main", "runtime.main"]
        check_chains(graph, order, o)
    out = memwho("what", p.pid, order["address"]).out
    assert "born in main.(*clusterManager).reserve \u2190 main.fill" in out and "widest" in out
    # what is no object has none
    found, = memwho("what", p.pid, "0x10", "--json").json()["addresses"]
    assert found["object"] is None


def test_what_is_garbage(memwho, known):
    p, _ = known
    address, = p.do("drop", 100)
    assert "nothing refers to it" in memwho("what", p.pid, address).out
    found, = memwho("what", p.pid, address, "--json").json()["addresses"]
    assert found["object"] is None and found["blocks"][0]["state"] == "live"
    r = memwho("refs", p.pid, "--why", address, code=1)
    assert "no live object" in r.err and "memwho what" in r.err
    p.do("gc")
    found, = memwho("what", p.pid, address, "--json").json()["addresses"]
    assert found["object"] is None and found["blocks"][0]["state"] == "free"


def test_widest(memwho, known):
    """What each step keeps is what it keeps by the table of roots."""
    p, graph = known
    ways = memwho("refs", p.pid, "--type", r"^\[\]uint8$").out
    address = re.search(r"\.buf \[\]uint8 at (0x[0-9a-f]+), 16384 bytes", ways)[1]
    lines = memwho("refs", p.pid, "--why", address).out.splitlines()
    at = lines.index("widest, each alone keeps what is below it:")
    root = next(r for r in graph["roots"] if r["name"] == HOLDER)
    assert lines[at + 1] == f"{HOLDER} (global), keeps {root['retained_bytes']} bytes"
    kept = [int(line.split("keeps ")[1].split(" ")[0]) for line in lines[at + 1:]]
    assert kept == sorted(kept, reverse=True) and kept[-1] == 16 << 10
    # its cluster keeps sixteen of them
    assert any((16 << 14) <= k < (17 << 14) for k in kept), kept


def test_all_of_a_type(memwho, known):
    p, graph = known
    lines = memwho("refs", p.pid, "--type", r"^main\.host$").out.splitlines()
    assert lines[0].startswith("4096 objects, ") and "widest" in lines[0]
    assert lines[1].startswith(f"{HOLDER}: 4096 objects, ")
    assert any(line.endswith(".hosts []*main.host") for line in lines)
    assert f"{HOLDER} (global)" in lines[lines.index("the shortest way from each root:"):]
    # a value's name is a value, as in every command
    values = memwho("refs", p.pid, "--type", "inuse_objects", "--json").json()
    assert values["value_type"] == "inuse_objects"
    r = memwho("refs", p.pid, "--type", "no.such", code=1)
    assert "no live object is of a type" in r.err and "--view types" in r.err
    assert "regular expression" in memwho("refs", p.pid, "--type", "[", code=2).err
    assert "one of them" in memwho("refs", p.pid, "--type", "x", "--why", "0x10", code=2).err
