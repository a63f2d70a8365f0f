# SPDX-License-Identifier: GPL-2.0-or-later
"""A running `memwho serve` and requests to it."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import conftest


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode(errors="replace")

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {dict(self.headers)}\n{self.text[:500]}"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Serve:
    """with Serve(tmp_path, "slots = 1", '[target "a"]', "pid = 1") as s: s.get("/healthz")"""

    def __init__(self, tmp_path, *lines, listen="127.0.0.1:0", prefix=(), env=None, **kw):
        self.conf = pathlib.Path(tmp_path) / "memwho.conf"
        self.listen, self.prefix, self.env, self.kw = listen, prefix, env, kw
        self.write(*lines)

    def write(self, *lines):
        first = [f"listen = {self.listen}"] if self.listen else []
        self.conf.write_text("\n".join(["[serve]", *first, *lines, ""]))

    def __enter__(self):
        self.process = subprocess.Popen([*self.prefix, conftest.MEMWHO, "serve", str(self.conf)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env={**os.environ, **(self.env or {})}, **self.kw)
        self.pid = self.process.pid
        self.lines, self.heard = [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        line = self.wait_line(r"listening on (unix:)?(\S+?)(?: \(TLS\))?, ")
        self.path = line[2] if line[1] else None
        self.host, _, port = (line[2] if not self.path else ":0").rpartition(":")
        self.port = int(port)
        return self

    def read(self):
        for line in self.process.stderr:
            with self.heard:
                self.lines.append(line.decode(errors="replace").rstrip())
                self.heard.notify_all()
        with self.heard:
            self.lines.append(None)
            self.heard.notify_all()

    def wait_line(self, pattern, timeout=20):
        with self.heard:
            end, at = time.monotonic() + timeout, 0
            while True:
                for line in self.lines[at:]:
                    assert line is not None, f"it ended: {self.lines}"
                    found = re.search(pattern, line)
                    if found:
                        return found
                at = len(self.lines)
                assert self.heard.wait(end - time.monotonic()), f"no {pattern!r}: {self.lines}"

    def connect(self, timeout=60):
        return UnixConnection(self.path, timeout) if self.path else \
            http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def get(self, path, method="GET", body=None, headers=None, timeout=60, status=None):
        c = self.connect(timeout)
        with contextlib.closing(c):
            c.request(method, path, body=body, headers=headers or {})
            r = c.getresponse()
            answer = Answer(r.status, r.headers, r.read())
        assert status in (None, answer.status), f"{method} {path}: {answer!r}"
        return answer

    def later(self, path, **kw):
        """The same in a thread: .result() waits."""
        return Later(self.get, path, **kw)

    def raw(self, data, timeout=20):
        """A socket to it, with @data sent."""
        s = socket.socket(socket.AF_UNIX if self.path else socket.AF_INET)
        s.settimeout(timeout)
        s.connect(self.path or (self.host, self.port))
        s.sendall(data)
        return s

    def status_lines(self, pid=None):
        text = pathlib.Path(f"/proc/{pid or self.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def workers(self):
        out = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(x) for x in out.split()]

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(20)

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.reader.join(5)
        self.process.stderr.close()


class Later:
    def __init__(self, call, *args, **kw):
        self.value = self.error = None

        def run():
            try:
                self.value = call(*args, **kw)
            except Exception as e:  # raised again by result()
                self.error = e
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def result(self, timeout=60):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "no answer"
        if self.error:
            raise self.error
        return self.value


def until(condition, seconds=10, every=0.02):
    """What @condition() is when it first is true; how long that took is .seconds of it."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if condition():
            return time.monotonic() - begun
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s")
