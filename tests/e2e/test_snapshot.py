# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 once
"""Copy-on-write copies of a running process (src/inject/snapshot.c)."""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from test_agent_seccomp import KILL, container_profile, only
from test_inject import EVERY, MIXED, done, victim  # noqa: F401
from victim import injector

SNAPSHOT = ("snapshot", 0)
COPY_CALLS = {"nanosleep": 35, "clone": 56, "wait4": 61, "exit_group": 231}


def children(pid):
    """[(pid, state)]"""
    out = subprocess.run(["ps", "-o", "pid=,stat=", "--ppid", str(pid)], stdout=subprocess.PIPE,
                         text=True, check=False).stdout
    return [(int(line.split()[0]), line.split()[1]) for line in out.splitlines()]


def is_gone(pid, seconds=5):
    deadline = time.monotonic() + seconds
    while pathlib.Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("modes", ["c", "aaaaaaaa", MIXED])
@pytest.mark.parametrize("options", [(), ("-a",)], ids=["one thread stopped", "all stopped"])
def test_a_copy_stands_still_and_the_target_goes_on(victim, modes, options):
    v = victim(modes)
    said = done(injector(v.pid, "snapshot", 300, options=options))
    assert said["first"] == said["later"] and int(said["target"]) > int(said["first"])
    assert int(said["threads"]) == (len(modes) if options else 0)
    assert is_gone(int(said["copy"])) and not children(v.pid), "nothing is left"
    v.check()
    assert v.eintr == 0


def test_no_descriptor_is_kept_open(victim):
    """The copy shares the table of descriptors: it holds nothing that the target closes."""
    v = victim("cn")
    p = subprocess.Popen([conftest.PROGRAMS / "injector", str(v.pid), "snapshot", "2000"],
                         stdout=subprocess.PIPE, text=True)
    copy = int(p.stdout.readline().split()[1])
    assert os.path.samefile(f"/proc/{copy}/exe", f"/proc/{v.pid}/exe")
    assert sorted(os.listdir(f"/proc/{copy}/fd")) == sorted(os.listdir(f"/proc/{v.pid}/fd"))
    with open(f"/proc/{copy}/oom_score_adj") as f:
        assert int(f.read()) == 1000
    p.communicate(timeout=20)
    v.check()


def test_a_copy_ends_by_itself_when_memwho_is_killed(victim):
    v = victim("can")
    p = subprocess.Popen([conftest.PROGRAMS / "injector", str(v.pid), "snapshot", "60000"],
                         stdout=subprocess.PIPE, text=True)
    copy = int(p.stdout.readline().split()[1])
    time.sleep(3)
    assert [state for pid, state in children(v.pid) if pid == copy and state[0] != "Z"], \
        "it lives as long as memwho does"
    p.kill()
    p.wait()
    time.sleep(3.5)
    left = children(v.pid)
    assert all(state[0] == "Z" for _, state in left), left
    v.check()
    assert done(injector(v.pid, "reap"))["reaped"] == str(len(left))
    assert not children(v.pid)
    v.check()


def test_killed_before_every_step(victim):
    v = victim("acnef")
    step, killed = random.randrange(EVERY), 0
    while True:
        code, said, err = injector(v.pid, *SNAPSHOT, options=("-k", step))
        if code != -signal.SIGKILL:
            assert code == 0 and killed, (step, code, said, err)
            break
        killed += 1
        wrong = v.goes_on()
        assert not wrong, (step, wrong)
        if killed % 3 == 0:
            done(injector(v.pid, *SNAPSHOT))
            assert done(injector(v.pid, "clean"))["cleaned"] == "1", step
        v.check()
        step += EVERY
    # A sample (EVERY > 1) is of as many steps as the last kill left to do: seen from 7 * 3.
    assert killed * EVERY >= (20 if EVERY == 1 else 12), killed
    time.sleep(3)
    assert all(state[0] == "Z" for _, state in children(v.pid))
    done(injector(v.pid, "reap"))
    assert not children(v.pid)
    v.check()


def test_where_init_reaps_nothing_is_the_targets_child(tmp_path):
    """bash by the name of a reaping init, with the victim below it."""
    shutil.copy("/bin/bash", tmp_path / "tini")
    board = tmp_path / "board"
    p = subprocess.Popen(["unshare", "--fork", "--pid", "--mount-proc", tmp_path / "tini", "-c",
                          f"{conftest.PROGRAMS}/victim {board} can & while :; do sleep 0.1; done"],
                         stdout=subprocess.PIPE)
    try:
        p.stdout.readline()
        init = children(p.pid)[0][0]
        victims = subprocess.run(["pgrep", "-P", str(init), "victim"], stdout=subprocess.PIPE,
                                 check=True).stdout
        pid = int(victims)
        said = done(injector(pid, "snapshot", 200))
        assert said["twice"] == "1" and said["first"] == said["later"]
        assert not children(pid)
        assert is_gone(int(said["copy"])), "init has reaped it"
        # killed: nothing of the target's is left either
        q = subprocess.Popen([conftest.PROGRAMS / "injector", str(pid), "snapshot", "60000"],
                             stdout=subprocess.PIPE, text=True)
        copy = int(q.stdout.readline().split()[1])
        q.kill()
        q.wait()
        assert is_gone(copy, 6) and not children(pid)
        assert pathlib.Path(f"/proc/{pid}").exists()
    finally:
        subprocess.run(["pkill", "-KILL", "-P", str(p.pid)], check=False)
        p.kill()
        p.wait()
        p.stdout.close()


