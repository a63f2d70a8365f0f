# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Processes that the sampling engine (alloc --engine agent) cannot or may not work in: one
sentence, the engine that can, and nothing changed in the process, which goes on."""
import collections
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import time

import cgroups
import conftest
import pytest
from conftest import MEMWHO, PROGRAMS, Recording, Target, run_memwho
from test_agent import CODE_BYTES, changed_code, first_bytes, mappings, places
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")
OTHER = "--engine bpf"


def layout(pid):
    """Mappings without what a program changes by itself: the ends of heap and stack."""
    return [(m[0], m[1]) if "[" not in m[-1] else m[-1].strip() for m in mappings(pid)]


def refused(pid, *says, other=OTHER, code=1):
    """One sentence, at most one hint, which names @other; nothing is changed."""
    before = layout(pid), changed_code(pid)
    got = run_memwho("alloc", pid, "--engine", "agent", "-d", "1s", code=None)
    said = [line for line in got.err.splitlines() if line.startswith("memwho: ")]
    assert got.code == code and len(said) == 1 and not got.out, got
    assert all(s in got.err for s in says), got
    assert not other or other in got.err, got
    assert (layout(pid), changed_code(pid)) == before, got
    return got.err


@pytest.fixture
def build(tmp_path):
    """A program of our own, for a machine or in a way that the others are not built for."""
    def make(text, *flags, cc="gcc"):
        if not shutil.which(cc):
            pytest.skip(f"no {cc}")
        source, program = tmp_path / "program.c", tmp_path / "program"
        source.write_text(text)
        subprocess.run([cc, *flags, "-o", program, source], check=True)
        return program
    return make


def test_32_bits(build):
    """Nothing of memwho's reads such programs; the hint names another tool."""
    program = build("void _start(void) { for (;;); }", "-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie")
    p = subprocess.Popen([program])
    try:
        time.sleep(0.1)
        with open(f"/proc/{p.pid}/maps") as f:
            before = f.read()
        got = run_memwho("alloc", p.pid, "--engine", "agent", "-d", "1s", code=1)
        assert "32-bit program" in got.err and "massif" in got.err
        with open(f"/proc/{p.pid}/maps") as f:
            assert f.read() == before
        assert p.poll() is None
    finally:
        p.kill()
        p.wait()


ARM64 = """
static long call(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b,
		x2 __asm__("x2") = c;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	return x0;
}

void _start(void)
{
	const long ms[2] = { 0, 1000000 };

	for (;;) {
		call(64, 1, (long)"going\\n", 6);
		call(101, (long)ms, 0, 0);
	}
}
"""


