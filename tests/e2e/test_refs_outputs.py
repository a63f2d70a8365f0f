# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What refs writes for older tools, and what grew between two saved graphs."""
import re

from test_go_profile import build, manager  # noqa: F401 (a fixture)


def collapse(text):
    """As stackcollapse-stap.pl: stacks end with their number, names stand behind the
    last " : " and before the last '+'."""
    sums, frames = {}, []
    for line in text.splitlines():
        if re.fullmatch(r"\s*\d+", line):
            stack = ";".join(reversed(frames))
            sums[stack] = sums.get(stack, 0) + int(line)
            frames = []
        else:
            frames.append(re.fullmatch(r" 0x[0-9a-f]+ : (.*)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[.*\])?", line)[1])
    assert not frames
    return sums


def test_stap(memwho, manager, tmp_path):  # noqa: F811
    """The format of the tool that refs replaces: the same towers as the folded text."""
    p = manager(build())
    saved = tmp_path / "a.mwg"
    memwho("refs", p.pid, "--save", saved)
    memwho("refs", saved, "-o", tmp_path / "ref.stap")
    memwho("refs", saved, "-o", tmp_path / "ref.folded")
    towers = collapse((tmp_path / "ref.stap").read_text())
    folded = dict(line.rsplit(" ", 1) for line in (tmp_path / "ref.folded").read_text().splitlines())
    assert towers == {stack: int(n) for stack, n in folded.items()}
    widest = max(towers, key=towers.get)
    assert widest.startswith("main.manager *main.clusterManager;") and widest.endswith(";.buf []uint8")
    assert ".clusters map<string,*main.cluster>" in widest or ".clusters map[string]*main.cluster" in widest
    assert towers[widest] == p.held
    # what is an element is so called as it is in Lua
    frames = {frame for stack in towers for frame in stack.split(";")}
    assert any(f.startswith("[…]") for f in frames) and not [f for f in frames if re.match(r"\[\][ .\[]", f)]
    # and it is read again
    again = memwho("render", tmp_path / "ref.stap", "--json").json()
    assert again["shown_bytes"] == sum(towers.values())


def test_what_grew(memwho, manager, tmp_path):  # noqa: F811
    p = manager(build())
    before, after = tmp_path / "a.mwg", tmp_path / "b.mwg"
    memwho("refs", p.pid, "--save", before)
    p.do("grow", 3000)
    p.do("drop", 500)
    p.do("gc")
    memwho("refs", p.pid, "--save", after)
    result = memwho("diff", before, after, "--json").json()
    grown = [s for s in result["stacks"] if s["delta"] > 0]
    most = max(grown, key=lambda s: s["delta"])
    assert most["frames"][-1] == "main.gGrows [][]uint8" and most["delta"] == 3000 * 4096, most
    by_holder = {}
    for s in result["stacks"]:
        by_holder[s["frames"][-1]] = by_holder.get(s["frames"][-1], 0) + s["delta"]
    others = {name: n for name, n in by_holder.items() if n and name != "main.gGrows [][]uint8"}
    assert all(abs(n) < 65536 for n in others.values()), others
    out = memwho("diff", before, after).out
    assert "main.gGrows" in out.splitlines()[4] + out.splitlines()[5], out
    assert "PATH (object" in out and " paths (" in out and "who allocated" not in out, out
    picture = tmp_path / "d.svg"
    memwho("diff", before, after, "-o", picture)
    assert "main.gGrows" in picture.read_text()
    # the other way round it shrank
    back = memwho("diff", after, before, "--json").json()
    assert min(back["stacks"], key=lambda s: s["delta"])["delta"] == -3000 * 4096
