# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=240 parallel
"""memwho serve: who may ask for what, and clients that mean no good."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import conftest
import pytest

from serving import Serve, until

NOBODY = 65534
OTHER = 12345


def as_user(uid):
    """For a child process."""
    def become():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    return become


@pytest.fixture
def sleeper():
    started = []

    def start(uid=0, **kw):
        p = subprocess.Popen(["/bin/sleep", "300"], preexec_fn=as_user(uid) if uid else None, **kw)
        until(lambda: pathlib.Path(f"/proc/{p.pid}/comm").read_text() == "sleep\n")
        started.append(p)
        return p.pid
    yield start
    for p in started:
        p.kill()
        p.wait()


def curl(s, path, uid=0, *args):
    """(status, body) as that user."""
    where = ["--unix-socket", s.path, f"http://localhost{path}"] if s.path else [f"http://{s.host}:{s.port}{path}"]
    p = subprocess.run(["curl", "-s", "-w", "\n%{http_code}", *args, *where], stdout=subprocess.PIPE, text=True,
                       preexec_fn=as_user(uid) if uid else None, cwd="/", timeout=30)
    body, _, status = p.stdout.rpartition("\n")
    return int(status), body


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")


@needs_root
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_everybody_sees_his_own(tmp_path, sleeper, kind):
    """The kernel says who asks: of a Unix socket by SO_PEERCRED, of loopback TCP by sock_diag."""
    mine, roots = sleeper(NOBODY), sleeper()
    os.chmod(tmp_path, 0o755), os.chmod(tmp_path.parent, 0o755), os.chmod(tmp_path.parent.parent, 0o755)
    listen = f"unix:{tmp_path}/s" if kind == "unix" else "127.0.0.1:0"
    with Serve(tmp_path, f"group = {NOBODY}" if kind == "unix" else "", listen=listen) as s:
        if kind == "unix":
            st = os.stat(s.path)
            assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o660, 0, NOBODY)
            assert curl(s, "/healthz", OTHER)[0] == 0  # the file's mode: it cannot connect
        assert curl(s, f"/targets/{mine}/ladder", NOBODY)[0] == 200
        status, body = curl(s, f"/targets/{roots}/ladder", NOBODY)
        assert status == 403 and "not yours" in body
        assert curl(s, f"/targets/{roots}/debug/pprof/cmdline", NOBODY)[0] == 403
        assert curl(s, f"/targets/{mine}")[0] == curl(s, f"/targets/{roots}")[0] == 200  # root sees all
        names = [t["name"] for t in json.loads(curl(s, "/targets", NOBODY)[1])["targets"]]
        assert names == [str(mine)]
        if kind == "tcp":
            assert curl(s, f"/targets/{mine}", OTHER)[0] == 403
            assert json.loads(curl(s, "/targets", OTHER)[1])["targets"] == []
            assert curl(s, "/healthz", OTHER) == (200, "ok\n")


@needs_root
def test_a_client_that_has_gone_is_nobody(tmp_path, sleeper):
    """A socket that its process has closed has no owner: the kernel says 0, which is not root."""
    roots = sleeper()
    with Serve(tmp_path) as s:
        code = f"""
