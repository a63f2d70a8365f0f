# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho refs on a program that keeps a known amount of memory behind each kind of
root that a Go program has: each is told by its name and kind, with its bytes and
objects, by every Go and without symbols."""
import collections
import os
import re
import subprocess
import time

import conftest
import gotools
import pytest
import test_refs

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_truth"
MINORS = test_refs.MINORS
NEWEST = 26  # of the machine's own Go, at least

Row = collections.namedtuple("Row", "number what kind root bytes objects part since mode")
# part: of a root that several rows share, a frame on the way that matches; mode: how the program runs
Row.__new__.__defaults__ = None, 0, ""

# kind number, what it is, its kind in roots[], how the root's name begins, what it keeps; since which Go
# there is such a thing
TABLE = [
    Row(1, "pointer", "global", "main.gPointer", 73744, 512),
    Row(2, "slice", "global", "main.gSlice", 98480, 522),
    Row(3, "map's value", "global", "main.gMap", 123216, 532),
    Row(4, "map's key", "global", "main.gMapKey", 147952, 542),
    Row(5, "empty interface", "global", "main.gAny", 172688, 552),
    Row(6, "interface with methods", "global", "main.gShower", 197424, 562),
    Row(7, "function: captured variable", "global", "main.gFunc", 222160, 572),
    Row(8, "function: method value", "global", "main.gMethod", 246896, 582),
    Row(9, "buffered channel", "global", "main.gChan", 271632, 592),
    Row(10, "array", "global", "main.gArray", 296368, 602),
    Row(11, "struct", "global", "main.gStruct", 321104, 612),
    Row(12, "string", "global", "main.gString", 335872, 1),
    Row(13, "embedded struct", "global", "main.gEmbedded", 370576, 632),
    Row(14, "sync.Map", "global", "main.gSyncMap", 395312, 642),
    Row(15, "atomic.Value", "global", "main.gAtomic", 420048, 652),
    Row(16, "pointer into the middle", "global", "main.gInner", 434176, 1),
    Row(17, "unsafe.Pointer", "global", "main.gUnsafe", 469520, 672),
    Row(18, "pointer to a pointer", "global", "main.gTwice", 494256, 682),
    Row(19, "container/list", "global", "main.gList", 518992, 692),
    Row(20, "container/ring", "global", "main.gRing", 543728, 702),
    Row(21, "struct that the linker made", "global", "main.gStatic", 568464, 712),
    Row(22, "context's value", "global", "main.gContext", 593200, 722),
    Row(23, "bytes.Buffer", "global", "main.gBuffer", 606208, 1),
    Row(24, "strings.Builder", "global", "main.gBuilder", 630784, 1),
    Row(25, "reflect.Value", "global", "main.gReflect", 667408, 752),
    Row(26, "slice behind its length", "global", "main.gBeyond", 692144, 762),
    Row(27, "map's value, a struct", "global", "main.gValues", 716880, 772),
    Row(28, "environment", "global", "syscall.envs", 729088, 1),
    Row(29, "log's writer", "global", "log.std", 766352, 792),
    Row(30, "sync.Pool", "sync.Pool", "sync.Pool of main.gPool", 791088, 802),
    Row(31, "blocked receiver's variable", "stack", "goroutines of main.waitReceive ", 815824, 812),
    Row(32, "blocked sender's value", "stack", "goroutines of main.waitSend ", 840560, 822),
    Row(33, "select's value to send", "stack", "goroutines of main.waitSelect ", 865296, 832),
    Row(34, "sleeper's variable", "stack", "goroutines of main.waitSleep ", 890032, 842),
    Row(35, "waits for a Mutex", "stack", "goroutines of main.waitMutex ", 914768, 852),
    Row(36, "waits for an RWMutex", "stack", "goroutines of main.waitRead ", 939504, 862),
    Row(37, "waits for a Cond", "stack", "goroutines of main.waitCond ", 964240, 872),
    Row(38, "waits for a WaitGroup", "stack", "goroutines of main.waitGroup ", 988976, 882),
    Row(39, "waits for the poller", "stack", "goroutines of main.waitIO ", 1013712, 892),
    Row(40, "is in a system call", "stack", "goroutines of main.waitSyscall ", 1038448, 902),
    Row(41, "waits for a nil channel", "stack", "goroutines of main.waitNil ", 1063184, 912),
    Row(42, "locked to its thread", "stack", "goroutines of main.waitLocked ", 1087920, 922),
    Row(43, "argument", "stack", "goroutines of main.withArgument ", 1112656, 932),
    Row(44, "argument: slice", "stack", "goroutines of main.withSlice ", 1137392, 942),
    Row(45, "argument: interface", "stack", "goroutines of main.withInterface ", 1162128, 952),
    Row(46, "array on the stack", "stack", "goroutines of main.withArray ", 1186864, 962),
    Row(47, "map of a variable", "stack", "goroutines of main.withMap ", 1211600, 972),
    Row(48, "closure of a variable", "stack", "goroutines of main.withClosure ", 1236336, 982),
    Row(49, "variable whose address is taken", "stack", "goroutines of main.withAddress ", 1261072, 992),
    Row(50, "captured by the goroutine's function", "stack", "goroutines of main.outsideOf.func1 ", 1285808, 1002),
    Row(51, "deferred closure", "defer", "deferred calls", 1310544, 1012, part="main.deferClosure defer"),
    Row(52, "deferred call's argument", "stack", "goroutines of main.deferArgument ", 1335280, 1022),
    Row(53, "panic's value", "panic", "panics", 1360016, 1032),
    Row(54, "recovered value", "stack", "goroutines of main.recovered ", 1384752, 1042),
    Row(55, "profiler's labels", "runtime", "runtime.allgs, ", 1392640, 1, part=r"^\.labels"),
    Row(56, "running goroutine's register", "stack", "goroutines of main.main", 1434224, 1062, mode="busy"),
    Row(57, "argument of one that has not begun", "stack", "goroutines of main.", 1458960, 1072, mode="busy"),
    Row(58, "time.AfterFunc", "timer", "timers", 1483696, 1082, part="time.AfterFunc main.timerAfter"),
    Row(59, "context with a deadline", "timer", "timers", 1508432, 1092, part="time.AfterFunc context."),
    Row(60, "finalizer's closure", "finalizer", "finalizers", 1533168, 1102),
    Row(61, "finalizer that runs", "queued finalizer", "queued finalizers", 1557904, 1112, part=r"finalized main\.running"),
    Row(62, "finalizer that waits", "queued finalizer", "queued finalizers", 1582640, 1122, part=r"finalized( main\.waiting)?$"),
    Row(63, "generic struct", "global", "main.gGeneric", 1607376, 1132, since=18),
    Row(64, "map of generic structs", "global", "main.gGenericMap", 1632112, 1142, since=18),
    Row(65, "runtime.Pinner", "global", "main.gPinner", 1656848, 1152, since=21),
    Row(66, "sync.OnceValue", "global", "main.gOnceValue", 1681584, 1162, since=21),
    Row(67, "atomic.Pointer", "global", "main.gAtomicType", 1706320, 1172, since=21),
    Row(68, "cleanup's argument", "cleanup", "cleanups", 1731056, 1182, since=24),
    Row(69, "weak pointer: keeps nothing", "weak handle", "weak handles", 0, 0, since=24),
    Row(70, "coroutine", "stack", "goroutines of runtime.corostart ", 1780528, 1202, since=24),
    # the runtime's own map of them has the text, too, until 1.25
    Row(71, "unique.Handle", "global", "main.gUnique", 1785856, 1, since=25),
    Row(72, "cgo.Handle", "cgo handle", "runtime/cgo.handles", 1829952, 1222, mode="cgo"),
    Row(73, "map's big value", "global", "main.gMapBig", 1854736, 1232),
    Row(74, "map's value at a big key", "global", "main.gMapWide", 1879472, 1242),
    Row(75, "map that grew and shrank", "global", "main.gMapSparse", 1904208, 1252),
    Row(76, "channel of structs", "global", "main.gChanPairs", 1928944, 1262),
    Row(77, "pointer to a field", "global", "main.gField", 1953680, 1272),
    Row(78, "circle", "global", "main.gCircle", 1978416, 1282),
    Row(79, "slice of structs", "global", "main.gPairs", 2003152, 1292),
    Row(80, "map of maps", "global", "main.gNested", 2027888, 1302),
    Row(81, "function: several captured", "global", "main.gFuncMore", 2052624, 1312),
    Row(82, "wrapped error", "global", "main.gError", 2077360, 1322),
    Row(83, "select's receiver", "stack", "goroutines of main.waitSelectReceive ", 2102096, 1332),
    Row(84, "two variables together", "shared", "shared by main.gShareA, main.gShareB", 2126832, 1342),
]


def test_the_table():
    """Kinds are kinds: no two of one name and way, and no two that keep the same."""
    assert len(TABLE) >= 40
    assert len({(r.root, r.part) for r in TABLE}) == len({r.bytes for r in TABLE}) == len(TABLE)
    for minor, least in (17, 70), (18, 72), (21, 75), (24, 78):
        assert len(rows_of(minor, "")) >= least


def rows_of(minor, mode):
    """What a program by that Go has, run in that way. With cgo it has everything."""
    has = [r for r in TABLE if r.since <= minor]
    return [r for r in has if r.mode == "busy"] if mode == "busy" else [r for r in has if r.mode in ("", mode)]


class Program:
    def __init__(self, path, mode=""):
        self.process = subprocess.Popen([path, *([mode] if mode == "busy" else [])], stdout=subprocess.PIPE, text=True,
                                        env=dict(os.environ, GODEBUG="asyncpreemptoff=1" if mode == "busy" else ""))
        self.pid = self.process.pid
        self.objects, self.live = {}, None
        for words in map(str.split, self.process.stdout):
            if words[0] == "ready":
                break
            if words[0] == "live":
                self.live = int(words[1])
            else:
                self.objects[int(words[1], 16)] = words[2]
        if mode == "busy":
            time.sleep(0.3) # it has something to do yet, and will not say when it is done

    def __enter__(self):
        return self

    def __exit__(self, *_):
        conftest.end(self.process)


def near(row, size, objects):
    """1 % and 8 KiB; of objects 1 % and what the runtime has of its own beside the program's."""
    return test_refs.near(size, row.bytes) and abs(objects - row.objects) <= row.objects / 100 + 8


