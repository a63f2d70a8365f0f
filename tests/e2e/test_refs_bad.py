# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho refs on what it cannot read: one sentence, a hint, the right exit code,
and nothing is left behind."""
import ctypes
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

import pytest

import conftest
import gotools
from refusal import is_refusal, refused, run_as
from test_agent_seccomp import ALLOW, ARG, JEQ, JSET, KILL, LD, NR, RET, container_profile, op

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_exec"
NOBODY = 65534


def build(name, *flags, **how):
    return gotools.build(SOURCE, name, flags, **how)


class Running:
    def __init__(self, *argv, **kw):
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, **kw)
        self.pid = self.process.pid
        while self.process.stdout.readline() != "ready\n":
            assert self.process.poll() is None, "it runs"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        conftest.end(self.process)


def children_of(pid):
    return subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE, text=True).stdout.split()


def core_of(pid, folder):
    subprocess.run(["gcore", "-o", folder / "core", str(pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return folder / f"core.{pid}"


@pytest.fixture(scope="module")
def plain():
    with Running(build("exec")) as p:
        yield p


# ---- seccomp ----

def under(code):
    """For preexec_fn: the filter @code (bytes) is in force from here on."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code)

    def install():
        # struct sock_fprog: instructions of 8 bytes each, and where they are
        program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
        # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
            os._exit(99)
    return install


def test_under_a_containers_profile(memwho):
    """What nearly every container runs under: nothing there forbids a copy."""
    with Running(build("exec"), preexec_fn=under(container_profile())) as p:
        got = memwho("refs", p.pid, "--json").json()
        assert got["live_bytes"] > 0 and got["pause_ms"] > 0, got
        assert not children_of(p.pid) and p.process.poll() is None


def test_a_filter_that_forbids_a_copy(memwho):
    clone, thread = 56, 0x10000  # CLONE_THREAD
    threads_only = (op(LD, NR) + op(JEQ, clone, 0, 3) + op(LD, ARG) + op(JSET, thread, 1, 0) + op(RET, KILL)
                    + op(RET, ALLOW))
    with Running(build("exec"), preexec_fn=under(threads_only)) as p:
        refused("refs", p.pid, said=["kills the process at clone", "--stop"])
        assert memwho("refs", p.pid, "--stop", "--json").json()["live_bytes"] > 0
        assert p.process.poll() is None


# ---- what it is ----

def test_another_program(target):
    pid = target("demo").pid
    refused("refs", pid, said=("no runtime", "Go 1.17 to 1.26", "memwho alloc"))


def test_go_before_117():
    with Running(build("exec-1.16", version="1.16.15")) as p:
        refused("refs", p.pid, said=("go1.16.15", "known are Go 1.17"))
        refused("refs", p.pid, "--stop", said="go1.16.15")
        assert p.process.poll() is None and not children_of(p.pid)


@pytest.mark.parametrize("version", ["go1.99", "go1.16"])
def test_other_versions(version):
    """Without symbols, and with a version in it that the table does not have."""
    plain = build("exec-stripped", "-ldflags=-s -w").read_bytes()
    own = subprocess.run(["go", "env", "GOVERSION"], stdout=subprocess.PIPE, text=True, cwd="/").stdout.strip()
    new = (version + own[len(version):]).encode()[:len(own)]
    path = gotools.PROGRAMS / f"exec-{version}"
    path.write_bytes(plain.replace(own.encode(), new))
    path.chmod(0o755)
    assert own.encode() in plain
    with Running(path) as p:
        refused("refs", p.pid, said=(new.decode(), "known are Go 1.17"))
        assert p.process.poll() is None and not children_of(p.pid)


def test_32_bit(tmp_path):
    path = build("exec-386", GOARCH="386")
    try:
        p = Running(path)
    except OSError:
        pytest.skip("this kernel runs no 32-bit programs")
    with p:
        refused("refs", p.pid, said=("32-bit", "64-bit"))
        refused("refs", core_of(p.pid, tmp_path), said="32-bit")


def tiny_core(machine):
    """Headers of a 64-bit core with one empty note and one page."""
    header = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)
    header += struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    note = struct.pack("<IIQQQQQQ", 4, 4, 176, 0, 0, 0, 0, 1)
    load = struct.pack("<IIQQQQQQ", 1, 6, 4096, 0x400000, 0, 4096, 4096, 4096)
    return (header + note + load).ljust(4096, b"\0") + bytes(4096)


