# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho render: saved profiles read, converted, drawn; read by other people's tools."""
import gzip
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree

import pytest

import conftest

HEAP = """heap_v2/524288
  t*: 3: 1049600 [0: 0]
@ 0x7f0000001100 0x401235 0x7f0000021001
  t*: 2: 1048576 [0: 0]
@ 0x401234
  t*: 1: 1024 [0: 0]

MAPPED_LIBRARIES:
00400000-00402000 r-xp 00000000 08:01 77                         /usr/bin/server
7f0000000000-7f0000030000 r-xp 00000000 08:01 78                 /lib/libstdc++.so.6
"""

STAP = """ 0x1136 : site_01+0x0/0x0 [/usr/bin/prog]
 0x1200 : main+0x0/0x0 [/usr/bin/prog]
\t4096
 0x1fff : libx.so.1+0x1fff+0x0/0x0 [/usr/lib/libx.so.1]
 0x1200 : main+0x0/0x0 [/usr/bin/prog]
\t300
"""

STACKS = {"main;site_01": 4096, "main;libx.so.1+0x1fff": 300}

HOSTILE = [
    b"<script>alert(1)</script>", b"\"'&<>\\", b"\xff\xfe\xc3(", b"a : b", b": c", b"%s%n", b"+",
    b"operator+(Foo const&)", b"++0x1/0x2 [x]", b"x" * 1_000_000, b"\x1b[31mred\x07", b"]]>",
    b"-->", b"${jndi}", b"$(id)", b"operator%", b"123", "\u202e\u2028ünïcödé".encode(),
]


def folded(text):
    """Folded text to {stack: value}; a line that isn't one fails."""
    result = {}
    for line in text.split("\n")[:-1]:
        stack, value = re.fullmatch(r"(.+) (-?\d+)", line).groups()
        assert stack not in result
        result[stack] = int(value)
    return result


def stackcollapse_stap(text):
    """The rules of FlameGraph's stackcollapse-stap.pl, which prints by printf."""
    stacks, stack = {}, []
    for line in text.split("\n"):
        if re.fullmatch(r"\s*\d+", line):
            key = ";".join(stack)
            stacks[key] = stacks.get(key, 0) + int(line)
            stack = []
        elif line.strip(" \t"):
            frame = re.sub(r"^.* : ", "", re.sub(r"\+[^+]*$", "", line.lstrip()))
            assert not re.search(r"%[-+ 0#0-9.*$]*[a-zA-Z%]", frame)
            stack.insert(0, frame or "-")
    assert not stack
    return stacks


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "saved.stap"
    path.write_text(STAP)
    return path


def go_pprof(*args):
    if not shutil.which("go"):
        pytest.skip("no go: its pprof is not there to read our file")
    p = subprocess.run(["go", "tool", "pprof", *map(str, args)], capture_output=True, text=True,
                       timeout=120)
    assert p.returncode == 0, p.stderr
    return p.stdout


FORMATS = ["folded", "stap", "pb.gz", "heap"]


@pytest.mark.parametrize("ending", FORMATS)
def test_every_readable_format_comes_back(memwho, saved, tmp_path, ending):
    out = tmp_path / f"out.{ending}"
    memwho("render", saved, "-o", out)
    assert folded(memwho("render", out, "--format", "folded").out) == STACKS
    # and through another one
    for other in FORMATS:
        again = tmp_path / f"again.{other}"
        memwho("render", out, "-o", again)
        assert folded(memwho("render", again, "--format", "folded").out) == STACKS


def test_stap_text_is_collapsed_by_the_perl_rules(memwho, saved):
    assert stackcollapse_stap(memwho("render", saved, "--format", "stap").out) == STACKS


def test_json_and_table(memwho, saved):
    j = memwho("render", saved, "--json").json()
    assert j["held_bytes"] == 4396
    assert {(";".join(reversed(s["frames"])), s["bytes"]) for s in j["stacks"]} == \
        set(STACKS.items())
    table = memwho("render", saved).out
    assert "site_01" in table and "4.0 KiB" in table and "93.2 %" in table


