# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 once
"""The sampling engine beside uprobes of others (bpftrace itself), in every order of attach and
detach: the target lives and works, their probe goes on firing, and the code is the file's again.
The probes are in a copy of libc that only the victim uses."""
import os
import shutil
import signal
import subprocess
import time

import conftest
import pytest
from conftest import Recording
from test_agent import changed_code, places
from victim import Victim

FUNCTIONS = ("malloc", "free")
ORDERS = ("agent+ probe+ probe- agent-", "agent+ probe+ agent- probe-", "probe+ agent+ probe- agent-",
          "probe+ agent+ agent- probe-")


class Probe:
    """bpftrace on the entry of a function: .fires() are the hits of about a second."""

    def __init__(self, pid, library, function):
        program = f"uprobe:{library}:{function} {{ @ = count(); }} interval:ms:100 {{ print(@); clear(@); }}"
        self.process = subprocess.Popen(["bpftrace", "-p", str(pid), "-e", program], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        assert self.fires(20), "bpftrace does not see a call"

    def fires(self, seconds=5):
        """False: none in that time."""
        self.process.stdout.read()
        end, text = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            assert self.process.poll() is None, text
            text += (self.process.stdout.read() or b"").decode()
            if any(int(line.split()[1]) for line in text.splitlines() if line.startswith("@: ") and line[3:].isdigit()):
                return True
            time.sleep(0.05)
        return False

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)


@pytest.fixture
def library(tmp_path):
    if not shutil.which("bpftrace"):
        assert not conftest.CI, "bpftrace is not installed"
        pytest.skip("no bpftrace")
    with open("/proc/self/maps") as f:
        libc = next(line.split()[5] for line in f if "libc.so.6" in line)
    return shutil.copy(libc, tmp_path / "libc.so.6")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_order(function, order, library, tmp_path):
    victim = Victim(tmp_path / "board", "ac", env={"LD_LIBRARY_PATH": str(tmp_path)})
    probe = recording = None
    try:
        for step in order.split():
            if step == "agent+":
                recording = Recording(["alloc", victim.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
            elif step == "agent-":
                assert recording.interrupt().json()["engine"] == "agent"
            elif step == "probe+":
                probe = Probe(victim.pid, library, function)
            else:
                probe.end()
                probe = None
            assert not victim.goes_on(30), step
            assert probe is None or probe.fires(), f"the probe is dead after {step}"
        victim.check()
        assert changed_code(victim.pid) == [] and len(places(victim.pid)) <= 1
    finally:
        if probe:
            probe.end()
        victim.stop()
