# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""memwho je: jemallocs of running programs, switched and read from outside. A Rust service as it is
deployed (programs/rust/src/bin/caches.rs), a C program on the shared library (programs/caches.c):
both say what their caches hold, and that is what dumps must name, to the byte where every block is
sampled."""
import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import time

import caches
import conftest
import gopprof
import pytest
from conftest import run_memwho
from hold import build_rust, library
from refusal import refused
from serving import Serve
from test_agent_seccomp import ERRNO, only
from victim import injector, victim  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are for x86-64")
MIB = 1 << 20
CONF = "prof:true,prof_active:false"
MEMFD_CREATE = 319


@pytest.fixture(scope="module")
def service_program():
    try:
        built = build_rust(conftest.SOURCE, conftest.BUILD)
    except RuntimeError as e:
        pytest.skip(str(e))
    return os.path.join(os.path.dirname(built), "caches")


class Service:
    def __init__(self, command, wrapper=(), stderr=None, **environment):
        self.process = subprocess.Popen([*wrapper, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, stderr=stderr, env={**os.environ, **environment})
        line = self.process.stdout.readline().split()
        assert line and line[0] == "ready", line
        self.pid = self.process.pid

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[-1])

    def stop(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def service():
    started = []

    def start(*args, **kw):
        started.append(Service(*args, **kw))
        return started[-1]

    yield start
    for s in started:
        s.stop()


@pytest.fixture
def on_jemalloc(service):
    """The C program with caches, its jemalloc set up as @conf says."""
    def start(conf=CONF, **kw):
        if not library("libjemalloc.so.2"):
            pytest.skip("no libjemalloc.so.2")
        return service([conftest.PROGRAMS / "caches", "3"], LD_PRELOAD="libjemalloc.so.2", MALLOC_CONF=conf, **kw)
    return start


def je(pid, *words):
    return run_memwho("je", pid, *words, "--json").json()


def held_by(dump, function):
    """(bytes, blocks) below @function."""
    rows = [s for s in dump["stacks"] if any(function in f for f in s["frames"])]
    return sum(s["bytes"] for s in rows), sum(s["count"] for s in rows)


# ---- the service ----

def test_which_cache_grew(service, service_program):
    s = service([service_program], _RJEM_MALLOC_CONF=CONF)
    got = je(s.pid, "status")
    assert got["config_prof"] and got["opt_prof"] and not got["active"] and got["lg_sample"] == 19, got
    s.say("fill sessions 2000 1024")
    assert je(s.pid, "dump")["stacks"] == [], "nothing is recorded before it is on"
    assert je(s.pid, "on")["was_active"] is False
    images = s.say("fill images 1024 65536")
    s.say("fill index 100 1024")
    dump = je(s.pid, "dump")
    held, _ = held_by(dump, "decode_image")
    # each block is sampled with this probability
    p = -math.expm1(-65536 / (1 << 19))
    assert abs(held - images) < 5 * 65536 * math.sqrt(1024 * (1 - p) / p), (held, images)
    assert dump["sample_bytes"] == 1 << 19 and dump["value_type"] == "inuse_space"
    top = run_memwho("je", s.pid, "dump").out
    assert "decode_image" in top and "jemalloc" not in top.split("STACK")[1], top
    leaf = dump["stacks"][0]["frames"][0]
    assert "caches::" in leaf or "decode_image" in leaf, dump["stacks"][0]
    assert "<svg" in run_memwho("je", s.pid, "dump", "--format", "svg").out


def test_every_block(service, service_program):
    """One sample in a byte: then it is exact, and what is dropped leaves."""
    s = service([service_program], _RJEM_MALLOC_CONF=CONF)
    je(s.pid, "on")
    assert je(s.pid, "sample", "1")["lg_sample"] == 0
    # the first sample of a thread is still as far away as it was
    s.say("fill index 300 131072"), s.say("drop index")
    sessions, images = s.say("fill sessions 3000 1024"), s.say("fill images 50 40960")
    dump = je(s.pid, "dump")
    assert held_by(dump, "remember_session") == (sessions, 3000)
    assert held_by(dump, "decode_image") == (images, 50)
    assert held_by(dump, "build_index") == (0, 0)
    s.say("drop images")
    dump = je(s.pid, "dump")
    assert held_by(dump, "decode_image") == (0, 0) and held_by(dump, "remember_session") == (sessions, 3000)
    assert je(s.pid, "off")["was_active"]
    s.say("fill index 500 1024")
    assert held_by(je(s.pid, "dump"), "build_index") == (0, 0)
    je(s.pid, "reset")
    assert je(s.pid, "dump")["stacks"] == []


# ---- the shared library ----

def test_shared_library(on_jemalloc, tmp_path):
    s = on_jemalloc(CONF + ",lg_prof_sample:0")
    assert je(s.pid, "on")["active"]
    usable = s.say("fill 1 700 1000")
    dump = je(s.pid, "dump")
    assert held_by(dump, "fill") == (usable, 700)
    assert all("malloc" not in s["frames"][0] for s in dump["stacks"]), dump["stacks"]
    # the innermost frame of all is the library's, the profile is the program's
    run_memwho("je", s.pid, "dump", "-o", tmp_path / "je.pb.gz")
    assert gopprof.program(tmp_path / "je.pb.gz") == os.readlink(f"/proc/{s.pid}/exe")
    # nothing is left open there
    assert not [f for f in os.listdir(f"/proc/{s.pid}/fd") if "memfd" in os.readlink(f"/proc/{s.pid}/fd/{f}")]


def test_in_a_container(on_jemalloc):
    s = on_jemalloc(CONF + ",lg_prof_sample:0", wrapper=["unshare", "--fork", "--pid", "--mount", "--kill-child"])
    inner = int(subprocess.run(["pgrep", "-P", str(s.pid)], stdout=subprocess.PIPE, check=True).stdout)
    je(inner, "on")
    usable = s.say("fill 2 300 5000")
    assert held_by(je(inner, "dump"), "fill") == (usable, 300)


def test_stats_are_what_the_program_holds(on_jemalloc):
    s = on_jemalloc("")
    s.say("fill 0 20000 1000")
    s.say("fill 1 40 100000")
    got = je(s.pid, "stats")
    assert got["calls"] == 0
    [one] = got["jemallocs"]
    for key in "allocated", "active", "dirty", "muzzy", "retained":
        assert sum(a[f"{key}_bytes"] for a in one["arenas"]) == got[f"{key}_bytes"], key
    classes = {c["size_bytes"]: c for c in one["classes"]}
    assert 20000 <= classes[1024]["blocks"] <= 20100 and classes[114688]["blocks"] == 40, classes
    for c in one["classes"]:
        assert c["blocks"] * c["size_bytes"] <= c["active_bytes"] and \
            c["slabs"] * c["regions"] * c["size_bytes"] <= c["active_bytes"]
        assert not c["slabs"] or (c["slabs"] * c["regions"] - c["blocks"]) * c["size_bytes"] == c["free_bytes"], c
    assert got["allocated_bytes"] == sum(c["blocks"] * c["size_bytes"] for c in one["classes"])
    assert got["resident_bytes"] <= got["process_resident_bytes"]
    text = run_memwho("je", s.pid, "stats").out
    assert "nothing was called" in text and "ARENA" in text and "1.0 KiB" in text


def flat(tree, name, to):
    """malloc_stats_print()'s tree by the names that mallctl() has."""
    if isinstance(tree, dict):
        for k, v in tree.items():
            k = {"uptime_ns": "uptime", "sec_bytes": "hpa_sec_bytes", "merged": "4096"}.get(k, k)
            flat(v, f"{name}.{k}", to)
    elif isinstance(tree, list):
        for k, v in enumerate(tree):
            flat(v, f"{name}.{k}", to)
    elif isinstance(tree, int):
        to[name] = tree
    return to