def of_root(result, row):
    """Its roots by name and kind, and what they keep: of the part that is the row's."""
    if row.kind == "shared":
        roots = [r for r in result["shared"] if r["name"] == row.root]
        return roots, sum(r["retained_bytes"] for r in roots), sum(r["retained_objects"] for r in roots)
    roots = [r for r in result["roots"] if r["kind"] == row.kind and
             (r["name"].split(" ")[0] == row.root or (row.kind != "global" and r["name"].startswith(row.root)))]
    if not row.part:
        return roots, sum(r["retained_bytes"] for r in roots), sum(r["retained_objects"] for r in roots)
    names = {r["name"] for r in roots}
    found = [s for s in result["stacks"] if s["frames"][-1] in names and any(re.search(row.part, f) for f in s["frames"])]
    return roots, sum(s["bytes"] for s in found), sum(s["count"] for s in found)


def check(result, rows):
    wrong = []
    for row in rows:
        roots, size, objects = of_root(result, row)
        # of the one that has not begun the compiler makes up the name
        if row.number == 57:
            fits = [r for r in roots if near(row, r["retained_bytes"], r["retained_objects"])]
            size, objects = (fits[0]["retained_bytes"], fits[0]["retained_objects"]) if len(fits) == 1 else (0, 0)
        if not roots or not near(row, size, objects):
            alike = [r for r in result["roots"] + result["shared"]
                     if row.bytes and near(row, r["retained_bytes"], r["retained_objects"])]
            wrong.append((row, size, objects, alike))
    assert not wrong, "\n".join(map(str, wrong))