import os, socket, time
os.setgid({NOBODY}), os.setuid({NOBODY})
s = socket.socket()
s.connect(("{s.host}", {s.port}))
s.sendall(b"GET /targets/{roots}/debug/pprof/cmdline HTTP/1.1\\r\\nHost: localhost\\r\\n")
time.sleep(0.2)
s.sendall(b"\\r\\n")
os.dup2(os.open("/dev/null", 0), s.fileno())
"""
        for _ in range(20):
            subprocess.run([sys.executable, "-c", code], check=True)
        refused = re.search(r"^memwho_http_refused_total (\d+)", s.get("/metrics").text, re.M)
        assert int(refused[1]) == 20


def test_the_allow_list_narrows(tmp_path, sleeper):
    one = sleeper()
    with Serve(tmp_path, "allow_comm = cat") as s:
        assert s.get(f"/targets/{one}").status == 403
        s.write("allow_comm = cat sleep", "allow_uid = 1 0")
        s.process.send_signal(signal.SIGHUP)
        s.wait_line("read again")
        assert s.get(f"/targets/{one}").status == 200
        s.write("allow_cgroup = /no/such")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: s.get(f"/targets/{one}").status == 403)
        s.write('[target "a"]', f"pid = {one}")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: s.get("/targets/a").status == 200)
        a = s.get(f"/targets/{one}", status=404)  # with targets, no others
        assert "only the targets of the configuration" in a.json()["error"]


def test_a_mistake_in_the_file_changes_nothing(tmp_path, sleeper):
    with Serve(tmp_path, '[target "a"]', f"pid = {sleeper()}") as s:
        s.write('[target "b"]', "pdi = 1")
        s.process.send_signal(signal.SIGHUP)
        s.wait_line(r"the configuration stays as it was: .*memwho.conf:4: \[target\] has no key 'pdi'")
        s.get("/targets/a", status=200)


def test_a_token(tmp_path, sleeper):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    token.chmod(0o644)
    conf = Serve(tmp_path, f"token_file = {token}", listen="0.0.0.0:0")
    p = subprocess.run([conftest.MEMWHO, "serve", conf.conf], stderr=subprocess.PIPE, text=True, timeout=20)
    assert p.returncode == 1 and "others may read or change it" in p.stderr
    token.chmod(0o600)
    one = sleeper()
    with conf as s:
        s.host = "127.0.0.1"
        a = s.get(f"/targets/{one}")
        assert a.status == 401 and a.headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("Bearer 0123456789abcdef012", "Bearer 0123456789abcdef0123x", "Basic x", "Bearer "):
            assert s.get("/targets", headers={"Authorization": wrong}).status == 401
        assert s.get(f"/targets/{one}", headers={"Authorization": "Bearer 0123456789abcdef0123"}).status == 200
        assert s.get("/healthz").status == 200


def test_mutual_tls(tmp_path, sleeper):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for ca in ("ca", "other"):
        openssl("req", "-x509", *ec, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}")
    for name, ca in (("server", "ca"), ("client", "ca"), ("wrong", "other")):
        openssl("req", "-x509", *ec, "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-keyout", f"{name}.key", "-out",
                f"{name}.pem", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    one = sleeper()
    with Serve(tmp_path, f"tls_cert = {tmp_path}/server.pem", f"tls_key = {tmp_path}/server.key",
               f"tls_client_ca = {tmp_path}/ca.pem", listen="0.0.0.0:0") as s:
        def ask(*args):
            return subprocess.run(["curl", "-s", "-w", "%{http_code}", "-o", "/dev/null", "--cacert",
                                   f"{tmp_path}/ca.pem", *args, f"https://127.0.0.1:{s.port}/targets/{one}"],
                                  stdout=subprocess.PIPE, text=True, timeout=20).stdout
        assert ask("--cert", f"{tmp_path}/client.pem", "--key", f"{tmp_path}/client.key") == "200"
        assert ask("--cert", f"{tmp_path}/wrong.pem", "--key", f"{tmp_path}/wrong.key") in ("403", "000")
        assert ask() == "403"


def test_pages_of_other_sites(tmp_path, sleeper):
    one = sleeper()
    with Serve(tmp_path, "hosts = memwho.example") as s:
        path = f"/targets/{one}"
        for host in ("evil.example", f"evil.example:{s.port}", "localhost.evil.example", "127.0.0.1.evil", "x:y", ""):
            assert s.get(path, headers={"Host": host}).status in (400, 403), host
        for host in ("localhost", "127.0.0.1:1", "[::1]:80", "MEMWHO.example:99"):
            assert s.get(path, headers={"Host": host}).status == 200, host
        with contextlib.closing(s.raw(b"GET /targets HTTP/1.0\r\n\r\n")) as c:
            assert c.recv(4096).split()[1] in (b"403", b"400")
        assert s.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
        assert s.get(path, headers={"Sec-Fetch-Site": "same-origin"}).status == 200
        symbol = f"{path}/debug/pprof/symbol"
        assert s.get(symbol, "POST", "0x1", headers={"Origin": "http://evil.example"}).status == 403
        own = {"Origin": f"http://{s.host}:{s.port}"}
        assert s.get(symbol, "POST", "0x1", headers=own).status == 200


def test_capabilities(tmp_path):
    """What is left is the list of docs/serve.md, for us and for whoever we start."""
    if os.geteuid() != 0:
        pytest.skip("needs root: another has none to give up")
    numbers = {"DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYS_RESOURCE": 24,
               "PERFMON": 38, "BPF": 39}
    text = (conftest.SOURCE / "docs" / "serve.md").read_text()
    listed = {n for n in re.findall(r"^\| `CAP_(\w+)` \|", text, re.M)}
    assert listed == set(numbers)
    most = sum(1 << b for b in numbers.values())
    ours = int(re.search(r"^CapBnd:\t(\w+)", pathlib.Path("/proc/self/status").read_text(), re.M)[1], 16)
    with Serve(tmp_path) as s:
        status = s.status_lines()
        for name in ("CapBnd", "CapPrm", "CapEff"):
            assert int(status[name], 16) == most & ours, name


# ---- clients ----

def test_paths_methods_and_arguments(tmp_path, sleeper):
    one = sleeper()
    with Serve(tmp_path, "max_seconds = 10") as s:
        for path in ("/x", "/targets/", f"/targets/{one}/", f"/targets/{one}/x", "/targets/..%2f..%2fetc", "/targets/a b",
                     "/targets/%00", "/" + "a" * 600, "/captures/../x", "/healthz/"):
            a = s.get(path.replace(" ", "%20"), status=404)
            assert a.json()["error"] and a.headers["Content-Type"] == "application/json", path
        a = s.get(f"/targets/{one}/debug/pprof/profile", status=404)
        assert "no CPU profiles" in a.text and a.headers["X-Go-Pprof"] == "1"
        for number in 99999999, 4194304:
            assert "no process with that number" in s.get(f"/targets/{number}", status=404).json()["error"]
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            a = s.get("/targets", method, status=405)
            assert a.headers["Allow"] == "GET"
        assert s.get("/healthz", "HEAD").status == 200
        pprof = f"/targets/{one}/debug/pprof/heap"
        for query, why in (("seconds=0", "positive integer"), ("seconds=-1", "positive integer"),
                           ("seconds=1.5", "positive integer"), ("seconds=", "positive integer"),
                           ("seconds", "positive integer"), ("seconds=0x5", "positive integer"),
                           ("seconds=99999999999999999999", "positive integer"), ("seconds=11", "at most 10"),
                           ("seconds=1&seconds=2", "there is twice"), ("debug=x", "debug"), ("gc=x", "gc"),
                           ("seconds=1&debug=1", "incompatible"), ("&".join(f"a{i}=1" for i in range(40)), "arguments")):
            a = s.get(f"{pprof}?{query}", status=400)
            assert why in a.text.replace("is there twice", "there is twice"), (query, a.text)
            assert a.headers["X-Go-Pprof"] == "1" and a.headers["Content-Type"].startswith("text/plain")
        for query in ("kind=cpu", "kind=", "format=exe", "secs=1", "kind=refs&seconds=1"):
            a = s.get(f"/targets/{one}/flamegraph?{query}", status=400)
            assert a.json()["error"]


def refusal(c):
    """The status line; where the service has closed while we still sent, it may be lost."""
    with contextlib.suppress(ConnectionResetError):
        return c.recv(4096)[:12]
    return b"reset"


def is_served(s):
    """Of one who is not refused by the number of connections."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return s.get("/healthz", timeout=10).status == 200
    return False


