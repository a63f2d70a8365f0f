# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Every format read back by somebody else's parser, hostile names included, and
the numbers in it compared with what the profile holds."""
import collections
import html.parser
import json
import os
import re
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

import conftest

SVG = "{http://www.w3.org/2000/svg}"
CASES = ["small", "large", "hostile", "deep", "diff", "empty", "plain"]
SMALL_TOTAL = 9019648  # sum of what tests/programs/render_samples.c adds to "small"


@pytest.fixture
def written(tmp_path):
    def write(case, suffix, *options):
        path = tmp_path / f"{case}{suffix}"
        subprocess.run([conftest.PROGRAMS / "picture", case, path, *options], check=True,
                       timeout=60)
        return path
    return write


class Page(html.parser.HTMLParser):
    """Elements and the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.policy, self.inside = collections.Counter(), [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]
        for name, _ in attrs:
            assert not name.startswith("on"), (tag, attrs)

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def frames(path):
    return ET.parse(path).iterfind(f".//{SVG}g[@id='frames']/{SVG}g")


@pytest.mark.parametrize("case", CASES)
def test_svg_is_xml_with_one_script(written, case):
    path = written(case, ".svg")
    tree = ET.parse(path)
    assert len(tree.findall(f".//{SVG}script")) == 1
    tags = {e.tag for e in tree.iter()}
    assert tags <= {SVG + t for t in ("svg", "title", "rect", "g", "text", "style", "script")}
    for e in tree.iter():
        assert not any(a.startswith("on") or "href" in a for a in e.attrib)
    assert path.stat().st_size < 4 << 20


def test_svg_frames_nest(written):
    boxes = []
    for g in frames(written("large", ".svg")):
        rect = g.find(f"{SVG}rect")
        left, value, depth = map(int, g.get("data-v").split(","))
        boxes.append((depth, left, value))
        assert float(rect.get("width")) == pytest.approx(
            value / boxes[0][2] * 1176, abs=0.51)
    by_depth = collections.defaultdict(list)
    for depth, left, value in boxes:
        by_depth[depth].append((left, left + value))
    for depth, row in by_depth.items():
        row.sort()
        assert all(a[1] <= b[0] for a, b in zip(row, row[1:])), "siblings overlap"
        if depth:
            ups = iter(sorted(by_depth[depth - 1]))
            up = next(ups)
            for left, right in row:
                while right > up[1]:
                    up = next(ups)
                assert up[0] <= left


def test_min_width_is_honoured_and_said(written):
    all_of_it = list(frames(written("small", ".svg", "min-width=0")))
    some = list(frames(written("small", ".svg", "min-width=50")))
    assert len(some) < len(all_of_it)
    for g in some:
        assert int(g.get("data-v").split(",")[1]) / SMALL_TOTAL * 1176 >= 49.9
    text = written("small", ".svg", "min-width=50").read_text()
    hidden = int(re.search(r"Not drawn: (\d+) frames narrower than 50 px", text)[1])
    assert hidden == len(all_of_it) - len(some)
    assert "Not drawn" not in written("small", ".svg", "min-width=0").read_text()


def test_title_and_reverse(written):
    path = written("small", ".svg", "title=A & <B>", "reverse", "inverted")
    assert ET.parse(path).getroot().find(f"{SVG}title").text == "A & <B>"
    top = [g.find(f"{SVG}title").text.split("\n")[0] for g in frames(path)
           if g.get("data-v").endswith(",1")]
    # "[before attach]" is too narrow to be drawn
    assert top[0] == "AllocSetAlloc" and set(top) == {"AllocSetAlloc", "AllocSetRealloc", "malloc"}


@pytest.mark.parametrize("case", CASES)
def test_html_is_one_page_without_ways_out(written, case):
    page = Page(written(case, ".html").read_text())
    assert page.tags["script"] == 2 and page.tags["link"] == page.tags["img"] == 0
    assert page.tags["iframe"] == page.tags["svg"] == 0
    assert "default-src 'none'" in page.policy
    data = json.loads(page.scripts[0])
    assert len(data["leaf"]) == len(data["values"][0]) == len(data["labels"])
    assert max(data["func"], default=0) <= len(data["names"])


def test_html_data_is_the_profile(written):
    data = json.loads(Page(written("small", ".html").read_text()).scripts[0])
    held = data["values"][data["type"]]
    assert sum(held) == SMALL_TOTAL
    at, stack = data["leaf"][held.index(912384)], []
    while at:
        stack.append(data["names"][data["func"][at]])
        at -= data["up"][at]
    assert stack[:4] == ["AllocSetAlloc", "palloc", "GenericXLogStart", "GpPolicyFetch"]
    assert stack[-1] == "_start"


