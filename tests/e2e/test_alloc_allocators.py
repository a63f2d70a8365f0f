# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=1500 parallel
"""memwho alloc on allocators that are not simply libc's or preloaded whole: a
static jemalloc with a prefix in a Rust program, a malloc that asks another one,
musl's shared libc, and what is said when there is none."""
import subprocess

import pytest

from conftest import BUILD, PROGRAMS, SOURCE
from hold import Hold, build_rust, compare, complete_share, library, stacks_of_json

ALL_SLOWDOWNS = ("--max-slowdown", "1000")


def recorded(record, hold, commands):
    r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
    hold.command("mark")
    for command in commands:
        hold.command(command)
    truth = hold.truth()
    return r.interrupt().json(), truth


@pytest.fixture(scope="session")
def rust_program():
    try:
        return build_rust(SOURCE, BUILD)
    except RuntimeError as e:
        pytest.skip(str(e))


def test_rust_with_a_static_jemalloc(record, needs_bpf, rust_program):
    with Hold(rust_program) as hold:
        hold.command("warm 20")
        result, truth = recorded(record, hold, ["go 50", "free 20", "go 10"])
        assert hold.alive()
    stacks = stacks_of_json(result)
    score = compare(stacks, truth)
    assert score.path_error == 0, score.explain()
    assert score.true_bytes > 1_000_000
    assert result["lost_events"] == 0
    assert complete_share(stacks) > 0.99


def test_a_malloc_that_asks_another(record, needs_bpf):
    """Both are probed; each block is counted once, and so is each allocation."""
    with Hold(PROGRAMS / "hold", preload=str(PROGRAMS / "hold_wrap.so")) as hold:
        hold.command("warm 5")
        r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("many 5000")
        hold.command("go 10")
        hold.command("free 30")
        truth = hold.truth()
        result = r.interrupt().json()
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()
    assert result["lost_events"] == 0


def test_shared_musl_has_all_bytes(record, needs_bpf):
    with Hold(PROGRAMS / "hold-musl-dynamic") as hold:
        hold.command("warm 20")
        result, truth = recorded(record, hold, ["go 20", "free 10", "threads 4", "churn 20"])
    score = compare(stacks_of_json(result), truth)
    assert score.path_error < 0.03, score.explain()
    assert result["held_bytes"] >= score.true_bytes
    assert result["lost_events"] == 0


def test_a_static_program_without_symbols(record, needs_bpf, tmp_path):
    """Its allocator is found by the code of its library (test_object_code.py)."""
    stripped, archive = tmp_path / "stripped", library("libc.a")
    if not archive:
        pytest.skip("no libc.a")
    subprocess.run(["strip", "-s", "-o", stripped, PROGRAMS / "hold-static"], check=True)
    with Hold(stripped) as hold:
        r = record("alloc", hold.pid, "--engine", "bpf", "--archive", archive, "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("go 1")
        truth = hold.truth()
        got = r.interrupt().json()
        assert hold.alive()
    assert got["allocators"] == "libc" and archive in got["found_by_code"], got
    assert got["held_bytes"] >= sum(row["bytes"] for row in truth["sites"].values()) > 0, got
