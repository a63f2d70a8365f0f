# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""memwho je and alloc on a service whose jemalloc was built without its profiler and its statistics, as
tikv-jemallocator 0.6 is by default (programs/rust --no-default-features): what needs them says so and
what to do; all else works. Stripped and not."""
import json
import os
import platform
import signal
import subprocess
import time

import conftest
import pytest
from conftest import run_memwho
from hold import build_rust
from refusal import refused
from test_je import CONF, held_by, je, service  # noqa: F401
from test_je_stripped import strip

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are for x86-64")
MIB = 1 << 20


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    try:
        built = build_rust(conftest.SOURCE, conftest.BUILD, profiler=False)
    except RuntimeError as e:
        pytest.skip(str(e))
    program = os.path.join(os.path.dirname(built), "caches")
    return {"named": program, "stripped": strip(program, tmp_path_factory.mktemp("stripped") / "caches")}


@pytest.fixture(params=["named", "stripped"])
def unprofiled(request, programs, service):  # noqa: F811
    """The service, asked for a profiler that it does not have."""
    s = service([programs[request.param]], stderr=subprocess.DEVNULL,
                _RJEM_MALLOC_CONF=f"{CONF},dirty_decay_ms:-1,muzzy_decay_ms:0")
    s.is_named = request.param == "named"
    return s


def test_what_needs_it(unprofiled):
    s = unprofiled
    got = je(s.pid, "status")
    assert not got["config_prof"] and not got["opt_prof"] and got["lg_sample"] == -1, got
    text = run_memwho("je", s.pid).out
    assert "not built in (config.prof)" in text
    assert (f"memwho alloc {s.pid} records" in text) == s.is_named and f"memwho {'alloc' if s.is_named else 'je'} {s.pid}" in text
    for words in ("on",), ("off",), ("dump",), ("reset",), ("sample", "64K"):
        said = refused("je", s.pid, *words, said=("without its profiler (config.prof)", f"memwho alloc {s.pid} records",
                                                  "tikv-jemallocator's feature"))
        assert ("keeps its symbols" in said.err) != s.is_named and "MALLOC_CONF" not in said.err, said
    refused("alloc", s.pid, "--engine", "jemalloc", said=("without its profiler", "--enable-prof"))
    refused("alloc", s.pid, "--engine", "jemalloc", "-d", "1s", said="without its profiler")
    assert s.say("fill index 10 1024") == 10 * 1024


def test_what_does_not(unprofiled):
    s = unprofiled
    s.say("fill images 100 40960")
    sessions = s.say("fill sessions 20000 1024")
    got = je(s.pid, "stats")
    assert got["calls"] == 0 and sessions <= got["allocated_bytes"] < 2 * sessions
    if os.environ.get("RUST_JEMALLOC", "0.6.1") >= "0.6":  # what there is not is not asked for
        refused("je", s.pid, "stats", "--calls", said=("without statistics", f"memwho je {s.pid} stats"))
        assert s.say("fill index 10 1024") == s.say("drop index") == 10 * 1024
    else:
        called = je(s.pid, "stats", "--calls")["jemallocs"][0]["mallctl"]
        assert called["stats.arenas.4096.bins.20.nmalloc"] >= 20000
        assert abs(called["stats.allocated"] - got["allocated_bytes"]) < MIB / 4
    s.say("drop sessions")
    assert je(s.pid, "decay")["came_back_bytes"] < MIB, "never is never"
    got = je(s.pid, "purge")
    came = got["came_back_bytes"]
    assert came > 15 * MIB and abs(came - got["predicted_bytes"]) < 0.02 * came + 300 * 1024, got
    assert je(s.pid, "decay", 100)["decay_ms"] == 100 and je(s.pid, "status")["dirty_decay_ms"] == 100
    assert s.say("fill index 100 1024") == 100 * 1024


def record_a_fill(s, *options):
    """-> (what the cache holds, the result, what was said) of memwho alloc that began before it was filled."""
    p = subprocess.Popen([conftest.MEMWHO, "alloc", str(s.pid), "-d", "120s", "--json", *options],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    usable = []
    for i in range(8):  # it records from some moment in the first seconds on
        usable.append(s.say(f"fill images {100 * (i + 1)} 40960"))
        time.sleep(0.7)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0, err
    return usable, json.loads(out), err


def test_alloc_records_it(unprofiled):
    """By itself, memwho takes a recorder, and where that sees nothing it says why."""
    s = unprofiled
    usable, got, err = record_a_fill(s)
    assert "jemalloc" not in got["engine"] and "opt.prof" not in err, (got["engine"], err)
    if not s.is_named:
        assert "has no symbols" in err and f"memwho je {s.pid} stats" in err, err
        return
    assert "has no symbols" not in err
    held, _ = held_by(got, "decode_image")
    filled = 40960 * 100
    # the busiest moment decides whether it samples
    low, high = (filled, usable[-1]) if got["engine"] == "bpf" else (filled / 4, usable[-1] * 4)
    assert low <= held <= high, (held, usable, got["engine"])
