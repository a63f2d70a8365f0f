# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 once
"""The sampling engine (src/agent, alloc --engine agent): what it does to its target,
with memwho killed before each of its steps; and that its figures are true."""
import collections
import ctypes
import math
import os
import platform
import random
import signal
import subprocess
import time

import conftest
import pytest
from conftest import PROGRAMS, Recording, Target, run_memwho
from victim import victim

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# memwho is killed before each (EVERY / 4)th step in one run; 1: before each of them
EVERY = int(os.environ.get("AGENT_EVERY", "401"))
# a small share of it, or all that there is (./dev matrix agent)
WHOLE = EVERY < 100
RUNS = int(os.environ.get("AGENT_RUNS", "8"))
MEAN = 64 * 1024
CODE_BYTES = 0x30000  # agent_format.h


@pytest.fixture
def truth():
    started = []

    def start(*args, program="agent_truth", **kw):
        started.append(Target([PROGRAMS / program, *args], **kw))
        assert started[-1].line() == "ready"
        return started[-1]

    yield start
    for t in started:
        t.stop()


def agenter(pid, *args, options=(), timeout=60):
    """-> (exit code, {name: value}, standard error)"""
    p = subprocess.run([PROGRAMS / "agenter", *map(str, options), str(pid), *map(str, args)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout, text=True, errors="replace")
    return p.returncode, dict(l.split(" ", 1) for l in p.stdout.splitlines() if " " in l), p.stderr


def done(ran):
    assert ran[0] == 0, ran
    return ran[1]


def mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        return [line.split(maxsplit=5) for line in f]


def places(pid):
    """What is left on purpose: [(bytes of code, KiB of data that are present)]"""
    found, last = [], None
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                start, end = (int(x, 16) for x in words[0].split("-"))
                anonymous = words[4] == "0" and len(words) == 5
                if anonymous and words[1] == "r-xp":
                    found.append([end - start, 0])
                    last = end
                else:
                    last = -1 if anonymous and start == last and words[1] == "rw-p" else None
            elif words[0] == "Rss:" and last == -1:
                found[-1][1] += int(words[1])
    return found


def differences(pid, memory, m):
    """Bytes of mapping @m that are not what its file has."""
    start, end = (int(x, 16) for x in m[0].split("-"))
    memory.seek(start)
    there = memory.read(end - start)
    with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "rb") as f:
        f.seek(int(m[2], 16))
        file = f.read(end - start)
    # behind the file's end a page is zeros
    file += bytes(len(there) - len(file))
    return [start + i for i in range(len(there)) if there[i] != file[i]] if there != file else []


def changed_code(pid):
    """Bytes of the code of libc and the program that are not what their files have."""
    changed = []
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for m in mappings(pid):
            if "x" not in m[1] or len(m) < 6 or not m[5].strip().startswith("/"):
                continue
            try:
                changed += differences(pid, memory, m)
            except OSError:
                # a library that has been unloaded meanwhile
                assert m not in mappings(pid), m
    return changed


def untouched(pid):
    """Everything is as it was but one place of the agent at most, which is empty."""
    assert not changed_code(pid), [hex(a) for a in changed_code(pid)]
    assert places(pid) in ([], [[CODE_BYTES, 0]]), places(pid)


# ---- what it does to the target ----

@pytest.mark.parametrize("modes,program", [("a", "victim"), ("c", "victim"), ("acnefrsa", "victim"),
                                           ("aaaaaaaa", "victim"), ("ac", "victim-static")])
def test_nothing_is_left(victim, modes, program):
    v = victim(modes, program=program)
    before = len(mappings(v.pid))
    for _ in range(5):
        done(agenter(v.pid, "record", 150, options=("-m", 32768)))
        untouched(v.pid)
    v.check()
    assert v.eintr == 0 and not v.tracers()
    # the allocator maps and unmaps by itself; two mappings of ours would be seen
    assert len(mappings(v.pid)) <= before + (40 if "a" in modes else 2)
    assert places(v.pid) == [[CODE_BYTES, 0]]


