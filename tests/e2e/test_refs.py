# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho refs on a Go program that says what each of its roots keeps."""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import conftest
import gotools
import pytest

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs"


def build(flags=(), name="refs", minor=None):
    return gotools.build(SOURCE, name, flags, minor=minor)


class Program:
    def __init__(self, path):
        """@path: of the program, or a whole command."""
        self.process = subprocess.Popen(path if isinstance(path, list) else [path], stdout=subprocess.PIPE, text=True)
        self.pid, self.path = self.process.pid, path
        self.roots, self.shared, self.stack, self.live, self.objects = {}, {}, None, None, {}
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "ready":
                break
            if words[0] == "root":
                self.roots[words[1]] = int(words[2]), int(words[3])
            elif words[0] == "shared":
                self.shared[", ".join(words[1:-2])] = int(words[-2])
            elif words[0] == "object":
                self.objects[int(words[1], 16)] = " ".join(words[2:])
            elif words[0] == "stack":
                self.stack = int(words[2])
            else:
                self.live = int(words[1]), int(words[2])

    def stop(self):
        conftest.end(self.process)


@pytest.fixture
def program():
    started = []

    def start(*args, **kw):
        started.append(Program(build(*args, **kw)))
        return started[-1]

    yield start
    for p in started:
        p.stop()


def check_types(result, p):
    """What is typed is typed right, and that is most of it."""
    found = {int(o["address"], 16): o["type"] for o in result["objects"]}
    assert len(p.objects) > 9000
    missing = [a for a in p.objects if a not in found and a - 8 not in found]
    assert len(missing) <= len(p.objects) / 1000
    # behind a malloc header the object begins 8 bytes later
    pairs = [(found.get(a) if a in found else found.get(a - 8), t) for a, t in p.objects.items()]
    typed = [(f, t) for f, t in pairs if f]
    wrong = [(f, t) for f, t in typed if f != t]
    assert len(typed) >= 0.99 * len(pairs), (len(typed), len(pairs))
    assert len(wrong) <= 0.005 * len(typed), wrong[:20]
    assert result["typed_bytes"] >= 0.97 * result["live_bytes"], (result["typed_bytes"], result["live_bytes"])
    return len(typed), len(wrong), result["typed_bytes"] / result["live_bytes"]


def near(value, true):
    """Within 1 % and 8 KiB."""
    return abs(value - true) <= true / 100 + 8192


def check(result, p, names=True):
    assert near(result["live_bytes"], p.live[0]), (result["live_bytes"], p.live)
    assert abs(result["live_objects"] - p.live[1]) <= p.live[1] / 100 + 100
    assert result["own_live_bytes"] >= result["live_bytes"]
    # each byte belongs to one root, or to what several share
    assert sum(r["retained_bytes"] for r in result["roots"] + result["shared"]) == result["live_bytes"]
    roots = {r["name"].split(" ")[0]: r for r in result["roots"]}
    if not names:
        return
    for name, (size, objects) in p.roots.items():
        assert near(roots[name]["retained_bytes"], size), (name, roots[name], size)
        assert abs(roots[name]["retained_objects"] - objects) <= objects / 100 + 1, (name, roots[name], objects)
    stacks = [r for r in result["roots"] if r["kind"] == "stack" and r["name"].startswith("goroutines of main.")
              and r["name"] != "goroutines of main.main"]
    # what a dead goroutine slot still points to is one of them, too: conservative
    assert sum(r["retained_bytes"] for r in stacks) >= 0.75 * p.stack, stacks
    for those, size in p.shared.items():
        held = sum(s["bytes"] for s in result["stacks"] if s["frames"][-1] == f"shared by {those}")
        assert near(held, size), (those, held, size)
        held = next(s for s in result["shared"] if s["name"] == f"shared by {those}")
        assert near(held["retained_bytes"], size) and held["roots"] == those.count(",") + 1, (held, size)