def closest(result, row):
    """Of the roots that keep as much the one that is nearest; neighbours in the table lie close."""
    if row.kind == "shared":
        return next((r for r in result["shared"] if near(row, r["retained_bytes"], r["retained_objects"])), None)
    kinds = {row.kind, "runtime", "global"} if row.kind in ("global", "cgo handle") else {row.kind}
    named = row.kind not in ("global", "cgo handle", "sync.Pool") and row.number != 57
    found = [r for r in result["roots"] if r["kind"] in kinds and (not named or r["name"].startswith(row.root)) and
             near(row, r["retained_bytes"], r["retained_objects"])]
    return min(found, key=lambda r: abs(r["retained_bytes"] - row.bytes), default=None)


def check_stripped(result, rows):
    """Goroutines and the runtime's lists keep their names, variables are known by what they keep."""
    groups, taken, wrong = collections.defaultdict(list), set(), []
    for row in rows:
        if row.part:
            groups[row.root].append(row)
            continue
        found = closest(result, row)
        if not found or found["name"] in taken:
            wrong.append((row, found))
        else:
            taken.add(found["name"])
    for root, members in groups.items():
        true = sum(r.bytes for r in members)
        kept = sum(r["retained_bytes"] for r in result["roots"] if r["name"].startswith(root))
        # the records of all goroutines, threads and processors are 128 KiB at most
        if not true - 8192 <= kept <= true * 1.01 + 8192 + (131072 if root.startswith("runtime.") else 0):
            alike = [r for r in result["roots"] + result["shared"] if test_refs.near(r["retained_bytes"], true)]
            wrong.append((root, true, kept, alike))
    assert not wrong, "\n".join(map(str, wrong))


