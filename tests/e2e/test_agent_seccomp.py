# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel once
"""Targets under seccomp filters: each call that the agent needs is asked about before the first is
made. One that is not allowed is named, and nothing has happened; otherwise it works."""
import ctypes
import os
import platform
import struct

import pytest
from conftest import run_memwho
from test_agent import CODE_BYTES, changed_code, kill_before_steps, mappings, places
from victim import victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# linux/filter.h, linux/seccomp.h
LD, JEQ, JGE, JSET, RET = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, ERRNO, TRAP = 0x7fff0000, 0x80000000, 0x00050000, 0x00030000
X86_64, X32 = 0xc000003e, 0x40000000
NR, ARCH, ARG = 0, 4, 16
CALLS = {"mmap": 9, "mprotect": 10, "munmap": 11, "madvise": 28, "prctl": 157, "restart_syscall": 219}


def op(code, k, jt=0, jf=0):
    return struct.pack("HBBI", code, jt, jf, k)


def only(number, answer):
    """@answer at one call, all others allowed."""
    return op(LD, NR) + op(JEQ, number, 0, 1) + op(RET, answer) + op(RET, ALLOW)


def only_if(number, arg, bits, answer):
    """@answer if the call's argument has one of @bits."""
    return (op(LD, NR) + op(JEQ, number, 0, 3) + op(LD, ARG + 8 * arg) + op(JSET, bits, 0, 1) + op(RET, answer)
            + op(RET, ALLOW))


# What a container engine's default profile does not let through (docs.docker.com, "Significant
# syscalls blocked by the default profile"), by number.
BLOCKED = {134, 136, 139, 155, 156, 163, 164, 165, 166, 167, 168, 169, 172, 173, 174, 175, 176, 177, 178, 179, 180,
           212, 227, 237, 238, 239, 246, 248, 249, 250, 256, 272, 279, 298, 303, 304, 305, 308, 310, 311, 312, 313,
           320, 321, 323, 425, 426, 427, 428, 429, 430, 431, 432, 433}
CLONE, CLONE3, PERSONALITY, SOCKET, AF_VSOCK, NEW_NAMESPACES = 56, 435, 135, 41, 40, 0x7e020000


def container_profile():
    """As libseccomp compiles such a profile: other machines' calls killed, a list of what is
    allowed, some by their arguments, everything else EPERM."""
    code = op(LD, ARCH) + op(JEQ, X86_64, 1, 0) + op(RET, KILL)
    code += op(LD, NR) + op(JGE, X32, 0, 1) + op(RET, ERRNO | 38)
    by_arguments = {CLONE, CLONE3, PERSONALITY, SOCKET}
    for number in [*range(335), *range(424, 462)]:
        if number not in BLOCKED | by_arguments:
            code += op(JEQ, number, 0, 1) + op(RET, ALLOW)
    code += op(JEQ, CLONE3, 0, 1) + op(RET, ERRNO | 38)
    code += op(JEQ, CLONE, 0, 4) + op(LD, ARG) + op(JSET, NEW_NAMESPACES, 0, 1) + op(RET, ERRNO | 1) + op(RET, ALLOW)
    code += op(JEQ, SOCKET, 0, 4) + op(LD, ARG) + op(JEQ, AF_VSOCK, 0, 1) + op(RET, ERRNO | 1) + op(RET, ALLOW)
    code += op(JEQ, PERSONALITY, 0, 4) + op(LD, ARG) + op(JEQ, 0, 1, 0) + op(RET, ERRNO | 1) + op(RET, ALLOW)
    return code + op(RET, ERRNO | 1)


@pytest.fixture
def filtered(victim, tmp_path):
    def start(modes, *filters, how="filter="):
        paths = []
        for i, code in enumerate(filters):
            paths.append(tmp_path / f"filter{i}")
            paths[-1].write_bytes(code)
        return victim(modes, args=[f"{how}{p}" for p in paths])
    return start


