# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120
"""tools/demo.sh: opens with the ladder, ends with a picture and 0, whoever runs it."""
import os
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
    lines = [line for line in p.stdout.splitlines() if "a privileged run adds" in line]
    assert len(lines) == 1 and "not permitted here" in lines[0]
    assert (build / "demo-ladder.html").stat().st_size > 10000
    assert "demo-ladder.html (open it in a browser)" in p.stdout


def test_root_without_capabilities(build):
    """As in a plain container: uid 0, and nothing that goes with it."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    p = demo(build, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    opens_with_the_ladder(p)
    assert "a privileged run adds" in p.stdout
    assert (build / "demo-ladder.html").stat().st_size > 10000


def test_with_privileges(build, needs_bpf):
    p = demo(build)
    opens_with_the_ladder(p)
    assert "history_new" in p.stdout and (build / "demo-held.svg").stat().st_size > 5000
    assert "privileged run" not in p.stdout