@pytest.mark.parametrize("how", [(), ("--stop",), ("--no-stop",)], ids=["copy", "stop", "no-stop"])
def test_live(memwho, program, how):
    p = program()
    result = memwho("refs", p.pid, "--json", *how).json()
    check(result, p)
    assert (result["pause_ms"] > 0) == (how != ("--no-stop",))
    assert p.process.poll() is None
    assert not subprocess.run(["pgrep", "-P", str(p.pid)], stdout=subprocess.PIPE).stdout, "no copy is left"


def test_types(memwho, program):
    p = program()
    assert "--json" in memwho("refs", p.pid, "--objects", code=2).err
    result = memwho("refs", p.pid, "--json", "--objects").json()
    print(check_types(result, p))
    frames = {f for s in result["stacks"] for f in s["frames"]}
    assert {"main.gManager *main.manager", ".clusters []*main.cluster", ".hosts []*main.host", ".buf []uint8",
            ".next main.host", "[val] []uint8", ".left main.tree"} <= frames, frames
    # a map is one level, and a variable is not told twice
    paths = [s["frames"][::-1] for s in result["stacks"]]
    assert ["main.gMap map[int][]uint8", "[val] []uint8"] in paths
    assert any(p[:2] == ["main.gManager *main.manager", ".clusters []*main.cluster"] for p in paths)
    assert not any("table<" in f or "noalg." in f or "bucket" in f for f in frames if "runtime." not in f)


def test_fields_for_scripts(memwho, program):
    """What docs/json.md promises, by what the program knows of itself."""
    p = program()
    result = memwho("refs", p.pid, "--format", "json").json()
    for key in ("live_bytes", "live_objects", "typed_bytes", "shape_typed_bytes", "garbage_bytes"):
        assert type(result[key]) is int, key
    assert result["pause_ms"] > 0 and result["typed_bytes"] <= result["live_bytes"]
    # what the walk reached is what its own collector has marked
    checks = result["self_check"]
    assert checks["walked_bytes"] == result["live_bytes"] and checks["mismatch_bytes"] <= result["live_bytes"] / 100
    for root in result["roots"]:
        assert set(root) == {"name", "kind", "retained_bytes", "retained_objects", "shared_with"}, root
    roots = {r["name"]: r for r in result["roots"]}
    assert roots["main.gShareA *main.host"]["shared_with"] == ["main.gShareB"]
    assert roots["main.gShareB *main.host"]["shared_with"] == ["main.gShareA"]
    assert roots["main.gTree *main.tree"] == {"name": "main.gTree *main.tree", "kind": "global",
                                              "retained_bytes": p.roots["main.gTree"][0],
                                              "retained_objects": p.roots["main.gTree"][1], "shared_with": []}
    for t in result["types"]:
        assert set(t) == {"name", "objects", "bytes", "retained_bytes"} and t["retained_bytes"] >= t["bytes"], t
    types = {t["name"]: t for t in result["types"]}
    assert sum(t["bytes"] for t in result["types"]) == result["live_bytes"]
    tree, manager = types["main.tree"], types["main.manager"]
    assert (tree["bytes"], tree["objects"]) == p.roots["main.gTree"] == (tree["retained_bytes"], tree["objects"])
    assert manager["objects"] == 1 and near(manager["retained_bytes"], p.roots["main.gManager"][0])


def test_goroutines(memwho, program):
    """What they run, who created them, what they wait for, and which word of the stack holds what."""
    p = program()
    for how in ((), ("--stop",)):
        result = memwho("refs", p.pid, "--json", *how).json()
        groups = {g["name"]: g for g in result["goroutines"]}
        hold = groups["goroutines of main.hold (created by main.main)"]
        assert (hold["count"], hold["created_by"], hold["waiting"]) == (4, "main.main", "chan receive")
        assert near(hold["retained_bytes"], p.stack) and hold["function"] == "main.hold"
        order = [(g["retained_bytes"], g["count"]) for g in result["goroutines"]]
        assert order == sorted(order, reverse=True) and len(order) > 3
        assert groups["goroutines of main.main"]["waiting"] == "sleep"
        own = [s for s in result["stacks"] if s["frames"][-1] == "goroutines of main.hold (created by main.main) ×4"]
        assert sum(s["bytes"] for s in own) == hold["retained_bytes"]
        # a frame of the runtime may have a word that hold() left there
        by_hold = sum(s["bytes"] for s in own if s["frames"][-2].startswith("main.hold"))
        assert by_hold >= 0.9 * hold["retained_bytes"], own
    # a narrow table says in full what they run, and the largest first
    rows = memwho("refs", p.pid, "--columns", 80).out.split("\ngoroutines\n")[1].splitlines()
    assert rows[0].split()[:4] == ["function", "count", "retained_bytes", "waiting"]
    assert rows[1].startswith("main.hold") and "chan receive" in rows[1], rows[:3]


