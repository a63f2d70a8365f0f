# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 once
"""The sampling engine beside uprobes of others (bpftrace itself), in every order of attach and
detach: the target lives and works, their probe goes on firing, and the code is the file's again.
The probes are in a copy of libc that only the victim uses. And with the jumps in copies of
pages, where their probe is silent while the agent is in."""
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import conftest
import pytest
from conftest import Recording
from test_agent import WHOLE, changed_code, first_bytes, places
from test_agent_offsets import where_it_is_patched
from victim import Victim

FUNCTIONS = ("malloc", "free")
ORDERS = ("agent+ probe+ probe- agent-", "agent+ probe+ agent- probe-", "probe+ agent+ probe- agent-",
          "probe+ agent+ agent- probe-")


class Probe:
    """bpftrace on a function: .fires() are the hits of about a second."""

    def __init__(self, pid, library, function, fires=True):
        program = f'uprobe:{library}:{function} {{ @ = count(); }} interval:ms:100 {{ printf("@\\n"); print(@); clear(@); }}'
        self.process = subprocess.Popen(["bpftrace", "-p", str(pid), "-e", program], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        assert self.ticks(20), "bpftrace does not begin"
        assert self.fires() if fires else self.is_silent(), f"bpftrace sees {'no' if fires else 'a'} call"

    def ticks(self, seconds):
        """It has begun."""
        end, text = time.monotonic() + seconds, ""
        while time.monotonic() < end and "@\n" not in text:
            assert self.process.poll() is None, text
            text += (self.process.stdout.read() or b"").decode()
            time.sleep(0.05)
        return "@\n" in text

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

    def is_silent(self):
        """For a second, once what it counted before is printed."""
        return any(not self.fires(1) for _ in range(5))

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


def victim_of(folder):
    return Victim(folder / "board", "ac", env={"LD_LIBRARY_PATH": str(folder)})


def set_size(library, name, size):
    """Of the symbol @name of .symtab, which objcopy makes without one."""
    out = subprocess.run(["readelf", "-SsW", library], stdout=subprocess.PIPE, text=True, check=True).stdout
    table = int(re.search(r" \.symtab +SYMTAB +[0-9a-f]+ ([0-9a-f]+)", out)[1], 16)
    number = int(re.search(rf"^ +(\d+): .* {name}$", out, re.M)[1])
    with open(library, "r+b") as f:
        f.seek(table + 24 * number + 16)  # Elf64_Sym.st_size
        f.write(struct.pack("<Q", size))


def with_middle_named(library, folder):
    """A victim that has a function in_malloc where memwho's jump in malloc lies: Debian's bpftrace takes
    no offsets, and probes nothing but functions."""
    first = victim_of(folder)
    try:
        at = where_it_is_patched(first, "malloc", folder) - first_bytes(first.pid, "malloc")
    finally:
        first.stop()
    out = subprocess.run(["readelf", "-SWs", library], stdout=subprocess.PIPE, text=True, check=True).stdout
    text = int(re.search(r" \.text +PROGBITS +([0-9a-f]+)", out)[1], 16)
    malloc = int(re.search(r": ([0-9a-f]+) .* malloc@@", out)[1], 16)
    symbol = f"in_malloc=.text:{malloc + at - text:#x},function,global"
    subprocess.run(["objcopy", "--add-symbol", symbol, library, f"{library}.new"], check=True)
    set_size(f"{library}.new", "in_malloc", 16)
    os.rename(f"{library}.new", library)
    return victim_of(folder)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_order(function, order, library, tmp_path):
    victim = victim_of(tmp_path)
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


# a part of it, or all that there is (./dev matrix agent)
BY_PAGES = [(where, order) for where in ("entry", "middle") for order in ORDERS]


@pytest.mark.parametrize("where, order", BY_PAGES if WHOLE else BY_PAGES[::3])
def test_every_order_by_pages(where, order, library, tmp_path):
    """With the jumps in copies of pages a probe is silent while the agent is in, which is said when it was there
    before, and fires before and afterwards; one under our jump, too, whenever it is set and taken away."""
    victim = with_middle_named(library, tmp_path) if where == "middle" else victim_of(tmp_path)
    probe = recording = None
    try:
        function = "malloc" if where == "entry" else "in_malloc"
        for step in order.split():
            if step == "agent+":
                recording = Recording(["alloc", victim.pid, "--engine", "agent", "--patch", "page", "--sample", "4K", "--json"],
                                      tmp_path / "ready").wait_ready()
            elif step == "agent-":
                got = recording.interrupt()
                report, recording = got.json(), None
                assert report["patched_pages"] >= 1 and report["samples"] > 0 and "changed_by_others" not in report, report
                assert ("do not fire" in got.err) == order.startswith("probe+"), got.err
            elif step == "probe+":
                probe = Probe(victim.pid, library, function, fires=not recording)
            else:
                probe.end()
                probe = None
            assert not victim.goes_on(30), step
            assert probe is None or (probe.is_silent() if recording else probe.fires()), step
        victim.check()
        assert changed_code(victim.pid) == [] and len(places(victim.pid)) <= 1
    finally:
        if probe:
            probe.end()
        victim.stop()
