# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""The report's service, as its team on call has it: a release build in Rust with jemalloc and three
caches (programs/rust/src/bin/caches.rs), with its symbols and stripped, started with
_RJEM_MALLOC_CONF=prof:true,prof_active:false and nothing else, and looked at over HTTP. It says
what its caches hold: that is what everything here must say, within jemalloc's sampling."""
import bisect
import gzip
import math
import os
import platform
import shutil
import subprocess
import threading

import pytest

import conftest
import engines
import gopprof
from hold import build_rust
from serving import Serve, until
from test_delta import Delta
from test_je import Service, je
from test_je_stripped import strip, symbols
from test_serve_growth import captures, zoom

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="calls are for x86-64")
CONF = {"_RJEM_MALLOC_CONF": "prof:true,prof_active:false"}
MIB = 1 << 20
IMAGE = 256 << 10  # a block of the cache that grows
FUNCTIONS = {"sessions": "remember_session", "images": "decode_image", "index": "build_index"}


@pytest.fixture(scope="module")
def program():
    try:
        return os.path.join(os.path.dirname(build_rust(conftest.SOURCE, conftest.BUILD)), "caches")
    except RuntimeError as e:
        pytest.skip(str(e))


class Caches(Service):
    """The service, and what its addresses are called where nothing says so any more."""

    def __init__(self, program, to=None):
        self.names = sorted(symbols(program))
        super().__init__([strip(program, to) if to else program], **CONF)

    def cache_of(self, frames):
        """Whose stack that is: of (function, ...) or of words."""
        for frame in frames:
            name = frame[0] if isinstance(frame, tuple) else frame
            if "0x" in name and "service" in name:
                at = bisect.bisect_right(self.names, (int(name.rpartition("0x")[2].rstrip(")]"), 16), "~"))
                name = self.names[at - 1][1]
            for cache, function in FUNCTIONS.items():
                if function in name:
                    return cache
        return None

    def held(self, body, tmp_path, kind="inuse_space"):
        """Bytes of each cache in a pprof profile."""
        (tmp_path / "read.pb.gz").write_bytes(body)
        types, samples = gopprof.read(tmp_path / "read.pb.gz")
        return self.sum((s.frames, s.values[types.index(kind)]) for s in samples)

    def held_folded(self, text):
        return self.sum((x.rpartition(" ")[0].split(";"), int(x.rpartition(" ")[2])) for x in text.splitlines())

    def sum(self, stacks):
        caches = dict.fromkeys(FUNCTIONS, 0)
        for frames, value in stacks:
            cache = self.cache_of(frames)
            if cache:
                caches[cache] += value
        return caches


@pytest.fixture(params=["with-symbols", "stripped"])
def service(request, program, tmp_path):
    s = Caches(program, tmp_path / "service" if request.param == "stripped" else None)
    s.is_stripped = request.param == "stripped"
    yield s
    s.stop()


def deviation(blocks, size):
    """Of jemalloc's estimate: one sample in 512 KiB of what is allocated."""
    p = -math.expm1(-size / (1 << 19))
    return size * math.sqrt(blocks * (1 - p) / p)


def close_to(held, blocks, size):
    return abs(held - blocks * size) < 5 * deviation(blocks, size)


def curl(serve, path, to, head):
    return subprocess.Popen(["curl", "-sS", "--fail-with-body", "-D", head, "-o", to,
                             f"http://{serve.host}:{serve.port}{path}"], stderr=subprocess.PIPE, text=True)


def eight_clients(serve, path, tmp_path):
    """The same for eight at once: what they all got."""
    asked = [curl(serve, path, tmp_path / f"got{i}", tmp_path / f"head{i}") for i in range(8)]
    for p in asked:
        assert p.communicate(timeout=120)[1] == "" and p.returncode == 0
    bodies = {(tmp_path / f"got{i}").read_bytes() for i in range(8)}
    heads = [(tmp_path / f"head{i}").read_text().lower() for i in range(8)]
    assert len(bodies) == 1 and sum("x-memwho-joined: 1" in h for h in heads) == 7, heads
    assert all("content-type: application/octet-stream" in h for h in heads)
    return bodies.pop()