def test_arm64(build):
    """A program for another machine is here in the hands of an emulator, whose own memory alone is
    this machine's: whatever allocator that has, nothing of the program's is patched."""
    if not shutil.which("qemu-aarch64-static"):
        pytest.skip("no qemu-aarch64-static")
    program = build(ARM64, "-static", "-nostdlib", "-ffreestanding", cc="aarch64-linux-gnu-gcc")
    p = subprocess.Popen(["qemu-aarch64-static", program], stdout=subprocess.PIPE)
    try:
        assert p.stdout.readline() == b"going\n"
        got = run_memwho("alloc", p.pid, "--engine", "agent", "-d", "1s", code=None)
        assert got.code in (0, 1) and (got.code == 0 or len(got.err.splitlines()) <= 2), got
        assert not changed_code(p.pid), got
        os.set_blocking(p.stdout.fileno(), False)
        p.stdout.read()
        time.sleep(0.5)
        assert p.poll() is None and b"going" in p.stdout.read()
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def test_under_gdb(victim, tmp_path):
    if not shutil.which("gdb"):
        pytest.skip("no gdb")
    v = victim("ac")
    gdb = subprocess.Popen(["gdb", "-q", "-nx", "-p", str(v.pid)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(v.tracers()) < 2:
            assert time.monotonic() < deadline, "gdb does not attach"
            time.sleep(0.05)
        time.sleep(1)  # it looks at the program yet
        refused(v.pid, f"process {gdb.pid} traces process {v.pid}")
        assert len(v.tracers()) == 2
    finally:
        gdb.communicate(b"detach\nquit\n", timeout=60)
    assert not v.tracers()
    v.check()


def test_stopped(victim):
    v = victim("ac")
    os.kill(v.pid, signal.SIGSTOP)
    refused(v.pid, "is stopped by a signal", "kill -CONT")
    os.kill(v.pid, signal.SIGCONT)
    v.check()


def test_frozen_by_the_old_freezer(victim):
    top = pathlib.Path("/sys/fs/cgroup/freezer")
    if not (top / "cgroup.procs").exists():
        pytest.skip("no freezer of cgroup v1")
    v = victim("ac")
    with cgroups.made(top, f"memwho-{v.pid}") as group:
        (group / "cgroup.procs").write_text(str(v.pid))
        (group / "freezer.state").write_text("FROZEN")
        while (group / "freezer.state").read_text().strip() != "FROZEN":
            time.sleep(0.01)
        try:
            refused(v.pid, "frozen cgroup")
        finally:
            (group / "freezer.state").write_text("THAWED")
        v.check()


@pytest.fixture
def cgroup2(tmp_path):
    where = tmp_path / "cgroup2"
    where.mkdir()
    if subprocess.run(["mount", "-t", "cgroup2", "none", where], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no cgroup v2")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def test_frozen(victim, cgroup2):
    """By cgroup v2: to /proc the threads only sleep, so that it is found by trying."""
    v = victim("ac")
    with cgroups.made(cgroup2, f"memwho-{v.pid}") as group:
        (group / "cgroup.procs").write_text(str(v.pid))
        (group / "cgroup.freeze").write_text("1")
        while "frozen 1" not in (group / "cgroup.events").read_text():
            time.sleep(0.01)
        try:
            refused(v.pid, "frozen")
        finally:
            (group / "cgroup.freeze").write_text("0")
        v.check()


def test_waits_for_a_vfork_child(victim):
    """Its only thread stands still in the kernel, again and again: it is waited for, then it is
    recorded or refused; both leave nothing."""
    v = victim("v")
    before = layout(v.pid)
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "100ms", code=None)
    assert got.code == 0 or (OTHER in got.err and ("vfork" in got.err or "could be lent" in got.err)), got
    run_memwho("detach", v.pid, timeout=60, code=None)
    assert not changed_code(v.pid)
    assert len(layout(v.pid)) <= len(before) + 2 and len(places(v.pid)) <= 1
    v.check()


def test_one_thread_of_others_waits_for_a_vfork_child(victim):
    v = victim("va")
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "100ms", code=None)
    assert got.code == 0 or "vfork" in got.err, got
    assert not changed_code(v.pid) and places(v.pid) in ([], [[CODE_BYTES, 0]])
    v.check()


def test_the_first_thread_has_ended(victim):
    v = victim("ac", args=("gone",))
    deadline = time.monotonic() + 10
    while pathlib.Path(f"/proc/{v.pid}/stat").read_text().split(")")[-1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "1s", code=1)
    assert "main thread" in got.err and "has ended while others run" in got.err
    v.check()
    tid = max(os.listdir(f"/proc/{v.pid}/task"), key=int)
    assert not [l for l in pathlib.Path(f"/proc/{v.pid}/task/{tid}/maps").read_text().splitlines() if "r-xp 00000000 00:00 0 \n" in l + "\n"]


def test_a_zombie():
    p = subprocess.Popen(["true"])
    os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)
    got = run_memwho("alloc", p.pid, "--engine", "agent", "-d", "1s", code=1)
    assert "is a zombie" in got.err
    p.wait()


@pytest.mark.parametrize("modes", ["c", "a"])
def test_exec_in_the_middle(victim, modes):
    """It becomes another program every 30 ms, at whatever step memwho is."""
    v = victim(modes, args=("exec",))
    ended = collections.Counter()
    for _ in range(20):
        got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "20ms", "--json", code=None)
        assert got.code in (0, 1), got
        # behind notes of what could not be read in time
        said = [line for line in got.err.splitlines() if line.startswith("memwho: ")]
        ended["recorded" if got.code == 0 else said[-1].replace(str(v.pid), "PID")] += 1
        assert not v.process.poll(), ended
    assert [how for how in ended if "another program" in how] or ended["recorded"], ended
    assert not [how for how in ended if "damaged" in how or "permitted" in how], ended
    v.check()


def test_no_address_space_is_left(victim):
    v = victim("cn", args=("full",))
    assert "RLIMIT_AS" in refused(v.pid, "may map no more memory")
    v.check()
    assert v.eintr == 0


def test_only_room_for_the_first_steps(victim):
    """1 MiB: for the area of the calls, not for the agent."""
    v = victim("cn")
    size = int(re.search(r"VmSize:\s+(\d+)", pathlib.Path(f"/proc/{v.pid}/status").read_text())[1]) * 1024
    subprocess.run(["prlimit", f"--as={size + (1 << 20)}", "--pid", str(v.pid)], check=True)
    refused(v.pid, "mmap for the agent")
    v.check()


