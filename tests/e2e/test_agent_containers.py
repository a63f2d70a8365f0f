# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=200 parallel
"""The agent in a plain container (contain.py: mount, pid, user and cgroup namespaces, a
read-only root, no capability): memwho inside beside its target, memwho inside as its
parent, and memwho outside."""
import json
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile

import conftest
import pytest
from conftest import MEMWHO, PROGRAMS, changed_code
from test_containers import child_of, copy_with_libraries

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a container"),
]
HERE = pathlib.Path(__file__).parent
FAST = ("--engine", "agent", "--sample", "256K", "-d", "1s", "--type", "alloc_space", "--json")


@pytest.fixture
def container():
    """container(*argv): the argv that runs them inside; the image has memwho and its target."""
    if not shutil.which("ldd"):
        pytest.skip("needs ldd")
    with tempfile.TemporaryDirectory(prefix="memwho-agent-", dir="/var/tmp") as top:
        top = pathlib.Path(top)
        work, lower = top / "work", top / "lower"
        top.chmod(0o755), work.mkdir(), lower.mkdir()
        copy_with_libraries(MEMWHO, lower, "memwho")
        for name in ("agent_truth", "agent_truth-static"):
            if name.endswith("static"):
                shutil.copy(PROGRAMS / name, lower / name)
            else:
                copy_with_libraries(PROGRAMS / name, lower, name)
        yield lambda *inside: ["python3", HERE / "contain.py", work, lower, *inside]


def run(argv):
    """Its standard input is open and silent."""
    silent = os.pipe()
    try:
        return subprocess.run(list(map(str, argv)), stdin=silent[0], capture_output=True, text=True, timeout=60)
    finally:
        os.close(silent[0]), os.close(silent[1])


def is_a_recording(text):
    """Of agent_truth's threads, which allocate and check all the time."""
    result = json.loads(text[text.index("{"):])
    assert result["engine"] == "agent" and result["ended_by"] == "duration", result
    assert result["samples"] > 20 and result["lost_bytes"] == 0, result
    # new threads' stacks are copied as far as one page until memwho has seen them
    assert result["complete_stacks_percent"] > 30, result
    frames = {f for s in result["stacks"] for f in s["frames"]}
    assert "work" in frames, frames
    return result


@pytest.mark.parametrize("program", ["agent_truth", "agent_truth-static"])
def test_inside_beside_its_target(container, program):
    p = run(container(f"/{program}", "2", "--", "/memwho", "alloc", "{pid}", *FAST))
    assert p.returncode == 0, p.stderr
    is_a_recording(p.stdout)


def test_inside_it_is_what_auto_takes(container):
    """And the doctor says so. There is no BPF, no pagemap of frames, no root-only file."""
    p = run(container("/agent_truth", "2", "--", "/memwho", "alloc", "{pid}", "-d", "1s", "--type", "alloc_space", "--json"))
    assert p.returncode == 0 and "--engine agent" in p.stderr, p.stderr
    is_a_recording(p.stdout)


def test_inside_the_doctor_says_so(container):
    p = run(container("/agent_truth", "2", "--", "/memwho", "doctor", "{pid}", "--json"))
    rows = {c["name"]: c for c in json.loads(p.stdout[p.stdout.index("{"):])["checks"]}
    assert p.returncode == 0 and rows["engine agent"]["state"] == "ok", rows
    assert rows["engine bpf"]["state"] == "limited" and rows["engine bpf"]["detail"]


@pytest.mark.parametrize("program", ["agent_truth", "agent_truth-static"])
def test_inside_as_its_parent(container, program):
    """From the program's first instruction on; the other one is only process 1."""
    argv = container("/agent_truth-static", "--", "/memwho", "run", *FAST, "--", f"/{program}", "2")
    p = run(argv)
    assert p.returncode == 0, p.stderr
    is_a_recording(p.stdout)


@pytest.mark.parametrize("program", ["agent_truth", "agent_truth-static"])
def test_from_outside(container, program):
    argv = list(map(str, container(f"/{program}", "2")))
    p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        pid = child_of(p.pid)
        result = conftest.run_memwho("alloc", pid, *FAST)
        is_a_recording(result.out)
        assert changed_code(pid) == []
    finally:
        p.kill()
        p.wait()
