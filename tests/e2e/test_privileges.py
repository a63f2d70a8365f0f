# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Not permitted: which capability the exact engine lacks, and the command that gives it.

memwho runs as nobody with chosen capabilities, on nobody's own process and on
root's. What is asked for is what the kernel asks for: with it, it works."""
import ctypes
import errno
import os
import shutil
import struct
import subprocess
import tempfile

import pytest

import conftest
from conftest import PROGRAMS, Target, changed_code
from refusal import INFO, is_refusal, run_as

NOBODY = 65534
pytestmark = pytest.mark.usefixtures("needs_bpf")


@pytest.fixture(scope="module")
def place():
    """memwho and its target where nobody may run them."""
    folder = tempfile.mkdtemp(prefix="memwho-privileges-")
    os.chmod(folder, 0o755)
    for path in (conftest.MEMWHO, PROGRAMS / "hold"):
        shutil.copy(path, folder)
    os.mkdir(folder + "/home")
    os.chown(folder + "/home", NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def as_nobody(*capabilities):
    """The command in front that makes nobody of root, with these capabilities."""
    caps = "".join(f",+{c}" for c in capabilities)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
            f"--bounding-set=-all{caps}", f"--inh-caps=-all{caps}", f"--ambient-caps=-all{caps}"]


def needs_capabilities(*names):
    with open("/proc/self/status") as f:
        held = int(next(line for line in f if line.startswith("CapBnd")).split()[1], 16)
    numbers = {"dac_read_search": 2, "sys_ptrace": 19, "sys_admin": 21, "perfmon": 38, "bpf": 39}
    lacking = [n for n in names if not held >> numbers[n] & 1]
    if lacking:
        pytest.skip("root itself lacks " + ", ".join(lacking))


@pytest.fixture
def own(place):
    """A process of nobody."""
    t = Target([*as_nobody(), place + "/hold"])
    t.line()
    yield t
    t.stop()


@pytest.fixture
def roots(place):
    t = Target([place + "/hold"])
    t.line()
    yield t
    t.stop()


def alloc(place, capabilities, pid, *args, env=None):
    needs_capabilities(*capabilities)
    return run_as(as_nobody(*capabilities), "alloc", pid, "--engine", "bpf", "-d", "200ms",
                  "--json", *args, memwho=place + "/memwho", env={"HOME": place + "/home", **(env or {})})


@pytest.mark.parametrize("has, said", [
    ((), "CAP_BPF and CAP_PERFMON are missing"), (("bpf",), "CAP_PERFMON is missing"),
    (("perfmon",), "CAP_BPF is missing")])
def test_on_its_own_process_bpf_is_missing(place, own, has, said):
    r = is_refusal(alloc(place, has, own.pid), "not permitted to load BPF programs", said, "sudo",
                   "setcap cap_bpf,cap_perfmon")
    assert "PTRACE" not in r.err
    assert changed_code(own.pid) == []


@pytest.mark.parametrize("has", [(), ("bpf", "perfmon"), ("sys_admin",),
                                 ("bpf", "perfmon", "dac_read_search")])
def test_on_others_processes_ptrace_is_missing(place, roots, has):
    is_refusal(alloc(place, has, roots.pid), f"process {roots.pid} of user root",
               "CAP_SYS_PTRACE is missing", "sudo", "cap_sys_ptrace")
    assert changed_code(roots.pid) == []


@pytest.mark.parametrize("has", [("bpf", "perfmon"), ("sys_admin",)])
def test_enough_for_its_own(place, own, has):
    if "bpf" in has and not conftest.kernel_features().get("uprobe_multi"):
        pytest.skip("without uprobe_multi the kernel may ask for CAP_SYS_ADMIN")
    r = alloc(place, has, own.pid)
    assert r.code == 0 and r.json()["ended_by"] == "duration", r


@pytest.mark.parametrize("has", [("bpf", "perfmon", "sys_ptrace", "dac_read_search"),
                                 ("sys_admin", "sys_ptrace", "dac_read_search")])
def test_what_the_hint_gives_is_enough(place, roots, has):
    if "bpf" in has and not conftest.kernel_features().get("uprobe_multi"):
        pytest.skip("without uprobe_multi the kernel may ask for CAP_SYS_ADMIN")
    r = alloc(place, has, roots.pid)
    assert r.code == 0 and r.json()["ended_by"] == "duration", r
    assert [line for line in r.err.splitlines() if INFO not in line] == [], r


@pytest.mark.parametrize("option", ["-o", "--ready-file"])
def test_a_folder_of_somebody_else(place, own, option):
    is_refusal(alloc(place, ("bpf", "perfmon"), own.pid, option, place + "/x.json"),
               "Permission denied", place + "/x.json", "a folder that you can write to")
    assert not os.path.exists(place + "/x.json") and changed_code(own.pid) == []


def test_where_perf_wants_an_administrator(place, own):
    """Kernels of 2025 set perf's uprobes for CAP_SYS_ADMIN only (older ones work)."""
    r = alloc(place, ("bpf", "perfmon"), own.pid, env={"MEMWHO_WITHOUT": "uprobe_multi"})
    if r.code:
        is_refusal(r, "CAP_SYS_ADMIN is missing", "setcap cap_sys_admin")
    r = alloc(place, ("sys_admin",), own.pid, env={"MEMWHO_WITHOUT": "uprobe_multi"})
    assert r.code == 0, r