def refused(v, *says, **kw):
    before = [m[:2] for m in mappings(v.pid)], changed_code(v.pid)
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "1s", code=1, **kw)
    assert all(s in got.err for s in says) and "--engine bpf" in got.err, got
    assert ([m[:2] for m in mappings(v.pid)], changed_code(v.pid)) == before, got
    v.check()
    assert not v.tracers()


def recorded(v):
    got = run_memwho("alloc", v.pid, "--engine", "agent", "-d", "500ms", "--json").json()
    assert got["engine"] == "agent" and got["samples"] > 0, got
    assert not changed_code(v.pid) and places(v.pid) == [[CODE_BYTES, 0]]
    v.check()
    run_memwho("detach", v.pid)


def test_a_container(filtered):
    v = filtered("aacn", container_profile())
    with open(f"/proc/{v.pid}/status") as f:
        assert "Seccomp:\t2\n" in f.read()
    recorded(v)
    recorded(v)  # what is left of the first is used again


def test_several_filters(filtered):
    recorded(filtered("acn", container_profile(), only(CLONE3, ERRNO | 38), op(RET, ALLOW)))


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_kills(filtered, call):
    """The thread that sleeps is in the midst of a call that the kernel restarts after a stop; under
    a filter that kills for that it must not be stopped in the ordinary way."""
    refused(filtered("cN", only(CALLS[call], KILL)), f"kills the process at {call}")


def test_a_sleep_that_cannot_be_restarted(filtered):
    """Its only thread sleeps, and would be killed for going on with that after a stop."""
    v = filtered("N", only(CALLS["restart_syscall"], KILL))
    for _ in range(3):
        refused(v, "kills the process at restart_syscall")
    assert v.eintr == 0


def test_what_is_called_is_what_counts(filtered):
    """By addresses that are known only when the call is made: each is asked about as it is."""
    high_word = ARG + 8 + 4
    v = filtered("cn", op(LD, NR) + op(JEQ, CALLS["prctl"], 0, 3) + op(LD, high_word) + op(JEQ, 0, 1, 0)
                 + op(RET, KILL) + op(RET, ALLOW))
    refused(v, f"kills the process at system call {CALLS['prctl']}")


@pytest.mark.parametrize("answer,text", [(0, "kills the thread"), (TRAP, "sends it a signal"),
                                         (ERRNO | 1, "lets it fail"), (0x7ff00000, "asks a tracer"),
                                         (0x7fc00000, "asks another process"), (0x12340000, "kills the process")])
def test_other_answers(filtered, answer, text):
    refused(filtered("c", only(CALLS["prctl"], answer)), f"{text} at prctl")


def test_by_arguments(filtered):
    """Memory that can be executed; and what is only written does not matter."""
    refused(filtered("cn", only_if(CALLS["mmap"], 2, 4, KILL)), "kills the process at mmap")
    recorded(filtered("acn", only_if(CALLS["mprotect"], 2, 4, KILL)))


def test_the_strictest_counts(filtered):
    refused(filtered("cn", op(RET, ALLOW), only(CALLS["madvise"], KILL), container_profile()),
            "kills the process at madvise")


def test_one_thread_only(filtered):
    """The first thread is under a filter, the others are not: each is asked."""
    refused(filtered("cccc", only(CALLS["mprotect"], KILL), how="filter-one="), "kills the process at mprotect")


def under_a_filter():
    libc = ctypes.CDLL(None)
    code = ctypes.create_string_buffer(op(RET, ALLOW))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0


def test_without_the_privilege(filtered):
    """The kernel shows filters to nobody who is under one."""
    v = filtered("c", container_profile())
    refused(v, "may not look into", "CAP_SYS_ADMIN", preexec_fn=under_a_filter)


def test_killed_at_some_steps(filtered):
    """memwho is killed while it asks filters, too: nothing is left but what the next one takes away."""
    v = filtered("acn", container_profile())
    every = int(os.environ.get("AGENT_EVERY", "61"))

    def clean(killed):
        run_memwho("detach", v.pid)
        assert not changed_code(v.pid) and not v.tracers(), killed

    kill_before_steps(v, every, ("-m", 65536), clean)