def test_stripped(memwho, program):
    p = program(("-ldflags=-s -w",), name="refs-stripped")
    result = memwho("refs", p.pid, "--json").json()
    check(result, p, names=False)
    assert all(re.match(r"(data|bss)\+0x|sync\.Pool of (data|bss)\+0x|goroutines of |runtime\.allgs, |finalizers$|timers$|weak handles$|cleanups$|deferred calls$|dead words of stacks$", r["name"]) for r in result["roots"])
    # what a root keeps does not depend on its name
    kept = sorted((r["retained_bytes"] for r in result["roots"] if r["kind"] == "global"), reverse=True)
    for size, _ in sorted(p.roots.values(), reverse=True)[:4]:
        assert any(near(k, size) for k in kept), (size, kept[:20])
    # the type of a map that only a variable holds is that of its groups
    paths = [s["frames"][::-1] for s in result["stacks"]]
    (held,) = [q for q in paths if q[1:] == ["map[int][]uint8", "[val] []uint8"]]
    assert re.match(r"(data|bss)\+0x", held[0])


# the whole list is `./dev matrix refs`
MINORS = [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]


@pytest.mark.parametrize("minor", MINORS)
def test_other_versions(memwho, program, minor):
    """Exact on each, and the same without symbols."""
    p = program(name=f"refs-1.{minor}", minor=minor)
    result = memwho("refs", p.pid, "--json", "--objects").json()
    assert result["runtime"].startswith(f"go1.{minor}.")
    # the table of offsets is what the program's own DWARF says
    dump = subprocess.run([conftest.PROGRAMS / "go_layout_dump", "-c", p.path], check=True, capture_output=True, text=True)
    assert dump.stdout == "", dump.stdout
    check(result, p)
    print(check_types(result, p))
    stripped = program(("-ldflags=-s -w",), name=f"refs-1.{minor}-stripped", minor=minor)
    check(memwho("refs", stripped.pid, "--json").json(), stripped, names=False)


@pytest.mark.parametrize("flags", [("-buildmode=pie",), ("-trimpath",)], ids=["pie", "trimpath"])
def test_other_builds(memwho, program, flags):
    p = program(flags, name="refs" + flags[0].replace("=", "-"))
    check(memwho("refs", p.pid, "--json").json(), p)


