# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""musl's mallocng from outside against the program's own list of blocks (it has
no report of its own). The program is static and stripped."""
import pytest

import ladder_truth
from ladder_truth import Truth


def only(heaps):
    assert [h.kind for h in heaps] == ["musl"]
    return heaps[0]


@pytest.mark.parametrize("threads, blocks, big", [(1, 3000, 1000), (8, 5000, 1000), (4, 2000, 10),
                                                  (64, 300, 0)])
def test_totals_equal_the_programs_list(threads, blocks, big):
    with Truth(threads, blocks, big, program="ladder_truth-musl") as t:
        heap = only(ladder_truth.look("musl", t.pid)[0])
        own = t.own()
    assert (heap.in_use, heap.figures["blocks"]) == (own["held_bytes"], own["held"])
    assert heap.inconsistent == 0 < heap.checked
    slots = heap.figures["slot_bytes"]
    assert heap.in_use < slots < heap.in_use * 1.2 + 65536
    assert slots + heap.figures["free_bytes"] < heap.figures["mapped_bytes"]


def test_running_target():
    with Truth(4, 10000, 0, "running", program="ladder_truth-musl") as t:
        ladder_truth.follows(lambda: only(ladder_truth.look("musl", t.pid, stop=False)[0]).in_use,
                             lambda: t.own()["held_bytes"])


def test_nothing_anonymous_is_left_over():
    """All but .bss, stacks and the program's own arrays."""
    with Truth(4, 2000, program="ladder_truth-musl") as t:
        heap = only(ladder_truth.look("musl", t.pid)[0])
        maps = list(ladder_truth.mappings(t.pid))
    claimed = sum(e - s for s, e in heap.ranges)
    assert claimed >= heap.figures["mapped_bytes"] + heap.figures["metadata_bytes"]
    for start, end in heap.ranges:
        inside = [m for m in maps if m[0] <= start and end <= m[1]]
        assert len(inside) == 1 and inside[0][3] in ("", "[heap]")


def test_blocks(tmp_path):
    with Truth(3, 400, 100, program="ladder_truth-musl") as t:
        t.ask(f"list {tmp_path}/held")
        t.ask(f"freed {tmp_path}/freed")
        held = [line.split() for line in open(f"{tmp_path}/held", encoding="utf-8")]
        found = ladder_truth.find_blocks("musl", t.pid, f"{tmp_path}/held")
        freed = ladder_truth.find_blocks("musl", t.pid, f"{tmp_path}/freed")
        inner = tmp_path / "inner"
        inner.write_text("".join(f"{int(a, 16) + int(n) - 1:x}\n" for a, n in held[:50]))
        inside = ladder_truth.find_blocks("musl", t.pid, inner)
    assert len(held) > 400 and len(freed) > 100
    for addr, size in held:
        assert found[int(addr, 16)] == ("musl", int(addr, 16), int(size), "live")
    assert {b[3] for b in freed.values() if b} == {"free"}
    for addr, size in held[:50]:
        assert inside[int(addr, 16) + int(size) - 1][1] == int(addr, 16)


def test_nothing_is_said_of_glibc():
    with Truth(2, 100) as t:
        assert ladder_truth.look("musl", t.pid) == ([], {})