def filter_file(tmp_path, code):
    (tmp_path / "filter").write_bytes(code)
    return [f"filter={tmp_path / 'filter'}"]


@pytest.mark.parametrize("options", [(), ("-a",)], ids=["one thread stopped", "all stopped"])
def test_under_a_containers_profile(victim, tmp_path, options):
    v = victim(MIXED, args=filter_file(tmp_path, container_profile()))
    said = done(injector(v.pid, "snapshot", 300, options=options))
    assert said["first"] == said["later"] and int(said["target"]) > int(said["first"])
    assert is_gone(int(said["copy"])) and not children(v.pid)
    v.check()
    assert v.eintr == 0


@pytest.mark.parametrize("call", ["clone", "nanosleep", "exit_group", "wait4"])
def test_a_call_of_the_copy_that_kills(victim, tmp_path, call):
    """Refused before anything is called, also where only the copy would make that call."""
    v = victim("cc", args=filter_file(tmp_path, only(COPY_CALLS[call], KILL)))
    before = pathlib.Path(f"/proc/{v.pid}/maps").read_text()
    code, _, err = injector(v.pid, *SNAPSHOT)
    assert code == 1 and f"kills the process at {call}" in err, (code, err)
    assert pathlib.Path(f"/proc/{v.pid}/maps").read_text() == before and not children(v.pid)
    v.check()


def test_refused_where_the_cgroup_has_no_room(victim):
    v1, v2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
    group = (v1 if v1.exists() else v2) / "memwho-test-room"
    try:
        group.mkdir(exist_ok=True)
    except OSError as e:
        pytest.skip(f"no cgroup can be made: {e}")
    limit = group / ("memory.limit_in_bytes" if v1.exists() else "memory.max")
    try:
        if not limit.exists():
            pytest.skip("no memory controller")
        v = victim("aaaaaaaa")
        (group / "cgroup.procs").write_text(str(v.pid))
        v.check()
        rss = next(int(line.split()[1]) << 10 for line in open(f"/proc/{v.pid}/status") if line.startswith("RssAnon"))
        used = int((group / ("memory.usage_in_bytes" if v1.exists() else "memory.current")).read_text())
        limit.write_text(str(used + rss // 4 + (1 << 20)))
        code, _, err = injector(v.pid, *SNAPSHOT)
        assert code == 1 and "memory cgroup" in err and "--stop" in err, (code, err)
        v.check()
        limit.write_text("-1" if v1.exists() else "max")
        done(injector(v.pid, *SNAPSHOT))
        v.check()
        v.process.kill()
        v.process.wait()
        time.sleep(0.2)
    finally:
        group.rmdir()


def test_the_limit_of_processes(victim):
    group = pathlib.Path("/sys/fs/cgroup/pids/memwho-test")
    if not group.parent.exists():
        group = pathlib.Path("/sys/fs/cgroup/memwho-test")
    try:
        group.mkdir(exist_ok=True)
    except OSError as e:
        pytest.skip(f"no cgroup can be made: {e}")
    try:
        v = victim("cn")
        (group / "cgroup.procs").write_text(str(v.pid))
        if not (group / "pids.max").exists():
            pytest.skip("no pids controller")
        (group / "pids.max").write_text("2")
        code, _, err = injector(v.pid, *SNAPSHOT)
        assert code in (1, 5) and "limit of processes" in err, (code, err)
        v.check()
        (group / "pids.max").write_text("max")
        done(injector(v.pid, *SNAPSHOT))
        v.check()
        v.process.kill()
        v.process.wait()
        time.sleep(0.2)
    finally:
        group.rmdir()


def test_detach(memwho, victim):
    v = victim("can")
    assert "nothing of memwho's" in memwho("detach", v.pid).out
    p = subprocess.Popen([conftest.PROGRAMS / "injector", str(v.pid), "snapshot", "60000"],
                         stdout=subprocess.PIPE, text=True)
    copy = int(p.stdout.readline().split()[1])
    p.kill()
    p.wait()
    deadline = time.monotonic() + 6
    while any(state[0] != "Z" for _, state in children(v.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    said = memwho("detach", v.pid).out
    assert "given back" in said
    assert copy and "1 ended copy reaped" in said, said
    assert not children(v.pid) and injector(v.pid, "find")[0] == 4
    assert "nothing of memwho's" in memwho("detach", v.pid).out
    v.check()