def test_go_tool_pprof_reads_it(memwho, saved, tmp_path):
    out = tmp_path / "held.pb.gz"
    memwho("render", saved, "-o", out)
    raw = go_pprof("-raw", out)
    assert "inuse_space/bytes[dflt]" in raw
    assert re.search(r"^ +4096: 1 2 *$", raw, re.M) and re.search(r"^ +300: 3 2 *$", raw, re.M)
    assert re.search(r"M=1 site_01 ", raw) and re.search(r"M=2 libx\.so\.1\+0x1fff ", raw)
    # functions are known: nothing is looked for in /usr/bin/prog
    assert re.search(r"^1: 0x[0-9a-f]+/0x[0-9a-f]+/0x0 /usr/bin/prog +\[FN\]$", raw, re.M)
    top = go_pprof("-top", out)
    assert re.search(r"^ +4096B 93\.18% .* site_01$", top, re.M)
    assert re.search(r"^ +300B .* libx\.so\.1\+0x1fff$", top, re.M)


def test_the_report_is_in_the_comments_and_comes_back(memwho, tmp_path):
    dump, out = tmp_path / "x.heap", tmp_path / "x.pb.gz"
    dump.write_text(HEAP)
    memwho("render", dump, "-o", out)
    assert "memwho: sample_interval_bytes=524288" in go_pprof("-comments", out)
    assert memwho("render", out).out == memwho("render", dump).out
    assert memwho("render", out, "--json").json() == memwho("render", dump, "--json").json()


def test_a_jemalloc_dump_is_unbiased(memwho, tmp_path):
    dump = tmp_path / "jeprof.1.heap"
    dump.write_text(HEAP)
    # jeprof: 2 x 512 KiB stand for 1 / (1 - e^-1) as much
    assert folded(memwho("render", dump, "--format", "folded").out) == {
        "libstdc++.so.6+0x21000;server+0x401234;libstdc++.so.6+0x1100": 1658823,
        "server+0x401234": 524800,
    }
    stap = stackcollapse_stap(memwho("render", dump, "--format", "stap").out)
    assert stap["libstdc++.so.6+0x21000;server+0x401234;libstdc++.so.6+0x1100"] == 1658823


GO_PROGRAM = """package main

import ("os"; "runtime"; "runtime/debug"; "runtime/pprof")

var kept [100][]byte

//go:noinline
func holdHere() { for i := range kept { kept[i] = make([]byte, 65536) } }

func main() {
	// a collection that starts in holdHere() allocates there too, twice with the same stack
	debug.SetGCPercent(-1)
	runtime.MemProfileRate = 1
	holdHere()
	f, _ := os.Create(os.Args[1])
	pprof.Lookup("heap").WriteTo(f, 0)
	f.Close()
	runtime.KeepAlive(&kept)
}
"""


def test_gos_own_heap_profile_is_read(memwho, tmp_path):
    if not shutil.which("go"):
        pytest.skip("no go: nobody to write a profile")
    (tmp_path / "main.go").write_text(GO_PROGRAM)
    out = tmp_path / "go.pb.gz"
    subprocess.run(["go", "run", tmp_path / "main.go", out], check=True, timeout=240,
                   cwd=tmp_path)
    stacks = folded(memwho("render", out, "--type", "inuse_space", "--format", "folded").out)
    held = {k: v for k, v in stacks.items() if k.endswith(";main.main;main.holdHere")}
    # now and then Go's own collector starts there and allocates a few words
    assert 0 <= sum(held.values()) - 100 * 65536 < 4096
    # the same bytes a stack as Go's own reader says, before and after us
    back = tmp_path / "back.pb.gz"
    memwho("render", out, "-o", back)
    def traces(path):
        return go_pprof("-sample_index=inuse_space", "-unit=B", "-traces", path).split("Type:")[1]
    assert traces(out) == traces(back)


