# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300
"""memwho refs on some millions of objects: its memory, its progress, Ctrl-C."""
import json
import os
import pty
import select
import signal
import subprocess
import time

import conftest
import gotools
import pytest

HEAP = conftest.SOURCE / "bench" / "refs_heap"
OBJECTS = 8_000_000


@pytest.fixture(scope="module")
def heap():
    """Eight million small objects: its process, and the runtime's own count."""
    path = gotools.build(HEAP, "refs-heap")
    process = subprocess.Popen([path, "small", str(OBJECTS)], stdout=subprocess.PIPE, text=True)
    words = process.stdout.readline().split()
    assert words[0] == "live"
    yield process.pid, int(words[1]), int(words[2])
    conftest.end(process)


def anonymous(pid):
    """Bytes of RssAnon; 0: it has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return sum(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def start(pid, tmp_path, stderr=subprocess.DEVNULL):
    """As a user would: meson's MALLOC_PERTURB_ makes memory present that nobody uses."""
    env = {k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"}
    with open(tmp_path / "out.json", "w") as out:
        return subprocess.Popen([conftest.MEMWHO, "refs", str(pid), "--json"], stdout=out, stderr=stderr, env=env)


def until_walking(process):
    """It has read some of the objects, and not all."""
    end = time.monotonic() + 60
    while anonymous(process.pid) < 60 << 20:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)


def nothing_left(pid):
    """Neither the copy nor a zombie of it."""
    others = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) != pid and \
                    os.readlink(f"/proc/{entry}/exe") == str(conftest.BUILD / "refs-heap"):
                others.append(entry)
        except OSError:
            pass
    return not others and not subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE).stdout


def test_memory(heap, tmp_path):
    """48 bytes an object, with all that is read from the process, and 100 MiB."""
    pid, size, objects = heap
    process, peak = start(pid, tmp_path), 0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.002)
    result = json.loads((tmp_path / "out.json").read_text())
    print(f"{peak / result['live_objects']:.1f} bytes an object")
    assert abs(result["live_objects"] - objects) <= objects / 1000
    assert abs(result["live_bytes"] - size) <= size / 100
    assert result["partial"] is False
    assert peak <= 48 * objects + (100 << 20), (peak, objects)
    assert nothing_left(pid)


def peak_of(pid, tmp_path):
    own, peak = start(pid, tmp_path), 0
    while own.poll() is None:
        peak = max(peak, anonymous(own.pid))
        time.sleep(0.002)
    assert own.returncode == 0
    return peak


def peak_of_mix(mib, tmp_path):
    """Of memwho on a server's heap of @mib MiB, the lesser of two: what its second thread has at the
    same time is by chance, and does not grow with the objects. And how many objects are there."""
    process = subprocess.Popen([gotools.build(HEAP, "refs-heap"), "mix", str(mib)], stdout=subprocess.PIPE, text=True)
    objects = int(process.stdout.readline().split()[2])
    peak = min(peak_of(process.pid, tmp_path) for _ in range(2))
    conftest.end(process)
    assert abs(json.loads((tmp_path / "out.json").read_text())["live_objects"] - objects) <= objects / 1000
    return peak, objects


def test_memory_grows(tmp_path):
    """By what each further object takes, the 29 million of a server's heap of 4 GiB stay below, too."""
    small, large = peak_of_mix(560, tmp_path), peak_of_mix(1000, tmp_path)
    assert large[0] <= 48 * large[1] + (100 << 20), large
    more = (large[0] - small[0]) / (large[1] - small[1])
    print(f"{more:.1f} bytes a further object")
    assert large[0] + more * (29_300_000 - large[1]) <= 48 * 29_300_000 + (100 << 20), (small, large, more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(heap, tmp_path, number):
    pid, size, objects = heap
    process = start(pid, tmp_path)
    until_walking(process)
    process.send_signal(number)
    assert process.wait(60) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["partial"] is True
    assert 0 < result["live_objects"] < 0.95 * objects and 0 < result["live_bytes"] < 0.95 * size
    assert result["garbage_bytes"] == 0, "what was not reached is not known to be garbage"
    assert nothing_left(pid)


def test_saved_partial(heap, tmp_path, memwho):
    pid, _, _ = heap
    process = subprocess.Popen([conftest.MEMWHO, "refs", str(pid), "--save", tmp_path / "a.mwg"],
                               stdout=subprocess.PIPE, text=True)
    until_walking(process)
    process.send_signal(signal.SIGINT)
    assert "partial: what was reached" in process.communicate(timeout=60)[0]
    assert memwho("refs", tmp_path / "a.mwg", "--json").json()["partial"] is True


def test_progress(heap, tmp_path):
    """A line on a terminal when it takes more than a second."""
    pid, _, _ = heap
    ours, its = pty.openpty()
    process = start(pid, tmp_path, stderr=its)
    os.close(its)
    until_walking(process)
    # a slow machine, as it were
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.1)
    process.send_signal(signal.SIGCONT)
    text = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            more = os.read(ours, 4096)
        except OSError:  # its end was closed
            break
        text += more
    os.close(ours)
    assert process.wait(60) == 0
    assert b"reading the heap, " in text and b"Ctrl-C ends with what is read" in text, text
    assert text.endswith(b"\r\x1b[K"), "the line is taken away again"