@pytest.mark.parametrize("program", ["victim", "victim-static"])
def test_all_kinds_of_recording_use_one_place(victim, program):
    v = victim("aaca", program=program)
    for options in ((), ("-x",), ("-p",), ("-x",), (), ("-p",), ()):
        done(agenter(v.pid, "record", 100, options=options))
        untouched(v.pid)
    v.check()
    assert places(v.pid) == [[CODE_BYTES, 0]]


def test_it_samples_and_says_how_sure_it_is(victim, tmp_path):
    v = victim("aa")
    got = run_memwho("alloc", v.pid, "--engine", "agent", "--sample", "128K", "-d", "1s", "--json").json()
    assert got["engine"] == "agent" and got["sample_bytes"] == 128 << 10 and got["patched_functions"] == 8
    assert got["samples"] > 100 and got["lost_events"] == 0
    assert got["held_bytes_low"] < got["held_bytes"] < got["held_bytes_high"]
    for stack in got["stacks"]:
        assert stack["bytes_low"] <= stack["bytes"] <= stack["bytes_high"]
    # where memwho gets no processor the stacks of the young blocks are lost, which is said
    assert got["stacks_not_stored"] or \
        any({"allocate", "work"} & set(s["frames"]) for s in got["stacks"]), got["stacks"]
    untouched(v.pid)
    v.check()


def test_while_it_records_only_jumps_are_written(truth, tmp_path):
    t = truth("2")
    r = Recording(["alloc", t.pid, "--engine", "agent"], tmp_path / "ready").wait_ready()
    changed = changed_code(t.pid)
    assert len(changed) <= 8 * 5
    code, said, _ = agenter(t.pid, "look")
    assert code == 0 and said["state"] == "1"
    assert not [m for m in mappings(t.pid) if "w" in m[1] and "x" in m[1]]
    second = run_memwho("alloc", t.pid, "--engine", "agent", "-d", "1s", code=None)
    assert second.code != 0 and f"process {r.pid}" in second.err, second
    detach = run_memwho("detach", t.pid, code=None)
    assert detach.code != 0 and f"process {r.pid}" in detach.err, detach
    r.interrupt()
    r.wait()
    untouched(t.pid)


def test_children(truth, tmp_path):
    """A copy made by fork() has the jumps, but an agent that is off."""
    t = truth("2")
    r = Recording(["alloc", t.pid, "--engine", "agent", "--sample", "16K"], tmp_path / "ready").wait_ready()
    for _ in range(5):
        t.say("fork")
        assert t.line(60) == "status 0"
        t.say("vfork")
        assert t.line(60) == "status 0"
    t.say("child")
    child = int(t.line())
    try:
        time.sleep(0.3)
        said = done(agenter(child, "look"))
        assert said["state"] == "0" and said["samples"] == "0", said
        r.interrupt()
        r.wait()
        untouched(t.pid)
        # it has the jumps still, until it is asked
        assert changed_code(child)
        assert done(agenter(child, "clean"))["agent"] == "1"
        untouched(child)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_threads_come_and_go(truth, tmp_path):
    t = truth()
    r = Recording(["alloc", t.pid, "--engine", "agent", "--sample", "32K", "--json"],
                  tmp_path / "ready").wait_ready()
    for _ in range(3):
        t.say("churn")
        assert t.line(120) == "wrong 0"
    r.interrupt()
    got = r.wait().json()
    # all is freed again but a few blocks of the C library
    assert got["samples"] > 300 and got["held_bytes_low"] < 1 << 20, got
    # nothing seen is not nothing held
    assert got["held_bytes_high"] > 3 * 32768, got
    assert got["lost_no_slot"] == 0 and "damaged_in_target" not in got, got
    untouched(t.pid)


