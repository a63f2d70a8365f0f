# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=120
"""memwho serve: profiles over HTTP, as Go's net/http/pprof has them; who asks for the same
joins, who asks for something else is told; nothing is left in a target."""
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time

import conftest
import pytest

import gopprof
import gotools
from hold import Hold, compare
from serving import Serve, until

EXACT = "budget = none"  # the engine whose bytes are exact

pytestmark = pytest.mark.usefixtures("needs_bpf")


@pytest.fixture
def hold():
    with Hold(conftest.PROGRAMS / "hold") as h:
        yield h


def is_traced(pid):
    return conftest.changed_code(pid) != []


def until_attached(pid):
    """All of its probes are there: no byte of its code changes any more."""
    until(lambda: is_traced(pid))
    last = None
    while last != (last := conftest.changed_code(pid)):
        time.sleep(1)


def target(hold, name="api", *more):
    return [f'[target "{name}"]', f"pid = {hold.pid}", *more]


def profile(tmp_path, answer):
    path = tmp_path / "got.pb.gz"
    path.write_bytes(answer.body)
    return gopprof.read(path)


def test_heap_is_what_is_held(tmp_path, hold):
    with Serve(tmp_path, EXACT, *target(hold)) as s:
        asked = s.later("/targets/api/debug/pprof/heap?seconds=8&gc=1", status=200)
        until_attached(hold.pid)
        hold.command("mark")
        hold.command("go 20")
        a = asked.result()
        assert not is_traced(hold.pid)
    assert a.headers["Content-Type"] == "application/octet-stream"
    assert a.headers.get("X-Memwho-GC") is None  # what is freed is not in it: there is no garbage
    assert a.headers["X-Content-Type-Options"] == "nosniff"
    assert a.headers["Content-Disposition"] == 'attachment; filename="heap-delta"'
    types, samples = profile(tmp_path, a)
    assert types == ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"]
    stacks = [(tuple(f[0] for f in reversed(x.frames)), x.values[3]) for x in samples]
    score = compare(stacks, hold.truth())
    assert score.path_error == 0, score.explain()


