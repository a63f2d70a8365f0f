# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120
"""tools/demo.sh: opens with the ladder, ends with a picture and 0, whoever runs it."""
import os
import platform
import shutil
import subprocess

import pytest

from conftest import BUILD, MEMWHO, PROGRAMS, SOURCE


@pytest.fixture
def build(tmp_path):
    """A build folder that anybody may write to."""
    folder = tmp_path / "build"
    (folder / "tests" / "programs").mkdir(parents=True)
    shutil.copy(MEMWHO, folder / "memwho")
    shutil.copy(PROGRAMS / "demo", folder / "tests" / "programs" / "demo")
    for path in (tmp_path, folder):
        path.chmod(0o777)
    for parent in tmp_path.parents:
        if str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def demo(build, *wrapper):
    return subprocess.run([*wrapper, "sh", SOURCE / "tools" / "demo.sh"], capture_output=True,
                          text=True, timeout=100, cwd=build.parent, stdin=subprocess.DEVNULL,
                          env={**os.environ, "BUILD": str(build)})


def opens_with_the_ladder(p):
    head = p.stdout.split("who allocated what it holds?")[0]
    assert "VIRTUAL" in head and "glibc arenas" in head and "thread stacks" in head, p.stdout
    assert p.returncode == 0, p.stdout + p.stderr


def test_without_privileges(build):
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("needs root, to give it up, and setpriv")
    # no_new_privs: a sudo that is there has no effect
    p = demo(build, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
             "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    opens_with_the_ladder(p)
    is_sampled(build, p)


def is_sampled(build, p):
    """By the agent, which needs no privilege."""
    if platform.machine() != "x86_64":
        assert "a privileged run adds" in p.stdout and "demo-ladder.html (open" in p.stdout
        return
    assert "a privileged run adds" not in p.stdout and "engine agent" in p.stdout, p.stdout + p.stderr
    assert "history_new" in p.stdout and (build / "demo-held.svg").stat().st_size > 5000
    assert (build / "demo-ladder.html").stat().st_size > 10000
    assert "demo-held.svg (open it in a browser)" in p.stdout


@pytest.mark.parametrize("refused, picture", [(("alloc",), "demo-held.svg"), (("alloc", "run"), "demo-ladder.html")],
                         ids=["alloc", "both"])
def test_where_less_is_permitted(build, refused, picture):
    """As with ptrace_scope 1 (programs that memwho starts only), and 3 (none)."""
    if platform.machine() != "x86_64":
        pytest.skip("the agent is for x86-64")
    (build / "memwho").rename(build / "real")
    (build / "memwho").write_text(
        f'#!/bin/sh\ncase $1 in {"|".join(refused)}) echo "memwho: no, not $1" >&2; exit 1;; esac\n'
        f'exec {build}/real "$@"\n')
    (build / "memwho").chmod(0o755)
    p = demo(build, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    opens_with_the_ladder(p)
    assert "not permitted here (no, not alloc)" in p.stdout
    assert picture + " (open it in a browser)" in p.stdout
    assert ("a privileged run adds" in p.stdout) is (len(refused) == 2)
    if len(refused) == 1:
        assert "history_new" in p.stdout and (build / "demo-held.svg").stat().st_size > 5000


def test_root_without_capabilities(build):
    """As in a plain container: uid 0, and nothing that goes with it."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    p = demo(build, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    opens_with_the_ladder(p)
    is_sampled(build, p)


def test_with_privileges(build, needs_bpf):
    p = demo(build)
    opens_with_the_ladder(p)
    assert "history_new" in p.stdout and (build / "demo-held.svg").stat().st_size > 5000
    assert "privileged run" not in p.stdout