def test_no_more_processes_are_allowed(victim):
    """pids.max is reached: the agent needs no thread, and works."""
    top = pathlib.Path("/sys/fs/cgroup/pids")
    if not (top / "cgroup.procs").exists():
        pytest.skip("no pids controller of cgroup v1")
    v = victim("aac")
    with cgroups.made(top, f"memwho-{v.pid}") as group:
        (group / "cgroup.procs").write_text(str(v.pid))
        (group / "pids.max").write_text("3")
        assert (group / "pids.current").read_text().strip() == "3"
        got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "500ms", "--json").json()
        assert got["engine"] == "agent" and got["samples"] > 0
        assert (group / "pids.events").read_text().split() == ["max", "0"]
        assert not changed_code(v.pid)
        v.check()


def put(pid, at, byte):
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        was = memory.read(1)
        memory.seek(at)
        memory.write(byte)
    return was


def test_what_cannot_be_patched_is_named(victim):
    """Without one allocation function it records and says which and why; without free, or without
    any that allocates, it does not."""
    v = victim("c")  # never executes what is changed here
    was = {name: first_bytes(v.pid, name) for name in ("valloc", "free")}
    was = {at: put(v.pid, at + 20, b"\xcc") for at in was.values()}
    refused(v.pid, "free cannot be patched: somebody's breakpoint is in it")
    at = first_bytes(v.pid, "free")
    put(v.pid, at + 20, was.pop(at))
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "100ms")
    assert "valloc cannot be patched: somebody's breakpoint is in it" in got.out + got.err, got
    for at, byte in was.items():
        put(v.pid, at + 20, byte)
    assert not changed_code(v.pid)
    v.check()


def test_nothing_can_be_patched(victim):
    """All functions that allocate are named, each with its reason."""
    v = victim("c")
    names = ("malloc", "calloc", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc")
    was = {first_bytes(v.pid, name) + 20: None for name in names}
    for at in was:
        was[at] = put(v.pid, at, b"\xcc")
    said = refused(v.pid, "no allocation function can be patched")
    # some names are those of one function
    assert said.count("somebody's breakpoint is in it") >= 5, said
    assert all(f"{name}: somebody's breakpoint" in said for name in ("malloc", "calloc", "valloc")), said
    for at, byte in was.items():
        put(v.pid, at, byte)
    assert not changed_code(v.pid)
    v.check()


def test_two_of_memwho(victim, tmp_path):
    """The second is told by whom the process is held: while it is recorded, and in any other call."""
    v = victim("a")
    first = Recording(["alloc", v.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
    for args in (("alloc", v.pid, "--engine", "agent", "-d", "1s"), ("detach", v.pid)):
        second = run_memwho(*args, code=1)
        assert re.search(rf"\bprocess {first.pid}\b", second.err), second
    # and when it stands still before it has made anything
    first.interrupt()
    first = subprocess.Popen([PROGRAMS / "agenter", str(v.pid), "record", "60000"], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline().startswith("attached")
    first.send_signal(signal.SIGSTOP)
    time.sleep(2.2)  # what it has written there is not renewed
    second = run_memwho("detach", v.pid, code=1)
    assert re.search(rf"\bprocess {first.pid}\b", second.err), second
    first.kill()
    first.wait()
    first.stdout.close()
    run_memwho("detach", v.pid)
    assert not changed_code(v.pid)
    v.check()


# another mount of proc has other inodes
APART = {"network": ["unshare", "-n"], "mounts": ["unshare", "-n", "-m", "sh", "-c", 'mount -t proc proc /proc && exec "$@"', "sh"]}


def refused_apart(where, pid, by, *args):
    p = subprocess.run([*where, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)
    assert p.returncode == 1 and re.search(rf"process {pid}\b.*\bprocess {by}\b", p.stderr), p


@pytest.mark.parametrize("apart", APART)
def test_two_of_memwho_in_two_namespaces(victim, tmp_path, apart):
    """The lock is the same from each: while the first records, and while it has only begun."""
    v = victim("a")
    where = APART[apart]
    if subprocess.run([*where, "true"], stderr=subprocess.DEVNULL).returncode:
        assert not conftest.CI, "no namespaces"
        pytest.skip("no namespaces")
    # it has made nothing in the process so far
    first = subprocess.Popen([PROGRAMS / "agenter", "-s", "0", str(v.pid), "record", "100"])
    try:
        os.waitpid(first.pid, os.WUNTRACED)
        assert not places(v.pid)
        refused_apart(where, v.pid, first.pid, MEMWHO, "alloc", v.pid, "--engine", "agent", "-d", "1s")
        assert not places(v.pid)
    finally:
        first.kill()
        first.wait()
    first = Recording(["alloc", v.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
    refused_apart(where, v.pid, first.pid, MEMWHO, "alloc", v.pid, "--engine", "agent", "-d", "1s")
    refused_apart(where, v.pid, first.pid, MEMWHO, "detach", v.pid)
    assert len(changed_code(v.pid)) > 8  # the first one's jumps
    assert first.interrupt().json()["ended_by"] != "guard"
    assert not changed_code(v.pid)
    v.check()
