# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""What was read of a Go heap against what the runtime counts, and damaged cores."""
import collections
import re
import struct
import subprocess

import conftest
import gotools
import pytest
import test_refs

MIB = 1 << 20


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Of the truth program: the core's bytes, the program."""
    p = test_refs.Program(test_refs.build())
    try:
        path = tmp_path_factory.mktemp("core") / "core"
        subprocess.run(["gcore", "-o", path, str(p.pid)], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        yield path.with_name(f"core.{p.pid}").read_bytes(), p
    finally:
        p.stop()


def heap_segment(core, p):
    """Program header (its offset) of the segment with the heap, and its fields."""
    offset, = struct.unpack_from("<Q", core, 32)
    n, = struct.unpack_from("<H", core, 56)
    some = sorted(p.objects)[len(p.objects) // 2]
    for i in range(n):
        at = offset + 56 * i
        kind, _, file, start, _, filesz, memsz, _ = struct.unpack_from("<IIQQQQQQ", core, at)
        if kind == 1 and start <= some < start + memsz:
            return at, file, start, filesz
    raise AssertionError("no segment has the heap")


@pytest.mark.parametrize("minor", [18, 21, 22, 24, None])
def test_agrees(memwho, minor):
    """To the byte, on a heap that stands still."""
    p = test_refs.Program(test_refs.build(name=f"refs-1.{minor}" if minor else "refs", minor=minor))
    try:
        r = memwho("refs", p.pid, "--json")
        assert "do not agree" not in r.err
        result, check = r.json(), r.json()["self_check"]
        assert "warnings" not in result
        assert check["walked_bytes"] == result["live_bytes"] and check["walked_objects"] == result["live_objects"]
        assert check["taken_bytes"] == result["own_live_bytes"]
        assert check["counters_found"] == 1 and check["span_mismatch_bytes"] == 0
        if minor != 18: # counted since 1.19
            assert check["counted_bytes"] == check["taken_bytes"] and check["mismatch_bytes"] == 0
            assert abs(check["marked_bytes"] - check["walked_bytes"]) <= check["marked_bytes"] / 100
            # some hundred bytes that are freed when their span is swept
            assert 0 <= check["marked_bytes"] - check["mark_bits_bytes"] < 4096
            assert check["mark_bits_bytes"] - check["marked_reached_bytes"] < 4096
            assert "self_check_note" not in result
        assert check["goroutines"] > 8
        for key in ("spans_unreadable", "spans_inconsistent", "goroutines_unreadable", "missing_bytes", "wiped_bytes"):
            assert check[key] == 0, (key, check)
    finally:
        p.stop()


@pytest.mark.parametrize("minor", [21, 22, None])
def test_mark_bits_at_any_moment(memwho, minor):
    """Between collections, in one, before spans are swept: the bits are what the runtime counted."""
    source = conftest.SOURCE / "tests" / "programs" / "refs_churn"
    p = subprocess.Popen([gotools.build(source, f"refs-churn-{minor}", minor=minor)], stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(2):
            p.stdout.readline()
        for _ in range(8):
            result = memwho("refs", p.pid, "--json").json()
            check = result["self_check"]
            assert 0 <= check["marked_bytes"] - check["mark_bits_bytes"] <= check["marked_bytes"] / 100, check
            gone = check["mark_bits_bytes"] - check["marked_reached_bytes"]
            texts = [w["text"] for w in result.get("warnings", [])] + [result.get("self_check_note", "")]
            assert not any("mark bits" in t for t in texts)
            assert (gone > check["mark_bits_bytes"] / 100 and gone > 65536) == any("let go since" in t for t in texts)
    finally:
        conftest.end(p)


@pytest.mark.parametrize("minor", [19, 22, None])
def test_large_objects_with_finalizers(memwho, minor):
    """The collector's sum has them twice: that is no fault of the walk."""
    path = gotools.build(test_refs.SOURCE.parent / "refs_finalized", f"refs-finalized-{minor or 'own'}", minor=minor)
    p = subprocess.Popen([path], stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        result = memwho("refs", p.pid, "--json").json()
    finally:
        conftest.end(p)
    check = result["self_check"]
    assert result["live_bytes"] >= 16 << 18
    assert check["marked_bytes"] - check["mark_bits_bytes"] >= 16 << 18, check
    assert "warnings" not in result, result["warnings"]


def test_whole_core(memwho, core, tmp_path):
    data, p = core
    path = tmp_path / "core"
    path.write_bytes(data)
    result = memwho("refs", path, "--json").json()
    assert "warnings" not in result
    assert result["self_check"]["mismatch_bytes"] == 0 and result["self_check"]["wiped_bytes"] == 0
    assert result["live_bytes"] == pytest.approx(p.live[0], rel=0.01)


def said_mib(text, words):
    return float(re.search(rf"([\d.]+) MiB {words}", text).group(1)) * MIB


def test_missing_piece(memwho, core, tmp_path):
    """Most of the heap's segment is not in the core."""
    data, p = core
    data = bytearray(data)
    at, _, start, filesz = heap_segment(data, p)
    keep = (min(p.objects) + MIB) // 8192 * 8192 - start
    struct.pack_into("<Q", data, at + 32, keep)
    path = tmp_path / "core"
    path.write_bytes(data)
    r = memwho("refs", path, "--json")
    check, (warning, *_) = r.json()["self_check"], [w["text"] for w in r.json()["warnings"]]
    assert check["missing_bytes"] > MIB
    assert abs(said_mib(warning, r"of [\d.]+ MiB of the heap cannot be read") - check["missing_bytes"]) < MIB / 10
    assert warning in r.err and "count as garbage" in warning
    # spans are whole pages, but for objects that lie across the edge
    assert check["missing_bytes"] <= filesz - keep + 2 * MIB


def test_hole(memwho, core, tmp_path):
    """Two MiB of zeros in the heap."""
    data, p = core
    data = bytearray(data)
    _, file, start, filesz = heap_segment(data, p)
    # where most of what it prints lies; 2 MiB of the heap, or what is left of it
    places = collections.Counter(a // MIB for a, t in p.objects.items() if t == "main.host")
    at = places.most_common(1)[0][0] * MIB - start
    hole = min(2 * MIB, filesz - at)
    data[file + at:file + at + hole] = bytes(hole)
    path = tmp_path / "core"
    path.write_bytes(data)
    r = memwho("refs", path, "--json")
    texts = " ".join(w["text"] for w in r.json()["warnings"])
    wiped = r.json()["self_check"]["wiped_bytes"]
    assert abs(said_mib(texts, r"of [\d.]+ MiB of the heap are zeros") - wiped) < MIB / 10
    # the rest are objects without pointers: any bytes will do there
    assert MIB / 4 <= wiped <= hole, (wiped, hole)
    # what hung there is not found
    lost = p.live[0] - r.json()["live_bytes"]
    assert lost > MIB and abs(said_mib(texts, "were let go since") - lost) < MIB / 5
    assert "a hole in the core?" in r.err
