# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 once
"""Calls made inside a running process (src/inject), with memwho killed before
every single step of them."""
import os
import random
import signal
import subprocess
import time

import conftest
import pytest
from victim import injector, victim

JEMALLOC = "libjemalloc.so.2"
TRIM = ("call", "malloc_trim", 0)
PURGE = ("call", "mallctl", "s:arena.4096.purge", 0, 0, 0, 0)
MIXED = "cacnefrs"
# every STEP-th step is tried in one run; the whole is `./dev matrix inject`
EVERY = int(os.environ.get("INJECT_EVERY", "5"))


def done(ran):
    code, said, err = ran
    assert code == 0, (code, said, err)
    return said


def anonymous_code(pid):
    with open(f"/proc/{pid}/maps") as f:
        return [line for line in f if " r-xp 00000000 00:00 0" in line and "[" not in line]


def test_a_system_call(victim):
    v = victim("c")
    assert done(injector(v.pid, "getpid"))["result"] == str(v.pid)
    v.check()


@pytest.mark.parametrize("modes", ["c", "a", "n", "e", "f", "r", MIXED, "aaaaaaaa"])
def test_function_calls_change_nothing(victim, modes):
    v = victim(modes)
    said = done(injector(v.pid, *TRIM, options=("-n", 100)))
    assert said["done"] == "100" and said["limbo"] == "0"
    v.check()
    assert v.eintr == 0 and not v.tracers()


def test_running_threads_are_lent_too(victim):
    v = victim("ccqqa")
    assert done(injector(v.pid, *TRIM, options=("-n", 200, "-r")))["done"] == "200"
    v.check()
    assert v.words()[4] >= v.words()[5] > 0, "increments in restartable sequences were lost"


def test_an_allocator_is_called_only_at_a_safe_point(victim):
    """Eight threads that do nothing but allocate; without the safe point the target
    deadlocks within a few calls."""
    v = victim("aaaaaaaa", preload=JEMALLOC)
    said = done(injector(v.pid, *PURGE, options=("-n", 200), timeout=120))
    assert said["done"] == "200" and said["result"] == "0"
    assert int(said["refused"]) > 0, "no thread was in its allocator: the test proves nothing"
    v.check()


def test_what_is_left_and_taken_away(victim):
    v = victim("cn")
    before = anonymous_code(v.pid)
    done(injector(v.pid, "getpid"))
    assert len(anonymous_code(v.pid)) == len(before) + 1
    first = done(injector(v.pid, "find"))
    done(injector(v.pid, "getpid"))
    assert done(injector(v.pid, "find"))["area"] == first["area"], "the area is used again"
    assert done(injector(v.pid, "clean"))["cleaned"] == "1"
    assert anonymous_code(v.pid) == before
    assert injector(v.pid, "find")[0] == 4
    assert done(injector(v.pid, "clean"))["cleaned"] == "0"
    v.check()


def test_never_writable_and_executable(victim):
    v = victim("cn", args=("mdwe",))
    if v.process.poll() == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    done(injector(v.pid, *TRIM))
    with open(f"/proc/{v.pid}/maps") as f:
        assert not [line for line in f if "rwx" in line.split()[1]]
    v.check()


def test_a_static_program(victim):
    v = victim("can", program="victim-static")
    assert done(injector(v.pid, "getpid"))["result"] == str(v.pid)
    assert done(injector(v.pid, *TRIM, options=("-n", 50)))["done"] == "50"
    v.check()


def test_other_namespaces(tmp_path):
    board = tmp_path / "inner"
    p = subprocess.Popen(["unshare", "--fork", "--pid", "--mount", "--net", "--ipc", "--uts",
                          conftest.PROGRAMS / "victim", board, "cn"], stdout=subprocess.PIPE,
                         stdin=subprocess.PIPE)
    try:
        p.stdout.readline()
        inner = int(subprocess.run(["pgrep", "-P", str(p.pid)], stdout=subprocess.PIPE,
                                   check=True).stdout)
        assert done(injector(inner, "getpid"))["result"] == "1", "its own pid, in its namespace"
        assert done(injector(inner, *TRIM, options=("-n", 20)))["done"] == "20"
        assert done(injector(inner, "clean"))["cleaned"] == "1"
        assert p.poll() is None
    finally:
        subprocess.run(["pkill", "-KILL", "-P", str(p.pid)])
        p.kill()
        p.wait()


def test_a_stopped_process_is_left_alone(victim):
    v = victim("cn")
    done(injector(v.pid, "getpid"))
    os.kill(v.pid, signal.SIGSTOP)
    code, said, err = injector(v.pid, "getpid", options=("-t", 300))
    # stopped already, or only after it was chosen: then the commit is withdrawn
    assert code == 5 and ("no thread" in err or "stopped by a signal" in err or "did not run" in err), (code, said, err)
    os.kill(v.pid, signal.SIGCONT)
    done(injector(v.pid, "getpid"))
    v.check()


def test_two_at_once(victim):
    v = victim("aa")
    many = subprocess.Popen([conftest.PROGRAMS / "injector", "-n", "3000", str(v.pid), *map(str, TRIM)],
                            stdout=subprocess.DEVNULL)
    time.sleep(0.3)
    code, _, err = injector(v.pid, "getpid")
    assert many.poll() is None and code == 1 and "another memwho" in err, (code, err)
    many.kill()
    many.wait()
    v.check()


