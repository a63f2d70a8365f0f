# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Captures sent to servers of profiles: nothing is lost and nothing comes twice, whoever is killed.
The servers are doubles: push_double.py, or with MEMWHO_DOUBLE=PATH that program for pushes of
MEMWHO_DOUBLE_KIND (`./dev matrix push`: made of Pyroscope's and OpenTelemetry's own modules)."""
import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

import engines
from conftest import PROGRAMS, SOURCE, Target

DOUBLE = os.environ.get("MEMWHO_DOUBLE")
KINDS = [os.environ.get("MEMWHO_DOUBLE_KIND", "pyroscope")] if DOUBLE else ["pyroscope", "parca"]


def varint(v):
    out = b""
    while v > 0x7f:
        out, v = out + bytes([v & 0x7f | 0x80]), v >> 7
    return out + bytes([v])


def field(number, data):
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def write_profile(path, held):
    """One stack that holds @held bytes."""
    texts = [b"", b"inuse_space", b"bytes", b"space", b"main"]
    body = field(1, field(1, 1) + field(2, 2))                      # sample type
    body += field(2, field(1, varint(1)) + field(2, varint(held)))  # sample
    body += field(4, field(1, 1) + field(4, field(1, 1)))           # location
    body += field(5, field(1, 1) + field(2, 4))                     # function
    body += b"".join(field(6, t) for t in texts)
    body += field(9, 1795690800 * 10**9) + field(11, field(1, 3) + field(2, 2)) + field(12, 1)
    path.write_bytes(gzip.compress(body))
    return path


class Server:
    double = DOUBLE

    def __init__(self, folder, *options):
        self.port, self.store, self.options = engines.free_port(), folder / "store", options
        self.process = None

    def start(self, *more):
        argv = [self.double] if self.double else [sys.executable, SOURCE / "tests/e2e/push_double.py"]
        self.process = subprocess.Popen([*argv, f"127.0.0.1:{self.port}", self.store, *self.options, *more])
        engines.until(lambda: self.process.poll() is not None
                      or socket.create_connection(("127.0.0.1", self.port), 1).close() is None)
        return self

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def seen(self):
        return [json.loads(line) for line in self.store.read_text().splitlines()] if self.store.exists() else []


class Pusher(Target):
    def __init__(self, kind, url, queue, *options):
        super().__init__([PROGRAMS / "pusher", kind, url, queue, *options])
        assert self.line() == "ready"

    def add(self, number, profile):
        self.say(f"add capture-{number} {profile}")
        answer = self.line()
        assert answer.startswith("ok "), answer
        return int(answer.split()[1])

    def counts(self):
        self.say("counts")
        words = self.line().split(" ", 5)
        return dict(zip(("queued", "sent", "refused", "overflowed", "retries"), map(int, words)), error=words[5])

    def until_sent(self, n, seconds=20):
        engines.until(lambda: self.counts()["sent"] + self.counts()["refused"] >= n, seconds)


@contextlib.contextmanager
def pusher(*args):
    p = Pusher(*args)
    try:
        yield p
    finally:
        p.stop()


@pytest.fixture
def server(tmp_path):
    made = []

    def make(*options):
        made.append(Server(tmp_path, *options))
        return made[-1]
    yield make
    for one in made:
        one.stop()


NAMES = {"pyroscope": {"__name__": "memory", "service_name": "api", "trigger": "growth", "host": socket.gethostname()},
         "otlp": {"service.name": "api", "host.name": socket.gethostname(), "memwho.trigger": "growth",
                  "memwho.kind": "heap"}}


def held(seen):
    return sorted(s["totals"]["inuse_space"] for s in seen)


@pytest.mark.parametrize("kind", KINDS)
def test_what_arrives(server, tmp_path, kind):
    s = server("--tenant", "blue").start()
    with pusher(kind, f"http://127.0.0.1:{s.port}/", tmp_path / "q", "tenant=blue", "label=zone=a b") as p:
        p.add(1, write_profile(tmp_path / "a", 4711))
        p.until_sent(1)
        assert p.counts() == {"queued": 0, "sent": 1, "refused": 0, "overflowed": 0, "retries": 0, "error": ""}
    [one] = s.seen()
    assert one["totals"] == {"inuse_space": 4711} and one["tenant"] == "blue"
    assert one["labels"] == {**NAMES.get(kind, NAMES["pyroscope"]), "zone": "a b"}
    assert list((tmp_path / "q").iterdir()) == []


def test_server_killed_and_started_again(server, tmp_path):
    """In the middle of 60; none is lost, and twice comes only what was stored without an answer."""
    s = server()
    with pusher(KINDS[0], f"http://127.0.0.1:{s.port}", tmp_path / "q") as p:
        for i in range(60):
            if i % 20 == 0:
                s.stop()
                s.start("--die-after", "7")
            p.add(i, write_profile(tmp_path / "a", 1000 + i))
            time.sleep(0.005)
        engines.until(lambda: s.process.poll() is not None)
        s.start()
        p.until_sent(60)
        assert p.counts()["sent"] == 60 and p.counts()["retries"] > 0
    seen = s.seen()
    by_id = {}
    for one in seen:
        by_id.setdefault(one["id"], set()).add(one["totals"]["inuse_space"])
    assert sorted(v for [v] in by_id.values()) == list(range(1000, 1060))  # the same id, the same bytes
    assert len(by_id) == 60 and len(seen) - 60 <= 4  # once a death, at most


def test_memwho_killed_and_started_again(server, tmp_path):
    s = server().start()
    acknowledged = 0
    for _ in range(8):
        p = Pusher(KINDS[0], f"http://127.0.0.1:{s.port}", tmp_path / "q")
        for _ in range(10):
            p.add(acknowledged, write_profile(tmp_path / "a", 1000 + acknowledged))
            acknowledged += 1
        p.process.send_signal(signal.SIGKILL)
        p.stop()
    with pusher(KINDS[0], f"http://127.0.0.1:{s.port}", tmp_path / "q") as p:
        engines.until(lambda: p.counts()["queued"] == 0)
    seen = s.seen()
    assert sorted({one["totals"]["inuse_space"] for one in seen}) == list(range(1000, 1080))
    assert len({one["id"] for one in seen}) == 80
    assert len(seen) - 80 <= 8  # what was on its way when memwho died


def test_refused_is_dropped_and_the_rest_goes_on(server, tmp_path):
    s = server("--tenant", "blue").start()
    with pusher(KINDS[0], f"http://127.0.0.1:{s.port}", tmp_path / "q") as p:
        p.add(1, write_profile(tmp_path / "a", 1))
        p.until_sent(1)
        assert p.counts()["refused"] == 1 and p.counts()["retries"] == 0
        assert p.counts()["error"].startswith("status 400")
    assert s.seen() == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_busy_servers_are_asked_again(server, tmp_path, status):
    s = server("--fail", f"3:{status}").start()
    with pusher(KINDS[0], f"http://127.0.0.1:{s.port}", tmp_path / "q") as p:
        p.add(1, write_profile(tmp_path / "a", 1))
        p.until_sent(1)
        assert (p.counts()["sent"], p.counts()["retries"]) == (1, 3)
    assert len(s.seen()) == 1


def test_nobody_there(tmp_path):
    """The queue is bounded, the newest stay, and nothing waits for the network."""
    with pusher(KINDS[0], f"http://127.0.0.1:{engines.free_port()}", tmp_path / "q", "max_bytes=20000") as p:
        times = [p.add(i, write_profile(tmp_path / "a", i + 1)) for i in range(200)]
        c = p.counts()
        assert c["queued"] + c["overflowed"] == 200 and 0 < c["queued"] < 200
        assert "refused" in c["error"].lower() or "connect" in c["error"].lower()
        assert sorted(times)[100] < 100000  # us
    names = sorted(f.name for f in (tmp_path / "q").iterdir())
    assert names[-1] == f"{200:020d}.item" and sum(f.stat().st_size for f in (tmp_path / "q").iterdir()) <= 20000


def test_passwords_and_tokens(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    for option, words in (("--basic", [f"password_file={secret}", "user=me"]), ("--bearer", [f"token_file={secret}"])):
        s = server(option, "me:s3cret" if option == "--basic" else "s3cret").start()
        for known in (words, []):
            with pusher(KINDS[0], f"http://127.0.0.1:{s.port}", tmp_path / f"q{option}", *known) as p:
                p.add(1, write_profile(tmp_path / "a", 1))
                p.until_sent(1)
                assert p.counts()["sent" if known else "refused"] == 1, p.counts()
        s.stop()
        s.store.unlink()


def test_tls(server, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=double",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    s = server("--cert", cert, "--key", key).start()
    url = f"https://127.0.0.1:{s.port}"
    with pusher(KINDS[0], url, tmp_path / "q") as p:  # the system does not know it
        p.add(1, write_profile(tmp_path / "a", 1))
        engines.until(lambda: p.counts()["retries"])
        assert "certificate" in p.counts()["error"], p.counts()
    assert s.seen() == []
    with pusher(KINDS[0], url, tmp_path / "q", f"ca_file={cert}") as p:
        p.until_sent(1)
    assert held(s.seen()) == [1]


@pytest.mark.parametrize("bad, says", [
    (("datadog", "http://127.0.0.1:1"), "cannot be sent to 'datadog'"),
    (("parca", "file:///etc/passwd"), "not an http:// or https:// URL"),
    (("parca", "http://127.0.0.1:1", "label=0x=1"), "is no label"),
])
def test_bad_options(tmp_path, bad, says):
    out = subprocess.run([PROGRAMS / "pusher", *bad[:2], tmp_path / "q", *bad[2:]], capture_output=True, text=True)
    assert out.returncode == 1 and says in out.stdout