@pytest.mark.parametrize("case", CASES)
def test_json_and_speedscope_parse(written, case):
    data = json.loads(written(case, ".json").read_text())
    scope = json.loads(written(case, ".speedscope.json").read_text())
    assert scope["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    for profile in scope["profiles"]:
        assert profile["type"] == "sampled" and profile["unit"] in ("bytes", "none")
        assert len(profile["samples"]) == len(profile["weights"])
        assert sum(profile["weights"]) == profile["endValue"]
        assert all(0 <= f < len(scope["shared"]["frames"]) for s in profile["samples"] for f in s)
    if case != "diff":
        assert sum(s["bytes"] for s in data["stacks"]) == data["shown_bytes"] == \
            sum(scope["profiles"][0]["weights"])
    values = [s["bytes"] for s in data["stacks"]]
    assert values == sorted(values, reverse=True)


def test_json_documentation_names_every_key(written):
    text = (conftest.SOURCE / "docs" / "json.md").read_text()
    known = set(re.findall(r"`(\w+)`", text))
    for case in ("small", "diff"):
        data = json.loads(written(case, ".json").read_text())
        assert set(data) - {"contexts"} <= known
        for stack in data["stacks"]:
            assert set(stack) <= known


def collapse(text):
    """As stackcollapse-stap.pl does it (FlameGraph, 2011-2024)."""
    stacks, stack = collections.Counter(), []
    for line in text.splitlines():
        if re.fullmatch(r"\s*\d+", line):
            stacks[";".join(stack)] += int(line)
            stack = []
        elif line.strip():
            frame = re.sub(r"\+[^+]*$", "", line.strip())
            stack.insert(0, re.sub(r".* : ", "", frame) or "-")
    return stacks


def test_folded_and_stap_and_json_agree(written):
    def folded(text):
        c = collections.Counter()
        for line in text.splitlines():
            stack, value = line.rsplit(" ", 1)
            c[stack] += int(value)
        return c
    data = json.loads(written("small", ".json").read_text())
    expected, without_offsets = collections.Counter(), collections.Counter()
    for s in data["stacks"]:
        names = s["frames"][::-1]
        expected[";".join(names)] += s["bytes"]
        without_offsets[";".join(n.split("+0x")[0] for n in names)] += s["bytes"]
    assert folded(written("small", ".folded").read_text()) == expected
    collapsed = collapse(written("small", ".stap").read_text())
    assert sorted(collapsed.values()) == sorted(expected.values())
    named = {k: v for k, v in without_offsets.items() if "libssl" not in k and "[" not in k}
    assert len(named) == 5 and named.items() <= collapsed.items()


def test_group_becomes_the_root(written):
    lines = written("small", ".folded", "by=context").read_text().splitlines()
    roots = {line.split(";")[0] for line in lines if "TopMemoryContext" in line}
    assert any("CacheMemoryContext" in r for r in roots) and len(roots) == 3


def test_table_has_no_control_bytes(written):
    for case in CASES:
        for options in ([], ["columns=40"], ["columns=200", "rows=1000"]):
            text = written(case, ".txt", *options).read_bytes().decode()  # strict UTF-8
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_full_disk_keeps_the_old_file(tmp_path):
    """A real full file system; the limits that need no root are in test_render.c."""
    if os.geteuid() != 0:
        pytest.skip("needs root (to mount a small tmpfs)")
    script = """mount -t tmpfs -o size=64k none "$1" && cd "$1" && echo old >a.svg &&
        "$2" large a.svg; echo $?; ls -A; cat a.svg; df --output=used . | tail -1"""
    r = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", tmp_path,
                        conftest.PROGRAMS / "picture"], capture_output=True, text=True, timeout=60)
    assert r.stdout.split() == ["1", "a.svg", "old", "4"], r
    assert r.stderr == "memwho: a.svg: cannot write: No space left on device\n"


def test_large_ones_are_quick(written):
    """Two seconds is the promise on a usual machine; here only a hang fails."""
    for suffix in (".svg", ".html", ".json", ".txt"):
        start = time.monotonic()
        written("large", suffix)
        took = time.monotonic() - start
        print(f"50,000 stacks to {suffix}: {took:.2f} s, the profile's making included")
        assert took < 20
