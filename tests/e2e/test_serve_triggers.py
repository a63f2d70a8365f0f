# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho serve: rules about single stacks and about what allocators have given out; who was killed
for want of memory."""
import os
import re
import subprocess
import sys
import time

import pytest

import conftest
from conftest import PROGRAMS, Target
from hold import Hold
from serving import Serve, until
from test_blackbox import cgroup  # noqa: F401, a fixture
from test_serve_growth import captures

EXACT = "budget = none"  # the engine whose bytes are exact


def trigger(rule, *more):
    return ['[trigger "t"]', f"rule = {rule}", "warmup = 1s", "cooldown = 0", *more]


def folded(s, path):
    lines = s.get(path, status=200).text.splitlines()
    return [(x.rpartition(" ")[0], int(x.rpartition(" ")[2])) for x in lines]


def metric(s, name):
    found = re.search(rf'^{name}{{target="api"}} (\S+)', s.get("/metrics").text, re.M)
    return float(found[1]) if found else -1


def test_one_stack_grows(tmp_path, needs_bpf):
    """As others shrink by as much: the process does not grow."""
    with Hold(PROGRAMS / "hold") as hold, \
            Serve(tmp_path, EXACT, f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {hold.pid}",
                  "record = always", *trigger("held-growth 4M by stack in 1m")) as s:
        until(lambda: s.get("/targets/api").json()["recording"] == "yes", 60)
        hold.command("go 40")
        until(lambda: captures(s, "baseline"), 90)
        for _ in range(2):
            hold.command("churn 200")
            time.sleep(1)
        assert len(captures(s)) == 1
        hold.command("many 40000")  # one stack, caller_c;site_01
        hold.command("free 10")
        made = until(lambda: captures(s, "held-growth"), 90) and captures(s, "held-growth")
        assert len(made) == 1 and "one stack holds" in made[0]["reason"]
        grown = max(folded(s, f"/captures/{made[0]['id']}/diff?before={made[0]['baseline']}&format=folded"),
                    key=lambda x: x[1])
        assert "caller_c;many;site_01" in grown[0] and grown[1] > 4 << 20
        # what the recording says of itself
        until(lambda: metric(s, "memwho_held_bytes") > 4 << 20, 90)
        assert metric(s, "memwho_lost_events_total") == 0
        assert re.search(r"^memwho_captures_cpu_seconds_total 0\.\d+$", s.get("/metrics").text, re.M)
        # it holds what it held: no second one
        assert len(captures(s, "held-growth")) == 1


def test_held_growth_needs_a_recording(tmp_path):
    conf = tmp_path / "m.conf"
    text = f'[serve]\nspool = {tmp_path}\n[target "a"]\npid = 1\n[trigger "g"]\nrule = held-growth 4M by stack\n'
    conf.write_text(text)
    r = conftest.run_memwho("serve", "--check", conf, code=2)
    assert f'{conf}:5: trigger "g": target "a" is not recorded' in r.err and "record = always" in r.err
    conf.write_text(text.replace("pid = 1\n", "pid = 1\nrecord = always\n"))
    conftest.run_memwho("serve", "--check", conf)


ALLOCATOR = """
import ctypes, sys
malloc = ctypes.CDLL(None).malloc
for line in sys.stdin:
    malloc(ctypes.c_size_t(int(line) << 20))
    print("ok", flush=True)
