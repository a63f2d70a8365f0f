# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho je on programs without symbols that have jemalloc linked in: where mallctl is, and what is
the allocator's code, against the same program's symbols before it was stripped; calls in busy
threads that verify their blocks; and all that must be refused. Rust's jemalloc as it is released
(tikv-jemalloc-sys) and Debian's archive in a C program. JE_ARCHIVE, JE_SERVICE: others."""
import glob
import os
import platform
import random
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from conftest import run_memwho
from hold import build_rust
from refusal import refused
from test_je import CONF, Service, held_by, je, service  # noqa: F401
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are for x86-64")
ARCHIVE = "/usr/lib/x86_64-linux-gnu/libjemalloc_pic.a"
MIB = 1 << 20


def symbols(path):
    """[(address, name)] of the code."""
    out = subprocess.run(["nm", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    rows = [line.split() for line in out.splitlines()]
    return [(int(r[0], 16), r[2]) for r in rows if len(r) == 3 and r[1] in "tTwW"]


def strip(program, to):
    shutil.copy(program, to)
    subprocess.run(["strip", "--strip-all", to], check=True)
    return to


@pytest.fixture(scope="module")
def rust():
    """The service, and the archive in it."""
    try:
        built = build_rust(conftest.SOURCE, conftest.BUILD)
    except RuntimeError as e:
        pytest.skip(str(e))
    folder = os.path.dirname(built)
    return os.path.join(folder, "caches"), glob.glob(f"{folder}/build/*/out/build/lib/libjemalloc.a")[0]


def link(source, to, archive=ARCHIVE, more=()):
    if not os.path.exists(archive):
        pytest.skip(f"no {archive}")
    subprocess.run(["cc", "-O2", "-w", "-D_GNU_SOURCE", "-fno-builtin", "-o", to,
                    os.path.join(conftest.SOURCE, "tests/programs", source), archive, "-lpthread", "-lm",
                    "-lstdc++", *more], check=True)
    return to


def compare(program, stripped, archive):
    """-> what is said of it. Each function of the archive is known as the allocator's."""
    out = subprocess.run([conftest.PROGRAMS / "mallctl", stripped], stdout=subprocess.PIPE, text=True, check=True).stdout
    said = dict(line.split(" ", 1) for line in out.splitlines() if not line.startswith("range"))
    ranges = [tuple(int(x, 16) for x in line.split()[1:]) for line in out.splitlines() if line.startswith("range")]
    own = {name for _, name in symbols(archive)}
    names = symbols(program)
    assert int(said["mallctl"], 16) in {a for a, n in names if n.endswith("mallctl")}, said
    missing = [n for a, n in names if n in own and not any(s <= a < e for s, e in ranges)]
    others = [n for a, n in names if n not in own and any(s <= a < e for s, e in ranges)]
    assert not missing and sum(n in own for _, n in names) > 500, missing
    assert len(others) < 25 and not {"main", "_start"} & set(others), others
    return said


def test_mallctl_and_code_are_what_the_symbols_say(rust, tmp_path):
    program, archive = rust
    assert int(compare(program, strip(program, tmp_path / "rust"), archive)["leaves"]) > 200
    c = link("caches.c", tmp_path / "c")
    compare(c, strip(c, tmp_path / "c-stripped"), ARCHIVE)


def test_a_service(service, rust, tmp_path):  # noqa: F811
    """As with symbols, but for the names, which are nowhere: addresses, whose names this test has."""
    program = rust[0]
    s = service([strip(program, tmp_path / "service")], _RJEM_MALLOC_CONF=CONF + ",lg_prof_sample:0")
    got = je(s.pid, "status")
    assert got["opt_prof"] and not got["active"] and got["symbol"] == "" and got["version"][:2] == "5.", got
    assert "mallctl without a symbol" in run_memwho("je", s.pid).out
    je(s.pid, "on")
    images = s.say("fill images 300 40960")
    sessions = s.say("fill sessions 2000 1024")
    dump = je(s.pid, "dump")
    names = sorted(symbols(program))
    at = {}
    for row in dump["stacks"]:
        frame = row["frames"][0]
        offset = int(frame.split("0x")[1].rstrip(")]"), 16)
        function = [n for a, n in names if a <= offset][-1]
        at[function] = at.get(function, 0) + row["bytes"]
    for name, held in ("decode_image", images), ("remember_session", sessions):
        assert sum(v for k, v in at.items() if name in k) == held, (name, held, at)
    assert not [k for k in at if "_rjem" in k], at
    stats = je(s.pid, "stats")
    assert stats["allocated_bytes"] > images + sessions and stats["calls"] == 0
    [tree] = stats["jemallocs"]
    assert sum(a["allocated_bytes"] for a in tree["arenas"]) == stats["allocated_bytes"]
    assert tree["name"] in f"jemalloc {got['version']}", (tree["name"], got["version"])
    s.say("drop images")
    [came] = [a for a in run_memwho("trim", s.pid, "--json").json()["allocators"] if a["allocator"] == "jemalloc"]
    assert came["refused"] is None and came["calls"] == 1 and came["came_back_bytes"] > 10 * MIB, came
    assert je(s.pid, "purge")["came_back_bytes"] < MIB, "trim has it all"
    delta = run_memwho("delta", s.pid, "--json", "--", "true").json()
    assert delta["pid"] == s.pid
    assert je(s.pid, "off")["was_active"]
    assert s.say("fill index 100 1024") == 100 * 1024


@pytest.mark.parametrize("modes", ["aaaaaaaa", "cacnefrs"])
def test_calls_in_busy_threads(victim, tmp_path, modes):  # noqa: F811
    """Threads in the allocator are not lent. They verify their blocks; and memwho is killed at some
    moments."""
    program = strip(link("victim.c", tmp_path / "plain"), tmp_path / "busy")
    v = victim(modes, program=program)
    for _ in range(3):
        assert je(v.pid, "purge")["calls"] >= 1
        v.check()
    for _ in range(3):
        p = subprocess.Popen([conftest.MEMWHO, "je", str(v.pid), "purge"], stdout=subprocess.DEVNULL)
        time.sleep(random.random() * 0.5)
        p.send_signal(signal.SIGKILL)
        p.wait()
        wrong = v.goes_on(30)
        assert not wrong, wrong
    assert v.bad == 0 and v.short_sleeps == 0


def test_with_exported_names_only(service, tmp_path):  # noqa: F811
    """-rdynamic: mallctl has a name, the code around it has none."""
    program = strip(link("caches.c", tmp_path / "plain", more=["-rdynamic"]), tmp_path / "exported")
    s = service([program, "2"], MALLOC_CONF=CONF)
    assert je(s.pid, "status")["symbol"] == "mallctl"
    usable = s.say("fill 0 1000 1000")
    assert usable and je(s.pid, "on")["active"]


# ---- refusals ----

def test_linked_statically(service, tmp_path):  # noqa: F811
    """Its libc's fork and exit have no names either: nothing is called."""
    if not os.path.exists(ARCHIVE.replace("_pic", "")):
        pytest.skip("no libjemalloc.a")
    program = link("caches.c", tmp_path / "plain", ARCHIVE.replace("_pic", ""), ["-static"])
    s = service([strip(program, tmp_path / "static"), "1"])
    refused("je", s.pid, "on", said=("jemalloc without symbols", "nothing is called on a guess", "je stats"))
    refused("trim", s.pid, said="nothing is called on a guess")
    assert s.say("fill 0 100 1000") and je(s.pid, "stats")["allocated_bytes"] > 100 * 1000


def damaged(program, to, old, new):
    with open(program, "rb") as f:
        text = f.read()
    assert text.count(old) and len(old) == len(new), text.count(old)
    with open(to, "wb") as f:
        f.write(text.replace(old, new))
    os.chmod(to, 0o755)
    return to


@pytest.mark.parametrize("old,new,said", [
    (b"\0config.", b"\0konfig.", None),          # what calls mallctl loads names that the tree has not
    (b"\0max_background_threads\0", b"\0max background threads\0", "contradicts itself"),
    (b"\0version\0", b"\0Version\0", "no function mallctl"),
])
def test_a_proof_fails(service, rust, tmp_path, old, new, said):  # noqa: F811
    """A copy in which one of the facts is not there."""
    program = damaged(strip(rust[0], tmp_path / "whole"), tmp_path / "damaged", old, new)
    s = service([program])
    if said:
        refused("je", s.pid, "status", said=said)
    else:  # one fact less of many: what is left must still be enough, and true
        assert je(s.pid, "status")["version"][:2] == "5."
    assert s.say("fill index 10 1024") == 10 * 1024
