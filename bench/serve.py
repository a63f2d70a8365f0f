#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""memwho serve under load: how long /metrics takes, and what the service needs."""
import http.client
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))

import common
from common import figure, keep, table
from serving import Serve, until

LOOKS = 50 if common.QUICK else 300
CONNECTIONS = 1000 if common.QUICK else 10000
TARGETS = 100 if common.QUICK else 1000


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident_mib(s):
    return int(s.status_lines()["VmRSS"].split()[0]) / 1024


def look(s):
    """ms that /metrics takes on one connection: median, 99 of 100, longest."""
    c, took = http.client.HTTPConnection(s.host, s.port, timeout=60), []
    for _ in range(LOOKS):
        begun = time.monotonic()
        c.request("GET", "/metrics")
        r = c.getresponse()
        assert r.status == 200
        r.read()
        took.append(1000 * (time.monotonic() - begun))
    c.close()
    took.sort()
    return took[LOOKS // 2], took[LOOKS * 99 // 100], took[-1]


def row(name, s, data):
    median, p99, longest = look(s)
    before = cpu_seconds(s.pid)
    time.sleep(3)
    cpu = 100 * (cpu_seconds(s.pid) - before) / 3
    data[name] = {"median_ms": median, "p99_ms": p99, "longest_ms": longest, "cpu_percent": cpu,
                  "resident_mib": resident_mib(s)}
    return [name, figure(median), figure(p99), figure(longest), figure(cpu), figure(resident_mib(s))]


def crowd(s):
    """Connections of which every other one has begun a request."""
    found = []
    for i in range(CONNECTIONS):
        c = socket.socket()
        c.connect((s.host, s.port))
        if i % 2:
            c.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost")
        found.append(c)
    return found


def cancelled(s):
    """s from the last waiter's going to the end of the capture's process."""
    c = s.raw(b"GET /targets/t0/debug/pprof/heap?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    until(s.workers)
    time.sleep(1)
    c.close()
    return until(lambda: not s.workers(), every=0.005)


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sleepers = [subprocess.Popen(["sleep", "1000"]) for _ in range(20)]
    targets = [x for i in range(TARGETS) for x in (f'[target "t{i}"]', f"pid = {sleepers[i % 20].pid}")]
    rows, data = [], {}
    limits = [f"connections = {CONNECTIONS + 100}", f"connections_per_address = {CONNECTIONS + 100}", "timeout = 300s"]
    try:
        with tempfile.TemporaryDirectory() as d:
            with Serve(d, *limits) as s:
                rows.append(row("nothing", s, data))
                found = crowd(s)
                rows.append(row(f"{CONNECTIONS:,} connections", s, data))
                for c in found:
                    c.close()
            with Serve(d, *targets) as s:
                until(lambda: all(t["pids"] for t in s.get("/targets").json()["targets"]))
                rows.append(row(f"{TARGETS:,} targets", s, data))
                asked = [s.later(f"/targets/t{i}/debug/pprof/heap?seconds=10") for i in range(2)]
                until(lambda: len(s.workers()) >= 2)
                rows.append(row(f"{TARGETS:,} targets, 2 captures run", s, data))
                for a in asked:
                    a.result()
                ends = sorted(cancelled(s) for _ in range(3 if common.QUICK else 20))
    finally:
        for p in sleepers:
            p.kill()
    table(["with", "/metrics ms, median", "99 of 100", "longest", "CPU % afterwards", "resident MiB"], rows)
    print(f"\nThe last waiter gone: the capture ended within {figure(ends[len(ends) // 2], 2)} s (median), "
          f"{figure(ends[-1], 2)} s (longest of {len(ends)}).")
    data["cancelled_s"] = ends
    keep("serve", data)


if __name__ == "__main__":
    main()
