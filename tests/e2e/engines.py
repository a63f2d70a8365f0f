# SPDX-License-Identifier: GPL-2.0-or-later
"""Real engines of other projects, from the distribution's packages: unpacked into a folder of
the build, not installed, so that no service of theirs starts. All listen on 127.0.0.1."""
import contextlib
import fcntl
import json
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from conftest import BUILD

FOLDER = BUILD / "engines"


def fetch(package, command):
    """Path of @command out of @package; a skip without a network."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = FOLDER / package / "usr" / "bin" / command
    with open(FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            unpack(package)
    if not found.exists():
        pytest.fail(f"{package} has no {command}")
    return found


def unpack(package):
    for attempt in range(2):
        p = subprocess.run(["apt-get", "-q=2", "-o", "APT::Sandbox::User=root", "download", package],
                           cwd=FOLDER, capture_output=True, text=True, timeout=120)
        if p.returncode == 0:
            break
        if attempt:
            pytest.skip(f"cannot download {package}: {p.stderr.strip()[-200:]}")
        subprocess.run(["apt-get", "-q=2", "update"], capture_output=True, timeout=120)
    for deb in FOLDER.glob(f"{package}_*.deb"):
        subprocess.run(["dpkg-deb", "--extract", deb, FOLDER / package], check=True, timeout=120)
        deb.unlink()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=5, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as r:
        return r.read().decode()


def until(what, seconds=20):
    """Call until it gives something; what it raised last if it never does."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            found = what()
            if found:
                return found
        if time.monotonic() > end:
            pytest.fail(f"nothing within {seconds} s: {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def running(argv, log):
    with open(log, "wb") as f:
        p = subprocess.Popen([str(a) for a in argv], stdout=f, stderr=subprocess.STDOUT,
                             stdin=subprocess.DEVNULL, cwd=pathlib.Path(log).parent)
    try:
        yield p
    finally:
        p.terminate()
        try:
            p.wait(10)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def scrape_config(path, port, rules=None):
    path.write_text(json.dumps({
        "global": {"scrape_interval": "1s", **({"evaluation_interval": "1s"} if rules else {})},
        **({"rule_files": [str(rules)]} if rules else {}),
        "scrape_configs": [{"job_name": "memwho", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }))
    return path


@contextlib.contextmanager
def prometheus(folder, port, rules=None):
    """Scrapes 127.0.0.1:@port each second. Yields its URL."""
    binary, own = fetch("prometheus", "prometheus"), free_port()
    config = scrape_config(folder / "prometheus.json", port, rules)
    with running([binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
                  f"--web.listen-address=127.0.0.1:{own}", "--enable-feature=exemplar-storage"],
                 folder / "prometheus.log"):
        url = f"http://127.0.0.1:{own}"
        until(lambda: get(f"{url}/-/ready"))
        yield url


@contextlib.contextmanager
def victoria_metrics(folder, port):
    binary, own = fetch("victoria-metrics", "victoria-metrics"), free_port()
    config = scrape_config(folder / "victoria.json", port)
    # a query sees what is a second old, not 30
    with running([binary, f"-storageDataPath={folder / 'vm'}", f"-httpListenAddr=127.0.0.1:{own}",
                  f"-promscrape.config={config}", "-search.latencyOffset=1s", "-memory.allowedBytes=64MiB"],
                 folder / "victoria.log"):
        url = f"http://127.0.0.1:{own}"
        until(lambda: get(f"{url}/health"))
        yield url


def query(url, expr):
    """[(labels, value)] of an instant query."""
    answer = json.loads(get(f"{url}/api/v1/query?" + urllib.parse.urlencode({"query": expr})))
    assert answer["status"] == "success", answer
    return [(r["metric"], float(r["value"][1])) for r in answer["data"]["result"]]