def test_a_target_that_ends(truth, tmp_path):
    t = truth("1")
    r = Recording(["alloc", t.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
    t.say("round")
    t.line(60)
    time.sleep(0.6)
    t.process.kill()
    got = r.wait().json()
    assert got["ended_by"] == "exit" and got["held_bytes"] > 10 << 20, got


# ---- what is refused ----

def refused(pid, *says, args=()):
    got = run_memwho("alloc", pid, "--engine", "agent", "-d", "1s", *args, code=None)
    assert got.code != 0 and all(s in got.err for s in says), got


def test_options_that_it_does_not_have(victim):
    v = victim("a")
    for option in ("--no-stacks",):
        refused(v.pid, option, args=(option,))
    got = run_memwho("alloc", v.pid, "--sample", "64K", code=None)
    assert got.code == 2 and "--sample" in got.err
    untouched(v.pid)


def test_a_stopped_or_traced_target_is_refused(victim):
    v = victim("a")
    os.kill(v.pid, signal.SIGSTOP)
    refused(v.pid, "nothing was changed")
    os.kill(v.pid, signal.SIGCONT)
    untouched(v.pid)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(0x4206, v.pid, 0, 0) == 0, "PTRACE_SEIZE"
    refused(v.pid, f"process {os.getpid()} traces process {v.pid}")
    assert libc.ptrace(0x4207, v.pid, 0, 0) == 0, "PTRACE_INTERRUPT"
    os.waitpid(v.pid, 0x40000000)
    assert libc.ptrace(17, v.pid, 0, 0) == 0, "PTRACE_DETACH"
    untouched(v.pid)
    v.check()


def first_bytes(pid, name):
    """Run-time address of libc's @name, by gdb's reading of its symbols."""
    path = next(m[5].strip() for m in mappings(pid) if "libc.so" in m[-1])
    base = min(int(m[0].split("-")[0], 16) for m in mappings(pid) if path in m[-1])
    out = subprocess.run(["nm", "-D", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    at = next(l.split()[0] for l in out.splitlines() if l.split()[-1].startswith(name + "@@"))
    return base + int(at, 16)


def test_code_that_somebody_changed_is_refused(victim):
    """A byte that its file does not have, far behind what would be patched."""
    v = victim("c")  # it does not allocate: the byte is never executed
    at = first_bytes(v.pid, "realloc") + 40
    with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        was = memory.read(1)
        memory.seek(at)
        memory.write(b"\xcc")
    refused(v.pid, "realloc", "breakpoint")
    assert changed_code(v.pid) == [at]
    with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        memory.write(was)
    untouched(v.pid)
    v.check()


def test_a_change_in_our_jump_ends_it(victim, tmp_path):
    """As a uprobe that is set there later: what is theirs stays, what is ours goes."""
    v = victim("c")
    r = Recording(["alloc", v.pid, "--engine", "agent", "--json"], tmp_path / "ready").wait_ready()
    at = changed_code(v.pid)[0]
    with open(f"/proc/{v.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        memory.write(b"\xcc")
    got = r.wait(timeout=20).json()
    assert got["ended_by"] == "guard" and got["changed_by_others"], got
    assert changed_code(v.pid) == [at]


# ---- memwho is killed ----

def phase_of(said):
    """Of a recording that was killed, by what it came to say."""
    return "detach" if "detached_at" in said else "run" if "attached_at" in said else "attach"


def kill_mean(modes):
    """Of recordings that are killed. Each sample that is read is a step, always the same one; eight
    threads make so many that they would be nine tenths of all steps, so some hundred must do."""
    return 4 << 20 if len(modes) > 4 else 65536


def kill_before_steps(v, every, options, clean):
    """Recordings, with changes of the rate where there is one, that are killed before each @every-th
    step; after each the victim goes on, and so it does when clean(number of kills) has taken away what
    was left. How many there were."""
    if "-x" not in options:
        options = (*options, "-c", 10)
    step, phases, seconds = random.randrange(every) - every, collections.Counter(), collections.Counter()

    def timed(what, run, *args, **kw):
        began = time.monotonic()
        result = run(*args, **kw)
        seconds[what] += time.monotonic() - began
        return result

    # how many steps there are is different each time: one that came through is not yet the end
    through = 0
    while through < 3:
        step += every
        code, said, err = timed("recording", agenter, v.pid, "record", 30, options=(*options, "-k", step))
        if code != -signal.SIGKILL:
            assert code == 0, (step, code, said, err)
            # its steps are those of all that it does: live blocks and patches are read again, rates change
            assert int(said["looks"]) and int(said["rounds"]), said
            assert "-x" in options or int(said["rate_changes"]), said
            through += 1
            continue
        through = 0
        phases[phase_of(said)] += 1
        for what in ("killed", "cleaned"):
            if what == "cleaned":
                timed("cleaning up", clean, phases.total())
            wrong = timed("rounds", v.goes_on)
            assert not wrong, (step, what, wrong)
    assert phases
    if every == 1:
        assert phases["attach"] and phases["detach"] and ("-x" in options or phases["run"]), phases
    v.check()
    assert not v.tracers()
    print(f"{phases.total()} kills of memwho ({' '.join(map(str, options))}) in {v.modes}, before each {every}th step:",
          ", ".join(f"{n} in {phase}" for phase, n in phases.items()) + ";",
          ", ".join(f"{1000 * s / phases.total():.0f} ms {what}" for what, s in seconds.items()), "a kill")
    return phases.total()


def next_attach(pid, killed, options=()):
    """It cleans up before it begins; some record for a while then, with what was there before."""
    if killed % 10 < 2:
        done(agenter(pid, "record", 20, options=options))
    else:
        done(agenter(pid, "record", 1, options=("-b", *options)))


# that compute, allocate, sleep, wait in epoll, futex and read, alone and with seven others
KILLED = [("c", "victim"), ("a", "victim"), ("aaaaaaaa", "victim"), ("acnefrsa", "victim"), ("aac", "victim-static")]
KILLED += [(mode, "victim") for mode in ("n", "e", "f", "r")] if WHOLE else [("nefr", "victim")]


@pytest.mark.parametrize("modes,program", KILLED)
def test_killed_before_every_step(victim, modes, program):
    """After each kill the target works on; then the next attach, or memwho detach, puts
    everything back."""
    v = victim(modes, program=program)
    every = (EVERY + 3) // 4

    def clean(killed):
        if killed % 2:
            next_attach(v.pid, killed)
        else:
            run_memwho("detach", v.pid)
        untouched(v.pid)

    killed = kill_before_steps(v, every, ("-m", kill_mean(modes)), clean)
    assert killed * every >= 50, killed
    # an epoll_wait may return early once, if the kill came between its stop and its repair
    assert v.eintr <= killed


def kill_while_cleaning(v, record, is_clean, is_recorded=lambda: True):
    """A recorder by agenter's @record options is killed, then who cleans up after it, before its
    steps; @is_clean asserts what the next one leaves."""
    every = (EVERY + 3) // 4
    step, killed = random.randrange(min(every, 50)), 0  # cleaning up takes 75 steps and more
    while True:
        p = subprocess.Popen([PROGRAMS / "agenter", *record, str(v.pid), "record", "60000"],
                             stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline().startswith("attached")
        p.kill()
        p.wait()
        p.stdout.close()
        assert is_recorded()
        code, said, err = agenter(v.pid, "clean", options=("-k", step))
        if code != -signal.SIGKILL:
            assert code == 0 and said["agent"] == "1", (step, code, said, err)
            break
        killed += 1
        wrong = v.goes_on()
        assert not wrong, (step, wrong)
        run_memwho("detach", v.pid)
        is_clean()
        step += every
    assert killed
    is_clean()
    v.check()


@pytest.mark.parametrize("modes", ["a", "acnefrsa"])
def test_killed_while_cleaning(victim, modes):
    v = victim(modes)
    kill_while_cleaning(v, (), lambda: untouched(v.pid))


def test_killed_at_random_times(victim):
    v = victim("aaacnefs")
    for i in range(int(os.environ.get("AGENT_RANDOM", "15"))):
        p = subprocess.Popen([PROGRAMS / "agenter", str(v.pid), "record", "60"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.35))
        p.kill()
        p.wait()
        wrong = v.goes_on()
        assert not wrong, (i, wrong)
    run_memwho("detach", v.pid)
    untouched(v.pid)
    v.check()


def test_an_orphan_stops_sampling(truth):
    t = truth("2")
    p = subprocess.Popen([PROGRAMS / "agenter", str(t.pid), "record", "60000"],
                         stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline().startswith("attached")
    time.sleep(0.5)
    early = int(done(agenter(t.pid, "look"))["samples"])
    assert early > 100
    time.sleep(1)
    a_second = int(done(agenter(t.pid, "look"))["samples"]) - early
    p.kill()
    p.wait()
    p.stdout.close()
    time.sleep(2)
    first = done(agenter(t.pid, "look"))
    time.sleep(1.5)
    second = done(agenter(t.pid, "look"))
    assert second["samples"] == first["samples"], (first, second)
    assert int(second["expired"]) > 0
    # and looks at the time once in 64 means (agent.c, EXPIRED_MEANS), some of them faster than before
    assert int(second["expired"]) - int(first["expired"]) < 1.5 * a_second / 8, (first, second)
    got = run_memwho("detach", t.pid)
    assert "agent" in got.out
    untouched(t.pid)


# ---- truth ----

def expected_sd(size, count):
    """Of the estimate of @count blocks of @size bytes, as a share of their sum."""
    p = 1 - math.exp(-size / MEAN)
    return math.sqrt((1 - p) / p / count)


SITES = {"site_small": (100, 30000), "site_large": (40000, 150), "site_calloc": (1000, 4000),
         "site_realloc": (3000, 1000), "site_reallocarray": (3000, 1000),
         "site_posix_memalign": (2000, 1500), "site_aligned": (2048, 1500),
         "site_valloc": (8000, 500), "site_half": (300, 10000)}


@pytest.mark.parametrize("program", ["agent_truth", "agent_truth-static"])
def test_estimates_are_unbiased(truth, tmp_path, program):
    """The mean over RUNS recordings of what each site holds is its truth within 4
    standard errors (by theory, not by what was seen); so is the sum. One in 16,000
    honest runs of one site fails. Of the 95 % intervals 85 % at least hold the truth."""
    t = truth(program=program)
    sums, totals, inside, n = dict.fromkeys(SITES, 0.0), 0.0, 0, 0
    for run in range(RUNS):
        ready = tmp_path / f"ready{run}"
        r = Recording(["alloc", t.pid, "--engine", "agent", "--sample", "64K", "--json"], ready).wait_ready()
        t.say("round")
        words = t.line(60).split()
        truth_of = dict(zip(words[::2], map(int, words[1::2])))
        r.interrupt()
        got = r.wait().json()
        untouched(t.pid)
        assert got["stacks_not_stored"] == 0 and got["lost_events"] == 0 and got["pauses"] == 0, got
        assert got["complete_stacks_percent"] > 99, got
        assert truth_of == {s: size * count for s, (size, count) in SITES.items()}
        for site, true in truth_of.items():
            here = [s for s in got["stacks"] if site in s["frames"]]
            sums[site] += sum(s["bytes"] for s in here) / true
            n += 1
            # sites have one stack each but for two; summed intervals are only wider
            inside += sum(s["bytes_low"] for s in here) <= true <= sum(s["bytes_high"] for s in here)
        totals += got["held_bytes"] / sum(truth_of.values())
        t.say("drop")
        assert t.line(60) == "dropped"
    whole, variance = sum(size * count for size, count in SITES.values()), 0
    for site, (size, count) in SITES.items():
        sd = expected_sd(size, count)
        variance += (sd * size * count / whole) ** 2
        assert abs(sums[site] / RUNS - 1) < 4 * sd / math.sqrt(RUNS), (site, sums[site] / RUNS, sd)
    assert abs(totals / RUNS - 1) < 4 * math.sqrt(variance / RUNS) + 0.005, totals / RUNS
    assert inside >= 0.85 * n, (inside, n)