def own_report(pid, stderr, function="malloc_stats_print"):
    """What jemalloc's malloc_stats_print() says, as names and values of its tree."""
    before = os.path.getsize(stderr)
    code, _, err = injector(pid, "call", function, 0, 0, "s:J")
    assert code == 0, err
    with open(stderr) as f:
        f.seek(before)
        tree = json.load(f)["jemalloc"]
    return flat(tree["stats.arenas"], "stats.arenas", flat(tree["stats"], "stats", {}))


def test_stats_by_jemallocs_names(on_jemalloc, tmp_path):
    """Each figure read from outside is what jemalloc itself says, but for the buffer that it says
    it with; and resident bytes sum to the process's."""
    with open(tmp_path / "stderr", "w") as stderr:
        s = on_jemalloc("narenas:2", stderr=stderr)
    for k, (count, size) in enumerate([(5000, 100), (3000, 1000), (40, 100000)]):
        s.say(f"fill {k} {count} {size}")
    s.say("drop 1")
    je(s.pid, "status")  # the stack of calls is there from now on
    got = je(s.pid, "stats")
    own = own_report(s.pid, tmp_path / "stderr")
    ours = got["jemallocs"][0]["mallctl"]
    assert len(ours) > 20 and not set(ours) - set(own), set(ours) - set(own)
    buffer = 128 << 10
    for name, value in ours.items():
        off = {"pactive": 32, "pdirty": 32, "curlextents": 1}.get(name.rsplit(".")[-1], 0)
        off = buffer if name.rsplit(".")[-1] in ("allocated", "active", "mapped", "retained") else off
        assert abs(own[name] - value) <= off, (name, value, own[name])
    assert sum(r["resident_bytes"] for r in got["resident"]) == got["process_resident_bytes"]
    parts = {r["part"]: r["resident_bytes"] for r in got["resident"] if r["kind"] == "jemalloc"}
    assert sum(parts.values()) == got["resident_bytes"] and parts["active"] > 4 * MIB, parts
    for a in got["jemallocs"][0]["arenas"]:
        assert sum(c["active_bytes"] for c in a["classes"]) == a["active_bytes"]


