# SPDX-License-Identifier: GPL-2.0-or-later
"""A victim (tests/programs/victim.c): threads that check their own work while
memwho makes calls in them, and what they found."""
import ctypes
import mmap
import os
import struct
import subprocess
import time

import conftest
import pytest

BOARD_BYTES = 64 * 8 + 6 * 8 + 8
SYS_FUTEX, FUTEX_WAKE = 202, 1
libc = ctypes.CDLL(None, use_errno=True)


class Victim:
    def __init__(self, board, modes, program="victim", preload=None, args=(), env=None, prepare=None):
        self.modes, self.path = modes, board
        if board.exists():
            board.unlink()
        environment = dict(os.environ, **(env or {}))
        if preload:
            environment["LD_PRELOAD"] = preload
        path = program if str(program).startswith("/") else conftest.PROGRAMS / program
        self.process = subprocess.Popen([path, board, modes, *args], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment, preexec_fn=prepare)
        self.pid = self.process.pid
        self.pipe = int(self.process.stdout.readline())
        self.fd = os.open(board, os.O_RDWR)
        self.board = mmap.mmap(self.fd, BOARD_BYTES)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.board))
        deadline = time.monotonic() + 10
        while not self.words()[3]:
            assert time.monotonic() < deadline, "the victim does not start"
            time.sleep(0.002)

    def rounds(self):
        return struct.unpack_from(f"{len(self.modes)}Q", self.board)

    def words(self):
        """bad, eintr, short_sleeps, ready, rseq_counted, rseq_done"""
        return struct.unpack_from("6Q", self.board, 64 * 8)

    bad = property(lambda self: self.words()[0])
    eintr = property(lambda self: self.words()[1])
    short_sleeps = property(lambda self: self.words()[2])

    def wake(self):
        """Everybody who waits."""
        word = ctypes.c_uint32.from_address(self.base + 64 * 8 + 6 * 8)
        word.value += 1
        libc.syscall(SYS_FUTEX, ctypes.byref(word), FUTEX_WAKE, 64, None, None, 0)
        if "r" in self.modes:
            try:
                self.process.stdin.write(b"12345678")
                self.process.stdin.flush()
            except OSError:
                pass
        if "e" in self.modes:
            try:
                fd = os.open(f"/proc/{self.pid}/fd/{self.pipe}", os.O_WRONLY | os.O_NONBLOCK)
                os.write(fd, b"x")
                os.close(fd)
            except OSError:
                pass

    def goes_on(self, seconds=10):
        """Every thread makes two more rounds; '' or what is wrong."""
        before, deadline, pause = self.rounds(), time.monotonic() + seconds, 0.001
        while time.monotonic() < deadline:
            self.wake()
            time.sleep(pause)
            pause = min(pause * 1.2, 0.005)
            if self.process.poll() is not None:
                return f"dead: {self.process.returncode}"
            if all(now >= then + 2 for then, now in zip(before, self.rounds())):
                return ""
        return f"stuck: {before} -> {self.rounds()}"

    def check(self):
        """Nothing was done to it."""
        wrong = self.goes_on()
        assert not wrong, (self.modes, wrong)
        assert self.bad == 0, f"{self.bad} failed checks in {self.modes}"
        assert self.short_sleeps == 0

    def tracers(self):
        out = []
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{tid}/status") as f:
                    out += [line for line in f if line.startswith("TracerPid") and line.split()[1] != "0"]
            except (FileNotFoundError, ProcessLookupError):
                pass  # a thread that has ended
        return out

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        os.close(self.fd)


@pytest.fixture
def victim(tmp_path):
    started = []

    def start(modes, *args, **kw):
        started.append(Victim(tmp_path / f"board{len(started)}", modes, *args, **kw))
        return started[-1]

    yield start
    for v in started:
        v.stop()


def injector(pid, *args, options=(), timeout=60):
    """-> (exit code, {name: value}, standard error)"""
    p = subprocess.run([conftest.PROGRAMS / "injector", *map(str, options), str(pid), *map(str, args)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout, text=True, errors="replace")
    said = dict(line.split(" ", 1) for line in p.stdout.splitlines() if " " in line)
    return p.returncode, said, p.stderr
