# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""Static and stripped programs: the allocator is found by its object code (--archive), and what
each site of a truth program holds is then 0 bytes off. The program's own functions have no name
in the result; the copy that is not stripped says which they are."""
import glob
import os
import platform
import re
import shutil
import subprocess

import pytest
from conftest import BUILD, PROGRAMS, SOURCE, run_memwho
from hold import Hold, build_mimalloc, build_rust, compare, library, stacks_of_json
from refusal import refused
from test_agent import untouched
from test_agent_allocators import named_by
from test_agent_exact import assert_whole, record  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="object code is x86-64's")

MUSL = "/usr/lib/x86_64-linux-musl/libc.a"
KNOWN = SOURCE / "src" / "symbol" / "known"


def newest(pattern):
    return max(glob.glob(str(BUILD / pattern)), key=os.path.getmtime)


def mimalloc():
    program = build_mimalloc(SOURCE, BUILD)
    return program, newest("mimalloc/release/build/libmimalloc-sys-*/out/libmimalloc.a")


def rust():
    program = build_rust(SOURCE, BUILD)
    return program, newest("rust/release/build/tikv-jemalloc-sys-*/out/build/lib/libjemalloc_pic.a")


# program and the library that it was linked with, or what builds both; its package of Debian; allocator
# as the report says it, sites
CASES = {
    "glibc": ("hold-static", "libc.a", "libc6-dev", "libc", 24),
    "glibc pie": ("hold-static-pie", "libc.a", "libc6-dev", "libc", 24),
    "musl": ("hold-musl", MUSL, "musl-dev", "musl", 15),
    "jemalloc": ("hold-jemalloc-static", "libjemalloc.a", "libjemalloc-dev", "jemalloc", 25),
    "tcmalloc": ("hold-tcmalloc_minimal-static", "libtcmalloc_minimal.a", "libgoogle-perftools-dev", "tcmalloc", 25),
    "mimalloc": (mimalloc, None, None, "mimalloc", 24),
    "rust": (rust, None, None, "jemalloc", 11),
}
# strdup() is mimalloc's own there, which a plan cannot count
UNKNOWN = {"mimalloc": "site_14"}


def archive_of(name):
    path = library(name) if "/" not in name else name
    if not path or not os.path.exists(path):
        pytest.skip(f"no {name} here")
    return path


def strip(program, to):
    if not os.path.exists(PROGRAMS / program):
        pytest.skip(f"no {program} here")
    subprocess.run(["strip", "-s", "-o", to / "stripped", PROGRAMS / program], check=True, timeout=60)
    return to / "stripped"


def parts(case):
    """(program, archive) of a case."""
    program, archive = CASES[case][:2]
    try:
        return program() if callable(program) else (program, archive_of(archive))
    except (RuntimeError, ValueError) as e:
        pytest.skip(str(e))


def version(package):
    p = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, text=True, timeout=60)
    return p.stdout if p.returncode == 0 else None


def known_text(package, kind):
    """The text of the installed package's build, or a skip: another version is installed."""
    installed = version(package) if shutil.which("dpkg-query") else None
    for path in KNOWN.glob("*.txt"):
        title = re.search(r"^title (.*): (.*)$", path.read_text(), re.M)
        if installed and title[1] == kind and installed in title[2].split(", "):
            return path.read_text()
    return pytest.skip(f"{package} {installed} is no known build")


def check(record, case, tmp_path, *options):  # noqa: F811
    program, _ = parts(case)
    allocator, sites = CASES[case][3:]
    named = named_by(PROGRAMS / program)
    with Hold(strip(program, tmp_path)) as hold:
        hold.command("warm 3")
        for _ in range(2):
            r = record(hold.pid, *options)
            hold.command("mark")
            for command in ["go 1"] * 4 + ["free 10"] + ["go 1"] * 4:
                hold.command(command)
            truth = hold.truth()
            got = named(r.interrupt().json())
            untouched(hold.pid)
            assert allocator in got["allocators"].replace(",", " ").split(), got["allocators"]
            assert "functions)" in got["found_by_code"], got
            truth["sites"] = {path: row for path, row in truth["sites"].items()
                              if not path.endswith(UNKNOWN.get(case, "-"))}
            score = compare(stacks_of_json(got), truth)
            assert score.path_error == 0, score.explain()
            held = [path for path, row in truth["sites"].items() if row["bytes"]]
            assert len({path.rsplit(";")[-1] for path in held}) >= sites - 2, held
            assert_whole(got)
        assert hold.alive()
        return hold.pid, got


@pytest.mark.parametrize("case", CASES)
def test_every_site(record, case, tmp_path):  # noqa: F811
    archive = parts(case)[1]
    got = check(record, case, tmp_path, "--archive", archive)[1]
    assert str(archive) in got["found_by_code"], got


KINDS = {"glibc": "glibc of Debian", "glibc pie": "glibc of Debian", "musl": "musl of Debian",
         "jemalloc": "jemalloc of Debian", "tcmalloc": "tcmalloc minimal of Debian"}


@pytest.mark.parametrize("case", KINDS)
def test_known_builds_need_no_archive(record, case, tmp_path):  # noqa: F811
    known_text(CASES[case][2], KINDS[case])
    got = check(record, case, tmp_path)[1]
    assert version(CASES[case][2]) in got["found_by_code"], got


@pytest.mark.parametrize("case", KINDS)
def test_known_text_is_of_the_library(case):
    """Made anew from this machine's library it is the same, line by line."""
    package, kind = CASES[case][2], KINDS[case]
    text = known_text(package, kind)
    members = members_of(package, parts(case)[1])
    made = subprocess.run([PROGRAMS / "object_code_text", "", parts(case)[1], *members],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    assert made.split("\n", 1)[1] == text.split("\n", 2)[2]


def members_of(package, archive):
    code = (SOURCE / "tools" / "object-code.py").read_text().replace("\nmain()\n", "\n")
    tool = {}
    exec(compile(code, "object-code.py", "exec"), tool)  # noqa: S102, ours
    members = next(m for name, _, m in tool["PACKAGES"][package] if name == os.path.basename(archive))
    return tool["members_of"](archive, members)


def test_doctor_says_by_what(tmp_path):
    known_text("musl-dev", "musl of Debian")
    with Hold(strip("hold-musl", tmp_path)) as hold:
        out = run_memwho("doctor", hold.pid, code=None).out
        assert "found by its code: musl of Debian: " + version("musl-dev") in out, out
        assert re.search(r"\nok +musl ", out), out


# ---- refusals: nothing is touched ----

def test_another_version_finds_nothing(tmp_path):
    """Of an allocator that nobody knows; the same source by other options: not one function is the
    same. The hint names what would help."""
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
        refused("alloc", p.pid, "-d", "1s", said=("no allocator function", "--archive"))
        refused("alloc", p.pid, "-d", "1s", "--archive", tmp_path / "other.o",
                said=("no allocator function", "other.o", "another version"))
        assert "--archive" in run_memwho("doctor", p.pid, code=None).out
        untouched(p.pid)
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