"""


def test_growth_of_what_is_allocated(tmp_path):
    """And is not resident: blocks that nobody has written into."""
    # meson has malloc write into every block
    calm = {k: v for k, v in os.environ.items() if k != "MALLOC_PERTURB_"}
    process = subprocess.Popen([sys.executable, "-c", ALLOCATOR], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True, env=calm)
    try:
        with Serve(tmp_path, f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {process.pid}",
                   *trigger("growth 64M of allocated in 1m", "capture = ladder"),
                   '[trigger "anon"]', "rule = growth 64M in 1m", "capture = ladder", "warmup = 1s") as s:
            until(lambda: len(captures(s, "baseline")) == 2, 90)
            anon = s.get("/targets/api").json()["anon_bytes"]
            process.stdin.write("80\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ok\n"
            made = until(lambda: captures(s, "growth"), 90) and captures(s, "growth")
            grown, = re.findall(r"grew by ([\d.]+) MiB", made[0]["reason"])
            assert len(made) == 1 and 79.9 < float(grown) < 80.5
            assert s.get("/targets/api").json()["anon_bytes"] < anon + (8 << 20)
    finally:
        conftest.end(process)


THRASHER = """
import mmap, os, sys
with open(sys.argv[1], "wb", buffering=0) as f:  # by us: its pages are our cgroup's
    for _ in range(96):
        f.write(bytes(1 << 20))
        os.fsync(f.fileno())  # pages that are not on the disk yet cannot be thrown away: we would be killed
print("ready", flush=True)
sys.stdin.readline()
with open(sys.argv[1], "rb") as f:
    pages = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
while True:  # twice as much as fits
    sum(pages[i] for i in range(0, len(pages), 4096))
"""


def test_pressure(tmp_path, cgroup):
    """Of a process that reads again and again what the kernel has just thrown away. PSI is the machine's
    on cgroup v1, the cgroup's own on v2 (there by ./dev vm, too)."""
    if not os.path.exists("/proc/pressure/memory"):
        pytest.skip("this kernel has no PSI")
    t = Target([sys.executable, "-c", THRASHER, tmp_path / "pages"],
               preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())))
    try:
        assert t.line() == "ready"
        with Serve(tmp_path, f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {t.pid}",
                   *trigger("pressure 2%", "capture = ladder")) as s:
            until(lambda: captures(s, "baseline"), 60)
            t.say()
            until(lambda: captures(s, "pressure"), 90)
            waited, = re.findall(r"tasks waited for memory ([\d.]+) % of the last 10 s", captures(s, "pressure")[-1]["reason"])
            assert 2 <= float(waited) <= 100
    finally:
        t.stop()


@pytest.fixture
def tracefs():
    """Where the kernel tells of its tracepoints; not everybody has it mounted."""
    place, mounted = "/sys/kernel/tracing", False
    if not os.path.exists(f"{place}/events") and os.geteuid() == 0:
        mounted = subprocess.run(["mount", "-t", "tracefs", "tracefs", place], stderr=subprocess.DEVNULL).returncode == 0
    yield
    if mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_killed_for_memory_is_told_from_an_end(tmp_path, needs_bpf, cgroup, tracefs):
    """By the kernel's own word: both are a process that is gone."""
    t = Target([PROGRAMS / "oom", tmp_path / "account"],
               preexec_fn=lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid())))
    try:
        assert t.line() == "ready"
        with Hold(PROGRAMS / "hold") as hold, \
                Serve(tmp_path, EXACT, f"spool = {tmp_path}/spool", '[target "big"]', f"pid = {t.pid}",
                      "record = always", '[target "other"]', f"pid = {hold.pid}", "record = always") as s:
            until(lambda: all(x["recording"] == "yes" for x in s.get("/targets").json()["targets"]), 60)
            if "memwho_oom_victims_total" not in s.get("/metrics").text:
                pytest.skip("no tracepoints here, or not the first PID namespace")
            hold.close()
            t.say()
            assert t.process.wait(20) == -9
            until(lambda: len(captures(s)) == 2, 90)
            found = {c["target"]: c for c in captures(s)}
            assert found["other"]["trigger"] == "exit" and found["big"]["trigger"] == "oom"
            assert "killed for want of memory" in found["big"]["reason"]
            assert found["big"]["held_bytes"] > 40 << 20
            assert int(re.search(r"^memwho_oom_victims_total (\d+)", s.get("/metrics").text, re.M)[1]) >= 1
    finally:
        t.stop()
