# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho diff: what grew and what shrank."""
import xml.etree.ElementTree

import pytest


@pytest.fixture
def sides(tmp_path):
    before, after = tmp_path / "before.folded", tmp_path / "after.folded"
    before.write_text("main;a 1000\nmain;b 500\nmain;gone 70\n")
    after.write_text("main;a 2500\nmain;b 500\nmain;new 5\n")
    return before, after


def folded(text):
    return {k: int(v) for k, v in (line.rsplit(" ", 1) for line in text.splitlines())}


def test_after_minus_before(memwho, sides):
    d = folded(memwho("diff", *sides, "--format", "folded").out)
    assert d == {"main;a": 1500, "main;gone": -70, "main;new": 5}
    for side, text in zip(("before", "after"), sides):
        shown = memwho("diff", *sides, "--format", "folded", "--type", side).out
        assert folded(shown) == folded(text.read_text())


def test_table_orders_by_size_of_the_change(memwho, sides):
    lines = memwho("diff", *sides).out.splitlines()
    rows = [line.split()[-3] for line in lines if "← main" in line]
    assert rows[:3] == ["a", "gone", "new"]
    assert "+1.4 KiB" in memwho("diff", *sides).out


def test_formats_of_one_profile_compare(memwho, sides, tmp_path):
    before, after = sides
    saved = tmp_path / "after.pb.gz"
    memwho("render", after, "-o", saved)
    assert folded(memwho("diff", before, saved, "--format", "folded").out)["main;a"] == 1500
    assert memwho("diff", after, saved, "--format", "folded").out == ""


def test_a_diff_can_be_saved_and_drawn_later(memwho, sides, tmp_path):
    saved, now, later = (tmp_path / n for n in ("d.pb.gz", "now.svg", "later.svg"))
    memwho("diff", *sides, "-o", saved)
    memwho("diff", *sides, "-o", now)
    memwho("render", saved, "-o", later)
    assert now.read_bytes() == later.read_bytes()
    text = "".join(xml.etree.ElementTree.parse(now).getroot().itertext())
    assert "gone" in text and "new" in text
    assert memwho("render", saved).out == memwho("diff", *sides).out


def test_a_rebuilt_program_compares(memwho, tmp_path):
    old, new = tmp_path / "old.stap", tmp_path / "new.stap"
    old.write_text(" 0x1 : f+0x0/0x0 [/old/prog]\n 0x2 : main+0x0/0x0 [/old/prog]\n\t100\n")
    new.write_text(" 0x9 : f+0x0/0x0 [/new/prog]\n 0x8 : main+0x0/0x0 [/new/prog]\n\t130\n")
    assert folded(memwho("diff", old, new, "--format", "folded").out) == {"main;f": 30}


def test_grouping_and_filters(memwho, tmp_path):
    old, new = tmp_path / "old.stap", tmp_path / "new.stap"
    old.write_text(" 0x1 : f+0x0/0x0 [/bin/prog]\n\t100\n 0x3 : g+0x0/0x0 [/lib/libg.so]\n\t7\n")
    new.write_text(" 0x1 : f+0x0/0x0 [/bin/prog]\n\t130\n 0x3 : g+0x0/0x0 [/lib/libg.so]\n\t9\n")
    def shown(*args):
        return folded(memwho("diff", old, new, "--format", "folded", *args).out)
    assert shown("--by", "module") == {"prog;f": 30, "libg.so;g": 2}
    assert shown("--focus", "^g$") == {"g": 2}
    assert shown("--ignore", "^g$") == {"f": 30}


def test_what_does_not_compare_is_said(memwho, sides, tmp_path):
    before, after = sides
    heap = tmp_path / "x.heap"
    heap.write_text("heap_v2/0\n@ 0x1\n  t*: 3: 30 [4: 40]\n")
    # the value that both have
    assert folded(memwho("diff", before, heap, "--format", "folded").out)["0x1"] == 30
    r = memwho("diff", before, heap, "--type", "alloc_space", code=2)
    assert "no values of type alloc_space" in r.err and "inuse_space" in r.err
    assert "two FILEs" in memwho("diff", before, code=2).err
    assert str(tmp_path / "none") in memwho("diff", before, tmp_path / "none", code=1).err
    # stap text has no room for what shrank
    out = tmp_path / "d.stap"
    r = memwho("diff", before, after, "-o", out, code=None)
    assert r.code in (1, 2) and "negative" in r.err and not out.exists()