def test_cores(memwho, program, tmp_path):
    p = program()
    live = memwho("refs", p.pid, "--json").json()
    subprocess.run(["gcore", "-o", tmp_path / "core", str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    core = tmp_path / f"core.{p.pid}"
    result = memwho("refs", core, "--json").json()
    check(result, p)
    assert abs(result["live_bytes"] - live["live_bytes"]) < 65536
    assert "core of" in result["target"]
    # another program is refused
    other = build(("-ldflags=-X main.unused=1", "-gcflags=-N -l"), name="refs-other")
    r = memwho("refs", core, "--exe", other, code=1)
    assert "not the program" in r.err or "is this the program" in r.err, r.err
    whole = core.read_bytes()
    short = tmp_path / "short"
    short.write_bytes(whole[:len(whole) // 8])
    r = memwho("refs", short, "--exe", p.path, "--json", code=None)
    said = float(re.search(r"hint: ([\d.]+) MiB that its headers name are not in the file", r.err).group(1))
    assert r.code == 1 and said == pytest.approx((len(whole) - len(whole) // 8) / (1 << 20), rel=0.02), r.err


def test_in_a_container(memwho, tmp_path):
    """Its own root, mounts, processes and users: none of its paths exist here."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(build(), root / "server")
    p = Program(["unshare", "--user", "--map-root-user", "--fork", "--pid", "--mount", f"--root={root}", "/server"])
    try:
        inner = int(subprocess.run(["pgrep", "-P", str(p.pid)], stdout=subprocess.PIPE, check=True).stdout)
        p.path = root / "server"
        result = memwho("refs", inner, "--json", "--objects").json()
        check(result, p)
        check_types(result, p)
        core = tmp_path / "core"
        subprocess.run(["gcore", "-o", core, str(inner)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        core, root = f"{core}.{inner}", root.rename(tmp_path / "elsewhere")
        r = memwho("refs", core, code=1)
        assert "/server" in r.err and "--exe" in r.err, r.err
        check(memwho("refs", core, "--exe", root / "server", "--json").json(), p)
    finally:
        subprocess.run(["pkill", "-KILL", "-P", str(p.pid)])
        p.stop()


def test_a_heap_that_never_stands_still(memwho):
    """The copy is exact; what is read as it runs says how wrong it may be."""
    source = SOURCE.parent / "refs_churn"
    p = subprocess.Popen([gotools.build(source, "refs-churn")], stdout=subprocess.PIPE, text=True)
    try:
        live = int(p.stdout.readline().split()[1])
        p.stdout.readline()
        exact = memwho("refs", p.pid, "--json").json()
        assert "error_bound_bytes" not in exact
        roots = {r["name"]: r for r in exact["roots"]}
        pool = roots["sync.Pool of main.spare"]
        assert pool["kind"] == "sync.Pool" and pool["retained_bytes"] >= 65536
        assert near(exact["live_bytes"] - pool["retained_bytes"], live), (exact["live_bytes"], live)
        running = memwho("refs", p.pid, "--no-stop", "--json").json()
        off = abs(running["live_bytes"] - live - pool["retained_bytes"])
        assert 0 < running["error_bound_bytes"] and off <= running["error_bound_bytes"] + live / 100, running
        assert "wrong by at most" in memwho("refs", p.pid, "--no-stop").out
    finally:
        conftest.end(p)


@pytest.mark.parametrize("dump_filter", ["0x33", "0x1", "0x7f"])
def test_kernel_cores(memwho, tmp_path, dump_filter):
    """What the kernel writes when a Go program aborts (GOTRACEBACK=crash), with any coredump_filter."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        assert not conftest.CI, f"no core by core_pattern {pattern!r}"
        pytest.skip("cores go elsewhere")
    path = build()
    p = Program(["sh", "-c", f"cd {tmp_path} && ulimit -c unlimited && echo {dump_filter} > /proc/self/coredump_filter"
                 f" && GOTRACEBACK=crash exec {path}"])
    p.path = path
    p.process.send_signal(signal.SIGQUIT)
    p.process.wait()
    core = next(f for f in tmp_path.iterdir() if f.name.startswith("core"))
    result = memwho("refs", core, "--json", "--objects").json()
    check(result, p)
    check_types(result, p)
    if dump_filter == "0x33":
        for tool in ("zstd", "gzip", "lz4"):
            packed = tmp_path / f"packed.{tool}"
            with open(core, "rb") as source, open(packed, "wb") as to:
                subprocess.run([tool, "-c"], stdin=source, stdout=to, check=True)
            check(memwho("refs", packed, "--json").json(), p)
    p.stop()


def test_views(memwho, program):
    p = program()
    live = memwho("refs", p.pid, "--json").json()["live_bytes"]
    first = memwho("refs", p.pid, "--view", "first-come", "--json").json()
    assert near(sum(s["bytes"] for s in first["stacks"]), live)
    assert not any("shared by" in f for s in first["stacks"] for f in s["frames"])
    types = memwho("refs", p.pid, "--view", "types", "--json").json()
    assert near(sum(s["bytes"] for s in types["stacks"]), live)
    only = memwho("refs", p.pid, "--only-from", r"^main\.gList$", "--json").json()
    assert {s["frames"][-1].split(" ")[0] for s in only["stacks"]} == {"main.gList"}
    named = memwho("refs", p.pid, "--only-from", r"^main\.gList \*main\.host$", "--json").json()
    assert [r["name"] for r in named["roots"]] == [r["name"] for r in only["roots"]]
    assert "no root's name matches" in memwho("refs", p.pid, "--only-from", "nobody", code=1).err
    stacks = memwho("refs", p.pid, "--view", "goroutines", "--json").json()
    assert all(r["kind"] == "stack" for r in stacks["roots"])
    out = memwho("refs", p.pid).out
    assert "main.gManager" in out and "shared by main.gShareA, main.gShareB" in out
    # rather a name is cut than a column left out
    for columns in (70, 100):
        out = memwho("refs", p.pid, "--columns", columns).out
        roots = out.split("\nroots\n")[1].split("\n\n")[0].splitlines()
        assert roots[0].split()[:4] == ["name", "kind", "retained_bytes", "retained_objects"], roots[0]
        assert all(len(line) <= columns for line in roots), roots


def test_why(memwho, program):
    p = program()
    big = memwho("refs", p.pid, "--json").json()["big"]
    shared = next(b for b in big if b["root"].startswith("shared by main.gShareA"))
    lines = memwho("refs", p.pid, "--why", shared["address"]).out.splitlines()
    heads = [line.split(" ")[0] for line in lines if not line.startswith(" ")]
    assert sorted(heads[:2]) == ["main.gShareA", "main.gShareB"], lines
    assert sum(line.endswith(f"at {shared['address']}, {shared['bytes']} bytes") for line in lines) >= 2
    at = lines.index("widest, each alone keeps what is below it:")
    assert lines[at + 1].startswith("shared by main.gShareA, main.gShareB"), lines
    assert f"at {shared['address']}, keeps " in lines[-1]
    assert "no live object" in memwho("refs", p.pid, "--why", "0x10", code=1).err
    assert "no address" in memwho("refs", p.pid, "--why", "here", code=2).err


def test_saved_graphs(memwho, program, tmp_path):
    p = program()
    saved, other = tmp_path / "a.mwg", tmp_path / "b.mwg"
    live = memwho("refs", p.pid, "--save", saved, "--json").json()
    again = memwho("refs", saved, "--json").json()
    assert again["live_bytes"] == live["live_bytes"] and again["roots"] == live["roots"]
    assert again["target"] == "saved graph a.mwg" and "pause_ms" not in again
    memwho("refs", p.pid, "--save", other)
    same = memwho("diff", saved, other, "--json").json()
    assert not [s for s in same["stacks"] if "main.gList" in s["frames"][-1] and s.get("delta")]
    empty = program(name="refs")
    assert empty.pid != p.pid
    other.write_bytes(saved.read_bytes()[:200])
    assert "damaged" in memwho("refs", other, code=1).err
    full = memwho("refs", p.pid, "--save", "/dev/full", code=1).err
    assert full


def test_pictures(memwho, program, tmp_path):
    p = program()
    for ending in ("svg", "html", "pb.gz", "folded"):
        memwho("refs", p.pid, "-o", tmp_path / f"r.{ending}")
    assert "main.gManager" in (tmp_path / "r.svg").read_text()
    page = (tmp_path / "r.html").read_text()
    assert "main.gManager" in page and "Path (object" in page and "who allocated" not in page
    again = memwho("render", tmp_path / "r.pb.gz", "--json").json()
    assert near(again["shown_bytes"], p.live[0])


def test_refused(memwho, target, tmp_path):
    pid = target("demo").pid
    r = memwho("refs", pid, code=1)
    assert "no runtime" in r.err and "Go 1.17" in r.err
    assert "--stop and --no-stop" in memwho("refs", pid, "--stop", "--no-stop", code=2).err
    assert "no view" in memwho("refs", pid, "--view", "x", code=2).err
    text = tmp_path / "text"
    text.write_text("no core\n" * 100)
    assert "not a core" in memwho("refs", text, code=1).err
