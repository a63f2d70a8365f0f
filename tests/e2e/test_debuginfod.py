# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120 parallel
"""A stripped program's names from a real debuginfod server, which listens on all addresses: it runs in
a network namespace of its own, and so does memwho."""
import json
import os
import shutil
import signal
import subprocess

import pytest

import engines
from conftest import MEMWHO, PROGRAMS
from hold import Hold, compare, stacks_of_json

PORT = 8002


class Namespace:
    """A network namespace with loopback alone, and a server of debug files in it."""

    def __init__(self, program, folder, cache):
        for tool in ("unshare", "nsenter", "ip"):
            if not shutil.which(tool):
                pytest.skip(f"no {tool}")
        self.env = {**os.environ, "DEBUGINFOD_URLS": f"http://127.0.0.1:{PORT}", "DEBUGINFOD_CACHE_PATH": str(cache)}
        self.process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", f"ip link set lo up && exec {program} -p {PORT} -d :memory: -F {folder}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(cache.parent)})

    def run(self, *argv, env=None, **kw):
        return subprocess.run(["nsenter", "-t", str(self.process.pid), "-n", *argv], capture_output=True, text=True,
                              env=env or self.env, timeout=60, **kw)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def stripped(tmp_path):
    """The truth program without names, and a folder with its debug file: (program, folder, build id)."""
    (tmp_path / "debug").mkdir()
    program, debug = tmp_path / "hold", tmp_path / "debug" / "hold.debug"
    subprocess.run(["objcopy", "--only-keep-debug", PROGRAMS / "hold", debug], check=True)
    subprocess.run(["strip", "--strip-all", "-o", program, PROGRAMS / "hold"], check=True)
    notes = subprocess.run(["readelf", "-n", program], check=True, capture_output=True, text=True).stdout
    return program, tmp_path / "debug", notes.split("Build ID: ")[1].split()[0]


@pytest.fixture
def namespace(stripped, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    n = Namespace(engines.fetch("debuginfod", "debuginfod"), stripped[1], tmp_path / "cache")
    try:
        script = f"import urllib.request as u; print(len(u.urlopen('http://127.0.0.1:{PORT}/buildid/{stripped[2]}/debuginfo').read()))"
        engines.until(lambda: n.run("python3", "-c", script).returncode == 0, 40)
        yield n
    finally:
        n.stop()


def recorded(namespace, program, env=None):
    with Hold(program) as hold:
        hold.command("warm 5")
        p = subprocess.Popen(["nsenter", "-t", str(namespace.process.pid), "-n", MEMWHO, "alloc", str(hold.pid), "--json",
                              "--max-slowdown", "1000", "--ready-file", f"{program}.ready"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=env or namespace.env)
        engines.until(lambda: os.path.exists(f"{program}.ready"), 40)
        hold.command("mark")
        hold.command("go 10")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        os.unlink(f"{program}.ready")
        assert p.returncode == 0, err
        return compare(stacks_of_json(json.loads(out)), hold.truth())


def test_names_by_debuginfod(needs_bpf, namespace, stripped):
    score = recorded(namespace, stripped[0])
    assert score.path_error == 0, score.explain()
    # it was the server: without it there are none
    nothing = {k: v for k, v in namespace.env.items() if not k.startswith("DEBUGINFOD")}
    assert recorded(namespace, stripped[0], nothing).path_error == 1