@pytest.mark.parametrize("ending", FORMATS)
def test_hostile_names_break_nothing(memwho, tmp_path, ending):
    source = tmp_path / "hostile.folded"
    source.write_bytes(b"".join(b"main;" + name + b" %d\n" % (1 << i)
                                for i, name in enumerate(HOSTILE)))
    total = (1 << len(HOSTILE)) - 1
    out = tmp_path / f"out.{ending}"
    memwho("render", source, "-o", out)
    stacks = folded(memwho("render", out, "--format", "folded").out)
    assert sum(stacks.values()) == total and len(stacks) == len(HOSTILE)
    assert all(s.count(";") == 1 and s.startswith("main;") for s in stacks)
    assert {v for v in stacks.values()} == {1 << i for i in range(len(HOSTILE))}
    if ending == "stap":
        collapsed = stackcollapse_stap(out.read_text())
        assert sorted(collapsed.values()) == sorted(stacks.values())
        assert all(s.startswith("main;") and s.count(";") == 1 for s in collapsed)
    if ending == "pb.gz":
        assert len(re.findall(r"^ +\d+: \d+ 2 *$|^ +\d+: \d+ \d+ *$", go_pprof("-raw", out),
                              re.M)) >= len(HOSTILE)
    for name in ("json", "speedscope"):
        json.loads(memwho("render", out, "--format", name).out)
    svg = tmp_path / "out.svg"
    memwho("render", out, "-o", svg)
    xml.etree.ElementTree.parse(svg)


def test_several_files_are_summed(memwho, tmp_path, saved):
    other = tmp_path / "other.folded"
    other.write_text("main;site_01 4\nmain;new 1\n")
    both = folded(memwho("render", saved, other, saved, "--format", "folded").out)
    assert both == {"main;site_01": 2 * 4096 + 4, "main;libx.so.1+0x1fff": 600, "main;new": 1}
    heap = tmp_path / "x.heap"
    heap.write_text(HEAP)
    assert "value types" in memwho("render", saved, heap, code=1).err


def test_view_options_work_on_any_profile(memwho, saved):
    def shown(*args):
        return folded(memwho("render", saved, "--format", "folded", *args).out)
    assert shown("--focus", "^site") == {"main;site_01": 4096}
    assert shown("--ignore", "^site") == {"main;libx.so.1+0x1fff": 300}
    assert shown("--reverse") == {"site_01;main": 4096, "libx.so.1+0x1fff;main": 300}
    assert shown("--by", "module") == {"prog;main;site_01": 4096,
                                       "libx.so.1;main;libx.so.1+0x1fff": 300}
    assert "no values named" in memwho("render", saved, "--type", "cpu", code=2).err
    assert "--focus (" in memwho("render", saved, "--focus", "(", code=2).err


def test_a_pipe_is_a_file(memwho):
    p = subprocess.run([conftest.MEMWHO, "render", "/dev/stdin", "--format", "folded"],
                       input=b"main;a 5\n", capture_output=True, timeout=60)
    assert (p.returncode, p.stdout, p.stderr) == (0, b"main;a 5\n", b"")


PPROF = gzip.compress(b"\x0a\x04\x08\x01\x10\x02")
BAD_FILES = {
    "empty": (b"", "empty"),
    "letter": (b"Dear reader,\nthis is no profile.\n", "reads pprof"),
    "json": (b'{"stacks": []}', "JSON is not a format that can be read back"),
    "svg": (b"<svg></svg>", "can be read back"),
    "cut": (PPROF[:-5], "gzip"),
    "strings": (PPROF, "missing string"),
    "elf": (b"\x7fELF\x02\x01\x01\0\0\0", "not a valid pprof"),
    "bomb": (gzip.compress(bytes(300 << 20), 1), "more than 256 MiB"),
    "folded": (b"main;a 5\nmain;b\n", "line 2"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_clear_sentence(memwho, tmp_path, name):
    data, text = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    r = memwho("render", path, "-o", tmp_path / "out.svg", code=1)
    assert r.out == "" and str(path) in r.err and text in r.err
    assert len(r.err.splitlines()) <= 2
    assert not (tmp_path / "out.svg").exists()


def test_mistakes_are_usage(memwho, saved, tmp_path):
    assert "needs a FILE" in memwho("render", code=2).err
    assert "No such file" in memwho("render", tmp_path / "none", code=1).err
    assert memwho("render", saved, "-o", tmp_path / "x.jpeg", code=2).out == ""