@pytest.mark.parametrize("kind", ["library", "service"])
def test_what_jemalloc_counts(request, kind, tmp_path):
    """By calls: requests, fills, locks, purges of each arena, class and lock are what jemalloc
    says of them itself, but for what telling takes: its buffer, and each lock once or twice."""
    conf = "narenas:2,dirty_decay_ms:-1,muzzy_decay_ms:-1"
    with open(tmp_path / "stderr", "w") as stderr:
        if kind == "library":
            s = request.getfixturevalue("on_jemalloc")(conf, stderr=stderr)
            fill, drop = "fill 1 3000 1000", "drop 1"
        else:
            s = request.getfixturevalue("service")([request.getfixturevalue("service_program")],
                                                   stderr=stderr, _RJEM_MALLOC_CONF=conf)
            fill, drop = "fill sessions 3000 1024", "drop sessions"
            if os.environ.get("RUST_JEMALLOC", "0.5") >= "0.6":  # has no statistics by default
                refused("je", s.pid, "stats", "--calls", said="without statistics")
                assert s.say(fill)
                return
    s.say(fill), s.say(drop), s.say(fill)
    got = je(s.pid, "stats", "--calls")
    ours = got["jemallocs"][0]["mallctl"]
    own = own_report(s.pid, tmp_path / "stderr", "malloc_stats_print" if kind == "library" else "_rjem_malloc_stats_print")
    same = set(ours) & set(own)
    assert got["calls"] > 500 and len(same) > 200, (got["calls"], len(same))
    off = {}
    for name in same:
        ways = name.split(".")
        most = 0
        # its JSON has num_ops for num_wait (5.3); the lock of all these calls; what the buffer split
        if ways[-1] == "num_wait" or "ctl" in ways or ("extents" in ways and "retained" in ways[-1]):
            continue
        if "mutexes" in ways or "mutex" in ways:
            most = 1e9 if "time" in ways[-1] else 100
        elif ways[-1] in ("nmalloc", "nrequests", "nfills", "curlextents", "zero_reallocs", "nthreads"):
            most = 4  # a thread that had no arena so far is lent
        elif ways[-1] in ("pactive", "pdirty", "ndirty", "nretained", "extent_avail"):
            most = 40
        elif ways[-1] == "uptime":
            most = 60e9
        elif ways[-1] in ("allocated", "active", "resident", "mapped", "retained", "dirty_bytes", "internal", "base", "metadata"):
            most = 1 << 18
        if not 0 <= abs(own[name] - ours[name]) <= most:
            off[name] = ours[name], own[name]
    assert not off, off
    for what in "nrequests", "nfills", "nflushes", "nmalloc", "ndalloc":
        assert f"stats.arenas.0.bins.20.{what}" in same, what
    assert {f"stats.arenas.0.{what}" for what in ("dirty_npurge", "muzzy_purged", "dirty_decay_ms", "nthreads")} <= same
    assert any(ours[n] for n in same if n.endswith("mutex.num_ops"))
    assert "stats.background_thread.num_runs" in same and ours["stats.mutexes.ctl.num_ops"]
    all_of = "stats.arenas.4096.bins.20."  # of 1024 bytes
    assert ours[all_of + "nrequests"] >= 5900 and ours[all_of + "ndalloc"] > 2000, ours
    assert ours["stats.arenas.4096.large.nmalloc"] >= ours["stats.arenas.0.large.nmalloc"]
    for kind, whole, unit in ("dirty", "pdirty", 4096), ("muzzy", "pmuzzy", 4096), ("retained", "retained", 1):
        sizes = sum(v for n, v in ours.items() if n.startswith("stats.arenas.0.extents.") and n.endswith(f".{kind}_bytes"))
        assert sizes == ours[f"stats.arenas.0.{whole}"] * unit, kind
    for name, n in ours.items():
        head, _, what = name.rpartition(".")
        if what in ("curregs", "curlextents"):
            assert n == ours[head + ".nmalloc"] - ours[head + ".ndalloc"], (name, n)
        if what == "curslabs":
            assert n <= ours[head + ".nslabs"]
    text = run_memwho("je", s.pid, "stats", "--calls").out
    assert "NREQUESTS" in text and "extents_dirty" in text and "MADVISES" in text, text