def target(s, name="api"):
    return [f'[target "{name}"]', f"pid = {s.pid}"]


class Load:
    """A cache that grows by a step again and again, until it is told to stop."""

    def __init__(self, service, cache, step):
        self.service, self.said, self.blocks, self.ends = service, (cache, step), 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        cache, step = self.said
        while not self.ends.wait(0.2) and self.blocks < 1200:
            self.blocks += step
            self.service.say(f"fill {cache} {step} {IMAGE}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ends.set()
        self.thread.join(20)


def test_what_changes_for_eight_at_once(service, tmp_path):
    """Nobody has switched anything on: the profiler is on for these seconds, and is off again."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    service.say("fill sessions 20000 1024")
    with Serve(tmp_path, *target(service)) as serve, Load(service, "images", 8) as load:
        body = eight_clients(serve, "/targets/api/debug/pprof/heap?seconds=6", tmp_path)
        assert "memwho_captures_joined_total 7\n" in serve.get("/metrics").text
    grown = service.held(body, tmp_path)
    most = load.blocks * IMAGE
    assert 0 < grown["images"] < most + 5 * deviation(load.blocks, IMAGE), (grown, most)
    assert grown["sessions"] == grown["index"] == 0
    assert b"jemalloc's own profiler" in gzip.decompress(body)
    assert je(service.pid, "status")["active"] is False


def test_which_cache_grew(service, tmp_path):
    """On, load, dump; pictures; what is dropped goes back and is counted, while it is served."""
    service.say("fill sessions 20000 1024")  # before: nobody knows of these
    je(service.pid, "on")
    with Serve(tmp_path, *target(service)) as serve:
        images = service.say(f"fill images 400 {IMAGE}")
        service.say("fill index 100 1024")
        held = service.held(serve.get("/targets/api/debug/pprof/heap", status=200).body, tmp_path)
        assert close_to(held["images"], 400, IMAGE) and held["images"] > 20 * (held["sessions"] + held["index"]), held
        lines = serve.get("/targets/api/flamegraph?kind=heap&format=folded", status=200).text
        assert service.held_folded(lines) == held
        picture = serve.get("/targets/api/flamegraph?kind=heap", status=200).text
        assert "<html" in picture and ("decode_image" in picture) == (not service.is_stripped)
        assert "_rjem" not in lines
        # only jemalloc's own frames, not the program's, have gone: a path to main, or to an address of it
        assert all(len(x.split(";")) > 2 for x in lines.splitlines()), lines
        # what was released, and what is given back
        delta = Delta(service.pid)
        service.say("drop images")
        got = delta.enter()
        assert abs(got["released_bytes"] - images) <= 0.01 * images, (got["released_bytes"], images)
        purged = je(service.pid, "purge")
        came = purged["came_back_bytes"]
        assert came >= 0 and abs(came - purged["predicted_bytes"]) <= 0.02 * came + MIB, purged
        assert got["came_back_bytes"] + came > 0.95 * images, (got["came_back_bytes"], came)
        held = service.held(serve.get("/targets/api/debug/pprof/heap", status=200).body, tmp_path)
        assert held["images"] == 0, held
        until(lambda: 0 < serve.get("/targets/api").json()["resident_bytes"] < images)
        assert service.say("fill index 10 1024") == 110 * 1024


def growing(service, spool):
    return [f"spool = {spool}", *target(service), '[trigger "grows"]', "rule = growth 64M in 10m", "warmup = 1s",
            "cooldown = 0"]


def grow(service, serve):
    """A pair: what was there, and the capture of the rule."""
    until(lambda: captures(serve, "baseline"), 60)
    service.say(f"fill images 300 {IMAGE}")
    until(lambda: captures(serve, "growth"), 60)
    return captures(serve, "baseline")[0], captures(serve, "growth")[0]


def test_growth_is_caught_and_counted(service, tmp_path):
    """The collector is chosen by what the process is; a real Prometheus has its figures."""
    je(service.pid, "on")
    service.say("fill sessions 20000 1024")
    with Serve(tmp_path, *growing(service, tmp_path / "spool")) as serve, \
            engines.prometheus(tmp_path, serve.port) as url:
        baseline, growth = grow(service, serve)
        assert growth["baseline"] == baseline["id"] and growth["pid"] == service.pid
        body = serve.get(f"/captures/{growth['id']}", status=200).body
        assert b"jemalloc's own profiler" in gzip.decompress(body)
        held = service.held(body, tmp_path)
        assert close_to(held["images"], 300, IMAGE) and close_to(held["sessions"], 20000, 1024), held
        diff = service.held_folded(serve.get(f"/captures/{growth['id']}/diff?before={baseline['id']}&format=folded",
                                             status=200).text)
        assert close_to(diff["images"], 300, IMAGE) and diff["sessions"] == diff["index"] == 0, diff

        def rows(metric, **labels):
            asked = ",".join(f'{k}="{v}"' for k, v in {"target": "api", **labels}.items())
            return engines.query(url, f"{metric}{{{asked}}}")
        kept = engines.until(lambda: rows("memwho_captures_total", trigger="growth", outcome="ok"), 40)
        assert kept[0][1] == len(captures(serve, "growth"))
        grown = engines.until(lambda: [v for _, v in rows("memwho_process_anon_bytes") if v > 300 * IMAGE], 40)
        assert grown[0] < 300 * IMAGE + 100 * MIB

        # of the ladder, which is read once a minute
        [jemallocs] = [v for m, v in rows("memwho_process_resident_bytes") if m["kind"] == "jemalloc"]
        assert jemallocs > 20000 * 1024
        promtool = engines.fetch("prometheus", "promtool")
        p = subprocess.run([promtool, "check", "metrics"], input=serve.get("/metrics").body, capture_output=True)
        assert (p.returncode, p.stdout, p.stderr) == (0, b"", b"")


def test_in_a_browser(service, tmp_path, browser):
    je(service.pid, "on")
    service.say("fill sessions 40000 1024")
    with Serve(tmp_path, *growing(service, tmp_path / "spool")) as serve:
        grow(service, serve)
        browser.open(f"http://{serve.host}:{serve.port}/")
        browser.wait("return document.querySelectorAll('#captures tbody tr').length >= 2")
        browser.click("#t-api a[href*='kind=heap']")
        browser.wait("return location.protocol === 'blob:' && document.readyState === 'complete'", seconds=40)
        browser.wait("return window.memwho && window.memwho.flame && window.memwho.flame.boxes.length > 2")
        zoom(browser)
        names = browser.js("return window.memwho.flame.boxes.flat().filter(Boolean).map(b => b.node.name)")
        assert {service.cache_of([n]) for n in names} >= {"images", "sessions"}, names
        conftest.leave_page(browser, f"serve-rust-heap-{service.is_stripped}")
        browser.open(f"http://{serve.host}:{serve.port}/")
        browser.wait("return document.querySelectorAll('#captures tbody tr').length >= 2")
        browser.click("#captures tbody tr:last-child input[name=before]")
        browser.click("#captures tbody tr:first-child input[name=after]")
        browser.click("#diff button")
        browser.wait("return location.pathname === '/diff' && document.readyState === 'complete'", seconds=40)
        names = browser.wait("return window.memwho && window.memwho.flame && "
                             "window.memwho.flame.boxes.flat().filter(Boolean).map(b => b.node.name)")
        assert "images" in {service.cache_of([n]) for n in names}, names
        conftest.leave_page(browser, f"serve-rust-diff-{service.is_stripped}")
