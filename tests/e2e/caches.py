# SPDX-License-Identifier: GPL-2.0-or-later
"""A program with caches that are dropped on command (tests/programs/caches.c)."""
import os
import subprocess

import conftest
import pytest
from hold import library

# name in memwho's output -> what is preloaded
ALLOCATORS = {"glibc": None, "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4",
              "mimalloc": "libmimalloc.so.2"}


class Caches:
    def __init__(self, threads=3, allocator="glibc", program="caches"):
        environment, preload = dict(os.environ), ALLOCATORS[allocator]
        if preload:
            if not library(preload):
                pytest.skip(f"no {preload}")
            environment["LD_PRELOAD"] = preload
        self.process = subprocess.Popen([conftest.PROGRAMS / program, str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment)
        self.pid = self.process.pid
        assert self.process.stdout.readline().startswith(b"ready")

    def command(self, text):
        """-> blocks, usable bytes; its own checks have passed"""
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        word, blocks, usable = self.process.stdout.readline().split()
        assert word in (b"filled", b"dropped"), (text, word)
        return int(blocks), int(usable)

    def resident(self):
        """Bytes, from page tables: batches of the kernel's counter are not in it."""
        with open(f"/proc/{self.pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Rss:")) * 1024

    def stop(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def caches():
    started = []

    def start(*args, **kw):
        started.append(Caches(*args, **kw))
        return started[-1]

    yield start
    for c in started:
        c.stop()
