# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=400 parallel
"""Processes that see other files and other process numbers than we do, and the
words that name several: container:ID, cgroup:PATH, pidfile:PATH."""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import cgroups
import conftest
from conftest import PROGRAMS, changed_code
from hold import Hold, compare, library, stacks_of_json
from refusal import is_refusal, refused

pytestmark = pytest.mark.usefixtures("needs_bpf")
ALL = ("--max-slowdown", "1000")


def copy_with_libraries(program, root, name="hold"):
    """@program as root/hold, with its own copy of every library it maps."""
    shutil.copy(program, root / name)
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for word in out.split():
        if word.startswith("/"):
            inside = root / word[1:]
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(word), inside)


def check_exact(hold, record, pid=None):
    """The recording of a known sequence agrees with the program's own account."""
    hold.command("warm 5")
    r = record("alloc", pid or hold.pid, "--json", *ALL)
    hold.command("mark")
    hold.command("go 3")
    truth = hold.truth()
    result = r.interrupt().json()
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0 and score.true_bytes > 0, score.explain()
    assert result["lost_events"] == 0
    frames = {f for s in result["stacks"] for f in s["frames"]}
    assert "main" in frames and "hold" in result["target"]
    assert changed_code(pid or hold.pid) == []
    return result


def test_a_chroot_with_nothing_else_in_it(record, tmp_path):
    copy_with_libraries(PROGRAMS / "hold", tmp_path)
    with Hold("/hold", wrapper=["chroot", tmp_path]) as hold:
        assert os.readlink(f"/proc/{hold.pid}/root") == str(tmp_path)
        check_exact(hold, record)


def test_a_mount_namespace_of_its_own(record, tmp_path):
    """Its root is a file system that is mounted nowhere else."""
    inside = tmp_path / "root"
    stage = tmp_path / "stage"
    inside.mkdir(), stage.mkdir()
    copy_with_libraries(PROGRAMS / "hold", stage)
    script = (f"mount -t tmpfs none {inside} && cp -r {stage}/. {inside}/ && "
              f"exec chroot {inside} /hold")
    with Hold(script, wrapper=["unshare", "-m", "sh", "-c"]) as hold:
        assert not list(inside.iterdir())
        shutil.rmtree(stage)
        result = check_exact(hold, record)
    assert result["complete_stacks_percent"] > 95


def test_a_static_program_in_a_namespace(record, tmp_path):
    inside = tmp_path / "root"
    inside.mkdir()
    script = (f"mount -t tmpfs none {inside} && cp {PROGRAMS}/hold-static {inside}/hold && "
              f"exec chroot {inside} /hold")
    with Hold(script, wrapper=["unshare", "-m", "sh", "-c"]) as hold:
        check_exact(hold, record)


def child_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def test_a_pid_namespace(record):
    """Its own number is 1; we and the result speak of ours."""
    with Hold(PROGRAMS / "hold", wrapper=["unshare", "-p", "-f", "--kill-child"]) as hold:
        pid = child_of(hold.pid)
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert f"NSpid:\t{pid}\t1" in status
        result = check_exact(hold, record, pid=pid)
    assert result["pid"] == pid
    assert {s["labels"]["pid"] for s in result["stacks"] if "pid" in s["labels"]} <= {pid}


# runs as process 1 of a pid namespace: memwho beside its target
INSIDE = """
import json, os, pathlib, subprocess, sys, time
memwho, program, ready, *options = sys.argv[1:]
hold = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
hold.stdout.readline()

def say(text):
    hold.stdin.write(text.encode() + b"\\n")
    hold.stdin.flush()
    return hold.stdout.readline().decode().split()

r = subprocess.Popen([memwho, "alloc", str(hold.pid), "--json", "--ready-file", ready,
                      "--max-slowdown", "1000", *options], stdout=subprocess.PIPE)
while not os.path.exists(ready) and r.poll() is None:
    time.sleep(0.02)
say("mark"), say("many 70")
child = int(say("fork")[1])
time.sleep(1.5)
say("child mark"), say("child many 5"), say("many 7"), say("sleep 200")
os.kill(hold.pid, 9)
try:
    os.kill(child, 9)
except ProcessLookupError:  # its end of the pipe is closed: it ended by itself
    pass
hold.wait()
try:
    out = r.communicate(timeout=20)[0]
except subprocess.TimeoutExpired:
    r.terminate()
    out = r.communicate()[0]
print(json.dumps([hold.pid, child, r.returncode, json.loads(out or b"null")]))
"""


@pytest.mark.parametrize("follow", [False, True])
def test_inside_a_pid_namespace(tmp_path, follow):
    """memwho in a container sees the container's numbers, and so does its result."""
    p = subprocess.run(["unshare", "-p", "-f", "--mount-proc", "--kill-child", "python3", "-c", INSIDE,
                        conftest.MEMWHO, PROGRAMS / "hold", tmp_path / "ready",
                        *(["--follow"] if follow else [])],
                       capture_output=True, text=True, timeout=120)
    assert p.stdout, (p.returncode, p.stderr)
    pid, child, status, result = json.loads(p.stdout)
    assert pid < 20 and status == 0, p.stderr
    assert result["ended_by"] == "exit" and result["lost_children"] == 0
    assert [x["pid"] for x in result["processes"]] == ([pid, child] if follow else [pid])
    assert counts(result, pid) == 77 and counts(result, child) == (5 if follow else 0)