def test_counts_of_busy_threads(victim):  # noqa: F811
    """Hundreds of calls in one that has eight threads in the allocator, which check their blocks."""
    v = victim("aaaaaaaa", preload="libjemalloc.so.2")
    for _ in range(3):
        got = je(v.pid, "stats", "--calls")
        counts = got["jemallocs"][0]["mallctl"]
        assert counts["stats.arenas.4096.small.nmalloc"] > 0 and got["calls"] > 500
        v.check()
    assert v.bad == 0


def test_purge(on_jemalloc):
    s = on_jemalloc("dirty_decay_ms:-1,muzzy_decay_ms:0")
    s.say("fill 0 30000 1000")
    s.say("drop 0")
    got = je(s.pid, "purge")
    came = got["came_back_bytes"]
    assert came > 20 * MIB and abs(came - got["predicted_bytes"]) < 0.01 * came + 300 * 1024, got


def sums_of_arenas(got):
    for key in "predicted_least_bytes", "predicted_bytes", "later_bytes":
        assert sum(a[key] for a in got["arenas"]) == got[key], key
    assert got["within_ms"] == max([a["within_ms"] for a in got["arenas"]], default=0)
    return got


def dropped(s):
    """Usable bytes that are free again, in two arenas."""
    s.say("fill 2 100 1000")  # an arena of which all is free is not recognised
    for k in 0, 1:
        s.say(f"fill {k} 15000 1000")
    return sum(s.say(f"drop {k}") for k in (0, 1))


def about(free, got):
    """What was freed, less what threads' caches and slabs that are in use keep."""
    return 0.97 * free < got < 1.01 * free + 300 * 1024


def test_decay_now(on_jemalloc):
    """To 0: all at once, as predicted, and as much as the program freed."""
    s = on_jemalloc("narenas:2,dirty_decay_ms:-1,muzzy_decay_ms:0")
    free = dropped(s)
    got = sums_of_arenas(je(s.pid, "decay"))
    assert got["predicted_bytes"] == got["later_bytes"] == 0 and got["came_back_bytes"] < MIB, got  # never is never
    assert about(free, sum(a["dirty_resident_bytes"] for a in got["arenas"])), got
    got = sums_of_arenas(je(s.pid, "decay", 0))
    assert got["decay_ms"] == 0 and got["predicted_least_bytes"] == got["predicted_bytes"] and not got["later_bytes"]
    came = got["came_back_bytes"]
    assert about(free, got["predicted_bytes"]) and abs(came - got["predicted_bytes"]) < 0.01 * came + 300 * 1024, got
    assert "at once" in run_memwho("je", s.pid, "decay", 0).out


