#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A container without a runtime: an overlayfs root that is read-only, own mount,
pid, user and cgroup namespaces, no capabilities, nothing inside but what is given.

usage: contain.py WORK LOWER[:LOWER...] PROGRAM [ARGUMENT...] [-- PROGRAM ARGUMENT...]

Process 1 is the program; its pid is this process's only child. With a second
program process 1 is this script: it starts the first one, waits for a line of
it, runs the second one beside it and ends with its exit code.
"""
import ctypes
import os
import pathlib
import signal
import struct
import subprocess  # noqa: F401  (nothing can be imported behind the chroot)
import sys

NEWNS, NEWCGROUP, NEWUSER, NEWPID = 0x20000, 0x2000000, 0x10000000, 0x20000000
REC, PRIVATE, RDONLY, REMOUNT, BIND = 0x4000, 1 << 18, 1, 32, 4096
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG = 24, 38, 1
FIRST_UID, UIDS = 100000, 65536

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        e = ctypes.get_errno()
        raise OSError(e, f"{name}{args}: {os.strerror(e)}")


def mount(source, where, kind, flags=0, data=""):
    call("mount", source.encode(), str(where).encode(), kind.encode(), flags, data.encode())


def drop_capabilities():
    for cap in range(64):
        libc.prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # _LINUX_CAPABILITY_VERSION_3, effective, permitted, inheritable: nothing
    call("capset", struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", *[0] * 6))


def make_root(work, lowers):
    """The overlay, with a writable layer that is then closed, as runtimes do."""
    root, upper, inner = (work / n for n in ("merged", "upper", "inner"))
    for path in (root, upper, inner):
        path.mkdir()
    mount("none", "/", "", REC | PRIVATE)
    mount("overlay", root, "overlay", 0, f"lowerdir={lowers},upperdir={upper},workdir={inner}")
    for name in ("proc", "tmp"):
        (root / name).mkdir(exist_ok=True)
    return root


def become_inside(root):
    """In the child, which is process 1 of the new pid namespace."""
    call("unshare", NEWNS | NEWCGROUP)
    mount("proc", root / "proc", "proc")
    mount("none", root, "", REMOUNT | BIND | RDONLY)
    os.chroot(root)
    os.chdir("/")
    drop_capabilities()


def run_beside(first, second):
    """The first one's standard input is open and silent, until the second has ended."""
    says, hears = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(hears[0], 0)
        os.dup2(says[1], 1)
        os.execv(first[0], first)
    os.read(says[0], 4096)
    other = os.fork()
    if not other:
        os.execv(second[0], [w.replace("{pid}", str(pid)) for w in second])
    code = os.waitstatus_to_exitcode(os.waitpid(other, 0)[1])
    os.kill(pid, signal.SIGKILL)
    os._exit(code if code >= 0 else 1)


def child(root, go, words):
    os.read(go, 1)
    os.setgid(0), os.setuid(0)
    become_inside(root)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if "--" in words:
        at = words.index("--")
        run_beside(words[:at], words[at + 1:])
    os.execv(words[0], words)


def main():
    work, lowers, words = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    call("unshare", NEWNS)
    root = make_root(work, lowers)
    go, gone = os.pipe()
    ready, done = os.pipe()
    writer = os.fork()
    if not writer:  # maps the users from outside of the new namespace
        os.read(ready, 1)
        for name in ("uid_map", "gid_map"):
            pathlib.Path(f"/proc/{os.getppid()}/{name}").write_text(f"0 {FIRST_UID} {UIDS}\n")
        os._exit(0)
    call("unshare", NEWUSER | NEWPID)
    os.write(done, b"x")
    if os.waitpid(writer, 0)[1]:
        raise OSError("no uid_map")
    pid = os.fork()
    if not pid:
        child(root, go, words)
    os.write(gone, b"x")
    os._exit(max(0, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


main()