def test_proc_of_another_pid_namespace():
    """Without its own /proc a container's numbers and /proc's are not the same ones."""
    p = subprocess.run(["unshare", "-p", "-f", "--kill-child", conftest.MEMWHO, "alloc",
                        str(os.getpid()), "-d", "100ms"],
                       capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    is_refusal(conftest.Result(["alloc"], p.returncode, p.stdout, p.stderr),
               "/proc belongs to another pid namespace", "mount -t proc")


def test_a_library_that_was_replaced(record, tmp_path):
    """An upgrade under a running process: the old file has no name any more."""
    path = library("libjemalloc.so.2")
    if not path:
        pytest.skip("libjemalloc.so.2 is not installed")
    own = tmp_path / "libjemalloc.so.2"
    shutil.copy(os.path.realpath(path), own)
    with Hold(PROGRAMS / "hold", preload=str(own)) as hold:
        own.unlink()
        own.write_bytes(b"something else")
        result = check_exact(hold, record)
    assert "jemalloc" in result["allocators"]


# ---- words for several ----

def hierarchies():
    """Writable cgroup hierarchies' mount points."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, kind = line.split(" - ")
        if kind.split()[0] in ("cgroup", "cgroup2") and fields.split()[4].startswith("/sys/fs/cgroup"):
            found.append(fields.split()[4])
    return sorted(found, key=lambda p: ("pids" not in p, p))


@contextlib.contextmanager
def cgroup(path, *pids):
    """A cgroup at @path below a hierarchy, with these processes in it."""
    top = next((h for h in hierarchies() if os.access(h, os.W_OK)), None)
    if not top:
        pytest.skip("no cgroup hierarchy that can be written")
    with cgroups.made(top, path) as whole:
        for pid in pids:
            (whole / "cgroup.procs").write_text(str(pid))
        yield whole


def counts(result, pid):
    return sum(s["count"] for s in result["stacks"]
               if "site_01" in s["frames"] and s["labels"].get("pid", result.get("pid")) == pid)


def an_id(text):
    return hashlib.sha256(f"{text} {os.getpid()}".encode()).hexdigest()


@pytest.mark.parametrize("shape", [
    "docker/{}", "system.slice/docker-{}.scope", "machine.slice/libpod-{}.scope",
    "kubepods/burstable/pod5f0c1d2e-aaaa-bbbb-cccc-0123456789ab/{}",
    "kubepods.slice/kubepods-pod1.slice/cri-containerd-{}.scope", "system.slice/crio-{}.scope",
    "libpod_parent/libpod-{}/container"])
def test_containers_by_their_id(record, shape):
    name = an_id(shape)
    with Hold(PROGRAMS / "hold") as hold, Hold(PROGRAMS / "hold") as other:
        with cgroup(shape.format(name), hold.pid), cgroup(shape.format(an_id("other")), other.pid):
            for word in (f"container:{name}", f"container:{name[:12]}"):
                r = record("alloc", word, "--json", *ALL)
                hold.command("mark")
                hold.command("many 30")
                other.command("many 5")
                result = r.interrupt().json()
                assert result["pid"] == hold.pid and counts(result, hold.pid) == 30


def test_an_ambiguous_container(record):
    first, second = "abcdef01" + an_id(1)[:56], "abcdef01" + an_id(2)[:56]
    with Hold(PROGRAMS / "hold") as a, Hold(PROGRAMS / "hold") as b:
        with cgroup(f"docker/{first}", a.pid), cgroup(f"docker/{second}", b.pid):
            refused("alloc", "container:abcdef01", said=("several containers", first[:16], second[:16],
                                                         "more digits"))
            r = record("alloc", "container:" + first[:20], "--json", *ALL)
            assert r.interrupt().json()["pid"] == a.pid


def test_a_cgroup_of_several(record):
    with Hold(PROGRAMS / "hold") as a, Hold(PROGRAMS / "hold") as b, Hold(PROGRAMS / "hold") as c:
        name = f"memwho-test-{os.getpid()}"
        with cgroup(f"{name}/one", a.pid) as path, cgroup(f"{name}/two", b.pid):
            r = record("alloc", f"cgroup:/{name}", "--json", *ALL)
            for hold, n in ((a, 10), (b, 20), (c, 40)):
                hold.command("mark")
                hold.command(f"many {n}")
            result = r.interrupt().json()
            assert counts(result, a.pid) == 10 and counts(result, b.pid) == 20
            assert counts(result, c.pid) == 0
            assert sorted(p["pid"] for p in result["processes"]) == sorted([a.pid, b.pid])
            # the same by the whole path, one of the two
            r = record("alloc", f"cgroup:{path}", "--json", *ALL)
            assert r.interrupt().json()["pid"] == a.pid
            assert all(changed_code(h.pid) == [] for h in (a, b, c))


def test_an_empty_cgroup():
    name = f"memwho-empty-{os.getpid()}"
    with cgroup(name):
        refused("alloc", f"cgroup:/{name}", said=("has no process", name))


def test_pidfiles(record, tmp_path):
    path = tmp_path / "server.pid"
    with Hold(PROGRAMS / "hold") as hold:
        # PostgreSQL's has more lines behind
        path.write_text(f"{hold.pid}\n/var/lib/data\n1700000000\n5432\n")
        r = record("alloc", f"pidfile:{path}", "--json", *ALL)
        hold.command("mark")
        hold.command("many 12")
        result = r.interrupt().json()
        assert result["pid"] == hold.pid and counts(result, hold.pid) == 12
    refused("alloc", f"pidfile:{path}", said=(str(path), "does not run"))
    for text in ("", "abc\n", "-5\n", "99999999999999999999\n", "\x1b[31m7\n", "0\n"):
        path.write_text(text)
        r = refused("alloc", f"pidfile:{path}", code=2, said="is not a process id")
        assert "\x1b" not in r.err
    os.mkfifo(tmp_path / "fifo")
    refused("alloc", f"pidfile:{tmp_path / 'fifo'}", code=2, said="is not a process id")