def test_decay_in_time(on_jemalloc):
    """To a time: nothing at once, all within it; and that is what comes to be."""
    s = on_jemalloc("dirty_decay_ms:-1,muzzy_decay_ms:0")
    free = dropped(s)
    got = sums_of_arenas(je(s.pid, "decay", 100))
    assert got["predicted_bytes"] == 0 and got["within_ms"] == 100 and not got["background_threads"], got
    assert got["came_back_bytes"] < MIB and about(free, got["later_bytes"]), got
    assert je(s.pid, "status")["dirty_decay_ms"] == 100
    gone, deadline = 0, time.monotonic() + 20
    while gone < got["later_bytes"] - 300 * 1024:  # the first look starts the clock
        assert time.monotonic() < deadline, (gone, got)
        time.sleep(0.2)
        look = sums_of_arenas(je(s.pid, "decay"))
        gone += look["came_back_bytes"]
        assert look["predicted_least_bytes"] <= look["came_back_bytes"] + 300 * 1024
        assert look["came_back_bytes"] <= look["predicted_bytes"] + 300 * 1024, look
    assert gone < got["later_bytes"] + 600 * 1024
    text = run_memwho("je", s.pid, "decay", 50).out
    assert "after 50 ms" in text and "predicted at once" in text, text


def test_decay_to_muzzy(on_jemalloc):
    """Where free pages are only marked for the kernel at first: nothing comes back by decay 0, and that
    is predicted, too."""
    s = on_jemalloc("dirty_decay_ms:-1,muzzy_decay_ms:600000")
    free = dropped(s)
    got = sums_of_arenas(je(s.pid, "decay", 0))
    assert got["predicted_bytes"] == 0 and about(free, got["later_bytes"]) and got["within_ms"] == 600000, got
    assert got["came_back_bytes"] < MIB, got
    got = sums_of_arenas(je(s.pid, "decay", "never"))
    assert about(free, sum(a["muzzy_resident_bytes"] for a in got["arenas"])) and got["decay_ms"] == -1, got
    assert je(s.pid, "status")["dirty_decay_ms"] == -1
    got = je(s.pid, "purge")
    assert about(free, got["came_back_bytes"]) and about(free, got["predicted_bytes"]), got


