# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""glibc's heap from outside, without symbols, against mallinfo2(), what
malloc_trim() returned, and the program's own list of blocks."""
import os

import pytest

import ladder_truth
from ladder_truth import Truth

PROGRAMS = ["ladder_truth", "ladder_truth-static"]


def arenas(heaps):
    return [h for h in heaps if h.kind == "glibc-arena"]


def total(heaps, figure):
    return sum(h.figures[figure] for h in heaps)


def check_totals(heaps, own):
    """To the byte: the target stood still."""
    assert sum(h.in_use for h in arenas(heaps)) == own["uordblks"]
    assert total(arenas(heaps), "system_bytes") == own["arena"]
    assert total(arenas(heaps), "fastbin_bytes") == own["fsmblks"]
    free = sum(total(arenas(heaps), f) for f in ("free_bytes", "fastbin_bytes", "top_bytes"))
    assert free == own["fordblks"]
    mmapped = [h for h in heaps if h.kind == "glibc-mmapped"]
    assert sum(h.in_use for h in mmapped) == own["hblkhd"]
    assert sum(h.figures["blocks"] for h in mmapped) == own["hblks"]
    assert sum(e - s for h in mmapped for s, e in h.ranges) == own["hblkhd"]
    assert all(h.inconsistent == 0 and h.checked > 0 for h in heaps)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("threads, blocks", [(1, 5000), (8, 5000), (64, 500)])
def test_totals_equal_mallinfo(program, threads, blocks):
    with Truth(threads, blocks, program=program) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        own = t.own()
    check_totals(heaps, own)
    assert len(arenas(heaps)) == (1 if threads == 1 else min(threads, 8 * cpus()))
    live = sum(h.in_use - h.cached for h in arenas(heaps))
    # live: the blocks, and 8 bytes before each; glibc's own (arenas, caches, stdio)
    held = own["held_bytes"] + 8 * own["held"] - own["hblkhd"]
    assert 0 <= live - held < 16384 + 8192 * threads


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("threads, blocks", [(1, 20000), (8, 5000)])
def test_brk_that_cannot_go_on(program, threads, blocks):
    """The main arena in pieces: what brk gave, then what mmap gave."""
    with Truth(threads, blocks, program=program, env={"TRUTH_BRK": "blocked"}) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        own = t.own()
    check_totals(heaps, own)
    main, = [h for h in arenas(heaps) if h.name == "main arena"]
    assert len(main.ranges) > 1 and "lead to the top chunk" in main.evidence
    assert sum(e - s for s, e in main.ranges) == main.figures["system_bytes"]


def cpus():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return sum(line.startswith("processor") for line in f)


