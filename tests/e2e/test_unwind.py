# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Our unwind tables against binutils' reading of the same bytes, row by row."""
import bisect
import re
import subprocess

import pytest

import conftest

DUMP = conftest.PROGRAMS / "unwind_dump"
REAL = ["/bin/bash", "/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "/usr/lib/postgresql/15/bin/postgres"]


class Table:
    """Rows as unwind_dump prints them."""

    def __init__(self, path):
        out = subprocess.run([DUMP, path], capture_output=True, text=True, check=True).stdout
        self.pcs, self.rules = [], []
        for line in out.splitlines():
            pc, kind, offset, slot = line.split()
            self.pcs.append(int(pc, 16))
            self.rules.append((kind, int(offset), int(slot)))
        assert self.pcs == sorted(set(self.pcs))

    def at(self, pc):
        i = bisect.bisect_right(self.pcs, pc)
        return self.rules[i - 1] if i else ("none", 0, 0)


def expected(rule):
    """What a row must say, from readelf's columns; None: more than one answer."""
    cfa, rbp, ra = rule["CFA"], rule.get("rbp", "u"), rule.get("ra", "u")
    if ra == "u":
        return ("end", 0, 0)
    if cfa == "exp":
        return None
    m = re.match(r"(rsp|rbp)\+(\d+)$", cfa)
    if not m or ra != "c-8":
        return ("none", 0, 0)
    slot = 0
    if rbp not in ("u", "s"):
        saved = re.match(r"c-(\d+)$", rbp)
        if not saved or int(saved[1]) % 8 or int(saved[1]) > 255 * 8:
            return ("none", 0, 0)
        slot = int(saved[1]) // 8
    offset = int(m[2])
    if m[1] == "rsp" and offset > 32767:
        return ("far", offset // 8, slot)
    return (m[1], offset, slot)


def readelf_rows(path):
    """(start, end, rule) of every row, (end of FDE) included."""
    # its exit code is 1 when it warns, as it does of glibc's own instructions
    out = subprocess.run(["readelf", "-W", "--debug-dump=frames-interp", path],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    cies, columns, fde, rows, initial = {}, [], None, [], {}
    result = []

    def finish():
        nonlocal fde, rows
        if fde:
            # an FDE without instructions shows no rows: its CIE's rule holds
            marks = rows or [(fde[0], cies[fde[2]])]
            for (pc, rule), nxt in zip(marks, marks[1:] + [(fde[1], None)]):
                if pc < nxt[0]:
                    result.append((pc, nxt[0], rule))
        elif initial:
            cies[initial["at"]] = rows[0][1] if rows else {}
        fde, rows = None, []

    for line in out.splitlines():
        m = re.match(r"([0-9a-f]{8}) [0-9a-f]+ [0-9a-f]+ (CIE|FDE)(?: cie=([0-9a-f]+) "
                     r"pc=([0-9a-f]+)\.\.([0-9a-f]+))?", line)
        if m:
            finish()
            initial = {"at": m[1]} if m[2] == "CIE" else {}
            fde = (int(m[4], 16), int(m[5], 16), m[3]) if m[2] == "FDE" else None
            continue
        # "r8 (r8)": the register that another one was moved to
        words = re.sub(r" \(\w+\)", "", line).split()
        if words[:1] == ["LOC"]:
            columns = words[1:]
        elif words and re.match(r"[0-9a-f]{16}$", words[0]):
            rows.append((int(words[0], 16), dict(zip(columns, words[1:]))))
    finish()
    return result


@pytest.mark.parametrize("path", REAL + [str(conftest.PROGRAMS / "hold-static")])
def test_rows_are_what_readelf_reads(path):
    table, checked, wrong, by_expression = Table(path), 0, [], set()
    ranges = readelf_rows(path)
    for start, end, rule in ranges:
        want = expected(rule)
        for pc in {start, end - 1}:
            got = table.at(pc)
            if want is None:
                by_expression.add(got[0])
                continue
            checked += 1
            # the entry function is where every walk ends, whatever its rules
            if got != want and got[0] != "end":
                wrong.append((hex(pc), got, want))
    assert checked > 1000
    assert not wrong, f"{len(wrong)} of {checked}: {wrong[:10]}"
    assert by_expression <= {"plt", "signal", "deref", "none"}
    assert sum(rule[0] == "end" for rule in table.rules) <= 5


@pytest.mark.parametrize("path", REAL)
def test_between_functions_there_is_no_rule(path):
    table = Table(path)
    ranges = sorted((s, e) for s, e, _ in readelf_rows(path))
    gaps = [(a[1], b[0]) for a, b in zip(ranges, ranges[1:]) if a[1] < b[0]]
    assert gaps
    for start, end in gaps:
        assert table.at(start)[0] == table.at(end - 1)[0] == "none"