def ask_healthz(s, seconds=1.0):
    begun = time.monotonic()
    assert s.get("/healthz", timeout=5).status == 200
    assert time.monotonic() - begun < seconds


def test_clients_that_mean_no_good(tmp_path, sleeper):
    one = sleeper()
    with Serve(tmp_path, "timeout = 1s", "connections = 64", "connections_per_address = 40") as s:
        symbol = f"POST /targets/{one}/debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n".encode()
        with contextlib.closing(s.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + 20000 * b"a")) as c:
            assert refusal(c) in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"HTTP/1.1 413", b"reset")
        with contextlib.closing(s.raw(b"GET /" + 20000 * b"a" + b" HTTP/1.1\r\n\r\n")) as c:
            assert refusal(c) in (b"HTTP/1.1 414", b"HTTP/1.1 431", b"reset")
        with contextlib.closing(s.raw(symbol + b"Content-Length: 1000000000\r\n\r\n")) as c:
            assert refusal(c) == b"HTTP/1.1 413"
        with contextlib.closing(s.raw(symbol + b"Transfer-Encoding: chunked\r\n\r\n")) as c:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(8):
                    c.sendall(b"1000\r\n" + 4096 * b"0" + b"\r\n")
                c.sendall(b"0\r\n\r\n")
            assert refusal(c) in (b"HTTP/1.1 413", b"reset")
        for garbage in (b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n",
                        b"GET / HTTP/1.1\r\nContent-Length: -1\r\nHost: localhost\r\n\r\n"):
            c = s.raw(garbage)
            c.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                c.recv(4096)
            c.close()
        ask_healthz(s)
        # half-open, silent, and one who says a byte now and then: all are cut
        silent = [s.raw(b"") for _ in range(10)] + [s.raw(b"GET /healthz HT") for _ in range(10)]
        slow = s.raw(b"GET /healthz HTTP/1.1\r\n")
        ask_healthz(s)
        begun = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() - begun < 10:
                slow.sendall(b"X: y\r\n")
                time.sleep(0.3)
        assert time.monotonic() - begun < 6
        for c in silent:
            c.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                while c.recv(4096):
                    pass
            c.close()
        # more than may connect from one address: the others are closed, not served
        many = [s.raw(b"") for _ in range(60)]
        time.sleep(0.3)
        for c in many:
            c.close()
        until(lambda: is_served(s))
        # who does not read his answer holds up nobody
        readers = [s.raw(10 * b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(20)]
        ask_healthz(s)
        for c in readers:
            c.close()
        assert int(s.status_lines()["VmRSS"].split()[0]) < 64 * 1024


def test_no_descriptors_left(tmp_path):
    with Serve(tmp_path, "connections = 60000", "connections_per_address = 60000", "timeout = 2s",
               prefix=["prlimit", "--nofile=200:200"]) as s:
        many = []
        for _ in range(400):
            c = socket.socket()
            c.settimeout(2)
            with contextlib.suppress(OSError):
                c.connect((s.host, s.port))
            many.append(c)
        time.sleep(0.5)
        for c in many:
            c.close()
        until(lambda: is_served(s), 20)
        assert s.process.poll() is None


def test_a_pid_that_is_used_again(tmp_path, sleeper):
    """It is another process: its start time differs."""
    last = pathlib.Path("/proc/sys/kernel/ns_last_pid")
    if not os.access(last, os.W_OK):
        pytest.skip("needs ns_last_pid, to have a pid again")
    p = subprocess.Popen(["/bin/sleep", "300"])
    with Serve(tmp_path, '[target "a"]', f"pid = {p.pid}") as s:
        s.get("/targets/a", status=200)
        s.get("/targets/a/ladder", status=200)
        p.kill()
        p.wait()
        time.sleep(0.1)
        for _ in range(200):
            last.write_text(str(p.pid - 1))
            again = subprocess.Popen(["/bin/sleep", "300"])
            if again.pid == p.pid:
                break
            again.kill()
            again.wait()
        else:
            pytest.skip("the pid could not be had again")
        try:
            for path in ("/targets/a", "/targets/a/ladder", "/targets/a/debug/pprof/heap"):
                a = s.get(path, status=404)
                assert "its number is another's" in a.text, a
        finally:
            again.kill()
            again.wait()


def test_a_thousand_targets(tmp_path, sleeper):
    pids = [sleeper() for _ in range(20)]
    lines = [x for i in range(1000) for x in (f'[target "t{i}"]', f"pid = {pids[i % 20]}")]
    with Serve(tmp_path, *lines) as s:
        until(lambda: all(t["pids"] for t in s.get("/targets").json()["targets"]))
        took = []
        for _ in range(30):
            begun = time.monotonic()
            body = s.get("/metrics", status=200).text
            took.append(time.monotonic() - begun)
        assert body.count("memwho_target_up{") == 1000
        took.sort()
        assert took[len(took) // 2] < 0.05, took
        assert int(s.status_lines()["VmRSS"].split()[0]) < 64 * 1024


# ---- systemd ----

def test_notify_and_watchdog(tmp_path):
    path = tmp_path / "notify"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(10)
        with Serve(tmp_path, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}) as s:
            assert systemd.recv(4096) == b"READY=1"
            assert systemd.recv(4096) == b"WATCHDOG=1" == systemd.recv(4096)
            s.process.send_signal(signal.SIGHUP)
            while not (got := systemd.recv(4096)).startswith(b"RELOADING=1\nMONOTONIC_USEC="):
                assert got == b"WATCHDOG=1"
            assert systemd.recv(4096) == b"READY=1"
            assert s.stop() == 0
        while (got := systemd.recv(4096)) != b"STOPPING=1":
            assert got == b"WATCHDOG=1"


def test_a_socket_of_systemd(tmp_path):
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        fd = listener.fileno()
        script = f'exec 3<&{fd}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        with Serve(tmp_path, prefix=["bash", "-c", script, "-"], pass_fds=[fd]) as s:
            assert s.port == port
            assert s.get("/healthz").status == 200
    # reached from outside, and nobody has to say who he is: refused
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        fd = listener.fileno()
        script = f'exec 3<&{fd}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        p = subprocess.run(["bash", "-c", script, "-", conftest.MEMWHO, "serve", s.conf], pass_fds=[fd], text=True,
                           stderr=subprocess.PIPE, timeout=20)
        assert p.returncode == 1 and "reached from other machines" in p.stderr


def test_a_socket_that_was_left(tmp_path):
    where = f"unix:{tmp_path}/run/s"  # as /run/memwho, which is not there before the first start
    with Serve(tmp_path, listen=where) as s:
        assert os.stat(f"{tmp_path}/run").st_mode & 0o7777 == 0o755
        s.process.kill()
        s.process.wait()
        assert os.path.exists(f"{tmp_path}/run/s")
    with Serve(tmp_path, listen=where) as s:
        assert s.get("/healthz").status == 200
        p = subprocess.run([conftest.MEMWHO, "serve", s.conf], text=True, stderr=subprocess.PIPE, timeout=20)
        assert p.returncode == 1 and f"cannot listen on {where}: Address already in use" in p.stderr
        assert s.get("/healthz").status == 200
        assert s.stop() == 0
    assert not os.path.exists(f"{tmp_path}/run/s")
