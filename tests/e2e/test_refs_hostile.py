# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs on heaps, runtime structures, DWARF and saved graphs that were
tampered with: cycles, pointers into headers, absurd lengths. Whatever stands
there, it ends, in at most ten times the CPU and three times the memory that the
undamaged file takes. Here one round of each; `./dev matrix refs` does many
(REFS_HOSTILE=ROUNDS, or ROUNDS:FIRST to begin with another round). A round's
damage depends on its name and number alone."""
import os
import random
import resource
import shutil
import struct
import subprocess

import pytest

import conftest
import gotools
import test_refs
import test_refs_lua

MANY = os.environ.get("REFS_HOSTILE")
ROUNDS, FIRST = (int(n) for n in ((MANY or "1") + ":0").split(":")[:2])
MINORS = [0] + [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]
# a sanitizer has costs of its own
SLACK = 20 if os.environ.get("ASAN_OPTIONS") else 1
TIMES, MEMORY_TIMES = 10, 3
TOP_BYTES = 8 << 20 # of a mapping, what is damaged


def segments(data, objects):
    """Of a core: name -> (offset, bytes) of what is written to, and its headers."""
    offset, = struct.unpack_from("<Q", data, 32)
    n, = struct.unpack_from("<H", data, 56)
    found = {"headers": [(0, offset + 56 * n)]}
    for i in range(n):
        kind, flags, at, start, _, size, _, _ = struct.unpack_from("<IIQQQQQQ", data, offset + 56 * i)
        if kind == 4:
            found["headers"].append((at, size))
        if kind != 1 or not flags & 2 or not size:
            continue
        is_heap = start <= objects[len(objects) // 2] < start + size
        name = "heap" if is_heap else "data" if start < 1 << 32 else "records"
        found.setdefault(name, []).append((at, min(size, TOP_BYTES)))
    return found


def sections(path):
    out = subprocess.run(["readelf", "-SW", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    size = os.path.getsize(path)
    found = {"headers": [(0, 64 + 56 * 16)]}
    for line in out.splitlines():
        words = line.split("]", 1)[-1].split()
        if len(words) > 5 and words[0].startswith((".debug_", ".gopclntab", ".data.rel.ro.gopclntab", ".rodata", ".go.",
                                                   ".typelink", ".symtab")) and int(words[4], 16) > 16:
            found.setdefault(words[0], []).append((int(words[3], 16), int(words[4], 16)))
    table, = struct.unpack_from("<Q", path.read_bytes(), 40)
    found["headers"].append((table, size - table if size - table < 1 << 14 else 1 << 12))
    return found


class Subject:
    """Files that are changed and put right again: what they cost undamaged, and where what is in them."""

    def __init__(self, command, files, objects):
        self.command, self.files, self.objects = command, files, objects
        code, self.cpu, self.peak, err = self.run()
        assert code == 0 and "damage" not in err, err

    def run(self, *args):
        limit = int(max(2, 2 * TIMES * getattr(self, "cpu", 30)))

        def bound():
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        p = subprocess.Popen([conftest.MEMWHO, *self.command, *args], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=bound)
        err = p.stderr.read()
        p.stderr.close()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        return p.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10, err.decode(errors="replace")


def core_of(p, folder):
    subprocess.run(["gcore", "-o", folder / "core", str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return folder / f"core.{p.pid}"


def go_subject(folder, minor, stripped):
    flags = ("-ldflags=-s -w",) if stripped else ("-ldflags=-compressdwarf=false",)
    built = test_refs.build(flags, name=f"refs-{'stripped' if stripped else 'plain'}-{minor or 'own'}", minor=minor)
    p = test_refs.Program(built)
    try:
        core = core_of(p, folder)
    finally:
        p.stop()
    exe = folder / "exe"
    shutil.copy(built, exe)
    objects = sorted(p.objects)
    return Subject(["refs", core, "--exe", exe, "--json"],
                   {"core": (core, segments(core.read_bytes(), objects)), "exe": (exe, sections(exe))}, objects)


NAMES = [f"{m and f'1.{m}' or 'own'}{s}" for i, m in enumerate(MINORS) for k, s in enumerate(("", "-stripped"))
         if MANY or i % 2 == k]


@pytest.fixture(scope="module", params=NAMES)
def go(request, tmp_path_factory):
    name = request.param.replace("-stripped", "")
    minor = int(name[2:]) if name != "own" else None
    if minor or not shutil.which("go"):
        gotools.need(minor)
    folder = tmp_path_factory.mktemp("hostile")
    s = go_subject(folder, minor, name != request.param)
    s.name = request.param
    yield s
    shutil.rmtree(folder)


# ---- damage ----

def new_word(rng, s, near):
    """What an attacker would write."""
    address = rng.choice(s.objects)
    return rng.choice([0, 1, (1 << 64) - 1, 1 << 63, (1 << 63) - 1, 1 << 47, 1 << 40, 0xffffffff, 4096, 255,
                       address, address + 8, address - 4, address | 1, near, near & ~0xfff,
                       rng.getrandbits(64), rng.getrandbits(48), rng.getrandbits(16)]) & (1 << 64) - 1


def damage(rng, s, path, places):
    """Write over one to 200 words or bytes near each other; what puts it right."""
    at, size = rng.choice(places)
    old = []
    where = at + rng.randrange(max(1, size - 8))
    spread = rng.choice([64, 4096, size])
    with open(path, "r+b") as f:
        for _ in range(rng.choice([1, 3, 20, 200])):
            pos = min(max(at, where + rng.randrange(-spread, spread + 1)), at + size - 8)
            is_word = rng.random() < 0.7
            pos -= (pos - at) % 8 if is_word else 0
            f.seek(pos)
            before = f.read(8)
            old.append((pos, before))
            if is_word:
                new = struct.pack("<Q", new_word(rng, s, struct.unpack("<Q", before)[0]))
            else:
                new = bytes([rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])])
            f.seek(pos)
            f.write(new)
    return old


def put_right(path, old):
    with open(path, "r+b") as f:
        for pos, before in reversed(old):
            f.seek(pos)
            f.write(before)


def one_round(s, which, place, k):
    """Was anything read?"""
    rng = random.Random(f"{s.name} {which} {place} {k}")
    path, places = s.files[which]
    names = [n for n in places if n.startswith(place)]
    old = damage(rng, s, path, places[rng.choice(names)])
    try:
        code, cpu, peak, err = s.run(*rng.choice([(), (), ("--view", "types")]))
    finally:
        put_right(path, old)
    about = f"{s.name} {which} {place} round {k}: {len(old)} places from {old[0][0]:#x} on: {cpu:.2f} s CPU " \
            f"({s.cpu:.2f} undamaged), {peak >> 20} MiB ({s.peak >> 20}), exit {code}: {err[-1500:]}"
    assert code in (0, 1) and "Sanitizer" not in err and "runtime error" not in err, about
    assert cpu <= TIMES * max(s.cpu, 0.1) and peak <= SLACK * MEMORY_TIMES * s.peak, about
    assert code == 0 or err.startswith("memwho: "), about
    return code == 0


def rounds(s, which, place):
    if not any(n.startswith(place) for n in s.files[which][1]):
        return
    failed, read = [], 0
    for k in range(FIRST, FIRST + ROUNDS):
        try:
            read += one_round(s, which, place, k)
        except AssertionError as e:
            failed.append(str(e).split("\nassert", maxsplit=1)[0])
    print(f"{place}: {read} of {ROUNDS} were read")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("which, place", [
    ("core", "heap"), ("core", "data"), ("core", "records"), ("core", "headers"), ("exe", "headers"),
    ("exe", ".gopclntab"), ("exe", ".data.rel.ro.gopclntab"), ("exe", ".rodata"), ("exe", ".go."), ("exe", ".symtab"),
    ("exe", ".typelink"), ("exe", ".debug_info"), ("exe", ".debug_abbrev"), ("exe", ".debug_")])
def test_go(go, which, place):
    rounds(go, which, place)


@pytest.fixture(scope="module")
def saved(go, tmp_path_factory):
    """A graph of the same program."""
    path = tmp_path_factory.mktemp("saved") / "a.mwg"
    code, _, _, err = go.run("--save", path)
    assert code == 0, err
    size = path.stat().st_size
    s = Subject(["refs", path, "--json"], {"mwg": (path, {"header": [(0, 1024)], "all": [(0, size)]})}, go.objects)
    s.name = f"{go.name} saved"
    return s


@pytest.mark.parametrize("place", ["header", "all"])
def test_saved(saved, place):
    rounds(saved, "mwg", place)


@pytest.fixture(scope="module", params=test_refs_lua.VERSIONS)
def lua(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lua")
    p = test_refs_lua.Program(test_refs_lua.embedded(request.param))
    try:
        core = core_of(p, folder)
    finally:
        p.stop()
    objects = sorted(p.objects)
    s = Subject(["refs", core, "--json"], {"core": (core, segments(core.read_bytes(), objects))}, objects)
    s.name = f"Lua {request.param}"
    return s


@pytest.mark.parametrize("place", ["heap", "records", "headers"])
def test_lua(lua, place):
    rounds(lua, "core", place)