def test_a_target_that_ends(victim):
    for _ in range(5):
        v = victim("aan")
        p = subprocess.Popen([conftest.PROGRAMS / "injector", "-n", "100000", str(v.pid), *map(str, TRIM)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(random.uniform(0.05, 0.4))
        v.process.kill()
        _, err = p.communicate(timeout=20)
        assert p.returncode == 1 and "ended" in err, (p.returncode, err)


# ---- memwho is killed ----

KILLS = [("cane", "victim", None, ("getpid",)),
         (MIXED, "victim", None, TRIM),
         ("aaaaaaaa", "victim", None, TRIM),
         ("acnef", "victim", JEMALLOC, PURGE),
         ("can", "victim-static", None, TRIM),
         ("can", "victim-headers", None, TRIM),
         ("can", "victim-static-vdso", None, TRIM)]


@pytest.mark.parametrize("modes,program,preload,call", KILLS,
                         ids=["syscall", "mixed", "allocating", "jemalloc", "static", "headers", "vdso"])
def test_killed_before_every_step(victim, monkeypatch, modes, program, preload, call):
    """After the kill the target works on, a second memwho gets its call through, and
    takes away what both have left. Once where the area is made, once where it is there."""
    if program in ("victim-headers", "victim-static-vdso"):
        # behind its headers; or, where there is no room at all in its pages, behind the vdso
        monkeypatch.setenv("MEMWHO_WITHOUT", "code_tail")
        program = program.removesuffix("-vdso")
    v = victim(modes, program=program, preload=preload)
    killed = 0
    for cleans in (True, False):
        step = random.randrange(EVERY)
        while True:
            code, said, err = injector(v.pid, *call, options=("-k", step))
            if code != -signal.SIGKILL:
                assert code == 0 and killed, (step, code, said, err)
                break
            killed += 1
            wrong = v.goes_on()
            assert not wrong, (step, wrong)
            done(injector(v.pid, *call))
            if cleans:
                assert done(injector(v.pid, "clean"))["cleaned"] == "1", step
            v.check()
            assert not v.tracers()
            step += EVERY
    # All the steps of both walks are 49 or more. A sample of them (EVERY > 1) starts at random
    # and ends where the call gets through, which is earlier or later by a few steps with
    # what the last kill left: seen from 12 * 3 to 16 * 3.
    assert killed * EVERY >= (45 if EVERY == 1 else 30), killed
    # an epoll_wait may return early once, if the kill came between its stop and its repair
    assert v.eintr <= killed


@pytest.mark.parametrize("program,environment", [("victim", {}), ("victim-headers", {"MEMWHO_WITHOUT": "code_tail"}),
                                                 ("victim-static", {"MEMWHO_WITHOUT": "code_tail"})])
def test_detach_after_a_kill_before_every_step(memwho, victim, monkeypatch, program, environment):
    """Nothing but detach comes after the kill, and nothing is left then: no area, no byte of code."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    v = victim("cane", program=program)
    assert not conftest.changed_code(v.pid)
    killed, said = 0, set()
    for step in range(random.randrange(EVERY), 1000, EVERY):
        if injector(v.pid, "getpid", options=("-k", step))[0] != -signal.SIGKILL:
            break
        killed += 1
        said |= {line.split(": ")[1].split(" at 0x")[0] for line in memwho("detach", v.pid).out.splitlines()}
        assert not conftest.changed_code(v.pid) and injector(v.pid, "find")[0] == 4, step
        v.check()
    assert killed * EVERY >= 20, killed
    assert {"nothing of memwho's is there", "memory of memwho's"} <= said, said
    assert "nothing of memwho's" not in memwho("detach", v.pid).out
    assert not conftest.changed_code(v.pid)


def test_killed_while_cleaning(memwho, victim):
    v = victim("cane")
    step, killed = random.randrange(EVERY), 0
    while True:
        done(injector(v.pid, "getpid"))
        code, said, err = injector(v.pid, "clean", options=("-k", step))
        if code != -signal.SIGKILL:
            assert code == 0, (step, code, said, err)
            break
        killed += 1
        v.check()
        if killed % 2:
            memwho("detach", v.pid)
            assert not conftest.changed_code(v.pid) and injector(v.pid, "find")[0] == 4, step
        step += EVERY
    assert killed
    v.check()
    assert not conftest.changed_code(v.pid)


@pytest.mark.parametrize("modes,preload,call", [(MIXED, None, TRIM), ("aaaacnef", JEMALLOC, PURGE)])
def test_killed_at_random_times(victim, modes, preload, call):
    v = victim(modes, preload=preload)
    for i in range(int(os.environ.get("INJECT_RANDOM", "40"))):
        p = subprocess.Popen([conftest.PROGRAMS / "injector", "-n", "100000", str(v.pid), *map(str, call)],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.08))
        p.kill()
        assert p.wait() == -signal.SIGKILL
        wrong = v.goes_on()
        assert not wrong, (i, wrong)
    v.check()
    done(injector(v.pid, *call))
    assert done(injector(v.pid, "clean"))["cleaned"] == "1"
    v.check()
