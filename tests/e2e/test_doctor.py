# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho doctor: the right answer where it is known from outside."""
import os
import platform
import subprocess

import pytest

import conftest

EMPTY_PROGRAM = ".globl _start\n_start:\nmov $34, %eax\nsyscall\njmp _start\n"  # pause()


def checks(result):
    return {c["name"]: c for c in result.json()["checks"]}


def test_a_machine_that_can(memwho, needs_bpf):
    r = memwho("doctor", "--json")
    found = checks(r)
    assert r.json()["works"] is True
    assert found["privileges"]["state"] == found["bpf"]["state"] == "ok"
    assert os.uname().release in found["kernel"]["detail"]
    assert "memwho alloc works here" in memwho("doctor").out


@pytest.mark.parametrize("feature, name", [("btf", "btf"), ("bpf_loop", "bpf_loop")])
def test_what_is_missing_is_said(memwho, needs_bpf, feature, name):
    """The agent needs nothing of it, where there is one."""
    agent = platform.machine() == "x86_64"
    r = memwho("doctor", "--json", env={"MEMWHO_WITHOUT": feature}, code=0 if agent else 1)
    assert r.json()["works"] is agent
    assert checks(r)[name]["state"] == "limited" if agent else "missing"
    assert checks(r)[name]["remedy"]
    assert checks(r)["MEMWHO_WITHOUT"]["state"] == "limited"
    bpf, other = checks(r)["engine bpf"], checks(r)["engine agent"]
    assert bpf["state"] != "ok" and bpf["remedy"] and ("BTF" in bpf["detail"] or "bpf_loop" in bpf["detail"])
    assert (other["state"] == "ok") is agent


def test_what_is_only_less_is_no_failure(memwho, needs_bpf):
    r = memwho("doctor", "--json", env={"MEMWHO_WITHOUT": "uprobe_session"})
    assert checks(r)["uprobe_session"]["state"] == "limited" and r.json()["works"]


def without_capabilities(*args):
    return subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", conftest.MEMWHO, *args],
                          capture_output=True, text=True)


def test_without_privileges_it_says_which(needs_bpf):
    p = without_capabilities("doctor")
    assert p.returncode == (0 if platform.machine() == "x86_64" else 1)
    assert "no CAP_BPF, no CAP_PERFMON" in p.stdout
    assert "setcap cap_bpf,cap_perfmon" in p.stdout


def test_a_process_and_its_allocator(memwho, target, needs_bpf):
    pid = target("hold").pid
    found = checks(memwho("doctor", pid, "--json"))
    assert found["process"]["detail"].startswith(f"{pid} hold")
    assert found["libc"]["state"] in ("ok", "limited") and "functions to probe" in found["libc"]["detail"]
    assert found["tracer"]["detail"] == "none" and found["memory"]["state"] == "ok"
    assert conftest.changed_code(pid) == []


def test_a_preloaded_allocator_is_found(memwho, target, needs_bpf):
    library = next((p for p in ("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",) if os.path.exists(p)), None)
    if not library:
        pytest.skip("libjemalloc.so.2 is not installed")
    pid = target("hold", env={"LD_PRELOAD": library}).pid
    assert "jemalloc" in checks(memwho("doctor", pid, "--json"))


def test_a_program_without_allocator(memwho, target, tmp_path, needs_bpf):
    (tmp_path / "empty.s").write_text(EMPTY_PROGRAM)
    subprocess.run("as empty.s -o empty.o && ld empty.o -o empty", shell=True, cwd=tmp_path, check=True)
    r = memwho("doctor", target(str(tmp_path / "empty")).pid, "--json", code=1)
    assert checks(r)["allocator"]["state"] == "missing"


def test_nobody_and_kernel_threads(memwho):
    assert "no process" in memwho("doctor", "4194303", code=1).out + memwho("doctor", "4194303", code=1).err
    r = memwho("doctor", "2", code=1)
    assert "kernel thread" in r.out + r.err
