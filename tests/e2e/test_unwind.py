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


def without_frames(path, tmp_path):
    """A copy of a static program that has no frame information left."""
    bare = tmp_path / "bare"
    subprocess.run(["objcopy", "--remove-section", ".eh_frame", "--remove-section",
                    ".eh_frame_hdr", path, bare], check=True, capture_output=True)
    return bare


def test_rows_from_code_are_those_of_the_compiler(tmp_path):
    """Functions followed instruction by instruction, against their .eh_frame."""
    path = conftest.PROGRAMS / "hold-static"
    truth, followed = Table(path), Table(without_frames(path, tmp_path))
    names = {}
    for line in subprocess.run(["nm", "-S", path], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        words = line.split()
        if len(words) == 4:
            names[int(words[0], 16)] = (int(words[1], 16), words[3])
    starts = sorted(names)

    def function(pc):
        i = bisect.bisect_right(starts, pc) - 1
        return names[starts[i]][1] if i >= 0 else "?"

    same, wrong = 0, []
    for pc in sorted(set(truth.pcs) | set(followed.pcs)):
        want, got = truth.at(pc), followed.at(pc)
        if "none" in (got[0], want[0]) or "end" in (got[0], want[0]):
            continue
        # compilers leave rbp "saved" when it was popped: its copy is still there
        popped = got[2] == 0 and got[1] < 8 * want[2] and got[:2] == want[:2]
        # the same frame by another register
        by_rbp = want[0] == "rbp" and got[0] == "rsp" and got[2] == want[2]
        if got == want or popped or by_rbp:
            same += 1
        # glibc's multiplication routines push without saying so (2.36 and later)
        elif not function(pc).startswith("__mpn_"):
            wrong.append((hex(pc), function(pc), got, want))
    assert same > 8000
    assert not wrong, f"{len(wrong)} of {same}: {wrong[:10]}"


def our_stack(tid, pid):
    lines = subprocess.run([conftest.PROGRAMS / "unwind_stack", str(tid), str(pid)], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.split("\n")[:-1]
    return [int(pc, 16) for pc in lines[:-1]], lines[-1]


GDB_STACK = """
import gdb
gdb.execute("set backtrace past-main on")
gdb.execute("set backtrace past-entry on")
for t in gdb.selected_inferior().threads():
    t.switch()
    f, pcs = gdb.newest_frame(), []
    while f:
        if f.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            pcs.append("%x" % f.pc())
        f = f.older()
    print("stack", t.ptid[1], *pcs)
"""


def gdb_stacks(pid, tmp_path):
    script = tmp_path / "stack.py"
    script.write_text(GDB_STACK)
    out = subprocess.run(["gdb", "-nx", "-q", "-batch", "-p", str(pid), "-x", script],
                         capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         env={"PATH": "/usr/bin:/bin", "DEBUGINFOD_URLS": ""}, check=False).stdout
    return {int(line.split()[1]): [int(pc, 16) for pc in line.split()[2:]]
            for line in out.splitlines() if line.startswith("stack ")}


def blocked(target, *argv):
    """A target that waits in read() in its last thread."""
    t = target(*argv)
    assert t.line() == "ready"
    for _ in range(200):
        tid = max(int(d.name) for d in conftest.pathlib.Path(f"/proc/{t.pid}/task").iterdir())
        with open(f"/proc/{t.pid}/task/{tid}/syscall", encoding="ascii") as f:
            if f.read().startswith("0 "):
                return t, tid
        conftest.time.sleep(0.01)
    pytest.fail(f"{argv} does not wait in read()")


@pytest.mark.parametrize("chain", ["qsort", "thread", "signal"])
def test_live_stacks_are_gdbs(target, tmp_path, chain):
    t, tid = blocked(target, "chain", chain)
    pcs, stop = our_stack(tid, t.pid)
    assert stop == "end"
    theirs = gdb_stacks(t.pid, tmp_path)[tid]
    assert len(pcs) >= 5
    assert pcs == theirs


def function_names(path, pcs):
    """Names by the symbol whose size covers the caller's address; of those without
    a size, the nearest."""
    out = subprocess.run(["nm", "-n", path], capture_output=True, text=True, check=True).stdout
    symbols = [(int(w[0], 16), w[2]) for w in map(str.split, out.splitlines())
               if len(w) == 3 and w[1] in "tTwW"]
    starts = [s[0] for s in symbols]
    return [symbols[bisect.bisect_right(starts, pc - (i > 0)) - 1][1] for i, pc in enumerate(pcs)]


@pytest.mark.parametrize("chain, want", [
    ("strdup", ["wait_here", "malloc", "strdup", "in_strdup", "main"]),
    ("qsort", ["wait_here", "compare", "in_qsort", "main"]),
    ("thread", ["wait_here", "thread", "__clone"]),
    ("signal", ["wait_here", "handler", "raise", "in_signal", "main"])])
def test_stacks_through_musl_are_whole(target, chain, want):
    """musl's libc has no frame information at all."""
    t, tid = blocked(target, "chain-musl", chain)
    pcs, stop = our_stack(tid, t.pid)
    names = function_names(conftest.PROGRAMS / "chain-musl", pcs)
    assert stop == "end", names
    rest = iter(names)
    assert all(name in rest for name in want), names
    assert names[-1] == ("__clone" if chain == "thread" else "_start")


ENTERED_ELSEWHERE = """
	.text
	.globl _start, honest, middle, part.cold
	.type _start,@function
	.type honest,@function
	.type middle,@function
	.type part.cold,@function
_start:	hlt
	.size _start,.-_start
	.balign 64
honest:	push %rbx
	call honest
	pop %rbx
	ret
	.size honest,.-honest
	.balign 64
middle:	push %rbx
.Lin:	call honest
	pop %rbx
	ret
	.size middle,.-middle
	.balign 64
part.cold:
	call honest
	ret
	.size part.cold,.-part.cold
	.balign 64
	.type other,@function
other:	push %rbp
	je .Lin
	pop %rbp
	ret
	.size other,.-other
"""


def test_functions_that_are_entered_elsewhere_have_no_rows(tmp_path):
    source, program = tmp_path / "a.S", tmp_path / "a"
    source.write_text(ENTERED_ELSEWHERE)
    subprocess.run(["gcc", "-static", "-nostdlib", "-o", program, source], check=True)
    table = Table(program)
    nm = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    at = {w[2]: int(w[0], 16) for w in map(str.split, nm.splitlines())}
    assert table.at(at["honest"]) == ("rsp", 8, 0)
    assert table.at(at["honest"] + 1) == ("rsp", 16, 0)
    for name in "middle", "part.cold", "other":
        assert table.at(at[name] + 1)[0] == "none", name