def build(minor, cgo=0):
    name = f"truth-{minor or 'own'}-{cgo}"
    path = gotools.build(SOURCE, name, minor=minor, files=files_of(minor or NEWEST, cgo), CGO_ENABLED=str(cgo))
    stripped = gotools.build(SOURCE, name + "-stripped", ("-ldflags=-s -w",), minor=minor,
                             files=files_of(minor or NEWEST, cgo), CGO_ENABLED=str(cgo))
    return path, stripped


def files_of(minor, cgo):
    """Those that Go can build: go build takes files by name without a look at their tags."""
    names = ["main", "variables", "shapes", "goroutines", "others", "cgo" if cgo else "cgo_not",
             "generic" if minor >= 18 else "generic_not",
             "newer_24" if minor >= 24 else "newer" if minor >= 21 else "newer_not"]
    return [SOURCE / f"{n}.go" for n in names + (["newer_21"] if minor >= 21 else [])]


def check_types(result, p, least):
    """Some objects behind each root: what is typed is typed right."""
    found = {int(o["address"], 16): (o["type"] or "").rstrip("?") for o in result["objects"]}
    assert len(p.objects) > 1400 and set(p.objects) <= set(found)
    typed = [(found[a], t) for a, t in p.objects.items() if found[a]]
    wrong = [pair for pair in typed if pair[0] != pair[1]]
    assert len(typed) >= least * len(p.objects), (len(typed), len(p.objects))
    assert len(wrong) <= 0.005 * len(typed), wrong[:10]


@pytest.mark.parametrize("minor", [None, *MINORS])
def test_each_kind(memwho, minor):
    path, stripped = build(minor)
    for program, compare in (path, check), (stripped, check_stripped):
        with Program(program) as p:
            result = memwho("refs", p.pid, "--json", "--objects").json()
            assert test_refs.near(result["live_bytes"], p.live), (result["live_bytes"], p.live)
            check_types(result, p, 0.97 if program == path else 0)
            compare(result, rows_of(minor or NEWEST, ""))
        with Program(program, "busy") as p:
            compare(memwho("refs", p.pid, "--json").json(), rows_of(minor or NEWEST, "busy"))


def test_with_cgo(memwho):
    path, stripped = build(None, 1)
    for program, compare in (path, check), (stripped, check_stripped):
        with Program(program) as p:
            compare(memwho("refs", p.pid, "--json").json(), rows_of(NEWEST, "cgo"))
