# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho alloc by nobody, for nobody's own processes, with no capability at all: on the
machine, in a user namespace, in a container and from outside of it."""
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time

import conftest
import pytest
from conftest import PROGRAMS, Target, changed_code
from refusal import is_refusal, run_as

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up"),
]
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
             "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
# the same behind a user namespace of its own: root there, and then nothing of it
IN_NAMESPACE = [*AS_NOBODY[:4], "unshare", "-U", "-r", "setpriv", *AS_NOBODY[4:]]


@pytest.fixture(scope="module")
def place():
    """memwho and programs where nobody may run them."""
    folder = tempfile.mkdtemp(prefix="memwho-unprivileged-")
    os.chmod(folder, 0o755)
    for path in (conftest.MEMWHO, *(PROGRAMS / n for n in ("agent_truth", "victim", "hold"))):
        shutil.copy(path, folder)
    os.mkdir(folder + "/home")
    os.chown(folder + "/home", NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def truth(place):
    started = []

    def start(wrapper=AS_NOBODY, program="agent_truth", args=()):
        started.append(Target([*wrapper, f"{place}/{program}", *args]))
        assert started[-1].line() == "ready"
        return started[-1]

    yield start
    for t in started:
        t.stop()


def capabilities(pid):
    with open(f"/proc/{pid}/status") as f:
        return [int(line.split()[1], 16) for line in f if line.startswith(("CapEff", "CapPrm", "CapBnd"))]


def nobody(place, *args, wrapper=AS_NOBODY, **kw):
    return run_as(wrapper, *args, memwho=place + "/memwho", env={"HOME": place + "/home"}, **kw)


def round_of(t, wait=60):
    """One round of agent_truth: {site: bytes}"""
    t.say("round")
    words = t.line(wait).split()
    return dict(zip(words[::2], map(int, words[1::2])))


class Recording:
    """A memwho that runs until Ctrl-C."""

    def __init__(self, place, *args, wrapper=AS_NOBODY):
        self.ready = f"{place}/home/ready-{time.monotonic_ns()}"
        self.process = subprocess.Popen(
            [*wrapper, place + "/memwho", *map(str, args), "--json", "--ready-file", self.ready],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "HOME": place + "/home"})
        end = time.monotonic() + 30
        while not os.path.exists(self.ready):
            assert time.monotonic() < end and self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def result(self):
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return json.loads(out), err


def sites(result):
    found = {}
    for s in result["stacks"]:
        for f in s["frames"]:
            if f.startswith("site_"):
                found[f] = found.get(f, 0) + s["bytes"]
    return found


def agrees(result, true):
    """Within five standard errors, in total and at each site; and nothing was lost."""
    assert result["engine"] == "agent" and result["lost_bytes"] == 0, result
    mean = result["sample_bytes"]
    found = sites(result)
    assert set(found) <= set(true)
    for site, bytes_ in true.items():
        assert abs(found.get(site, 0) - bytes_) < 5 * (mean * bytes_) ** 0.5, (site, found, true)
    total = sum(true.values())
    assert abs(sum(found.values()) - total) < 5 * (mean * total) ** 0.5, (found, true)
    assert result["complete_stacks_percent"] > 95, result


SMALL = ("--sample", "32K")


def beside(wrapper, t):
    """The command in front that brings memwho to where @t, behind @wrapper, is."""
    if wrapper is AS_NOBODY:
        return wrapper
    return [*AS_NOBODY[:4], "nsenter", "-U", "-t", str(t.pid), "--preserve-credentials", "setpriv",
            *AS_NOBODY[4:]]


@pytest.mark.parametrize("wrapper", [AS_NOBODY, IN_NAMESPACE], ids=["nobody", "namespace"])
def test_its_own_process(place, truth, wrapper):
    t = truth(wrapper)
    recording = Recording(place, "alloc", t.pid, "--engine", "agent", *SMALL, wrapper=beside(wrapper, t))
    assert set(capabilities(t.pid)) == set(capabilities(recording.process.pid)) == {0}
    ours, its, theirs = (os.readlink(f"/proc/{p}/ns/user") for p in ("self", t.pid, recording.process.pid))
    assert its == theirs and (its == ours) is (wrapper is AS_NOBODY)
    true = round_of(t)
    agrees(recording.result()[0], true)
    assert changed_code(t.pid) == []


def test_a_namespace_of_its_owner(place, truth):
    """From outside: whoever made the namespace may look into it."""
    t = truth(IN_NAMESPACE)
    recording = Recording(place, "alloc", t.pid, "--engine", "agent", *SMALL)
    true = round_of(t)
    agrees(recording.result()[0], true)
    assert changed_code(t.pid) == []


def test_auto_takes_it(place, truth):
    """And says why it is not the exact engine."""
    t = truth()
    r = nobody(place, "alloc", t.pid, "-d", "300ms", "--json")
    assert r.code == 0 and r.json()["engine"] == "agent", r
    assert "CAP_BPF and CAP_PERFMON are missing" in r.err and "--engine agent" in r.err, r
    assert len(r.err.splitlines()) == 1
    assert changed_code(t.pid) == []


def test_neither_is_one_sentence(place, truth):
    t = truth()
    os.kill(t.pid, signal.SIGSTOP)
    try:
        r = nobody(place, "alloc", t.pid, "-d", "300ms")
        is_refusal(r, "CAP_BPF and CAP_PERFMON are missing", f"process {t.pid} is stopped")
        assert changed_code(t.pid) == []
        r = nobody(place, "doctor", t.pid, "--json")
        assert r.code == 1 and not r.json()["works"], r
        rows = {c["name"]: c for c in r.json()["checks"]}
        assert rows["engine agent"]["state"] == rows["engine bpf"]["state"] == "missing"
        assert "is stopped" in rows["engine agent"]["detail"]
        assert nobody(place, "doctor").code == 0
    finally:
        os.kill(t.pid, signal.SIGCONT)
    round_of(t)


def test_others_processes_stay_closed(place):
    t = Target([PROGRAMS / "agent_truth"])
    try:
        assert t.line() == "ready"
        for engine in ((), ("--engine", "agent")):
            is_refusal(nobody(place, "alloc", t.pid, "-d", "300ms", *engine), "of user root",
                       "CAP_SYS_PTRACE is missing")
        assert changed_code(t.pid) == []
    finally:
        t.stop()


def test_the_doctor_says_which(place, truth):
    t = truth()
    for target in ((), (t.pid,)):
        r = nobody(place, "doctor", *target, "--json")
        assert r.code == 0 and r.json()["works"], r
        rows = {c["name"]: c for c in r.json()["checks"]}
        assert rows["engine agent"]["state"] == "ok" and rows["engine bpf"]["state"] == "limited"
        assert "CAP_BPF" in rows["engine bpf"]["detail"] and "setcap" in rows["engine bpf"]["remedy"]
    assert "functions to patch" in rows["engine agent"]["detail"]
    text = nobody(place, "doctor", t.pid).out
    assert "memwho alloc works here" in text
    assert changed_code(t.pid) == []


def test_what_was_killed_is_cleaned_up_without_privilege(place, truth):
    t = truth()
    recording = Recording(place, "alloc", t.pid, "--engine", "agent", *SMALL)
    recording.process.kill()
    recording.process.wait()
    assert changed_code(t.pid) != []
    r = nobody(place, "detach", t.pid)
    assert r.code == 0 and changed_code(t.pid) == [], r


# ---- run ----

class Run:
    """A program under memwho run."""

    def __init__(self, place, program, *args, options=(), wrapper=AS_NOBODY):
        self.process = subprocess.Popen(
            [*wrapper, place + "/memwho", "run", *options, "-o", f"{place}/home/run.json", "--",
             f"{place}/{program}", *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "HOME": place + "/home"})
        self.path = f"{place}/home/run.json"

    def child(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return int(f.read().split()[0])

    def ends(self):
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        with open(self.path) as f:
            return json.load(f), out + err


@pytest.mark.parametrize("wrapper", [AS_NOBODY, IN_NAMESPACE], ids=["nobody", "namespace"])
def test_run(place, wrapper):
    """From its first allocation on; the child is no other's tracee, and its code is whole
    but for the patches."""
    run = Run(place, "agent_truth", options=("--sample", "32K", "--engine", "agent"), wrapper=wrapper)
    try:
        assert run.process.stdout.readline() == "ready\n"
        with open(f"/proc/{run.child()}/status") as f:
            assert "TracerPid:\t0\n" in f.read()
        changed = changed_code(run.child())
        assert changed and all("libc" in c for c in changed), changed
        run.process.stdin.write("round\n")
        run.process.stdin.flush()
        words = run.process.stdout.readline().split()
        time.sleep(0.6)  # the last look is what there is of a program that has ended
        result, _ = run.ends()
        agrees(result, dict(zip(words[::2], map(int, words[1::2]))))
    finally:
        run.process.kill()


def test_run_is_auto(place):
    run = Run(place, "agent_truth")
    assert run.process.stdout.readline() == "ready\n"
    result, said = run.ends()
    assert result["engine"] == "agent" and "CAP_BPF and CAP_PERFMON are missing" in said


def test_run_leaves_no_tie(place):
    """memwho that is killed later leaves the program, as does one that goes first."""
    run = Run(place, "agent_truth", options=("-d", "300ms", "--engine", "agent"))
    assert run.process.stdout.readline() == "ready\n"
    pid = run.child()
    try:
        run.process.wait(30)
        time.sleep(0.1)
        assert os.path.exists(f"/proc/{pid}") and changed_code(pid) == []
    finally:
        os.kill(pid, signal.SIGKILL)
    run = Run(place, "agent_truth", options=("--engine", "agent"))
    assert run.process.stdout.readline() == "ready\n"
    pid = run.child()
    try:
        run.process.kill()
        run.process.wait(30)
        time.sleep(0.1)
        assert os.path.exists(f"/proc/{pid}")
        assert nobody(place, "detach", pid).code == 0 and changed_code(pid) == []
    finally:
        os.kill(pid, signal.SIGKILL)


def test_run_that_is_killed_at_any_time_leaves_nobody_behind(place):
    """While the program is held it ends with memwho; later it goes on. None spins for ever."""
    went_on = 0
    for ms in range(0, 120, 6):
        before = set(os.listdir("/proc"))
        run = Run(place, "agent_truth", options=("--engine", "agent"))
        time.sleep(ms / 1000)
        run.process.kill()
        run.process.wait(30)
        time.sleep(0.1)
        for pid in set(os.listdir("/proc")) - before:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    rest = f.read().rsplit(")", 1)[1]
                if os.readlink(f"/proc/{pid}/exe") != f"{place}/agent_truth":
                    continue
            except OSError:  # ended, or a zombie that nobody takes
                continue
            try:
                # it has got to its work, and is not held anywhere
                assert rest.split()[0] == "S" and run.process.stdout.readline() == "ready\n", (ms, rest)
            finally:
                os.kill(int(pid), signal.SIGKILL)
            went_on += 1
    assert went_on < 20


def test_a_program_that_is_over_at_once(memwho):
    """It ends before anybody has looked: nothing is known of it, and no time has passed."""
    result = memwho("run", "--engine", "agent", "--json", "--", "true").json()
    assert result["ended_by"] == "exit" and 0 <= result["duration_seconds"] < 30
    assert result["held_bytes"] == 0 and result["stacks"] == []
