#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the sampling agent costs real programs: redis (SET, pipelined), Rust with its own jemalloc,
a PostgreSQL backend with its contexts. User instructions of a fixed piece of work, counted by
stepping through it (bench/step_count.c: exact, and no matter what else the machine does), and CPU
time, user and system; without and with the agent in turn, in one process. heaptrack does the same
work in a process of its own, where it sees the allocator (not Rust's)."""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import common
from common import Heaptrack, Memwho, cpu_ns, figure, keep, say, span, table
from hold import build_rust

STEP_PAIRS = 1 if common.QUICK else int(os.environ.get("BENCH_STEP_PAIRS", 3))
SCALE = 20 if common.QUICK else 1


class Redis:
    """SET of 16 a time by one client; 1,000 keys, values of 16 to 127 bytes."""
    name, work, stepped, warm, timed = "redis SET, 16 a time", "a SET", 64, 3200, 160_000 // SCALE
    peers = (Heaptrack,)

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="memwho-bench-")
        path = os.path.join(self.folder.name, "socket")
        self.process = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                                         "--appendonly", "no", "--hz", "1", "--dynamic-hz", "no", "--dir", self.folder.name],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid, self.at = self.process.pid, 0
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(500):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.02)

    def do(self, n):
        for _ in range(n // 16):
            sent = b""
            for _ in range(16):
                self.at += 1
                value = b"x" * (16 + self.at * 7919 % 112)
                sent += b"*3\r\n$3\r\nSET\r\n$8\r\nkey:%04d\r\n$%d\r\n%s\r\n" % (self.at * 31 % 1000, len(value), value)
            self.socket.sendall(sent)
            got = 0
            while got < 16 * 5:
                got += len(self.socket.recv(4096))

    def close(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


class Rust:
    """tests/programs/rust/src/bin/words.rs."""
    name, work, stepped, warm, timed = "Rust, tikv-jemallocator: an index of words", "a document", 1, 20, 4000 // SCALE
    peers = ()

    def __init__(self):
        program = pathlib.Path(build_rust(str(common.SOURCE), str(common.BUILD))).with_name("words")
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def do(self, n):
        self.process.stdin.write(f"index {n}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline()

    def close(self):
        self.process.kill()
        self.process.wait()


class Postgres:
    """A backend of the distribution's server, and its contexts."""
    name, work, stepped, warm, timed = "PostgreSQL, selects by key", "a select", 2, 100, 4000 // SCALE
    peers = (Heaptrack,)
    sql = "select abalance from accounts where aid = {}"

    def __init__(self):
        import postgres as pg
        self.server = pg.Server(pg.DISTRIBUTION).__enter__()
        self.session = self.server.session()
        self.session.do("create table if not exists accounts (aid int primary key, abalance int);"
                        "insert into accounts select i, 0 from generate_series(1, 20000) i on conflict do nothing; analyze")
        self.pid = self.session.pid

    def do(self, n):
        self.session.do(";\n".join(self.sql.format(1 + i * 7919 % 20000) for i in range(n)))

    def close(self):
        self.session.close()
        self.server.__exit__(None, None, None)


class PostgresGroup(Postgres):
    name, work, stepped, warm, timed = "PostgreSQL, string_agg by group", "a query", 1, 10, 400 // SCALE
    sql = "select aid % 5, length(string_agg(aid::text, ',')) from accounts where aid >= {} % 2 and aid < 100 group by 1"


def instructions(target):
    """User instructions of one piece of work. Not of the first calls after an attach, which
    are others: a thread, and a processor, gets its countdown."""
    cpu = min(os.sched_getaffinity(0))
    tasks = [int(t) for t in os.listdir(f"/proc/{target.pid}/task")]
    before = {t: os.sched_getaffinity(t) for t in tasks}
    for t in tasks:  # beside who steps it: no processor has to be woken for each step
        os.sched_setaffinity(t, {cpu})
    target.do(target.warm)
    p = subprocess.Popen(["taskset", "-c", str(cpu), common.compiled("step_count"), str(target.pid)], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "stepping\n"
    target.do(target.stepped)
    out, _ = p.communicate("\n", timeout=60)
    for t, cpus in before.items():
        os.sched_setaffinity(t, cpus)
    return int(out) / target.stepped


def cpu(target):
    """CPU ns, user and system, of one piece of work."""
    before = cpu_ns(target.pid)
    target.do(target.timed)
    return (cpu_ns(target.pid) - before) / target.timed


def measure(kind):
    target, recorder, data = kind(), Memwho("--engine", "agent", name="agent"), {}
    target.do(target.timed)  # caches, plans
    for what, how, pairs in (("instructions", instructions, STEP_PAIRS), ("ns", cpu, common.PAIRS)):
        how(target)
        data[what] = common.summary(common.paired(lambda: how(target), recorder, target.pid, pairs))
        data[what]["samples"] = recorder.result["samples"]
        say(f"# {target.name}, {what}: {span(data[what]['ratio'], 5)}")
    recorder.close()
    target.close()
    for peer in common.usable(p() for p in kind.peers):
        data[f"ns, {peer.name}"] = beside(kind, peer)
    return data


def beside(kind, peer):
    """CPU time with a peer, in a process that has had no other recorder."""
    target = kind()
    target.do(target.timed)
    cpu(target)
    out = common.summary(common.paired(lambda: cpu(target), peer, target.pid))
    say(f"# {target.name}, {peer.name}: {span(out['ratio'], 5)}")
    peer.close()
    target.close()
    return out


def main():
    kinds = {k.__name__.lower(): k for k in (Redis, Rust, Postgres, PostgresGroup)}
    data, rows = {}, []
    for name in sys.argv[1:] or kinds:
        kind = kinds[name]
        try:
            data[kind.name] = measure(kind)
        except (RuntimeError, FileNotFoundError) as e:
            say(f"# {kind.name}: left out ({e})")
            continue
        for what, d in data[kind.name].items():
            rows.append([kind.name, f"{what}, of {kind.work}", figure(d["off"]["median"]), span(d["added"]),
                         span(d["ratio"], 4)])
    table(["program", "what", "without", "added", "ratio"], rows)
    keep("programs", data)


if __name__ == "__main__":
    main()
