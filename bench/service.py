#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the sampling agent costs real services: user instructions of one request, counted by
single steps (bench/steps.c), and CPU time of many, in one process, without and with it in turn."""
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import common
from common import Memwho, cpu_ns, figure, keep, span, table

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))

REQUESTS = 2 if common.QUICK else 9   # that are stepped through, each time
SECONDS = 0.3 if common.QUICK else 2   # of requests by the clock, each time
READ, WRITE, SENDTO, RECVFROM = 0, 1, 44, 45


class Steps:
    """Instructions from a request's arrival to its answer."""

    def __init__(self, pid, first, least, last):
        self.argv = [common.compiled("steps"), pid, first, least, last, REQUESTS]

    def count(self, request):
        p = subprocess.Popen([str(a) for a in self.argv], stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "ready\n"
        counts = []
        for _ in range(REQUESTS):
            request()
            counts.append(int(p.stdout.readline()))
        p.wait()
        return statistics.median(counts)


class Redis:
    """20 SETs of values of 16 to 1,000 bytes in one pipeline; Debian's redis has jemalloc."""
    name = "redis, 20 SET"
    N = 20

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = self.folder.name + "/s"
        self.server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                                        "--hz", "1", "--dir", self.folder.name], stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.link = socket.socket(socket.AF_UNIX)
                self.link.connect(path)
                break
            except OSError:
                time.sleep(0.01)
        self.pid = self.server.pid
        self.batch = b"".join(b"*3\r\n$3\r\nSET\r\n$6\r\nkey%03d\r\n$%d\r\n%s\r\n" % (i, n, b"v" * n)
                              for i in range(self.N) for n in [16 + 50 * i])
        assert len(self.batch) < 1 << 14  # it comes by one read
        self.steps = Steps(self.pid, READ, 1, WRITE)
        self.request()

    def request(self):
        self.link.sendall(self.batch)
        left = 5 * self.N  # "+OK\r\n" each
        while left:
            left -= len(self.link.recv(left))

    def close(self):
        self.server.kill()
        self.server.wait()
        self.folder.cleanup()


class Postgres:
    """One statement of a backend with contexts."""
    name = "PostgreSQL, a select with sort and aggregate"
    SQL = "select count(*), max(s) from (select repeat(md5(i::text), 3) s from generate_series(1, 5) i order by 1) x"

    def __init__(self):
        import postgres as pg
        self.server = pg.Server(pg.DISTRIBUTION).__enter__()
        self.session = self.server.session()
        self.pid = self.session.pid
        self.steps = Steps(self.pid, RECVFROM, 1, SENDTO)
        for _ in range(10):
            self.request()

    def request(self):
        self.session.do(self.SQL)

    def close(self):
        self.session.close()
        self.server.__exit__(None, None, None)


def per_request_ns(service):
    before, n, until = cpu_ns(service.pid), 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        service.request()
        n += 1
    return (cpu_ns(service.pid) - before) / n


def one(service):
    return {"instructions": service.steps.count(service.request), "ns": per_request_ns(service)}


def measure(kind):
    service = kind()
    recorder = Memwho("--engine", "agent")
    try:
        one(service)
        rows = common.paired(lambda: one(service), recorder, service.pid)
    finally:
        recorder.close()
        service.close()
    pairs = [r for r in rows if "on" in r]
    return {what: {"off": common.spread([r["off"][what] for r in pairs]),
                   "on": common.spread([r["on"][what] for r in pairs]),
                   "ratio": common.spread([r["on"][what] / r["off"][what] for r in pairs])}
            for what in ("instructions", "ns")}


if __name__ == "__main__":
    kinds = [k for k in (Redis, Postgres) if len(sys.argv) < 2 or k.__name__.lower() in sys.argv[1:]]
    data = {k.name: measure(k) for k in kinds}
    table(["a request of", "its", "without", "with", "ratio"],
          [[name, what, figure(d[what]["off"]["median"]), span(d[what]["on"]), span(d[what]["ratio"])]
           for name, d in data.items() for what in d])
    keep("service", data)