def test_go_tool_pprof(tmp_path, hold):
    if not shutil.which("go"):
        pytest.skip("needs go")
    with Serve(tmp_path, *target(hold)) as s:
        url = f"http://{s.host}:{s.port}/targets/api/debug/pprof"
        env = dict(os.environ, PPROF_TMPDIR=str(tmp_path))

        def pprof(*args):
            return subprocess.run(["go", "tool", "pprof", *args], env=env, text=True, timeout=60,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p = pprof("-raw", "-seconds=1", f"{url}/heap")
        assert p.returncode == 0, p.stderr
        assert "PeriodType: space bytes" in p.stdout
        assert "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]" in p.stdout
        # its reasons reach the user
        p = pprof("-raw", "-seconds=9999", f"{url}/heap")
        assert p.returncode != 0 and '"seconds" is at most 60 here (max_seconds)' in p.stderr
        # two profiles are never of one time: they would be taken for the same, or added up
        times = [re.search(r"^Time: (.*)$", pprof("-raw", f"{url}/allocs?seconds=1").stdout, re.M)[1]
                 for _ in range(2)]
        assert times[0] != times[1]


def test_who_asks_for_the_same_joins(tmp_path, hold):
    with Serve(tmp_path, "slots = 1", *target(hold)) as s, Hold(conftest.PROGRAMS / "hold") as other:
        asked = [s.later("/targets/api/debug/pprof/heap?seconds=3", status=200) for _ in range(8)]
        until(lambda: s.get("/targets/api").json()["running"])
        # something else of it, by another name, too
        for path in ("api/map", "api/debug/pprof/heap?seconds=2", "api/refs"):
            a = s.get(f"/targets/{path}", status=409)
            running = a.json()["running"]
            assert (running["target"], running["kind"], running["seconds"]) == ("api", "heap", 3)
            assert 0 < running["ends_in_seconds"] <= 3
            assert 1 <= int(a.headers["Retry-After"]) <= 4
        s.write("slots = 1", "allow_comm = hold", *target(hold))
        s.process.send_signal(signal.SIGHUP)
        s.wait_line("configuration read again: 1 targets")
        a = s.get(f"/targets/{other.pid}/debug/pprof/heap?seconds=1", status=429)
        assert a.headers["Retry-After"] and a.headers["X-Go-Pprof"] == "1"
        # what attaches nothing is served meanwhile, and at once
        begun = time.monotonic()
        s.get("/metrics", status=200)
        assert time.monotonic() - begun < 0.5
        s.get("/targets/api/ladder", status=200)
        answers = [a.result() for a in asked]
        assert len({a.body for a in answers}) == 1
        assert sorted(a.headers.get("X-Memwho-Joined") or "" for a in answers) == [""] + 7 * ["1"]
        s.get(f"/targets/{other.pid}/debug/pprof/heap?seconds=1", status=200)


def last_one_gone(s):
    """s from there to the end of the capture's process; the first one's going ends nothing."""
    request = b"GET /targets/api/debug/pprof/heap?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    two = [s.raw(request) for _ in range(2)]
    until(s.workers)
    time.sleep(1)
    two[0].close()
    time.sleep(0.5)
    assert s.workers() and s.get("/targets/api").json()["running"]
    two[1].close()
    return until(lambda: not s.workers(), 10)


def test_who_goes_ends_the_capture(tmp_path, hold):
    with Serve(tmp_path, *target(hold)) as s:
        # of three, for the machine may be busy; one with more to do than processors gets longer
        most = 1 + os.getloadavg()[0] / os.cpu_count() / 4
        assert last_one_gone(s) < most or last_one_gone(s) < most or last_one_gone(s) < most
        assert not is_traced(hold.pid)
        # ... and the target is free
        s.get("/targets/api/debug/pprof/heap?seconds=1", status=200)


def test_told_to_end_it_answers_all(tmp_path, hold):
    with Serve(tmp_path, EXACT, *target(hold, "api", "record = always")) as s, \
            Hold(conftest.PROGRAMS / "hold") as other:
        s.write(EXACT, "allow_comm = hold", *target(hold, "api", "record = always"))
        s.process.send_signal(signal.SIGHUP)
        until(lambda: s.get("/targets/api").json()["recording"] == "yes")
        asked = [s.later(f"/targets/{t}/debug/pprof/heap?seconds=30") for t in
                 ("api", str(other.pid), str(other.pid))]
        until(lambda: is_traced(other.pid))
        time.sleep(0.3)
        begun = time.monotonic()
        assert s.stop() == 0
        assert time.monotonic() - begun < 9  # STOP_SECONDS is 10; the machine may be busy
        assert all(a.result(5).status in (200, 503) for a in asked)
        assert not is_traced(hold.pid) and not is_traced(other.pid)
        hold.command("go 1"), other.command("go 1")


def test_killed_nothing_is_left(tmp_path, hold):
    with Serve(tmp_path, EXACT, *target(hold, "api", "record = always")) as s:
        until(lambda: s.get("/targets/api").json()["recording"] == "yes")
        workers = s.workers()
        s.process.kill()
        until(lambda: not any(os.path.exists(f"/proc/{w}") for w in workers))
        until(lambda: not is_traced(hold.pid))
        hold.command("go 1")


def test_a_worker_that_is_killed_is_a_reason(tmp_path, hold):
    with Serve(tmp_path, *target(hold)) as s:
        asked = s.later("/targets/api/map?seconds=20")
        until(lambda: s.get("/targets/api").json()["running"])
        time.sleep(0.5)
        for worker in s.workers():  # one may be reading the ladder's figures
            os.kill(worker, signal.SIGKILL)
        a = asked.result()
        assert a.status == 500 and "has ended early" in a.json()["error"]
        s.get("/targets/api/ladder", status=200)


def test_recorded_all_the_time(tmp_path, hold):
    """What was allocated before anybody asked is in the answer, which comes at once."""
    with Serve(tmp_path, EXACT, *target(hold, "api", "record = always")) as s:
        until(lambda: s.get("/targets/api").json()["recording"] == "yes")
        hold.command("mark")
        hold.command("go 20")
        begun = time.monotonic()
        a = s.get("/targets/api/debug/pprof/heap", status=200)
        assert time.monotonic() - begun < 2
        stacks = [(tuple(f[0] for f in reversed(x.frames)), x.values[3])
                  for x in profile(tmp_path, a)[1]]
        score = compare(stacks, hold.truth())
        assert score.path_error == 0, score.explain()
        # what changes in two seconds, and a look meanwhile
        delta = s.later("/targets/api/debug/pprof/heap?seconds=2", status=200)
        time.sleep(1)
        hold.command("many 100")
        s.get("/targets/api/debug/pprof/heap", status=200)
        grown = profile(tmp_path, delta.result())[1]
        assert sum(x.values[2] for x in grown) == 100
        # other formats of it
        assert "site_01" in s.get("/targets/api/flamegraph", status=200).text
        assert "site_01" in s.get("/targets/api/debug/pprof/heap?debug=1", status=200).text
        # another process is another recording
        hold.process.kill()
        hold.process.wait()
        until(lambda: s.get("/targets/api").status == 404)
        until(lambda: not s.workers())


def test_map_refs_ladder_and_their_pictures(tmp_path, hold):
    with Serve(tmp_path, *target(hold)) as s:
        ladder = s.get("/targets/api/ladder", status=200)
        assert ladder.headers["Content-Type"] == "application/json"
        assert ladder.json()["format"] == "memwho-ladder-1"
        assert s.get("/targets/api/map?seconds=1", status=200).json()["format"].startswith("memwho")
        page = s.get("/targets/api/flamegraph?kind=map&seconds=1", status=200)
        assert page.headers["Content-Type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert s.get("/targets/api/flamegraph?kind=ladder&format=svg", status=200).text.count("<svg") == 1
        # a C program has no objects that are known: said, not a crash
        refs = s.get("/targets/api/refs")
        assert refs.status in (400, 501) and refs.json()["error"]


def test_symbol_and_cmdline(tmp_path, hold):
    maps = open(f"/proc/{hold.pid}/maps").read()
    base = int(re.search(r"^(\w+)-\w+ r--p 00000000 .*/hold$", maps, re.M)[1], 16)
    symbols = subprocess.check_output(["nm", conftest.PROGRAMS / "hold"], text=True)
    addr = base + int(re.search(r"^(\w+) [tT] main$", symbols, re.M)[1], 16)
    with Serve(tmp_path, *target(hold)) as s:
        a = s.get("/targets/api/debug/pprof/symbol", "POST", body=f"{addr:#x}+0x10", status=200)
        assert a.text == f"num_symbols: 1\n{addr:#x} main\n"
        assert s.get("/targets/api/debug/pprof/symbol", status=200).text == "num_symbols: 1\n"
        assert s.get("/targets/api/debug/pprof/symbol", "POST", body="+++0x", status=200).text == \
            "num_symbols: 1\n"
        with open(f"/proc/{hold.pid}/cmdline", "rb") as f:
            assert s.get("/targets/api/debug/pprof/cmdline", status=200).body == f.read()[:-1]


def test_a_go_program_has_its_own_profile(tmp_path):
    """Read at once, and nothing is attached."""
    source = conftest.SOURCE / "tests" / "programs" / "refs_manager"
    program = gotools.build(source, "manager", CGO_ENABLED="0")
    p = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        while not p.stdout.readline().startswith(b"ready"):
            pass
        with Serve(tmp_path) as s:
            begun = time.monotonic()
            a = s.get(f"/targets/{p.pid}/debug/pprof/heap", status=200)
            assert time.monotonic() - begun < 4
            types, samples = profile(tmp_path, a)
            assert types[3] == "inuse_space" and samples
            # nobody can have it collect: who has asked for that is told
            assert a.headers.get("X-Memwho-GC") is None
            assert b"last garbage collection that the process ran" in gzip.decompress(a.body)
            for asked in ("heap?gc=1", "allocs?gc=1&seconds=1"):
                answer = s.get(f"/targets/{p.pid}/debug/pprof/{asked}", status=200)
                assert answer.headers["X-Memwho-GC"].startswith("not run; ")
            assert s.get(f"/targets/{p.pid}/debug/pprof/heap?gc=0", status=200).headers.get("X-Memwho-GC") is None
            assert s.get(f"/targets/{p.pid}/debug/pprof/heap?gc=yes", status=400).headers["X-Go-Pprof"] == "1"
            assert s.get(f"/targets/{p.pid}/refs", status=200).json()["result"] == "refs"
        # a rule's capture is that profile as a whole, not what changes in some seconds
        held = sum(x.values[3] for x in samples)
        with Serve(tmp_path, f"spool = {tmp_path}/spool", '[target "go"]', f"pid = {p.pid}", '[trigger "g"]',
                   "rule = growth 1G in 10m", "warmup = 0") as s:
            until(lambda: s.get("/captures").json()["captures"], 20)
            kept, = s.get("/captures").json()["captures"]
            _, samples = profile(tmp_path, s.get(f"/captures/{kept['id']}", status=200))
            assert sum(x.values[3] for x in samples) == pytest.approx(held, rel=0.1) and held > 0
    finally:
        conftest.end(p)


def test_a_process_that_ends_meanwhile(tmp_path, hold):
    with Serve(tmp_path, EXACT, *target(hold)) as s:
        asked = s.later("/targets/api/debug/pprof/heap?seconds=20")
        until_attached(hold.pid)
        hold.process.kill()
        hold.process.wait()
        a = asked.result(30)  # what was held to its end
        assert a.status == 200 and profile(tmp_path, a)[0][3] == "inuse_space"
        assert json.loads(s.get("/targets/api", status=404).body)["error"]


def test_what_a_killed_target_held(tmp_path, hold):
    """The black box: memwho's tables outlive the process."""
    with Serve(tmp_path, EXACT, f"spool = {tmp_path}/spool", *target(hold, "api", "record = always")) as s:
        until(lambda: s.get("/targets/api").json()["recording"] == "yes")
        hold.command("mark")
        hold.command("go 20")
        truth = hold.truth()
        hold.process.send_signal(signal.SIGKILL)
        hold.process.wait()
        until(lambda: s.get("/captures").json()["captures"])
        kept, = s.get("/captures").json()["captures"]
        assert (kept["trigger"], kept["target"], kept["pid"]) == ("exit", "api", hold.pid)
        samples = profile(tmp_path, s.get(f"/captures/{kept['id']}", status=200))[1]
        score = compare([(tuple(f[0] for f in reversed(x.frames)), x.values[3]) for x in samples], truth)
        assert score.path_error == 0, score.explain()
        assert kept["held_bytes"] == sum(x.values[3] for x in samples)
        until(lambda: not s.workers())
