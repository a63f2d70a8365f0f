# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho serve killed or made to wait at a moment that a test chooses (programs/serve_shim.c): what it
had kept and not queued yet is sent after its next start, once; and how long a process stays that was
asked for by its number, by a clock that the test moves."""
import signal
import struct
import subprocess
import time

import pytest

import conftest
from conftest import PROGRAMS
from serving import Serve, until
from test_serve_growth import captures
from test_serve_push import Server

SHIM = str(PROGRAMS / "serve_shim.so")


@pytest.fixture
def sleeper():
    p = subprocess.Popen(["sleep", "10000"])
    yield p
    conftest.end(p)


@pytest.fixture
def double(tmp_path):
    s = Server(tmp_path).start()
    yield s
    s.stop()


def conf(tmp_path, sleeper, double, capture="ladder", push="p"):
    return [f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {sleeper.pid}", '[trigger "g"]', "rule = growth 1G in 10m",
            f"capture = {capture}", "seconds = 1", "warmup = 0", f'[push "{push}"]', "kind = pyroscope",
            f"url = http://127.0.0.1:{double.port}"]


def queued(s, push="p"):
    line = next(x for x in s.get("/metrics").text.splitlines() if x.startswith(f'memwho_push_queued{{push="{push}"}}'))
    return int(line.split()[-1])


def sent(double):
    """The ids that it was sent with, made of the captures': one twice would be there twice."""
    return [one["id"] for one in double.seen()]


def each_was_sent_once(s, double):
    return len(set(sent(double))) == len(sent(double)) == len(captures(s)) and queued(s) == 0


def killed(serve):
    """It comes to its end by the shim."""
    with serve:
        assert serve.process.wait(60) == -signal.SIGKILL


# in the spool and not in the queue; in the queue and not noted there: before the first is, and the second
@pytest.mark.parametrize("at", [".item", "last."])
@pytest.mark.parametrize("capture", ["ladder", "map"])
def test_what_was_kept_is_sent(tmp_path, sleeper, double, at, capture):
    lines = conf(tmp_path, sleeper, double, capture)
    killed(Serve(tmp_path, *lines, env={"LD_PRELOAD": SHIM, "SHIM_KILL": at}))
    kept = {f.name.removesuffix(".pb.gz") for f in (tmp_path / "spool").glob("api/*.pb.gz")}
    assert len(kept) == 1 and sent(double) == []
    with Serve(tmp_path, *lines) as s:
        until(lambda: len(captures(s)) == 2 and len(sent(double)) >= 2, 60)
        until(lambda: each_was_sent_once(s, double))
        labels = {tuple(sorted(one["labels"].items())) for one in double.seen()}
        names = {dict(x)["__name__"] for x in labels}
        assert names == {f"memwho_{capture}"} and {dict(x)["trigger"] for x in labels} == {"baseline"}
        s.stop()
    # and never again
    with Serve(tmp_path, *lines) as s:
        until(lambda: len(captures(s)) == 3 and len(sent(double)) >= 3, 60)
        until(lambda: each_was_sent_once(s, double))


def test_a_new_push_begins_with_what_comes(tmp_path, sleeper, double):
    lines = conf(tmp_path, sleeper, double)
    with Serve(tmp_path, *lines[:-3]) as s:  # there is none yet
        until(lambda: captures(s), 60)
        s.write(*lines)
        s.process.send_signal(signal.SIGHUP)
        until(lambda: len(captures(s)) == 2 and sent(double), 60)
        until(lambda: queued(s) == 0)
        assert len(sent(double)) == 1  # the rule has begun anew


def test_a_number_stays_for_ten_minutes(tmp_path, sleeper):
    ahead = tmp_path / "ahead"
    ahead.write_bytes(struct.pack("q", 0))

    def is_there(s):
        return f'target="{sleeper.pid}"' in s.get("/metrics").text

    def move(seconds):
        with open(ahead, "r+b", buffering=0) as f:
            f.write(struct.pack("q", seconds))

    with Serve(tmp_path, env={"LD_PRELOAD": SHIM, "SHIM_AHEAD": str(ahead)}) as s:
        assert not is_there(s)
        s.get(f"/targets/{sleeper.pid}", status=200)
        assert is_there(s)
        begun = time.monotonic()
        move(570)
        time.sleep(3)  # three rounds of looks
        if time.monotonic() - begun < 25:  # else the machine has slept, and it may be gone
            assert is_there(s)
        move(600)
        until(lambda: not is_there(s), 20)
        assert str(sleeper.pid) not in s.get("/targets").text
        # asked for again it stays again, from then on
        s.get(f"/targets/{sleeper.pid}", status=200)
        begun = time.monotonic()
        move(600 + 570)
        time.sleep(3)
        s.get(f"/targets/{sleeper.pid}", status=200)
        move(600 + 2 * 570)
        time.sleep(3)
        if time.monotonic() - begun < 25:
            assert is_there(s)
        move(600 + 2 * 570 + 30)
        until(lambda: not is_there(s), 20)