@pytest.mark.parametrize("env", [{}, {"MALLOC_ARENA_MAX": "2"}, {"MALLOC_MMAP_THRESHOLD_": "8192"},
                                 {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"},
                                 {"MALLOC_TOP_PAD_": "3000000"}],
                         ids=lambda e: ",".join(e) or "plain")
def test_settings(env):
    with Truth(4, 4000, env=env) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        check_totals(heaps, t.own())
    if "MALLOC_ARENA_MAX" in env:
        assert len(arenas(heaps)) == 2
    assert (sum(h.cached for h in arenas(heaps)) == 0) == ("GLIBC_TUNABLES" in env)


def test_brk_is_not_malloc_s_alone():
    """What can't be walked to is told by the lists, and the row says so."""
    with Truth(2, 4000, env={"TRUTH_BRK": "foreign"}) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        own = t.own()
    assert sum(h.in_use for h in arenas(heaps)) == own["uordblks"]
    assert total(arenas(heaps), "fastbin_bytes") == own["fsmblks"]
    assert "the rest by its bins" in [h for h in heaps if h.name == "main arena"][0].evidence


def test_a_heap_of_more_than_one_heap_info():
    """An arena that has outgrown its first 64 MiB."""
    with Truth(2, 60000, 10, env={"MALLOC_MMAP_THRESHOLD_": "1000000"}) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        check_totals(heaps, t.own())
    second = [h for h in arenas(heaps) if h.name == "arena 1"][0]
    assert second.figures["system_bytes"] > 64 << 20
    assert sum(e - s for s, e in second.ranges) % (64 << 20) == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_running_target(program):
    """Within 2 %: threads that free and allocate as fast as they can."""
    with Truth(4, 5000, 1000, "running", program=program) as t:
        def look():
            heaps, _ = ladder_truth.look("libc", t.pid, stop=False)
            assert sum(h.inconsistent for h in heaps) < sum(h.checked for h in heaps) / 100
            return sum(h.in_use for h in arenas(heaps))
        ladder_truth.follows(look, lambda: t.own()["uordblks"])


@pytest.mark.parametrize("program", PROGRAMS)
def test_trim_is_foretold(program):
    with Truth(8, 10000, program=program) as t:
        heaps, findings = ladder_truth.look("libc", t.pid)
        foretold = total(arenas(heaps), "trim_bytes")
        trimmed = int(t.ask("trim")[0].split()[1])
        after, _ = ladder_truth.look("libc", t.pid)
    assert foretold > 2 << 20
    assert foretold == pytest.approx(trimmed, rel=0.05)
    assert findings["malloc-trim"][0] == foretold
    # some pages are dirtied again by the report itself
    assert total(arenas(after), "trim_bytes") < foretold / 20


def test_arenas_are_named_by_their_threads():
    with Truth(6, 200) as t:
        heaps, findings = ladder_truth.look("libc", t.pid)
        by_thread = {}
        for h in arenas(heaps):
            assert "thread" in h.detail, h
            by_thread[h.detail.split("thread ")[1].split(" (")[0]] = h.name
        reserved = [(e - s) for h in arenas(heaps) if h.name != "main arena" for s, e in h.ranges]
    assert by_thread["ladder_truth"] == "main arena"
    assert {f"worker-{i}" for i in range(1, 6)} <= set(by_thread)
    assert len(set(by_thread.values())) == 6
    assert sum(reserved) == 5 * 64 << 20
    assert findings["arenas"][0] == 5 * 64 << 20
    assert "MALLOC_ARENA_MAX" in findings["arenas"][2]


def test_regions_lie_in_anonymous_memory():
    with Truth(4, 2000) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        maps = list(ladder_truth.mappings(t.pid))
    claimed = sorted(r for h in heaps for r in h.ranges)
    for (start, end), following in zip(claimed, claimed[1:] + [(1 << 64, 1 << 64)]):
        assert start < end <= following[0]
        inside = [m for m in maps if m[0] <= start and end <= m[1]]
        assert len(inside) == 1 and inside[0][3] in ("", "[heap]"), (start, end)


@pytest.mark.parametrize("program", PROGRAMS)
def test_blocks(program, tmp_path):
    """Each block held is live, with its size; each that was freed is not."""
    with Truth(3, 150, 50, program=program) as t:
        t.ask(f"list {tmp_path}/held")
        t.ask(f"freed {tmp_path}/freed")
        held = [line.split() for line in open(f"{tmp_path}/held", encoding="utf-8")]
        found = ladder_truth.find_blocks("libc", t.pid, f"{tmp_path}/held")
        freed = ladder_truth.find_blocks("libc", t.pid, f"{tmp_path}/freed")
        inner = tmp_path / "inner"
        inner.write_text("".join(f"{int(a, 16) + int(n) - 1:x}\n" for a, n in held[:50]))
        inside = ladder_truth.find_blocks("libc", t.pid, inner)
    assert len(held) > 150 and len(freed) > 100
    for addr, size in held:
        addr, size = int(addr, 16), int(size)
        kind, start, usable, state = found[addr]
        assert (start, usable, state) == (addr, size, "live")
        assert kind == ("glibc-mmapped" if size > 128 << 10 else "glibc-arena")
    for addr, block in freed.items():
        if block is not None: # else unmapped again
            assert block[3] in ("free", "cached") and block[1] <= addr < block[1] + block[2]
    assert {b[3] for b in freed.values() if b} == {"free", "cached"}
    for addr, size in held[:50]:
        assert inside[int(addr, 16) + int(size) - 1][1] == int(addr, 16)


def test_nothing_is_said_of_other_programs():
    with Truth(2, 100, program="ladder_truth-musl") as t:
        assert ladder_truth.look("libc", t.pid) == ([], {})


GLIBCS = os.environ.get("MEMWHO_GLIBCS", "").split()


def check_version(glibc, tmp_path):
    """./dev matrix glibc: the suite's libc, its directory, a program for it."""
    _, lib, program = glibc.split("=")
    loader = [f"{lib}/ld-linux-x86-64.so.2", "--library-path", lib, program]
    with Truth(6, 8000, program=loader) as t:
        heaps, _ = ladder_truth.look("libc", t.pid)
        own = t.own()
        t.ask(f"info {tmp_path}/info")
        trimmed = int(t.ask("trim")[0].split()[1])
    if "uordblks" in own: # mallinfo2() is there since 2.33
        check_totals(heaps, own)
    info = (tmp_path / "info").read_text().split("</heap>")[-1]
    assert f'<system type="current" size="{total(arenas(heaps), "system_bytes")}"/>' in info
    assert all(h.inconsistent == 0 for h in heaps)
    live = sum(h.in_use - h.cached for h in arenas(heaps))
    mmapped = sum(h.in_use for h in heaps if h.kind == "glibc-mmapped")
    held = own["held_bytes"] + 8 * own["held"] - mmapped
    assert abs(live - held) < 16384 * 7
    assert total(arenas(heaps), "trim_bytes") == pytest.approx(trimmed, rel=0.05)
    named = [h.detail for h in arenas(heaps) if "worker-" in h.detail]
    assert len(named) == 5


if GLIBCS: # an empty list would be a skip
    @pytest.mark.parametrize("glibc", GLIBCS, ids=lambda g: g.split("=")[0])
    def test_other_versions(glibc, tmp_path):
        check_version(glibc, tmp_path)