@pytest.mark.parametrize("machine, name", [(183, "arm64"), (243, "RISC-V"), (22, "s390")])
def test_core_of_another_machine(tmp_path, machine, name):
    path = tmp_path / "core"
    path.write_bytes(tiny_core(machine))
    refused("refs", path, said=(name, "x86-64"))


def test_no_core(tmp_path):
    empty, fifo, text = tmp_path / "empty", tmp_path / "fifo", tmp_path / "text"
    empty.touch()
    os.mkfifo(fifo)
    text.write_text("no core\n" * 100)
    refused("refs", empty, said="empty")
    refused("refs", text, said="not a core")
    refused("refs", tmp_path, said="folder")
    refused("refs", fifo, said="not a core")
    refused("refs", tmp_path / "missing", said="missing")
    refused("refs", "/dev/null", said="not a core")
    refused("refs", tmp_path / "empty" / "core", said="core")
    # a program instead of its core
    refused("refs", conftest.MEMWHO, said=("not a core", "--exe"))
    path = tmp_path / "cut"
    path.write_bytes(tiny_core(62)[:100])
    refused("refs", path, said="cut off")
    path.write_bytes(tiny_core(62))
    refused("refs", path, said="threads")


def test_core_without_its_data(plain, tmp_path):
    """Cut off before the program's variables, or its headers say that they are nowhere: it ends."""
    core, out = core_of(plain.pid, tmp_path), tmp_path / "core"
    core.rename(out)
    with open(out, "r+b") as f:
        n, at = struct.unpack_from("<H", f.read(64), 56)[0], 64
        headers = [(at + 56 * i, struct.unpack_from("<IIQQQQQQ", f.read(56))) for i in range(n)]
        # PT_LOAD, writable, not high up: the program's
        data = [(where, h) for where, h in headers if h[0] == 1 and h[1] & 2 and h[3] < 1 << 32]
        assert len(data) >= 1, headers
        for where, _ in data:
            f.seek(where + 8)
            f.write(struct.pack("<Q", 1 << 62))
    result = run_as([], "refs", out, "--exe", build("exec"), timeout=30)
    is_refusal(result, hint="hint: " in result.err)


def test_core_that_was_cut_off(plain, tmp_path):
    """How much of it is missing, and nothing about another build, wherever the end is."""
    core = core_of(plain.pid, tmp_path)
    size = core.stat().st_size
    for left in (size // 2, size // 64, 4096):
        os.truncate(core, left)
        r = is_refusal(run_as([], "refs", core, "--exe", build("exec")))
        said = float(re.search(r"hint: ([\d.]+) MiB that its headers name are not in the file", r.err).group(1))
        assert said == pytest.approx((size - left) / (1 << 20), rel=0.02) and "built anew" not in r.err, r.err


# ---- permission ----

def test_not_permitted(plain):
    folder = pathlib.Path("/tmp") / f"memwho-refs-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        shutil.copy(conftest.MEMWHO, folder)
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--bounding-set=-all",
                "--inh-caps=-all"]
        for how in ((), ("--stop",), ("--no-stop",)):
            r = is_refusal(run_as(drop, "refs", plain.pid, *how, memwho=folder / "memwho"), "not permitted")
            assert "sudo" in r.err or "CAP_SYS_PTRACE" in r.err
    finally:
        shutil.rmtree(folder)
    assert not children_of(plain.pid)


# ---- the machine ----

@pytest.mark.parametrize("path, was, text, said", [
    ("/proc/sys/vm/overcommit_memory", "[012]", "2", "vm.overcommit_memory is 2"),
    ("/proc/meminfo", "MemAvailable: *[0-9]* kB", "MemAvailable: 16 kB", "less memory free")])
def test_no_room_for_a_copy(memwho, plain, tmp_path, path, was, text, said):
    """As memwho sees a machine that has none: that file, for it alone, says so."""
    (tmp_path / "file").write_text(subprocess.run(["sed", f"s/^{was}/{text}/", path], stdout=subprocess.PIPE,
                                                  text=True, check=True).stdout)
    machine = ["unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", tmp_path / "file",
               path]
    is_refusal(run_as(machine, "refs", plain.pid), "no copy of process", said, "--stop")
    stopped = run_as(machine, "refs", plain.pid, "--stop", "--json")
    assert stopped.code == 0 and stopped.json()["live_bytes"] > 0
    assert not children_of(plain.pid)


