# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Static and stripped programs: the allocator is found by its object code (--archive), and what
each site of a truth program holds is then 0 bytes off. The program's own functions have no name
in the result; the copy that is not stripped says which they are."""
import os
import platform
import re
import shutil
import subprocess

import pytest
from conftest import PROGRAMS
from hold import Hold, compare, library, stacks_of_json
from refusal import refused
from test_agent import untouched
from test_agent_exact import assert_whole, record  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="object code is x86-64's")

MUSL = "/usr/lib/x86_64-linux-musl/libc.a"
# program, the library that it was linked with, allocator as the report says it, sites
CASES = {
    "glibc": ("hold-static", "libc.a", "libc", 24),
    "glibc pie": ("hold-static-pie", "libc.a", "libc", 24),
    "musl": ("hold-musl", MUSL, "musl", 15),
    "jemalloc": ("hold-jemalloc-static", "libjemalloc.a", "jemalloc", 25),
    "tcmalloc": ("hold-tcmalloc_minimal-static", "libtcmalloc_minimal.a", "tcmalloc", 25),
}


def archive_of(name):
    path = library(name) if "/" not in name else name
    if not path or not os.path.exists(path):
        pytest.skip(f"no {name} here")
    return path


def strip(program, to):
    if not (PROGRAMS / program).exists():
        pytest.skip(f"no {program} here")
    subprocess.run(["strip", "-s", "-o", to / program, PROGRAMS / program], check=True, timeout=60)
    return to / program


class Functions:
    """Names of a program's functions, from its copy with symbols."""

    def __init__(self, program):
        out = subprocess.run(["nm", "-S", "--defined-only", PROGRAMS / program], check=True,
                             stdout=subprocess.PIPE, text=True, timeout=60).stdout
        rows = [line.split() for line in out.splitlines()]
        self.rows = [(int(r[0], 16), int(r[1], 16), r[3]) for r in rows if len(r) == 4 and r[2] in "tTwW"]

    def name(self, frame):
        m = re.fullmatch(r".*\+0x([0-9a-f]+)", frame)
        if not m:
            return frame
        at = int(m[1], 16)
        return next((name for start, size, name in self.rows if start <= at < start + size), frame)


def named(got, functions):
    for s in got["stacks"]:
        s["frames"] = [functions.name(f) for f in s["frames"]]
    return got


@pytest.mark.parametrize("case", CASES)
def test_every_site(record, tmp_path, case):  # noqa: F811
    program, archive, allocator, sites = CASES[case]
    archive = archive_of(archive)
    stripped, functions = strip(program, tmp_path), Functions(program)
    with Hold(stripped) as hold:
        hold.command("warm 3")
        for _ in range(2):
            r = record(hold.pid, "--archive", archive)
            hold.command("mark")
            for command in ["go 1"] * 4 + ["free 10"] + ["go 1"] * 4:
                hold.command(command)
            truth = hold.truth()
            got = named(r.interrupt().json(), functions)
            untouched(hold.pid)
            assert allocator in got["allocators"].replace(",", " ").split(), got["allocators"]
            score = compare(stacks_of_json(got), truth)
            assert score.path_error == 0, score.explain()
            held = [path for path, row in truth["sites"].items() if row["bytes"]]
            assert len({path.rsplit(";")[-1] for path in held}) >= sites - 1, held
            assert_whole(got)
        assert hold.alive()


# ---- refusals: nothing is touched ----

def test_without_an_archive_it_is_named(tmp_path):
    with Hold(strip("hold-musl", tmp_path)) as hold:
        refused("alloc", hold.pid, "-d", "1s", "--engine", "agent",
                said=("no allocator function", "--archive"))
        untouched(hold.pid)


def test_another_library_finds_nothing(tmp_path):
    wrong = archive_of("libjemalloc.a")
    with Hold(strip("hold-musl", tmp_path)) as hold:
        refused("alloc", hold.pid, "-d", "1s", "--engine", "agent", "--archive", wrong,
                said=("no allocator function", wrong, "another version"))
        untouched(hold.pid)


def test_another_build_finds_nothing(tmp_path):
    """The same source by other options: not one of its functions has the same code."""
    source = tmp_path / "alloc.c"
    source.write_text("""
void *malloc(unsigned long n) { static char heap[1 << 16]; static unsigned long at;
	n = (n + 15) & ~15ul; if (at + n > sizeof(heap)) return 0; at += n; return heap + at - n; }
void free(void *p) { (void)p; }
void _start(void) { free(malloc(1)); while (1) __builtin_ia32_pause(); }
""")
    subprocess.run(["gcc", "-O2", "-c", "-o", tmp_path / "other.o", source], check=True, timeout=60)
    subprocess.run(["gcc", "-O0", "-nostdlib", "-static", "-s", "-o", tmp_path / "program", source], check=True,
                   timeout=60)
    p = subprocess.Popen([tmp_path / "program"])
    try:
        refused("alloc", p.pid, "-d", "1s", "--archive", tmp_path / "other.o",
                said=("no allocator function", "other.o"))
    finally:
        p.kill()
        p.wait()


BAD = {
    "missing": (None, "No such file"),
    "folder": ("/", "not a file"),
    "text": (b"no archive\n" * 10, "not an ELF object"),
    "empty": (b"", "cut short"),
    "an archive of nothing": (b"!<arch>\n", "without object files"),
    "thin": (b"!<thin>\n", "thin archive"),
    "bitcode": (b"BC\xc0\xde" + bytes(60), "LLVM bitcode"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_archives(tmp_path, case):
    content, said = BAD[case]
    path = tmp_path / "bad.a"
    if isinstance(content, str):
        path = content
    elif content is not None:
        path.write_bytes(content)
    refused("alloc", os.getpid(), "-d", "1s", "--archive", path, said=("--archive", said),
            hint=case == "thin")


def test_a_program_is_no_archive(tmp_path):
    refused("alloc", os.getpid(), "-d", "1s", "--archive", shutil.which("true"),
            said="it is linked already", hint=False)
