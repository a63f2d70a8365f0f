# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho alloc --engine usdt: programs that say by trace points what they have sampled. The
program (programs/marked.c) prints what its samples stand for; that is what is to be seen."""
import shutil
import subprocess

import pytest

from conftest import PROGRAMS

SLOW = ("--max-slowdown", "100000")


@pytest.fixture(params=["marked", "marked-counters", "stripped"])
def marked(request, target, tmp_path):
    if request.param != "stripped":
        return target(request.param)
    path = tmp_path / "marked-stripped"
    shutil.copy(PROGRAMS / "marked-counters", path)
    subprocess.run(["strip", path], check=True)
    return target(path)


def ask(t, command):
    t.say(command)
    lines = []
    while (line := t.line(timeout=60)) != "ok":
        lines.append(line)
    return lines


def truth_of(lines):
    """{site: (samples, blocks, bytes)}"""
    return {name: tuple(map(int, rest)) for name, *rest in (line.split() for line in lines)}


def by_site(result):
    found = {}
    for s in result["stacks"]:
        site = next((f for f in s["frames"] if f.startswith("site_")), None)
        blocks, held = found.get(site, (0, 0))
        found[site] = (blocks + s["count"], held + s["bytes"])
    return found


def test_what_the_program_says_is_held(marked, record, needs_bpf):
    assert marked.line() == "ready"
    r = record("alloc", marked.pid, "--engine", "usdt", "--json", *SLOW)
    truth = truth_of(ask(marked, "go 5000"))
    told = int(ask(marked, "asked")[0])
    result = r.interrupt().json()
    assert result["engine"] == "usdt"
    assert result["allocations"] == told
    assert result["held_bytes"] == sum(t[2] for t in truth.values()) > 1_000_000
    assert min(t[0] for t in truth.values()) > 0 and result["frees"] > 1000
    found = by_site(result)
    if None not in found:  # with symbols
        assert found == {site: t[1:] for site, t in truth.items()}
    else:
        assert sum(f[1] for f in found.values()) == result["held_bytes"]
    # each figure is an estimate, and says how good; three times the mean is no chance
    assert result["held_bytes_low"] <= result["held_bytes"] <= result["held_bytes_high"]
    assert result["samples_held"] == sum(t[0] for t in truth.values())
    for s in result["stacks"]:
        if "site_large" in s["frames"]:
            assert s["bytes_low"] == s["bytes"] == s["bytes_high"]
        elif None not in found and s["bytes"]:
            assert s["bytes_low"] < s["bytes"] < s["bytes_high"]


def test_nobody_is_told_when_nobody_listens(target, record, needs_bpf):
    """The counters go up with the recording, and down again."""
    t = target("marked-counters")
    assert t.line() == "ready"
    ask(t, "go 1000")
    assert ask(t, "asked") == ["0"]
    r = record("alloc", t.pid, "--engine", "usdt", "--json", *SLOW)
    ask(t, "go 1000")
    during = int(ask(t, "asked")[0])
    assert r.interrupt().json()["allocations"] == during > 0
    ask(t, "go 1000")
    assert int(ask(t, "asked")[0]) == during


def test_a_program_without_trace_points(target, memwho, needs_bpf):
    t = target("hold")
    t.line()
    r = memwho("alloc", t.pid, "--engine", "usdt", code=1)
    assert f"process {t.pid} has no trace points of otel_memory" in r.err
    assert "--engine bpf" in r.err


def test_an_allocator_by_name(target, memwho):
    t = target("marked")
    assert t.line() == "ready"
    r = memwho("alloc", t.pid, "--engine", "usdt", "--allocator", "libc", code=1)
    assert "--allocator" in r.err
    r = memwho("alloc", t.pid, "--allocator", "usdt", code=2)
    assert "--engine usdt" in r.err