def test_a_forking_process_without_an_administrator(place):
    """uprobe_multi's probes then, which cost its children, and it is said."""
    if not conftest.kernel_features().get("uprobe_multi"):
        pytest.skip("needs uprobe_multi (Linux 6.6)")
    t = Target([*as_nobody(), place + "/hold"])
    try:
        t.line()
        t.say("fork")
        t.line()
        r = alloc(place, ("bpf", "perfmon"), t.pid)
        assert r.code == 0, r
        said = [line for line in r.err.splitlines() if INFO not in line]
        assert said == [] or ("children" in said[0] and "CAP_SYS_ADMIN" in said[0]), r
        assert changed_code(t.pid) == []
    finally:
        t.stop()


def test_root_without_capabilities_is_in_a_container(roots):
    """sudo is no help to root."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    equal = Target([*drop, PROGRAMS / "hold"])
    try:
        equal.line()
        r = is_refusal(run_as(drop, "alloc", "--engine", "bpf", equal.pid), "CAP_BPF and CAP_PERFMON are missing",
                       "--cap-add BPF --cap-add PERFMON")
        assert "sudo" not in r.err
    finally:
        equal.stop()
    # one with more capabilities than ours
    r = is_refusal(run_as(drop, "alloc", roots.pid), "CAP_SYS_PTRACE is missing",
                   "--cap-add SYS_PTRACE")
    assert "sudo" not in r.err


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def forbid(*calls):
    """In this process: these system calls answer EPERM (seccomp(2))."""
    load = struct.pack("HBBI", 0x20, 0, 0, 0)  # the call's number
    code = load
    for call in calls:
        code += struct.pack("HBBI", 0x15, 0, 1, call) + struct.pack("HBBI", 0x06, 0, 0, 0x50000 | errno.EPERM)
    code += struct.pack("HBBI", 0x06, 0, 0, 0x7fff0000)
    kept = ctypes.create_string_buffer(code)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Filter(len(code) // 8, ctypes.addressof(kept))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0  # PR_SET_SECCOMP, filter


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls")
@pytest.mark.parametrize("number", [321, 298], ids=["bpf", "perf_event_open"])
def test_a_seccomp_profile_forbids_it(roots, number):
    env = {**os.environ, "MEMWHO_WITHOUT": "uprobe_multi"}
    p = subprocess.run([conftest.MEMWHO, "alloc", "--engine", "bpf", str(roots.pid)],
                       capture_output=True, env=env,
                       preexec_fn=lambda: forbid(number))
    r = conftest.Result(["alloc"], p.returncode, p.stdout, p.stderr)
    is_refusal(r, "not permitted to", "although the capabilities are there", "seccomp")
    assert changed_code(roots.pid) == []


def test_setcap_as_the_hint_says(place, roots):
    """The hint's own command, on a copy of memwho, then as nobody."""
    if not shutil.which("setcap"):
        pytest.skip("setcap is not installed (libcap2-bin)")
    needs_capabilities("bpf", "perfmon", "sys_ptrace", "dac_read_search")
    given = place + "/given"
    shutil.copy(conftest.MEMWHO, given)
    hint = is_refusal(alloc(place, (), roots.pid), "setcap").err.split("or once: sudo ")[1].strip()
    p = subprocess.run(hint.replace("$(command -v memwho)", given), shell=True, capture_output=True)
    if p.returncode:  # this file system has none; the command itself must be right
        assert b"Operation not supported" in p.stderr, p.stderr
        return
    # no exec of setpriv may keep the bounding set: file capabilities are cut by it
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    r = run_as(nobody, "alloc", roots.pid, "-d", "200ms", "--json", memwho=given,
               env={"HOME": place + "/home"})
    if not conftest.kernel_features().get("uprobe_multi"):
        is_refusal(r, "CAP_SYS_ADMIN is missing") if r.code else None
        return
    assert r.code == 0 and r.json()["ended_by"] == "duration", r


def test_a_program_that_may_be_run_but_not_read(place):
    """Its file gives no names and no unwind rows, and that is said."""
    closed = place + "/closed"
    shutil.copy(PROGRAMS / "hold", closed)
    os.chmod(closed, 0o711)
    t = Target([*as_nobody(), closed])
    try:
        t.line()
        r = alloc(place, ("bpf", "perfmon", "sys_ptrace"), t.pid)
        assert r.code == 0 and r.json()["modules_without_table"] == 1, r
        assert f"no names for {closed}" in r.err and "CAP_DAC_READ_SEARCH is missing" in r.err
        assert "vdso" not in r.err  # ours is the same
        r = alloc(place, ("bpf", "perfmon", "sys_ptrace", "dac_read_search"), t.pid)
        assert r.code == 0 and r.json()["modules_without_table"] == 0 and "no names" not in r.err, r
        assert changed_code(t.pid) == []
    finally:
        t.stop()


def test_the_doctor_says_it_before(place):
    needs_capabilities("bpf", "perfmon")

    def doctor(*has):
        return run_as(as_nobody(*has), "doctor", memwho=place + "/memwho").out
    assert "no CAP_BPF, no CAP_PERFMON" in doctor() and "setcap cap_bpf,cap_perfmon" in doctor()
    assert "no CAP_SYS_ADMIN" in doctor("bpf", "perfmon") or "CAP_SYS_ADMIN  " in doctor("bpf", "perfmon")
    assert "setcap cap_sys_admin" in doctor("bpf", "perfmon")
    assert "setcap cap_sys_admin" not in doctor("sys_admin")