def test_decay_with_background_threads(on_jemalloc):
    s = on_jemalloc("background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0")
    free = dropped(s)
    got = sums_of_arenas(je(s.pid, "decay", 200))
    assert got["background_threads"] and got["predicted_bytes"] == 0 and 0 < got["later_bytes"] < 1.02 * free, got
    deadline = time.monotonic() + 20
    while je(s.pid, "stats")["dirty_bytes"] > MIB:  # nobody asks for it
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_engine(on_jemalloc):
    """memwho alloc: what the profiler holds; -d: what it grew by, and it is off again."""
    s = on_jemalloc(CONF + ",lg_prof_sample:0")
    refused("alloc", s.pid, "--engine", "jemalloc", said=("is off", f"memwho je {s.pid} on"))
    assert f"memwho je {s.pid} on" in run_memwho("doctor", s.pid, code=None).out
    p = subprocess.Popen([conftest.MEMWHO, "alloc", str(s.pid), "--engine", "jemalloc", "-d", "60s", "--json"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    usable, deadline = [], time.monotonic() + 60
    while not re.search(r" r-xp 00000000 00:00 0 *$", open(f"/proc/{s.pid}/maps").read(), re.M):  # memwho's area
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for i in range(6):  # it is on from some moment in the next seconds on
        usable.append(s.say(f"fill 1 {100 * (i + 1)} 1000"))
        time.sleep(0.7)
    p.send_signal(signal.SIGINT)
    got = json.loads(p.communicate(timeout=30)[0])
    grown = sum(s["bytes"] for s in got["stacks"] if "fill" in s["frames"])  # a difference has no counts
    assert usable[-1] <= grown <= sum(usable) and grown % 1024 == 0, (grown, usable, got)
    assert je(s.pid, "status")["active"] is False
    je(s.pid, "on")
    more = s.say("fill 2 40 3000")
    now = run_memwho("alloc", s.pid, "--engine", "jemalloc", "--json").json()
    assert held_by(now, "fill")[0] == grown + more
    refused("alloc", s.pid, "--engine", "jemalloc", "--peak", said="--peak needs a recording", code=2)


def test_chosen_by_itself(on_jemalloc):
    """Without --engine, where the process was started with opt.prof; seen from outside, in a library
    without symbols."""
    s = on_jemalloc(CONF + ",lg_prof_sample:0")
    je(s.pid, "on")
    usable = s.say("fill 1 200 1000")
    result = run_memwho("alloc", s.pid, "--json")
    assert "started with opt.prof" in result.err, result
    assert result.json()["engine"] == "jemalloc's own profiler" and held_by(result.json(), "fill")[0] == usable
    je(s.pid, "off")
    s.say("drop 1")
    assert run_memwho("alloc", s.pid, "-d", "300ms", "--json").json()["engine"] == "jemalloc's own profiler"
    assert je(s.pid, "status")["active"] is False
    je(s.pid, "reset")
    # off, and nothing in it: the recorder's
    p = subprocess.Popen([conftest.MEMWHO, "alloc", str(s.pid), "--json"], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 0 and "is off" in err and "jemalloc" not in json.loads(out)["engine"], err
    other = on_jemalloc("")
    result = run_memwho("alloc", other.pid, "-d", "300ms", "--json")
    assert "opt.prof" not in result.err and "jemalloc" not in result.json()["engine"], result


def test_served(on_jemalloc, tmp_path):
    """memwho serve without seconds: what its own profiler holds, at once."""
    s = on_jemalloc(CONF + ",lg_prof_sample:0")
    je(s.pid, "on")
    usable = s.say("fill 1 200 1000")
    with Serve(tmp_path, '[target "api"]', f"pid = {s.pid}") as serve:
        (tmp_path / "heap").write_bytes(serve.get("/targets/api/debug/pprof/heap", status=200).body)
    types, samples = gopprof.read(tmp_path / "heap")
    at = types.index("inuse_space")
    held = sum(s.values[at] for s in samples if any(f[0] == "fill" for f in s.frames))
    assert held == usable, (held, usable)


# ---- refusals ----

def test_not_started_with_it(on_jemalloc):
    s = on_jemalloc("")
    for words in ("on",), ("off",), ("dump",), ("reset",), ("sample", "64K"):
        refused("je", s.pid, *words, said=("started without opt.prof", f"memwho alloc {s.pid}"))
    assert "engine jemalloc" not in run_memwho("doctor", s.pid, code=None).out
    status = run_memwho("je", s.pid).out
    assert "without opt.prof" in status and f"memwho alloc {s.pid}" in status, status


def test_not_built_in(service, victim):
    """glibc's malloc, and a jemalloc without a profiler would say so."""
    v = victim("cn")
    refused("je", v.pid, "status", said="no function mallctl")
    refused("je", v.pid, "stats", said="no jemalloc was found")
    v.check()


@pytest.mark.parametrize("words,said", [(("fly",), "does not know 'fly'"), (("sample",), "needs a number"),
                                        (("sample", "1000"), "powers of two"), (("decay", "soon"), "milliseconds"),
                                        (("on", "2"), "unexpected argument '2'"), (("stats", "-o", "x.svg"), "-o is for"),
                                        (("purge", "--calls"), "--calls is for")])
def test_command_line(on_jemalloc, words, said):
    s = on_jemalloc()
    refused("je", s.pid, *words, said=said, code=2)
    assert not injector(s.pid, "find")[0] == 0 or words[0] in ("sample", "decay")


def test_a_filter_that_forbids_memfd(victim, tmp_path):
    (tmp_path / "filter").write_bytes(only(MEMFD_CREATE, ERRNO | 1))
    v = victim("cn", preload="libjemalloc.so.2", args=[f"filter={tmp_path / 'filter'}"])
    refused("je", v.pid, "dump", said=("memfd_create", "seccomp"), hint=False)
    v.check()


def test_traced_by_another(on_jemalloc):
    s = on_jemalloc()
    tracer = subprocess.Popen(["strace", "-p", str(s.pid), "-o", "/dev/null"], stderr=subprocess.DEVNULL) \
        if shutil.which("strace") else subprocess.Popen(["gdb", "-p", str(s.pid), "-batch", "-ex", "shell sleep 20"],
                                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 15
        while "TracerPid:\t0\n" in open(f"/proc/{s.pid}/status").read():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refused("je", s.pid, "on", said="trace")
    finally:
        tracer.kill()
        tracer.wait()


def test_ends_during_a_call(on_jemalloc):
    """Killed at some moment of a dump: a sentence, and no memwho that waits for it."""
    for pause in 0.0, 0.02, 0.05, 0.1, 0.2:
        s = on_jemalloc(CONF + ",lg_prof_sample:0,prof_active:true")
        s.say("fill 0 3000 1000")
        p = subprocess.Popen([conftest.MEMWHO, "je", str(s.pid), "dump", "--json"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        time.sleep(pause)
        s.process.send_signal(signal.SIGKILL)
        _, err = p.communicate(timeout=20)
        assert p.returncode in (0, 1) and (p.returncode == 0 or err.startswith("memwho: ")), (p.returncode, err)
