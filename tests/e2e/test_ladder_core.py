# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The ladder's frame, whatever the allocator: every byte has one row, pages are
counted as the kernel has them, stacks are the threads', looking changes nothing,
and targets that are hostile, foreign or gone end in one clear sentence."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import pytest

import conftest
from conftest import PROGRAMS, Target

PAGE = os.sysconf("SC_PAGESIZE")
KIB, MIB = 1024, 1 << 20
NOBODY = 65534
KINDS = ["thread-stack", "main-stack", "glibc-arena", "glibc-mmapped", "jemalloc", "tcmalloc",
         "mimalloc", "musl", "go", "postgres", "python", "lua", "jvm", "v8", "file", "shared",
         "vdso", "guard", "other-heap", "memwho", "unnamed"]


class Spread:
    """tests/programs/spread: .facts are the lines before "ready"."""

    def __init__(self, target, *words, program="spread", **kw):
        self.target = target(program, *words, **kw)
        self.pid, self.facts = self.target.pid, []
        while (line := self.target.line(60)) != "ready":
            name, *numbers = line.split()
            self.facts.append((name, *map(int, numbers)))

    def fact(self, name):
        return next((f[1] for f in self.facts if f[0] == name), 0)


@pytest.fixture
def spread(target):
    return lambda *words, **kw: Spread(target, *words, **kw)


@pytest.fixture
def stopped():
    """Stop a process for the time of the test, so that nothing in it changes."""
    pids = []

    def stop(pid):
        os.kill(pid, signal.SIGSTOP)
        pids.append(pid)
        end = time.monotonic() + 10
        while not all(state_of(pid, t) == "T" for t in os.listdir(f"/proc/{pid}/task")):
            assert time.monotonic() < end
            time.sleep(0.005)

    yield stop
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def state_of(pid, tid):
    return pathlib.Path(f"/proc/{pid}/task/{tid}/stat").read_text().rpartition(")")[2].split()[0]


def status(pid):
    """Figures of /proc/PID/status in bytes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_bytes().decode(errors="replace")
    return {k: int(v) * KIB for k, v in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}


def mappings(pid):
    """[(start, end, permissions, inode, name)] without [vsyscall]."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_bytes().split(b"\n"):
        f = line.split(None, 5)
        if f and f[-1] != b"[vsyscall]":
            start, end = (int(x, 16) for x in f[0].split(b"-"))
            found.append((start, end, f[1].decode(), int(f[4]), f[5] if len(f) > 5 else b""))
    return found


def smaps_resident(pid):
    """What the kernel counts mapping by mapping, and hugetlb pages, which it counts apart."""
    text = pathlib.Path(f"/proc/{pid}/smaps").read_bytes().decode(errors="replace")
    return sum(int(v) * KIB for v in re.findall(
        r"^(?:Rss|Shared_Hugetlb|Private_Hugetlb):\s+(\d+) kB$", text, re.M))


