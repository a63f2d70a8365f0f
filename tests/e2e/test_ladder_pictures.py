# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The treemap and the icicle of a ladder in a real browser: areas are the bytes,
mouse and keyboard do what they say, hostile names stay text, the console is empty."""
import json
import xml.etree.ElementTree as ET

import pytest

import conftest

MIB = 1 << 20
PARTS = [
    ("glibc-arena", "arena 1", 64 * MIB, 12288, "made for thread worker-0 (tid 4715)"),
    ("thread-stack", "worker-0", 8 * MIB, 8192, "tid 4715"),
    ("thread-stack", "worker-1", 8 * MIB, 8192, "tid 4716"),
    ("jemalloc", "jemalloc 5.3", 16 * MIB, 4 * MIB, ""),
    ("file", "libc.so.6", 2 * MIB, MIB, ""),
    ("file", "<script>alert(1)</script>\x1b[2J\u202e", MIB, MIB, "<b>x</b>"),
    ("unnamed", "anonymous memory", MIB, 4096, ""),
]


def ladder(parts, **more):
    rows = [{"kind": k, "name": n, "virtual_bytes": v, "resident_bytes": r, "in_use_bytes": None,
             "cached_bytes": None, "evidence": f"proof of {n}", "detail": d, "figures": {}}
            for k, n, v, r, d in parts]
    return {"format": "memwho-ladder-1", "result": "ladder", "target": "silly (4711)",
            "virtual_bytes": sum(p[2] for p in parts), "resident_bytes": sum(p[3] for p in parts),
            "unnamed_bytes": sum(p[2] for p in parts if p[0] == "unnamed"), **more, "parts": rows}


@pytest.fixture
def page(browser, memwho, tmp_path, request):
    def make(saved, *options, command=("render",)):
        paths = []
        for i, s in enumerate(saved if isinstance(saved, list) else [saved]):
            paths.append(tmp_path / f"{i}.json")
            paths[-1].write_text(json.dumps(s))
        out = tmp_path / "x.html"
        memwho(*command, *paths, "-o", out, *options)
        browser.problems()
        browser.open(out)
        browser.wait("return document.documentElement.dataset.ready")
        return browser
    yield make
    conftest.leave_page(browser, request.node.name)


def leaves(b):
    return b.js("""return memwho.treemap.cells.filter((c) => c.leaf).map((c) => ({
        name: c.item.node ? c.item.node.name : "+" + c.item.rest.length,
        kind: c.item.node && c.item.node.parent ? c.item.node.parent.name : "",
        x: c.x, y: c.y, w: c.w, h: c.h, value: c.item.value }));""")


def middle(b, name):
    """Of the cell of that name, on the screen."""
    return b.js("""const a = document.getElementById("treemap").getBoundingClientRect();
        const c = memwho.treemap.cells.find((c) => c.item.node && c.item.node.name === arguments[0]);
        return [a.x + c.x + c.w / 2, a.y + c.y + c.h / 2];""", name)


def text(b, css):
    return b.js("return document.querySelector(arguments[0]).textContent", css)


def test_areas_are_the_bytes(page):
    b = page(ladder(PARTS))
    cells = leaves(b)
    assert {c["name"] for c in cells} >= {"arena 1", "worker-0", "jemalloc 5.3", "libc.so.6"}
    arena = next(c for c in cells if c["name"] == "arena 1")
    je = next(c for c in cells if c["name"] == "jemalloc 5.3")
    # each kind has a heading, which takes more of a small one
    assert arena["w"] * arena["h"] / (je["w"] * je["h"]) == pytest.approx(4, rel=0.15)
    for i, c in enumerate(cells):
        for o in cells[i + 1:]:
            apart = (c["x"] + c["w"] <= o["x"] + 0.01 or o["x"] + o["w"] <= c["x"] + 0.01 or
                     c["y"] + c["h"] <= o["y"] + 0.01 or o["y"] + o["h"] <= c["y"] + 0.01)
            assert apart, (c, o)
    assert text(b, "#title") == "silly (4711): virtual memory"
    assert "unnamed 1.0 MiB" in text(b, "#trust")
    tabs = b.js("""return [...document.querySelectorAll("nav button")].filter((e) =>
        e.offsetWidth).map((e) => e.textContent)""")
    assert tabs == ["Treemap", "Icicle", "Owners", "Rows", "Report"]


def test_resident_instead_of_virtual(page):
    b = page(ladder(PARTS))
    b.js("""const s = document.getElementById("type"); s.value = [...s.options].findIndex((o) =>
        o.textContent.includes("resident")); s.dispatchEvent(new Event("change"))""")
    cells = leaves(b)
    largest = max(cells, key=lambda c: c["w"] * c["h"])
    assert largest["name"] == "jemalloc 5.3" and largest["value"] == 4 * MIB


def test_hover_tells_the_proof(page):
    b = page(ladder(PARTS))
    b.hover(*middle(b, "arena 1"))
    tip = b.wait("const t = document.getElementById('tip'); return t.style.display === 'block' && "
                 "t.textContent")
    assert "64.0 MiB" in tip and "proof of arena 1" in tip and "worker-0" in tip
    assert "arena 1" in text(b, "#status") and "64.0 MiB" in text(b, "#status")


def test_click_zooms_and_back(page):
    b = page(ladder(PARTS))
    b.click_at(*middle(b, "worker-1"))
    assert {c["name"] for c in leaves(b)} == {"worker-0", "worker-1"}
    assert b.js("return memwho.treemap.atRoot") is False
    b.press("ESC")
    assert b.js("return memwho.treemap.atRoot") and len(leaves(b)) >= 6
    b.click_at(*middle(b, "worker-1"))
    b.click("#reset")
    assert b.js("return memwho.treemap.atRoot")


def test_keyboard(page):
    b = page(ladder(PARTS))
    b.press("RIGHT")
    first = text(b, "#treemap .cursor")
    b.press("RIGHT")
    second = text(b, "#treemap .cursor")
    assert first and second and first != second
    b.press("LEFT")
    assert text(b, "#treemap .cursor") == first
    b.press("ENTER")
    assert b.js("return memwho.treemap.atRoot") is False
    b.press("ESC")
    for key, tab in ("2", "flame"), ("3", "functions"), ("1", "treemap"):
        b.press(key)
        assert b.js("return document.querySelector('section.on').id") == f"tab-{tab}"
    b.press("/")
    assert b.js("return document.activeElement.id") == "search"
    for c in "libc.so":
        b.press(c)
    b.wait("return document.querySelectorAll('#treemap .match').length === 1")


def test_hostile_names_stay_text(page):
    b = page(ladder(PARTS))
    assert b.js("return document.querySelectorAll('#treemap script, #treemap b').length") == 0
    names = b.js("return memwho.data.names.join('')")
    assert "\x1b" not in names and "\u202e" not in names and "<script>" in names


def test_thousands_of_owners(page):
    many = [("file", f"lib{i}.so", 4096 * (1 + i % 50), 4096, "") for i in range(8000)]
    many += [("other-kind", f"k{i}", 40 * MIB // (i + 1), 0, "") for i in range(3000)]
    b = page(ladder(many))
    n = b.js("return document.querySelectorAll('#treemap .cell').length")
    assert 100 < n < 3100
    shown = leaves(b)
    # nothing is lost: what is too small stands together
    assert sum(c["value"] for c in shown) == sum(p[2] for p in many)
    assert any(c["name"].startswith("+") for c in shown)


def test_a_difference(page):
    after = [p for p in PARTS if p[0] != "glibc-arena"]
    after[0] = (*after[0][:2], 16 * MIB, *after[0][3:])
    b = page([ladder(PARTS), ladder(after)], command=("diff",))
    red, blue = b.js("""const of = (n) => getComputedStyle([...document.querySelectorAll(
        "#treemap .leaf")].find((e) => e.textContent.startsWith(n))).backgroundColor.match(/\\d+/g)
        .map(Number); return [of("worker-0"), of("arena 1")]""")
    assert red[0] > red[2] + 20 and blue[2] > blue[0] + 20
    assert "-64.0 MiB" in b.js("return document.getElementById('treemap').textContent")


def test_the_icicle_has_the_kinds_on_top(memwho, tmp_path):
    saved, out = tmp_path / "x.json", tmp_path / "x.svg"
    saved.write_text(json.dumps(ladder(PARTS)))
    memwho("render", saved, "-o", out)
    root = ET.parse(out).getroot()
    rows = {}
    for g in root.iter("{http://www.w3.org/2000/svg}g"):
        title = g.find("{http://www.w3.org/2000/svg}title")
        rect = g.find("{http://www.w3.org/2000/svg}rect")
        if g.get("data-v") and title is not None:
            rows[title.text.split("\n")[0]] = (float(rect.get("y")), float(rect.get("width")))
    assert rows["all"][0] < rows["glibc-arena"][0] < rows["arena 1"][0]
    assert rows["glibc-arena"][1] / rows["all"][1] == pytest.approx(0.64, abs=0.01)
