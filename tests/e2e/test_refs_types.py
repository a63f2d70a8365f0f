# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""The types that memwho refs gives to objects of every kind, against what the
program says itself; and the same program stripped."""
import os
import subprocess

import conftest
import gotools
import pytest

SOURCE = conftest.SOURCE / "tests" / "programs" / "reftypes"
# 0: the machine's own Go; the whole list is `./dev matrix refs`
MINORS = [0] + [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]


def build(minor, stripped):
    files = ["main.go", "generic.go" if minor == 0 or minor >= 19 else "nogeneric.go"]
    name = f"types-{minor or 'own'}{'-stripped' if stripped else ''}"
    return gotools.build(SOURCE, name, ["-ldflags=-s -w"] if stripped else [], minor=minor, files=files)


class Truth:
    """A running program, and address -> (kind, type) of its objects."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdout=subprocess.PIPE, text=True)
        self.objects = {}
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "ready":
                break
            if words[0] != "live":
                self.objects[int(words[1], 16)] = words[0], " ".join(words[2:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        conftest.end(self.process)


def look(memwho, path):
    """Triples of kind, true type and what memwho says ("" nothing), and the result."""
    with Truth(path) as truth:
        result = memwho("refs", truth.process.pid, "--json", "--objects").json()
    found = {int(o["address"], 16): o["type"] for o in result["objects"]}
    # behind a malloc header the object begins 8 bytes later
    rows = [(kind, t, found.get(a) if a in found else found.get(a - 8)) for a, (kind, t) in truth.objects.items()]
    assert len(rows) > 30000 and not [r for r in rows if r[2] is None]
    return rows, result


def share(rows, good):
    return sum(1 for r in rows if good(r)) / len(rows) if rows else 1


@pytest.mark.parametrize("minor", MINORS)
def test_with_dwarf(memwho, minor):
    rows, result = look(memwho, build(minor, False))
    typed = [r for r in rows if r[2]]
    wrong = [r for r in typed if r[2].rstrip("?") != r[1]]
    assert len(wrong) <= 0.005 * len(typed), wrong[:20]
    assert share(rows, lambda r: r[2]) >= 0.995
    # the runtime's record of it is larger than the type says (1.23+)
    timers = [r for r in rows if r[0] == "timer"]
    assert len(timers) == 100 and all(r[2] == r[1] for r in timers), timers[:4]
    assert result["typed_bytes"] >= 0.97 * result["live_bytes"]
    assert result["shape_typed_bytes"] <= 0.02 * result["live_bytes"]
    check = result["self_check"]
    assert 0 < check["claims_rejected"] < len(rows) / 50 and check["claims_conflicting"] < len(rows) / 1000, check
    # var gStatic = &static{}: the linker's object is the variable's
    (root,) = [r for r in result["roots"] if r["name"] == "main.gStatic *main.static"]
    # 201 of main.rec with what each holds (64, four strings' 64, name 32 or more, tag 32 or more), 200 pointers
    assert root["retained_bytes"] >= 201 * (64 + 64 + 16 + 32) + 1600
    chains = [s["frames"] for s in result["stacks"] if s["frames"][-1] == root["name"]]
    assert any(f[-2] == ".items []*main.rec" for f in chains if len(f) > 1), chains[:3]
    assert not [r["name"] for r in result["roots"] if "stmp_" in r["name"]]
    print(minor, len(rows), len(typed), len(wrong), result["typed_bytes"] / result["live_bytes"])


@pytest.mark.parametrize("minor", MINORS)
def test_stripped(memwho, minor):
    """What is said for sure is right; what is guessed is marked, and right but for a few."""
    rows, result = look(memwho, build(minor, True))
    sure = [r for r in rows if r[2] and not r[2].endswith("?")]
    guessed = [r for r in rows if r[2].endswith("?")]
    wrong = [r for r in sure if r[2] != r[1]]
    # what the runtime made for a timer or ticker it calls so itself
    wrong_guesses = [r for r in guessed if r[2][:-1] not in (r[1], "runtime.timeTimer" if r[0] == "timer" else r[1])]
    assert len(wrong) <= 0.005 * len(sure), wrong[:20]
    assert len(wrong_guesses) <= 0.02 * len(guessed), wrong_guesses[:20]
    # no one can tell them apart
    twins = [r for r in guessed if r[1] in ("main.twinA", "main.twinB")]
    assert not [r for r in twins if r[2][:-1] != r[1]], twins[:5]
    typed = result["typed_bytes"] / result["live_bytes"]
    guesses = result["shape_typed_bytes"] / result["live_bytes"]
    print(minor, len(rows), len(sure), len(wrong), len(guessed), len(wrong_guesses), typed, guesses)
    if minor == 0 or minor >= 22:
        assert typed - guesses >= 0.70 and typed >= 0.85
    else:
        assert typed >= 0.55


@pytest.mark.parametrize("what", ["no symtab", "no DWARF"])
def test_half_stripped(memwho, what, tmp_path):
    """DWARF alone names the globals; the symbol table alone, too, with types by descriptors."""
    path = build(0, False)
    bare = tmp_path / "bare"
    flags = ["--strip-all", "--keep-section=.debug*"] if what == "no symtab" else ["--strip-debug"]
    subprocess.run(["strip", *flags, "-o", bare, path], check=True)
    rows, result = look(memwho, bare)
    kept = {r["name"].split(" ")[0]: r["retained_bytes"] for r in look(memwho, path)[1]["roots"]}
    found = {r["name"].split(" ")[0]: r["retained_bytes"] for r in result["roots"]}
    # without symbols timers are not told apart from who holds them; what the linker made has no name without DWARF
    names = [n for n in kept if n.startswith("main.g") and n not in ("main.gStatic", "main.gTimers", "main.gTickers")]
    assert len(names) > 30 and "main.gSync" in names
    for name in names:
        assert abs(found[name] - kept[name]) <= kept[name] / 100 + 8192, name
    assert share(rows, lambda r: r[2].rstrip("?") == r[1]) >= (0.995 if what == "no symtab" else 0.95)


def types_of(memwho, core, path):
    result = memwho("refs", core, "--exe", path, "--json", "--objects").json()
    return {o["address"]: (o["type"], o["bytes"]) for o in result["objects"]}, result


def test_real_program(memwho, tmp_path):
    """A heap that nobody made for a test: one core, read with DWARF and without it."""
    path = gotools.build(SOURCE / "real", "real", files=["main.go"])
    bare = path.with_name("real-stripped")
    subprocess.run(["strip", "-o", bare, path], check=True)
    with Truth(path) as program:
        pid = program.process.pid
        subprocess.run(["gcore", "-o", tmp_path / "core", str(pid)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    core = tmp_path / f"core.{pid}"
    known, whole = types_of(memwho, core, path)
    found, result = types_of(memwho, core, bare)
    assert whole["live_bytes"] == result["live_bytes"] and len(known) > 50000
    both = [(t, found[a][0]) for a, (t, _) in known.items() if t and not t.endswith("?") and found[a][0]]
    sure = [(t, f) for t, f in both if not f.endswith("?")]
    guessed = [(t, f[:-1]) for t, f in both if f.endswith("?")]
    wrong, wrong_guesses = [x for x in sure if x[0] != x[1]], [x for x in guessed if x[0] != x[1]]
    print(len(known), len(sure), len(wrong), len(guessed), len(wrong_guesses), whole["typed_bytes"] / whole["live_bytes"],
          result["typed_bytes"] / result["live_bytes"], result["shape_typed_bytes"] / result["live_bytes"])
    assert len(wrong) <= 0.005 * len(sure), wrong[:20]
    assert len(wrong_guesses) <= 0.02 * len(guessed), wrong_guesses[:20]
    assert whole["typed_bytes"] >= 0.97 * whole["live_bytes"]
    assert result["typed_bytes"] - result["shape_typed_bytes"] >= 0.70 * result["live_bytes"]
    assert result["typed_bytes"] >= 0.85 * result["live_bytes"]
