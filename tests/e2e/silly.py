# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/programs/silly.c with a jemalloc of its own, prefix je_, on the host and in
a container made by hand: mount, pid, user and cgroup namespaces, an overlayfs
root that is read-only, no capabilities, and nothing inside but the program."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from conftest import SOURCE, Target

# Runs in the new namespaces; what it executes is a process with uid 0 that has no
# capability, and none that it could get back.
ENTER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chroot(sys.argv[1])
os.chdir("/")
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)        # PR_CAPBSET_DROP
if libc.prctl(38, 1, 0, 0, 0):                 # PR_SET_NO_NEW_PRIVS
    sys.exit("no_new_privs")
os.execv("/silly", ["/silly", "/conf", *sys.argv[2:]])
"""
MOUNT = """
set -e
mount -t overlay overlay -o lowerdir="$1/lower",upperdir="$1/upper",workdir="$1/work" "$1/root"
mount -o remount,ro,bind "$1/root" 2>/dev/null || mount -o remount,ro "$1/root"
top=$1; shift
exec unshare --user --map-root-user --pid --fork --kill-child --cgroup --mount "$@"
"""


def renamed_jemalloc(folder):
    """Debian's jemalloc, its names renamed to je_..., as an archive: -> its path."""
    archive = pathlib.Path("/usr/lib/x86_64-linux-gnu/libjemalloc_pic.a")
    if not archive.exists() or not shutil.which("cc") or not shutil.which("objcopy"):
        pytest.skip("needs libjemalloc-dev, a C compiler and binutils")
    names = subprocess.run(["nm", "-g", "--defined-only", archive], capture_output=True, text=True,
                           check=True).stdout
    symbols = sorted({line.split()[2] for line in names.splitlines() if len(line.split()) == 3})
    (folder / "names").write_text("".join(f"{s} je_{s}\n" for s in symbols
                                          if not s.startswith(("je_", "_Z"))))
    subprocess.run(["objcopy", f"--redefine-syms={folder / 'names'}", archive,
                    folder / "libje.a"], check=True)
    return folder / "libje.a"


def build(folder):
    """A server with glibc's malloc and a jemalloc of its own."""
    archive = renamed_jemalloc(folder)
    program = folder / "silly"
    subprocess.run(["cc", "-O2", "-g", "-D_GNU_SOURCE", "-fno-omit-frame-pointer", "-o", program,
                    SOURCE / "tests" / "programs" / "silly.c", archive, "-lpthread",
                    "-ldl", "-lm"], check=True)
    return program


def opened(t):
    assert t.line().startswith("ready ")
    assert t.line() == "open"
    return t


def child_named(pid, name, timeout=20):
    """The descendant of @pid that runs @name."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        todo = [pid]
        while todo:
            at = todo.pop()
            try:
                if pathlib.Path(f"/proc/{at}/comm").read_text().strip() == name:
                    return at
                todo += map(int, pathlib.Path(f"/proc/{at}/task/{at}/children").read_text().split())
            except OSError:
                pass
        time.sleep(0.02)
    raise TimeoutError(f"no {name} below {pid}")


class Container:
    """The server in a container; .pid is the host's number of it."""

    def __init__(self, program, folder, *args):
        lower = folder / "lower"
        for name in ("lower", "upper", "work", "root"):
            (folder / name).mkdir()
        shutil.copy(program, lower / "silly")
        (lower / "conf").write_text("nothing\n")
        out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in out.split():
            if word.startswith("/"):
                inside = lower / word[1:]
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(os.path.realpath(word), inside)
        self.target = Target(["unshare", "--mount", "sh", "-c", MOUNT, "sh", folder,
                              sys.executable, "-c", ENTER, folder / "root", *args],
                             stderr=subprocess.PIPE)
        try:
            assert self.target.line().startswith("ready ")
        except EOFError:
            self.target.process.kill()
            why = self.target.process.stderr.read().decode()
            pytest.skip(f"no container can be made here: {why}")
        self.pid = child_named(self.target.pid, "silly")

    def opened(self):
        assert self.target.line() == "open"
        return self

    def stop(self):
        # its own death takes the namespace's first process along
        self.target.stop()
        self.target.process.stderr.close()
