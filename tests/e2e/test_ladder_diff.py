# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Why is the same program larger in the container? One glibc arena for one fopen(),
and the stacks of its threads: memwho diff names them, and the setting."""
import json
import os
import pathlib
import shutil

import pytest

import conftest
import silly
from conftest import Target

ARENA = 65536 * 1024


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return silly.build(tmp_path_factory.mktemp("silly"))


@pytest.fixture(scope="module")
def container(program, tmp_path_factory):
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    c = silly.Container(program, tmp_path_factory.mktemp("container"))
    yield c.opened()
    c.stop()


@pytest.fixture
def host(program):
    """host(limit, MALLOC_ARENA_MAX="1") -> the server on the host"""
    started = []

    def start(stack_kb=8192, *args, **env):
        script = f"ulimit -s {stack_kb}; exec {program} /etc/passwd {' '.join(args)}"
        started.append(Target(["/bin/sh", "-c", script], env=env))
        return started[-1] if args else silly.opened(started[-1])

    yield start
    for t in started:
        t.stop()


def rows(diff, kind):
    return {d["name"]: d for d in diff["differences"] if d["kind"] == kind}


def test_the_container_is_what_it_is_said_to_be(container):
    status = dict(line.split(":\t", 1) for line in
                  pathlib.Path(f"/proc/{container.pid}/status").read_text().splitlines())
    assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0
    for ns in ("mnt", "pid", "user", "cgroup"):
        assert os.readlink(f"/proc/{container.pid}/ns/{ns}") != os.readlink(f"/proc/self/ns/{ns}")
    mounts = pathlib.Path(f"/proc/{container.pid}/mountinfo").read_text()
    assert any(" / / ro" in line and " - overlay " in line for line in mounts.splitlines())
    root = pathlib.Path(f"/proc/{container.pid}/root")
    assert not (root / "bin" / "sh").exists() and not (root / "proc").exists()
    with pytest.raises(OSError):
        (root / "new").write_text("x")


def test_the_ladder_of_the_container(memwho, container):
    """From the host, with nothing in the image."""
    ladder = memwho(container.pid, "--json").json()
    parts = ladder["parts"]
    assert sum(p["virtual_bytes"] for p in parts) == ladder["virtual_bytes"]
    assert ladder["unnamed_bytes"] < 0.01 * ladder["virtual_bytes"]
    arena, = [p for p in parts if p["kind"] == "glibc-arena" and p["name"] != "main arena"]
    assert arena["virtual_bytes"] == ARENA and "worker-0" in arena["detail"]
    assert {p["name"] for p in parts if p["kind"] == "thread-stack"} >= {"worker-0", "worker-1",
                                                                         "timer"}
    assert [f for f in ladder["findings"] if f["key"] == "two-allocators"]
    # 1800 objects of 1792 to 2048 bytes are left
    je = sum(p["in_use_bytes"] for p in parts if p["kind"] == "jemalloc")
    assert 1800 * 1800 < je < 1800 * 2600
    assert ladder["pid"] == container.pid and ladder["ns_pid"] == 1
    text = memwho(container.pid).out
    assert "1 to itself" in text and "jemalloc" in text


def test_the_arena_and_its_setting(memwho, container, host):
    t = host(MALLOC_ARENA_MAX="1")
    d = memwho("diff", container.pid, t.pid, "--json").json()
    arena, = [a for name, a in rows(d, "glibc-arena").items() if name != "main arena"]
    assert (arena["before_rows"], arena["after_rows"]) == (1, 0)
    assert (arena["virtual_before_bytes"], arena["virtual_after_bytes"]) == (ARENA, 0)
    assert "worker-0" in arena["detail"]
    setting, = [s for s in d["settings"] if s["key"] == "env MALLOC_ARENA_MAX"]
    assert (setting["before"], setting["after"]) == (None, "1")
    why, = [e for e in d["explanations"] if e["kind"] == "glibc-arena"]
    assert why["bytes"] == -ARENA and why["setting"] == "env MALLOC_ARENA_MAX"
    # the difference of the whole is the sum of its rows
    assert sum(r["virtual_after_bytes"] - r["virtual_before_bytes"] for r in d["differences"]) == \
        d["after_virtual_bytes"] - d["before_virtual_bytes"] == d["delta_total"]
    text = memwho("diff", container.pid, t.pid).out
    assert "65,536 kB" in text and "MALLOC_ARENA_MAX is not set in the first and 1 in the second" \
        in " ".join(text.split())


def test_the_stacks_and_their_limit(memwho, container, host):
    t = host(stack_kb=1024)
    d = memwho("diff", container.pid, t.pid, "--json").json()
    for name in ("worker-0", "worker-1", "timer"):
        assert rows(d, "thread-stack")[name]["virtual_after_bytes"] == 1 << 20
    why, = [e for e in d["explanations"] if e["kind"] == "thread-stack"]
    assert "1,024 kB in the second" in why["text"] and why["setting"] == "rlimit stack"
    # both have the arena: nothing is said of it
    assert not [e for e in d["explanations"] if e["kind"] == "glibc-arena"]


def test_a_ladder_from_another_machine(memwho, container, host, tmp_path):
    t = host(MALLOC_ARENA_MAX="1")
    live = memwho("diff", container.pid, t.pid, "--json").json()
    saved = tmp_path / "host.json"
    memwho(t.pid, "-o", saved)
    t.stop()
    # what only that machine has
    other = json.loads(saved.read_text())
    other["settings"]["kernel"] = "9.9.9-elsewhere"
    saved.write_text(json.dumps(other))
    d = memwho("diff", container.pid, saved, "--json").json()
    assert d["differences"] == live["differences"] and d["explanations"] == live["explanations"]
    kernel, = [s for s in d["settings"] if s["key"] == "kernel"]
    assert kernel["after"] == "9.9.9-elsewhere" and kernel["before"] == os.uname().release
    back = memwho("diff", saved, container.pid, "--json").json()
    assert back["delta_total"] == -d["delta_total"]
    for out in ("d.svg", "d.html", "d.txt"):
        memwho("diff", container.pid, saved, "-o", tmp_path / out)
        assert "arena 1" in (tmp_path / out).read_text()


def test_settings_are_read(memwho, host):
    t = host(stack_kb=2048, MALLOC_ARENA_MAX="1", GOGC="50", NOT_TELLING="secret",
             GLIBC_TUNABLES="glibc.malloc.tcache_count=3")
    settings = memwho(t.pid, "--json").json()["settings"]
    assert settings["env MALLOC_ARENA_MAX"] == "1" and settings["env GOGC"] == "50"
    assert settings["env GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=3"
    assert settings["rlimit stack"] == "2048 kB"
    assert settings["kernel"] == os.uname().release
    assert settings["libc"].startswith("glibc (") and len(settings["libc build-id"]) >= 16
    assert int(settings["cpus allowed"]) == len(os.sched_getaffinity(0))
    assert "secret" not in json.dumps(settings)


def test_like_with_like(memwho, host, tmp_path):
    t = host()
    folded = tmp_path / "x.folded"
    folded.write_text("main;f 100\n")
    r = memwho("diff", t.pid, folded, code=1)
    assert "is a ladder" in r.err and "hint" in r.err
    assert "no process" in memwho("diff", t.pid, 4194303, code=1).err
    assert "none.json" in memwho("diff", t.pid, tmp_path / "none.json", code=1).err
    same = tmp_path / "same.json"
    memwho(t.pid, "-o", same)
    assert "No row differs" in memwho("diff", same, same).out
    saved = same.read_text()
    same.write_text(saved[:len(saved) // 2])
    assert "JSON" in memwho("diff", same, t.pid, code=1).err


def test_the_code_that_made_it(memwho, record, needs_bpf, program, host, tmp_path):
    """The same two, recorded while the file is opened: fopen -> malloc -> the arena."""
    if os.geteuid() or not shutil.which("unshare"):
        pytest.skip("needs root and unshare")
    (tmp_path / "c").mkdir()
    c = silly.Container(program, tmp_path / "c", "wait")
    t = host(8192, "wait", MALLOC_ARENA_MAX="1")
    try:
        t.line()
        saved = {}
        for name, pid, other in ("container", c.pid, c.target), ("host", t.pid, t):
            saved[name] = tmp_path / f"{name}.pb.gz"
            r = record("map", pid, "-o", saved[name])
            other.say("go")
            assert other.line() == "open"
            r.interrupt()
    finally:
        c.stop()
    d = memwho("diff", saved["container"], saved["host"], "--json").json()
    made = [s for s in d["stacks"] if any("fopen" in f for f in s["frames"])]
    # what can be touched of it, and what can't yet
    assert sum(s["delta"] for s in made) == -ARENA, d["stacks"]
    for stack in made:
        names = stack["frames"]
        caller = max(i for i, f in enumerate(names) if "fopen" in f)
        assert any("malloc" in f for f in names[:caller]), names
        assert "open_and_sleep" in names[caller:], names
        assert stack["labels"]["thread"] == "worker-0"


def test_watch_ends_with_a_summary(memwho, target):
    t = target("demo", "60")
    t.line()
    out = memwho(t.pid, "--watch", "200ms", "-d", "1s").out
    looks = [line for line in out.splitlines() if "VIRTUAL" in line]
    assert len(looks) >= 4 and looks[-1].startswith("in ")
    assert "/s)" in looks[-2] and "/s" not in looks[-1]
    # the demo leaks about 100 KiB a second, all of it in arenas
    assert any(line.split()[:2] == ["glibc", "arena"] and "+" in line
               for line in out.split("\nin ")[1].splitlines())
    assert "\033" not in out
    r = memwho(t.pid, "--every", "1s", code=2)
    assert "--watch" in r.err


def test_watch_until_ctrl_c_or_the_end(target):
    import signal
    import subprocess
    import time
    for how in ("signal", "end"):
        t = target("demo", "60")
        t.line()
        p = subprocess.Popen([conftest.MEMWHO, str(t.pid), "--watch", "100ms"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        if how == "signal":
            p.send_signal(signal.SIGINT)
        else:
            t.stop()
        out, err = p.communicate(timeout=20)
        assert p.returncode == 0, err
        assert out.splitlines() and "\nin " in out