# ---- it changes meanwhile ----

def ends_well(result):
    """All of it, or one sentence."""
    if result.code == 0:
        assert result.json()["live_bytes"] > 0
        return True
    return not is_refusal(result, hint="hint: " in result.err)


def zombies():
    out = subprocess.run(["ps", "-eo", "stat,comm"], stdout=subprocess.PIPE, text=True).stdout
    return [line for line in out.splitlines() if line.startswith("Z") and "exec" in line]


@pytest.mark.parametrize("how", [(), ("--stop",), ("--no-stop",)], ids=["copy", "stop", "no-stop"])
def test_dies_meanwhile(how):
    outcomes = []
    for turn in range(14):
        with Running(build("exec") if not turn else gotools.PROGRAMS / "exec") as p:
            m = subprocess.Popen([conftest.MEMWHO, "refs", str(p.pid), "--json", *how], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(turn * 0.003)
            os.kill(p.pid, signal.SIGKILL)
            out, err = m.communicate(timeout=60)
            outcomes.append(ends_well(conftest.Result(("refs",), m.returncode, out, err)))
    assert not all(outcomes), "some come too late"
    end = time.monotonic() + 10
    while zombies() and time.monotonic() < end: # init reaps them
        time.sleep(0.1)
    assert not zombies()


def test_execs_meanwhile(memwho, tmp_path):
    """Each moment has some program in it: that one is read, or none."""
    flag = tmp_path / "go on"
    flag.touch()
    with Running(build("exec"), flag) as p:
        read = 0
        for _ in range(25):
            r = run_as([], "refs", p.pid, "--json")
            if ends_well(r):
                read += 1
                assert r.json()["live_bytes"] < 8 << 20
        assert p.process.poll() is None, "it goes on"
        assert read > 0
        flag.unlink()
        time.sleep(2.5) # a copy of a program that is no more ends by itself
        memwho("detach", p.pid)
        assert not children_of(p.pid)


@pytest.mark.parametrize("how", [(), ("--no-stop",)], ids=["copy", "no-stop"])
def test_execs_before_the_rest_is_looked_at(how):
    """The heap is of one program, what /proc says of the rest would be of the next: gdb holds memwho
    between the two."""
    with Running(build("exec"), "usr1") as p:
        r = subprocess.run(["gdb", "-nx", "--batch", "-ex", "set breakpoint pending on",
                            "-ex", "break capture_refs_memory_look", "-ex", f"run refs {p.pid} {' '.join(how)}",
                            "-ex", f"shell kill -USR1 {p.pid}; sleep 0.5", "-ex", "continue", conftest.MEMWHO],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert "Breakpoint 1, " in r.stdout, r
        assert f"memwho: process {p.pid}: it began another program (exec) while we looked" in r.stderr + r.stdout, r
        assert "hint: the same command looks at the new one" in r.stderr + r.stdout, r
        assert "exited with code 01" in r.stdout, r
        assert p.process.stdout.readline() == "ready\n", "the next one"
        assert p.process.poll() is None
        assert run_as([], "refs", p.pid, "--json").json()["live_bytes"] > 4 << 20


# ---- the disk ----

def small_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_disk_full(memwho, plain, tmp_path):
    saved = tmp_path / "a.mwg"
    memwho("refs", plain.pid, "--save", saved)
    before = saved.read_bytes()
    p = subprocess.run([conftest.MEMWHO, "refs", str(plain.pid), "--save", saved], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, preexec_fn=small_files)
    is_refusal(conftest.Result(("refs",), p.returncode, p.stdout, p.stderr), "a.mwg", "too large")
    assert saved.read_bytes() == before and os.listdir(tmp_path) == ["a.mwg"], "the old one stays"


def test_disk_full_for_real(memwho, plain, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no mounts here")
    try:
        refused("refs", plain.pid, "--save", disk / "a.mwg", said=("a.mwg", "No space left"))
        assert not os.listdir(disk)
    finally:
        subprocess.run(["umount", disk], check=True)
    refused("refs", plain.pid, "--save", tmp_path / "no" / "a.mwg", said="No such file")


# ---- cores and their programs ----

def test_core_without_its_program(plain, tmp_path):
    moved = tmp_path / "program"
    shutil.copy(gotools.PROGRAMS / "exec", moved)
    with Running(moved) as p:
        core = core_of(p.pid, tmp_path)
    moved.unlink()
    refused("refs", core, said=("program", "--exe"))
    # the same bytes do
    assert run_as([], "refs", core, "--exe", gotools.PROGRAMS / "exec", "--json").json()["live_bytes"] > 4 << 20
    other = build("exec-other", "-ldflags=-X main.unused=1", "-gcflags=-N -l")
    refused("refs", core, "--exe", other, said=("exec-other is not the program", "build-ids"))
    refused("refs", core, "--exe", tmp_path / "none", said=("none", "--exe"))
    refused("refs", core, "--exe", "/etc/passwd", said="passwd")


def kernel_core(program, folder, dump_filter):
    """What the kernel writes when it aborts."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith(("|", "/")):
        assert not conftest.CI, f"no core by core_pattern {pattern!r}"
        pytest.skip("cores go elsewhere")
    folder.mkdir()
    command = f"ulimit -c unlimited && echo {dump_filter} > /proc/self/coredump_filter && exec {program}"
    p = subprocess.Popen(["sh", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True, env=dict(os.environ, GOTRACEBACK="crash"))
    try:
        while p.stdout.readline() != "ready\n":
            assert p.poll() is None, "it runs"
        p.send_signal(signal.SIGQUIT)
        p.wait(30)
    finally:
        conftest.end(p)
    return next(f for f in folder.iterdir() if f.name.startswith("core"))


def twin(name, tmp_path, text, *flags, **how):
    """The same program but for one number in its code: all lies where it lies in the other."""
    source = tmp_path / name
    source.mkdir()
    shutil.copy(SOURCE / "go.mod", source)
    old = (SOURCE / "main.go").read_text()
    assert "blob[k] = 1\n" in old
    (source / "main.go").write_text(old.replace("blob[k] = 1\n", f"blob[k] = {text}\n"))
    return gotools.build(source, name, ("-trimpath", *flags), **how)


@pytest.mark.parametrize("minor, flags", [(None, ()), (None, ("-buildmode=pie",)), (18, ("-ldflags=-s -w",)),
                                          (22, ())], ids=["plain", "pie", "1.18-stripped", "1.22"])
def test_core_and_a_rebuilt_twin(tmp_path, minor, flags):
    """Go's own build-id tells them apart, given with --exe or lying in the program's place."""
    a, b = (twin(f"twin-{n}", tmp_path, n, *flags, minor=minor) for n in (1, 2))
    ids = {subprocess.run(["go", "tool", "buildid", x], check=True, stdout=subprocess.PIPE).stdout for x in (a, b)}
    assert len(ids) == 2 and a.stat().st_size == b.stat().st_size
    core = kernel_core(a, tmp_path / "kernel", "0x33")
    assert run_as([], "refs", core, "--exe", a, "--json").json()["live_bytes"] > 4 << 20
    refused("refs", core, "--exe", b, said=("twin-2 is not the program", "build-ids"))
    kept = a.read_bytes()
    b.replace(a)
    refused("refs", core, said=("is not the program", "build-ids"))
    a.unlink()
    a.write_bytes(kept)
    assert run_as([], "refs", core, "--json").json()["live_bytes"] > 4 << 20


def test_core_without_build_id(tmp_path):
    """The program's first page is not in it: what is in its data tells of other places and settings."""
    a = twin("twin-1", tmp_path, 1)
    core = kernel_core(a, tmp_path / "kernel", "0x1")
    assert run_as([], "refs", core, "--exe", a, "--json").json()["live_bytes"] > 4 << 20
    # the same program, said to be built by other settings: as long as it was
    settings = tmp_path / "settings"
    settings.write_bytes(a.read_bytes().replace(b"build\t-trimpath=true", b"build\t-trimpath=TRUE"))
    larger = twin("twin-larger", tmp_path, "byte(len(os.Getenv(fmt.Sprint(i, k, blob[:1]))))")
    refused("refs", core, "--exe", settings, said=("settings is not the program", "--exe"))
    refused("refs", core, "--exe", larger, said="is this the program that the core is of?")


def test_why_elsewhere(plain):
    for address in ("0x10", "0x7fffffffffff", "0xc0ffffff0000"):
        refused("refs", plain.pid, "--why", address, said=("no live object", address))
    refused("refs", plain.pid, "--why", "heap", said="no address", code=2)
