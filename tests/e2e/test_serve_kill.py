# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""The whole service killed with -9 at random moments, while it makes captures, keeps them and sends
them: its spool stays consistent, and nothing that it had acknowledged is lost. SERVE_KILLS: how many
(`./dev matrix kill`: 1,000)."""
import hashlib
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import threading
import time

import conftest
import gopprof
from serving import Serve, until
from test_serve_push import Server

KILLS = int(os.environ.get("SERVE_KILLS", "12"))
TARGETS = 3


class Account:
    """What the service said that it keeps: in its log, or in an answer."""

    def __init__(self):
        self.ids, self.sums = set(), {}

    def take_log(self, lines):
        for line in lines:
            found = re.search(r": kept (\S+) \(", line or "")  # the whole of it: the last line may be cut
            if found:
                self.ids.add(found[1])

    def take_answers(self, s, stop):
        """Until it is killed in the middle of one."""
        while not stop.is_set():
            try:
                for c in s.get("/captures", timeout=5).json()["captures"]:
                    self.ids.add(c["id"])
                s.get("/metrics", timeout=5)
            except Exception:  # it was killed: pylint: disable=W0718
                return


def check(spool, account):
    """After the kill, before the next start: every acknowledged capture is there as a whole."""
    files = {f.name.removesuffix(".pb.gz"): f for f in spool.glob("t*/*.pb.gz")}
    assert account.ids <= set(files), f"lost: {account.ids - set(files)}"
    for name in account.ids:
        data = files[name].read_bytes()
        known = account.sums.setdefault(name, hashlib.sha256(data).digest())
        assert hashlib.sha256(data).digest() == known
    return files


def check_index(spool, files):
    """When it stands still: files and rows are the same ones, and SQLite finds nothing wrong."""
    with sqlite3.connect(f"file:{spool / '.index.sqlite'}?mode=ro", uri=True) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert db.execute("select count(*) from capture").fetchone() == (len(files),)
    assert not list(spool.rglob("*.tmp"))


def conf(spool, pids, port):
    return [f"spool = {spool}", "spool_bytes = 0", *(x for i, p in enumerate(pids) for x in (f'[target "t{i}"]', f"pid = {p}")),
            '[trigger "g"]', "rule = growth 1G in 10m", "capture = ladder", "warmup = 0",
            '[push "p"]', "kind = pyroscope", f"url = http://127.0.0.1:{port}"]


def one_life(s, account, seconds):
    """From its start to SIGKILL."""
    stop = threading.Event()
    asks = threading.Thread(target=account.take_answers, args=(s, stop), daemon=True)
    asks.start()
    time.sleep(seconds)
    s.process.send_signal(signal.SIGKILL)
    s.process.wait()
    stop.set()
    asks.join(10)
    s.reader.join(5)
    account.take_log(s.lines)


def test_killed_at_random(tmp_path):
    rng = random.Random(os.environ.get("SERVE_SEED", "8"))
    spool, account, double = tmp_path / "spool", Account(), Server(tmp_path)
    sleepers = [subprocess.Popen(["sleep", "10000"]) for _ in range(TARGETS)]
    double.start()
    s = Serve(tmp_path, *conf(spool, [p.pid for p in sleepers], double.port))
    with_nothing = 0
    try:
        for _ in range(KILLS):
            before = len(account.ids)
            with s:
                one_life(s, account, rng.uniform(0, 0.6))
            check(spool, account)
            with_nothing += len(account.ids) == before
        with s:  # and one that is left alone
            s.wait_line(": kept ", 60)  # /captures lists the newest thousand
            until(lambda: 'memwho_push_queued{push="p"} 0\n' in s.get("/metrics").text, 60)
            account.take_log(s.lines)
            s.stop()
        files = check(spool, account)
        check_index(spool, files)
        for f in list(files.values())[-20:]:
            types, samples = gopprof.read(f)
            assert "resident_bytes" in types and samples
        sent = {one["id"] for one in double.seen()}
        assert len(sent) == len(files)
        workers = [p for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and is_ours(p, s.conf)]
        assert not workers
        print(f"{KILLS} kills: {len(files)} captures, {len(account.ids)} acknowledged, all there; {len(sent)} sent; "
              f"{with_nothing} lives too short for one")
        assert with_nothing < KILLS
    finally:
        double.stop()
        for p in sleepers:
            conftest.end(p)


def is_ours(proc, path):
    try:
        return str(path).encode() in (proc / "cmdline").read_bytes()
    except OSError:
        return False
