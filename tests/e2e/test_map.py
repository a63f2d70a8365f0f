# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300
"""memwho map against /proc/PID/maps, to the byte, and against the program's own
record of who made each page (tests/programs/map_churn.c)."""
import json
import pathlib

import pytest

import mapped

OPERATIONS = 300000


def churn(target, record, tmp_path, threads, operations, seed, *options, children=0):
    """Run it under memwho map: (result, {pid: record file})."""
    t = target("map_churn", threads, operations, seed, tmp_path / "record", children)
    assert t.line() == "ready"
    recording = record("map", t.pid, "-d", "250s", "--ranges", "--json", *options)
    t.say()
    lines = [t.line(timeout=200) for _ in range(1 + children)]
    assert sorted(lines) == sorted(["done"] + ["child"] * children)
    result = recording.interrupt(timeout=200)
    found = {int(p.suffix[1:]): p for p in tmp_path.glob("record.*")}
    return json.loads(result.out), t.pid, found


def check_ranges(result, pid):
    ranges = mapped.Ranges(result, pid)
    missing, extra = mapped.differences(ranges.spans(), mapped.merged(mapped.of_maps(pid)))
    assert (missing, extra) == (0, 0)
    assert ranges.apart()
    return ranges


@pytest.mark.parametrize("threads,seed", [(1, 7), (16, 11)])
def test_ranges_and_owners_are_the_programs(needs_bpf, target, record, tmp_path, threads, seed):
    result, pid, records = churn(target, record, tmp_path, threads, OPERATIONS, seed,
                                 "--ring", "256M")
    assert result["lost_events"] == 0
    owners = mapped.Owners(check_ranges(result, pid), records[pid])
    assert owners.right > 0 and owners.wrong == 0 and owners.uncertain == 0, owners
    # nothing has its owner from the maps: every change was seen
    assert result["unseen_bytes"] == 0


def test_children_have_their_own(needs_bpf, target, record, tmp_path):
    result, pid, records = churn(target, record, tmp_path, 4, OPERATIONS // 4, 5, "--follow",
                                 "--ring", "256M", children=2)
    assert result["lost_events"] == 0
    assert len(records) == 3
    for one, path in records.items():
        owners = mapped.Owners(check_ranges(result, one), path)
        assert owners.right > 0 and owners.wrong == 0 and owners.uncertain == 0, (one == pid, owners)
    # and the one that was forked while all threads were at work
    waiting = {r["pid"] for r in result["ranges"]} - set(records)
    assert len(waiting) == 1
    check_ranges(result, waiting.pop())


def test_lost_events_leave_the_ranges_right(needs_bpf, target, record, tmp_path):
    result, pid, records = churn(target, record, tmp_path, 8, OPERATIONS // 3, 3, "--ring", "16K")
    assert result["lost_events"] > 0
    owners = mapped.Owners(check_ranges(result, pid), records[pid])
    assert owners.wrong == 0, owners
    assert owners.uncertain > 0
