# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho serve: captures by a rule of Go programs that keep no heap profile, or have nothing in it yet."""
import subprocess

import pytest

import conftest
import gotools
from serving import Serve, until
from test_serve_growth import captures
from test_serve_triggers import folded, trigger


class Silent:
    def __init__(self, name, *flags):
        path = gotools.build(conftest.SOURCE / "tests" / "programs" / "go_silent", name, flags, CGO_ENABLED="0")
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        assert self.process.stdout.readline() == "ready\n"

    def grow(self, mib):
        self.process.stdin.write(f"{mib}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture
def silent():
    started = []

    def start(*args):
        started.append(Silent(*args))
        return started[-1]
    yield start
    for s in started:
        conftest.end(s.process)


def rule(tmp_path, pid, *more):
    return [f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {pid}", *more, *trigger("growth 32M in 10m")]


def test_without_a_profile_who_refers_to_it(tmp_path, silent):
    p = silent("bare", "-tags=bare")
    with Serve(tmp_path, *rule(tmp_path, p.pid)) as s:
        until(lambda: captures(s, "baseline"), 60)
        assert "records no heap profile" in s.get("/targets/api/debug/pprof/heap", status=501).text
        p.grow(48)
        made = until(lambda: captures(s, "growth"), 60) and captures(s, "growth")
        assert len(made) == 1 and made[0]["held_bytes"] > 48 << 20
        grown = max(folded(s, f"/captures/{made[0]['id']}/diff?before={made[0]['baseline']}&format=folded"),
                    key=lambda x: x[1])
        assert "main.kept" in grown[0] and 48 << 20 <= grown[1] < 49 << 20


def test_an_empty_profile_is_asked_again(tmp_path, memwho, silent):
    """The baseline is what captures are compared with; and what is recorded is Go's profile, not its C library's."""
    for _ in range(50):  # something may have been sampled already
        p = silent("silent")
        if "is still empty" in memwho("alloc", p.pid, code=None).err:
            break
        conftest.end(p.process)
    with Serve(tmp_path, *rule(tmp_path, p.pid, "record = always")) as s:
        until(lambda: s.get("/targets/api").json()["recording"] == "yes", 60)
        s.wait_line("capture by t failed: .* is still empty")
        assert "is still empty" in s.get("/targets/api/debug/pprof/heap", status=503).text
        assert not captures(s)
        p.grow(8)
        made = until(lambda: captures(s, "baseline"), 90) and captures(s, "baseline")
        assert len(made) == 1 and 1 << 20 < made[0]["held_bytes"] < 32 << 20
        assert "main.keep" in s.get("/targets/api/flamegraph?format=folded", status=200).text