def present_bytes(pid):
    """Present pages by /proc/PID/pagemap itself, without the kernel's own and devices'."""
    count = 0
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as f:
        for start, end, prot, inode, name in mappings(pid):
            if name.startswith(b"[vvar"):
                continue
            f.seek(start // PAGE * 8)
            data = f.read((end - start) // PAGE * 8)
            count += sum(e >> 63 for e in struct.unpack(f"{len(data) // 8}Q", data))
    return count * PAGE


def parts(ladder, kind, name=None):
    return [p for p in ladder["parts"] if p["kind"] == kind and name in (None, p["name"])]


def figures(part):
    return part.get("figures") or {}


def figure(part, key):
    """A figure of a part, as text or as a key of its own."""
    if isinstance(figures(part), str):
        found = re.search(rf"(?:^| ){key}=(-?\d+)", part["figures"])
        return int(found[1]) if found else part.get(key)
    return figures(part).get(key, part.get(key))


def check_sums(ladder):
    assert sum(p["virtual_bytes"] for p in ladder["parts"]) == ladder["virtual_bytes"]
    assert sum(p["resident_bytes"] for p in ladder["parts"]) == ladder["resident_bytes"]
    assert sum(p["swap_bytes"] for p in ladder["parts"]) == ladder["swap_bytes"]
    assert sum(p["virtual_bytes"] for p in parts(ladder, "unnamed")) == ladder["unnamed_bytes"]
    assert {p["kind"] for p in ladder["parts"]} <= set(KINDS)
    assert all(p["evidence"] for p in ladder["parts"] if p["kind"] != "unnamed")
    assert all(0 <= p["resident_bytes"] and 0 <= p["reserved_bytes"] <= p["virtual_bytes"]
               for p in ladder["parts"])
    assert ladder["overlap_bytes"] == 0


def check_against_kernel(ladder, pid):
    """Of a stopped process everything is equal, to the byte."""
    check_sums(ladder)
    assert ladder["virtual_bytes"] == status(pid)["VmSize"] == ladder["vm_size_bytes"]
    assert ladder["virtual_bytes"] == sum(m[1] - m[0] for m in mappings(pid))
    assert ladder["resident_bytes"] == smaps_resident(pid)


PROGRAMS_OF_ALL_KINDS = ["spread", "spread-static", "spread-musl"]


@pytest.mark.parametrize("program", PROGRAMS_OF_ALL_KINDS)
@pytest.mark.parametrize("without", ["", "pagemap_scan"])
def test_every_byte_has_a_row(memwho, spread, stopped, tmp_path, program, without):
    if not (PROGRAMS / program).exists():
        pytest.skip(f"{program} was not built")
    s = spread("threads", 4, "kinds", tmp_path, "names", tmp_path, "busy", 1, program=program)
    stopped(s.pid)
    ladder = memwho(s.pid, "--json", "--pss", env={"MEMWHO_WITHOUT": without}).json()
    check_against_kernel(ladder, s.pid)
    assert ladder["resident_bytes"] + ladder["zero_page_bytes"] == present_bytes(s.pid)
    # the huge zero page, where there are huge pages
    assert ladder["zero_page_bytes"] - s.fact("zero") in (0, 2 * MIB)
    assert abs(ladder["vm_rss_bytes"] - ladder["resident_bytes"]) < 2 * MIB
    assert ladder["locked_bytes"] == s.fact("locked")
    # the kernel rounds each mapping's share down to whole KiB, we take these
    assert ladder["pss_bytes"] <= ladder["resident_bytes"]
    assert sum(p["pss_bytes"] for p in ladder["parts"]) == ladder["pss_bytes"] > 0
    assert sum(p["locked_bytes"] for p in ladder["parts"]) == s.fact("locked")


@pytest.mark.parametrize("argv", [["/bin/sleep", "60"], ["/usr/bin/python3", "-c", "input()"],
                                  ["/bin/cat"]], ids=lambda a: os.path.basename(a[0]))
def test_programs_of_the_system(memwho, stopped, argv):
    t = Target(argv)
    try:
        end = time.monotonic() + 10
        while state_of(t.pid, t.pid) != "S" or b"libc" not in pathlib.Path(
                f"/proc/{t.pid}/maps").read_bytes():
            assert time.monotonic() < end
            time.sleep(0.01)
        stopped(t.pid)
        ladder = memwho("ladder", t.pid, "--json").json()
        check_against_kernel(ladder, t.pid)
    finally:
        t.stop()


def test_each_kind_is_named(memwho, spread, stopped, tmp_path):
    s = spread("kinds", tmp_path)
    stopped(s.pid)
    ladder = memwho(s.pid, "--json").json()

    def one(kind, name):
        found = parts(ladder, kind, name)
        assert len(found) == 1, (kind, name, found)
        return found[0]

    p = one("shared", "memfd:spread")
    assert (p["virtual_bytes"], p["resident_bytes"]) == (4 * MIB, 10 * PAGE)
    p = one("shared", "spread-test")
    assert (p["virtual_bytes"], p["resident_bytes"]) == (2 * MIB, 11 * PAGE)
    assert "deleted" in p["detail"]
    p = one("shared", "SYSV00000000")
    assert (p["virtual_bytes"], p["resident_bytes"]) == (3 * MIB, 12 * PAGE)
    p = one("shared", "shared anonymous")
    assert (p["virtual_bytes"], p["resident_bytes"]) == (5 * MIB, 13 * PAGE)
    doomed = [p for p in ladder["parts"] if p["name"] == "doomed"]
    assert len(doomed) == 1 and "deleted" in doomed[0]["detail"]
    assert (doomed[0]["virtual_bytes"], doomed[0]["resident_bytes"]) == (MIB, 14 * PAGE)
    if s.fact("hugetlb"):
        p = one("shared", "hugetlb pages")
        assert p["virtual_bytes"] == p["resident_bytes"] == s.fact("hugetlb")
        assert ladder["hugetlb_bytes"] == s.fact("hugetlb")
    # the program's own mmap, and its tail that nothing can touch, have no proven owner
    unnamed = parts(ladder, "unnamed")
    assert sum(p["resident_bytes"] for p in unnamed) >= 16 * MIB + 15 * PAGE
    assert sum(p["reserved_bytes"] for p in unnamed) == 16 * MIB
    for name in ("[vdso]", "[vvar]"):
        assert one("vdso", name)["virtual_bytes"] > 0
    exe = one("file", "spread")
    assert exe["path"] == str(PROGRAMS / "spread")
    assert ladder["resident_bytes"] == sum(p["resident_bytes"] for p in ladder["parts"])


@pytest.fixture
def huge_pages():
    """Two huge pages, where we may have them."""
    knob = pathlib.Path("/proc/sys/vm/nr_hugepages")
    before = knob.read_text() if knob.exists() else "0"
    try:
        knob.write_text(str(int(before) + 2))
    except OSError:
        pass
    yield
    try:
        knob.write_text(before)
    except OSError:
        pass


def test_hugetlb_is_counted(memwho, spread, stopped, tmp_path, huge_pages):
    s = spread("kinds", tmp_path)
    stopped(s.pid)
    ladder = memwho(s.pid, "--json").json()
    check_against_kernel(ladder, s.pid)
    assert ladder["hugetlb_bytes"] == s.fact("hugetlb")
    rows = parts(ladder, "shared", "hugetlb pages")
    assert sum(p["resident_bytes"] for p in rows) == s.fact("hugetlb")


@pytest.mark.parametrize("program", PROGRAMS_OF_ALL_KINDS)
def test_stacks_are_the_threads(memwho, spread, program):
    if not (PROGRAMS / program).exists():
        pytest.skip(f"{program} was not built")
    s = spread("threads", 6, "busy", 2, program=program)
    known = {f[1]: f[2] for f in s.facts if f[0] == "thread"}
    ladder = memwho(s.pid, "--json").json()
    rows = {figure(p, "tid"): p for p in parts(ladder, "thread-stack")}
    assert set(rows) == set(known) and len(known) == 8
    assert len(parts(ladder, "main-stack")) == 1
    for tid, touched in known.items():
        assert "the thread's own structure" in rows[tid]["evidence"]
        assert 2 * MIB - 64 * KIB <= rows[tid]["virtual_bytes"] <= 2 * MIB + 64 * KIB
        depth = figure(rows[tid], "depth_bytes")
        assert touched <= depth <= touched + 32 * KIB
        assert touched <= rows[tid]["resident_bytes"] <= depth
    assert {p["name"] for p in rows.values()} >= {f"sleeper-{i}" for i in range(1, 7)}
    guards = sum(p["virtual_bytes"] for p in parts(ladder, "guard"))
    assert guards >= 8 * PAGE


def test_thousands_of_threads(memwho, spread):
    s = spread("threads", 1000, program="spread")
    began = time.monotonic()
    ladder = memwho(s.pid, "--json", timeout=60).json()
    print(f"1000 threads: {time.monotonic() - began:.3f} s")
    check_sums(ladder)
    rows = parts(ladder, "thread-stack")
    assert {figure(p, "tid") for p in rows} == {f[1] for f in s.facts if f[0] == "thread"}
    assert all("the thread's own structure" in p["evidence"] for p in rows)


def test_stacks_of_ended_threads(memwho, spread):
    s = spread("ended", 4)
    ladder = memwho(s.pid, "--json").json()
    check_sums(ladder)
    rows = parts(ladder, "thread-stack")
    assert [p["name"] for p in rows] == ["ended threads"]
    assert figure(rows[0], "stacks") == 4
    stacks = [m for m in mappings(s.pid) if m[2] == "rw-p" and not m[3] and not m[4]
              and m[1] - m[0] >= 8 * MIB - 64 * KIB]
    assert rows[0]["virtual_bytes"] == sum(m[1] - m[0] for m in stacks)


def finding(ladder, key):
    found = [f for f in ladder["findings"] if f["key"] == key]
    assert len(found) <= 1
    assert all(f["text"] and f["evidence"] for f in found)
    return found[0] if found else None


def test_findings_are_what_was_seen(memwho, spread):
    s = spread("deep", 3 * MIB, "far", "")
    ladder = memwho(s.pid, "--json").json()
    deep = finding(ladder, "deep-stacks")
    assert 3 * MIB <= deep["bytes"] <= 3 * MIB + 64 * KIB
    assert finding(ladder, "page-tables")["bytes"] == status(s.pid)["VmPTE"] > 8 * MIB
    assert not finding(ladder, "two-allocators") and not finding(ladder, "huge-pages")
    quiet = memwho(spread("a", "").pid, "--json").json()
    assert not {f["key"] for f in quiet.get("findings", [])} & {
        "deep-stacks", "page-tables", "two-allocators", "huge-pages", "swap", "file-over-heap",
        "reserved"}


def test_two_allocators_are_a_finding(memwho, spread):
    library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
    if not os.path.exists(library):
        pytest.skip("no libjemalloc.so.2 here")
    # the library wants its thread-local storage among that of the program
    s = spread("second", library,
               env={"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=16384"})
    ladder = memwho(s.pid, "--stop", "--json").json()
    check_sums(ladder)
    found = finding(ladder, "two-allocators")
    assert "glibc" in found["text"] and "jemalloc" in found["text"]
    assert 3 * MIB < sum(p["in_use_bytes"] for p in parts(ladder, "jemalloc")) < 4 * MIB


def test_huge_pages_that_hold_zeros(memwho, spread):
    s = spread("huge", "")
    ladder = memwho(s.pid, "--json").json()
    huge = sum(p["huge_bytes"] for p in ladder["parts"])
    if huge < 32 * MIB:  # switched off, or none to be had
        assert not finding(ladder, "huge-pages")
        return
    found = finding(ladder, "huge-pages")
    true = huge - huge * 64 * KIB // (2 * MIB)
    assert abs(found["bytes"] - true) < true * 0.05


def test_hostile_names(memwho, spread, stopped, tmp_path):
    s = spread("names", tmp_path)
    stopped(s.pid)
    ladder = memwho(s.pid, "--json").json()
    check_against_kernel(ladder, s.pid)
    names = {p["name"] for p in parts(ladder, "file")}
    assert {"new\nline", "\033[31mred\033[0m", "tab\tand \"quote\""} <= names
    table = memwho(s.pid)
    assert "\033" not in table.out and "new\nline" not in table.out
    assert "unnamed" in table.out or ladder["unnamed_bytes"] == 0


def test_as_many_mappings_as_the_kernel_allows(memwho, spread, stopped):
    limit = int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
    n = min(65530, limit) - 100
    s = spread("many", n)
    stopped(s.pid)
    assert len(mappings(s.pid)) > n
    began = time.monotonic()
    ladder = memwho(s.pid, "--json").json()
    print(f"{len(mappings(s.pid))} mappings: {time.monotonic() - began:.3f} s")
    check_against_kernel(ladder, s.pid)


def test_terabytes_that_are_only_reserved(memwho, spread, stopped):
    """As AddressSanitizer and V8 do: no reader may go through it page by page."""
    if not conftest.kernel_features().get("pagemap_scan"):
        pytest.skip("needs PAGEMAP_SCAN: pagemap alone has to be read for every page")
    s = spread("reserve", 20)
    stopped(s.pid)
    began = time.monotonic()
    ladder = memwho(s.pid, "--json", timeout=60).json()
    print(f"22 TiB: {time.monotonic() - began:.3f} s")
    check_against_kernel(ladder, s.pid)
    assert sum(p["reserved_bytes"] for p in parts(ladder, "unnamed")) >= 20 << 40
    assert finding(ladder, "reserved")["bytes"] >= 20 << 40


def looked_at(memwho, pid):
    """Every command that reads a process without recording."""
    for words in ([pid], ["ladder", pid, "--json"], [pid, "--pss", "--json"],
                  [pid, "--stop", "--json"], [pid, "--json"]):
        memwho(*words)
    memwho(pid, "--json", env={"MEMWHO_WITHOUT": "pagemap_scan"})
    memwho("doctor", pid, code=None)


@pytest.fixture
def swap(tmp_path):
    """A swap file, where we may have one."""
    path = tmp_path / "swap"
    made = False
    if os.geteuid() == 0 and shutil.which("mkswap"):
        path.write_bytes(b"\0" * (32 * MIB))
        path.chmod(0o600)
        subprocess.run(["mkswap", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made = subprocess.run(["swapon", path], stderr=subprocess.DEVNULL).returncode == 0
    yield made
    if made:
        subprocess.run(["swapoff", path])


def test_looking_changes_nothing(memwho, spread, swap):
    s = spread("sparse", "", "threads", 2)
    time.sleep(0.2)
    before = status(s.pid)
    assert not swap or before["VmSwap"] >= 4 * MIB
    looked_at(memwho, s.pid)
    after = status(s.pid)
    for key in ("VmRSS", "RssAnon", "RssShmem", "VmPTE", "VmSwap", "VmSize"):
        # what the program itself does between two looks is nothing; the kernel counts in batches
        assert after[key] == before[key], key


def test_swap_is_a_row(memwho, spread, stopped, swap):
    s = spread("sparse", "")
    stopped(s.pid)
    ladder = memwho(s.pid, "--json").json()
    assert ladder["swap_bytes"] == status(s.pid)["VmSwap"]
    assert [f["bytes"] for f in ladder["findings"] if f["key"] == "swap"] == \
        ([ladder["swap_bytes"]] if ladder["swap_bytes"] else [])
    check_sums(ladder)


def test_mappings_that_change_all_the_time(memwho, spread):
    s = spread("wild", 3)
    for i in range(10):
        ladder = memwho(s.pid, "--json", *(["--pss"] if i % 3 == 0 else [])).json()
        check_sums(ladder)
        assert len(parts(ladder, "thread-stack")) == 3
    check_sums(memwho(s.pid, "--stop", "--json").json())


def test_stop_lets_go_again(memwho, spread):
    s = spread("threads", 2, "busy", 2)
    ladder = memwho(s.pid, "--stop", "--json").json()
    check_sums(ladder)
    assert ladder["virtual_bytes"] == ladder["vm_size_bytes"] == status(s.pid)["VmSize"]
    assert 0 < ladder["stopped_seconds"] < 30
    s.target.say()
    assert s.target.process.wait(30) == 0


def test_a_target_that_executes_other_programs(memwho, target):
    t = target("spread", "exec", 400)
    for _ in range(20):
        r = memwho(t.pid, "--json", code=None)
        if r.code == 0:
            check_sums(r.json())
        else:
            said = [x for x in r.err.splitlines() if not x.startswith("memwho: no names for")]
            assert r.code == 1 and len(said) == 1, r
    assert t.line(60) == "ready"
    check_sums(memwho(t.pid, "--json").json())


def is_told_gone(text):
    return re.search(r"has ended|is a zombie|there is no process", text)


def test_a_target_that_ends_before_any_look(target, tmp_path):
    """Killed before memwho's first, second, ... look at it: one sentence, exit 1."""
    def run(at):
        t = Target([PROGRAMS / "spread", "threads", "2"])
        while t.line() != "ready":
            pass
        count = tmp_path / "count"
        p = subprocess.run([conftest.MEMWHO, str(t.pid), "--json"], capture_output=True, text=True,
                           timeout=60, env={**os.environ, "KILLER_PID": str(t.pid),
                                            "LD_PRELOAD": str(PROGRAMS / "spread_killer.so"),
                                            "KILLER_AT": str(at), "KILLER_COUNT": str(count),
                                            # a sanitizer wants to be the first library
                                            "ASAN_OPTIONS": "verify_asan_link_order=0"})
        t.stop()
        return p, int(count.read_text())

    p, looks = run(0)
    assert p.returncode == 0, p.stderr
    assert looks > 50
    ended = 0
    for at in sorted({*range(1, 30, 3), *range(30, looks, max(1, looks // 40))}):
        p, _ = run(at)
        if p.returncode == 0:  # all was read already
            continue
        ended += 1
        assert p.returncode == 1 and p.stdout == "", (at, p)
        lines = p.stderr.splitlines()
        assert lines[0].startswith("memwho: ") and is_told_gone(lines[0]), (at, p.stderr)
        assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), p.stderr
    assert ended > 20


@pytest.fixture
def as_nobody():
    """Run a copy of memwho as nobody, without capabilities."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody")
    folder = tempfile.mkdtemp(prefix="memwho-ladder-")
    os.chmod(folder, 0o755)
    for path in (conftest.MEMWHO, PROGRAMS / "spread"):
        shutil.copy(path, folder)
    front = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
             "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    yield lambda name, *words: [*front, f"{folder}/{name}", *map(str, words)]
    shutil.rmtree(folder)


def test_own_process_without_privileges(as_nobody, target, tmp_path):
    t = Target(as_nobody("spread", "threads", 3))
    try:
        known = set()
        while (line := t.line()) != "ready":
            known.add(int(line.split()[1]))
        p = subprocess.run(as_nobody("memwho", t.pid, "--json", "--pss"), capture_output=True)
        assert p.returncode == 0, p.stderr
        ladder = conftest.Result((), 0, p.stdout, p.stderr).json()
        check_sums(ladder)
        assert ladder["virtual_bytes"] == status(t.pid)["VmSize"]
        assert {figure(x, "tid") for x in parts(ladder, "thread-stack")} == known
    finally:
        t.stop()


def test_another_users_process(as_nobody, spread):
    s = spread("threads", 1)
    for words in ((s.pid,), ("ladder", s.pid, "--json"), (s.pid, "--stop")):
        p = subprocess.run(as_nobody("memwho", *words), capture_output=True, text=True)
        assert p.returncode == 1 and p.stdout == ""
        assert p.stderr.startswith("memwho: ") and "hint: " in p.stderr and "sudo" in p.stderr


@pytest.mark.parametrize("words, code, said", [
    (("99999999",), 1, "there is no process 99999999"),
    (("ladder",), 2, "needs a TARGET"),
    (("2",), 1, "kernel thread"),
    (("pidfile:/nonexistent",), 1, "/nonexistent"),
    (("cgroup:/nonexistent-group",), 1, "nonexistent-group"),
    (("no-such-process-or-command",), 2, "no command"),
    (("laddder",), 2, "did you mean memwho ladder?"),
    (("ladder", "1", "--format", "nonsense"), 2, "no format"),
])
def test_what_is_no_target(memwho, words, code, said):
    if words == ("2",) and "kthreadd" not in pathlib.Path("/proc/2/stat").read_text():
        pytest.skip("no kernel threads are to be seen here")
    r = memwho(*words, code=code)
    assert said in r.err and r.out == ""
    assert r.err.startswith("memwho: ") and r.err.count("\n") <= 2


def test_a_name_is_a_target(memwho, target, tmp_path):
    """A process name that one process has; a command's name wins over it."""
    for name in ("spread-by-name", "version"):
        shutil.copy(PROGRAMS / "spread", tmp_path / name)
    t = target(tmp_path / "spread-by-name")
    assert t.line() == "ready"
    assert memwho("spread-by-name", "--json").json()["pid"] == t.pid
    (tmp_path / "pid").write_text(f"{t.pid}\n")
    assert memwho(f"pidfile:{tmp_path}/pid", "--json").json()["pid"] == t.pid
    second = target(tmp_path / "spread-by-name")
    assert second.line() == "ready"
    r = memwho("spread-by-name", code=1)
    assert str(t.pid) in r.err and str(second.pid) in r.err
    target(tmp_path / "version").line()
    assert memwho("version").out.startswith("memwho ")


def test_several_are_summed(memwho, spread, stopped):
    one, two = spread("threads", 1), spread("threads", 2)
    stopped(one.pid)
    stopped(two.pid)
    ladder = memwho(one.pid, two.pid, "--json").json()
    check_sums(ladder)
    assert ladder["virtual_bytes"] == status(one.pid)["VmSize"] + status(two.pid)["VmSize"]
    assert {p["pid"] for p in ladder["parts"]} == {one.pid, two.pid}
