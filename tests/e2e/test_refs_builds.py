# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""memwho refs on one Go program, built in every way that Go builds. The whole list
is `./dev matrix refs` (REFS_BUILDS=all); here what differs most."""
import os
import subprocess

import gotools
import pytest
from test_refs import SOURCE, Program, check, check_types

ALL = os.environ.get("REFS_BUILDS") == "all"

# first and last patch releases: amd64, nothing special
RELEASES = ["1.17", "1.17.13", "1.18", "1.18.10", "1.19", "1.19.13", "1.20", "1.20.14", "1.21.0", "1.21.13", "1.22.0",
            "1.22.12", "1.23.0", "1.23.12", "1.24.0", "1.24.13", "1.25.0", "1.25.14", "1.26.0"]
# release (None: the machine's own), experiment
EXPERIMENTS = [("1.22.12", "noallocheaders"), ("1.24.13", "noswissmap"), ("1.25.7", "greenteagc"),
               ("1.25.7", "noswissmap"), (None, "nogreenteagc"), (None, "nodwarf5")]
# name -> flags, environment, what is done to the program
WAYS = {
    "pie": (["-buildmode=pie"], {}, None),
    "trimpath": (["-trimpath"], {}, None),
    "race": (["-race"], {"CGO_ENABLED": "1"}, None),
    "cgo": (["-ldflags=-linkmode=external"], {"CGO_ENABLED": "1"}, None),
    "no-dwarf": (["-ldflags=-w"], {}, None),
    "stripped": (["-ldflags=-s -w"], {}, None),
    "strip": ([], {}, ["strip"]),
    "strip-debug": ([], {}, ["strip", "--strip-debug"]),
    "not-compressed": (["-ldflags=-compressdwarf=false"], {}, None),
    "not-optimized": (["-gcflags=all=-N -l"], {}, None),
    "v2": ([], {"GOAMD64": "v2"}, None),
    "v3": ([], {"GOAMD64": "v3"}, None),
}
QUICK = ["pie", "race", "cgo", "no-dwarf", "strip", "not-compressed", "v3"]


def build(name, release=None, flags=(), env=None, after=None):
    path = gotools.build(SOURCE, f"refs-{name}", flags, version=release, **(env or {}))
    if after:
        subprocess.run([*after, path], check=True)
    return path


@pytest.fixture
def started():
    programs = []

    def start(path):
        programs.append(Program(path))
        return programs[-1]

    yield start
    for p in programs:
        p.stop()


def look(memwho, p, symbols=True, dwarf=True):
    result = memwho("refs", p.pid, "--json", "--objects").json()
    check(result, p, names=symbols)
    if dwarf:
        print(check_types(result, p))
    return result


@pytest.mark.parametrize("way", WAYS if ALL else QUICK)
def test_ways(memwho, started, way):
    flags, env, after = WAYS[way]
    p = started(build(way, None, flags, env, after))
    symbols = way not in ("stripped", "strip")
    look(memwho, p, symbols, symbols and way not in ("no-dwarf", "strip-debug"))


@pytest.mark.parametrize("release, experiment", EXPERIMENTS if ALL else [EXPERIMENTS[0], EXPERIMENTS[2], EXPERIMENTS[4]])
def test_experiments(memwho, started, release, experiment):
    p = started(build(f"{release or 'own'}-{experiment}", release, env={"GOEXPERIMENT": experiment}))
    assert f"X:{experiment}" in look(memwho, p)["runtime"]
    stripped = started(build(f"{release or 'own'}-{experiment}-stripped", release, ["-ldflags=-s -w"],
                             {"GOEXPERIMENT": experiment}))
    look(memwho, stripped, False, False)


@pytest.mark.parametrize("release", RELEASES if ALL else ["1.18", "1.26.0"])
def test_releases(memwho, started, release):
    p = started(build(release, release))
    assert look(memwho, p)["runtime"] == f"go{release}"
    stripped = started(build(f"{release}-stripped", release, ["-ldflags=-s -w"]))
    look(memwho, stripped, False, False)


def test_a_version_that_is_not_in_the_table(memwho, started, tmp_path):
    """It is read by its own DWARF; without that it is refused."""
    for flags, name in ((), "future"), (["-ldflags=-s -w"], "future-stripped"):
        path = tmp_path / name
        path.write_bytes(rename(build(name, None, flags).read_bytes()))
        path.chmod(0o755)
        p = started(path)
        if flags:
            r = memwho("refs", p.pid, code=1)
            assert "go1.99" in r.err and "DWARF" in r.err, r.err
        else:
            assert look(memwho, p)["runtime"].startswith("go1.99")


def rename(program):
    """Its version becomes one that there is not, wherever it stands."""
    version = subprocess.run(["go", "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout.strip()
    assert program.count(version.encode()) >= 1
    return program.replace(version.encode(), ("go1.99" + version[6:]).encode())
