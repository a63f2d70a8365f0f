# SPDX-License-Identifier: GPL-2.0-or-later
# meson: parallel
"""memwho what: addresses of which the program itself says what they are."""
import json
import re

import pytest


@pytest.fixture
def known(target):
    t, at = target("what"), {}
    while True:
        words = t.line().split()
        if words == ["ready"]:
            return t, at
        at[words[0]] = words[1]


def looked_up(memwho, known):
    t, at = known
    r = memwho("what", t.pid, *at.values(), "--json")
    return dict(zip(at, json.loads(r.out)["addresses"]))


def test_every_address_has_its_owner(memwho, known):
    found = looked_up(memwho, known)
    kinds = {name: a["owner"]["kind"] for name, a in found.items()}
    assert kinds == {
        "keeps-apart": "glibc-arena", "block": "glibc-arena", "freed": "glibc-arena",
        "cached": "glibc-arena", "thread-block": "glibc-arena", "huge": "glibc-mmapped",
        "mapped": "unnamed", "untouched": "unnamed", "object": "file", "bss": "file",
        "function": "file", "stack": "main-stack", "thread-stack": "thread-stack"}
    assert found["thread-block"]["owner"]["name"] != found["block"]["owner"]["name"]
    assert "worker-7" in json.dumps(found["thread-block"]["owner"])
    assert "worker-7" in json.dumps(found["thread-stack"]["owner"])


def test_blocks_with_their_state(memwho, known):
    t, at = known
    found = looked_up(memwho, known)
    for name, size, state in (("block", 1000, "live"), ("keeps-apart", 100, "live"),
                              ("thread-block", 2000, "live"), ("huge", 1 << 20, "live"),
                              ("freed", 3000, "free"), ("cached", 1000, "cached")):
        inner = found[name]["blocks"][-1]
        assert inner["state"] == state, (name, inner)
        # a free chunk has no use for the next one's first word
        assert size - 8 <= inner["size_bytes"] <= size + 4200, (name, inner)
        assert int(inner["start"], 16) <= int(at[name], 16), (name, inner)
    assert not found["mapped"]["blocks"] and not found["object"]["blocks"]
    # an address in the middle leads to the same block
    r = memwho("what", t.pid, hex(int(at["block"], 16) + 500), "--json")
    inner = json.loads(r.out)["addresses"][0]["blocks"][-1]
    assert inner["offset"] == 500 and inner["start"] == at["block"]


def test_words_symbols_and_what_is_not_there(memwho, known):
    t, at = known
    found = looked_up(memwho, known)
    words = found["block"]["words"]
    assert [w["meaning"] for w in words][:2] == ["-> what_object", "42"]
    assert words[2]["value"] == at["block"]
    assert found["huge"]["words"][0]["meaning"].startswith('"a text that goes on"')
    assert found["object"]["symbol"] == "what_object+0x8"
    assert found["bss"]["symbol"] == "what_bss+0x4" and found["function"]["symbol"] == "main"
    assert not found["untouched"]["in_memory"] and not found["untouched"]["words"]
    r = memwho("what", t.pid, "0x10", "--json")
    assert json.loads(r.out)["addresses"][0]["mapping"] is None


def test_one_line_each(memwho, known):
    t, at = known
    lines = memwho("what", t.pid, *at.values()).out.splitlines()
    assert [line.split()[0] for line in lines] == list(at.values())
    assert re.search(r"live block .* of 1000 B", lines[list(at).index("block")])


def test_looking_changes_nothing(memwho, known):
    t, at = known

    def memory():
        with open(f"/proc/{t.pid}/status") as f:
            return [line for line in f if line.startswith(("RssAnon", "RssShmem", "VmPTE", "VmSwap"))]
    before = memory()
    for _ in range(3):
        memwho("what", t.pid, *at.values())
    assert memory() == before


def test_mistakes(memwho, target):
    t = target("hold")
    assert "ADDRESS" in memwho("what", t.pid, code=2).err
    r = memwho("what", t.pid, "12x", code=2)
    assert "no address" in r.err and "hexadecimal" in r.err
    assert memwho("what", "4194303", "0x10", code=1).err
