# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""SIGHUP to memwho serve with another socket, other limits of connections or other certificates: at
once, and who waits for a capture gets it from the one that he came to."""
import contextlib
import errno
import os
import re
import signal
import socket
import ssl
import subprocess

import pytest

import conftest
import engines
from serving import Serve, until


@pytest.fixture
def sleeper():
    p = subprocess.Popen(["sleep", "10000"])
    yield p
    conftest.end(p)


def hup(s, *lines, listen=None, says="configuration read again"):
    """Its answer in the log, of this time."""
    n = sum(says in x for x in s.lines)
    s.listen = listen or s.listen
    s.write(*lines)
    s.process.send_signal(signal.SIGHUP)
    until(lambda: sum(says in x for x in s.lines) > n)
    return [x for x in s.lines if says in x][-1]


def move_to(s, port):
    s.host, s.port, s.path = "127.0.0.1", port, None


def is_closed(port):
    with socket.socket() as c:
        return c.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def requests(s):
    return int(re.search(r"^memwho_http_requests_total (\d+)", s.get("/metrics").text, re.M)[1])


def test_other_limits(tmp_path, sleeper):
    lines = ['[target "api"]', f"pid = {sleeper.pid}"]
    with Serve(tmp_path, *lines) as s, contextlib.closing(s.connect()) as old:
        old.request("GET", "/healthz")
        assert old.getresponse().read() == b"ok\n"
        waits = s.later("/targets/api/map?seconds=3", status=200)
        until(lambda: s.get("/targets/api").json()["running"])
        before = requests(s)
        hup(s, "connections_per_address = 2", *lines)
        assert requests(s) > before, "counted on"
        with contextlib.closing(s.connect()) as one, contextlib.closing(s.connect()) as two, \
                contextlib.closing(s.connect()) as three:
            for c in (one, two):
                c.request("GET", "/healthz")
                assert c.getresponse().read() == b"ok\n"
            with pytest.raises(OSError):  # the third of that address
                three.request("GET", "/healthz")
                three.getresponse().read()
        # who was there before is answered, for the last time
        old.request("GET", "/targets")
        answer = old.getresponse()
        assert answer.status == 200 and answer.headers["Connection"].lower() == "close"
        assert waits.result().json()["format"].startswith("memwho")
        for i in range(8):  # more often than generations may wait for their clients
            hup(s, f"connections = {100 + i}", *lines)
            s.get("/healthz", status=200)
        assert s.stop() == 0


def test_another_socket(tmp_path, sleeper):
    path, port = tmp_path / "sock", engines.free_port()
    lines = ['[target "api"]', f"pid = {sleeper.pid}"]
    with Serve(tmp_path, *lines) as s:
        first = s.port
        waits = s.later("/targets/api/map?seconds=3", status=200)
        until(lambda: s.get("/targets/api").json()["running"])
        hup(s, *lines, listen=f"127.0.0.1:{port}", says=f"listening on 127.0.0.1:{port}")
        until(lambda: is_closed(first))  # a worker that is not exec'd yet still has it
        move_to(s, port)
        s.get("/targets/api", status=200)
        assert waits.result().json()["format"].startswith("memwho")
        # a Unix socket, whose file goes with it
        hup(s, *lines, listen=f"unix:{path}", says=f"listening on unix:{path}")
        s.path = str(path)
        s.get("/targets/api", status=200)
        assert os.stat(path).st_mode & 0o777 == 0o660
        hup(s, *lines, listen=f"127.0.0.1:{port}", says=f"listening on 127.0.0.1:{port}")
        assert not path.exists()
        move_to(s, port)
        # what cannot be changes nothing
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            said = hup(s, *lines, listen=f"127.0.0.1:{taken.getsockname()[1]}", says="stays as it was")
            assert "in use" in said
        said = hup(s, *lines, listen="0.0.0.0:0", says="stays as it was")
        assert "reached from other machines" in said
        if os.geteuid() == 0:  # what only the start's capabilities can do
            assert "Permission denied" in hup(s, *lines, listen="127.0.0.1:81", says="stays as it was")
        s.get("/targets/api", status=200)
        assert s.stop() == 0


def certificate(tmp_path, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2", "-subj", f"/CN={name}"],
                   check=True, capture_output=True)
    os.chmod(tmp_path / "key.pem", 0o600)
    return (tmp_path / "cert.pem").read_text()


def test_a_certificate_that_was_renewed(tmp_path):
    """The file is the same, its text another one."""
    (tmp_path / "ca.pem").write_text(certificate(tmp_path, "clients"))
    first = certificate(tmp_path, "first")
    lines = [f"tls_cert = {tmp_path}/cert.pem", f"tls_key = {tmp_path}/key.pem", f"tls_client_ca = {tmp_path}/ca.pem"]
    with Serve(tmp_path, *lines) as s:
        assert ssl.get_server_certificate((s.host, s.port)).split() == first.split()
        second = certificate(tmp_path, "second")
        assert ssl.get_server_certificate((s.host, s.port)).split() == first.split()
        hup(s, *lines)
        assert ssl.get_server_certificate((s.host, s.port)).split() == second.split() != first.split()
        (tmp_path / "cert.pem").write_text("no certificate")
        assert hup(s, *lines, says="stays as it was")
        assert ssl.get_server_certificate((s.host, s.port)).split() == second.split()
