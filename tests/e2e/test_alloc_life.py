# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 once
"""The target's life: fork, exec, exit, our own death, other processes.
"""
import os
import pathlib
import signal
import subprocess
import time

from conftest import PROGRAMS, run_memwho
from hold import Hold, compare, stacks_of_json

ALL = ("--max-slowdown", "1000")


def symbol_bytes(pid, library, name, count=16):
    """The first bytes of an exported function, in the memory of @pid."""
    path = start = None
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and library in fields[5] and fields[2] == "00000000":
            path, start = fields[5], int(fields[0].split("-")[0], 16)
            break
    out = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True,
                         check=True).stdout
    value = next(int(line.split()[0], 16) for line in out.splitlines()
                 if line.split()[2].split("@")[0] == name)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        mem.seek(start + value)
        return mem.read(count)


def clean(pid):
    return {name: symbol_bytes(pid, "libc.so.6", name) for name in ("malloc", "free", "realloc")}


def test_only_the_target_is_touched(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as traced, Hold(PROGRAMS / "hold") as other:
        before = clean(other.pid)
        r = record("alloc", traced.pid, "--json", *ALL)
        traced.command("go 1")
        assert b"\xcc" in symbol_bytes(traced.pid, "libc.so.6", "malloc")
        assert clean(other.pid) == before
        r.interrupt()
        assert clean(traced.pid) == before
        traced.command("go 1")


def test_our_death_leaves_nothing(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        before = clean(hold.pid)
        for when in (0.0, 0.02, 0.1, 0.3, 0.6, 1.0, 1.5):
            r = record("alloc", hold.pid, *ALL, wait_ready=False)
            time.sleep(when)
            r.process.kill()
            r.process.communicate()
            hold.command("go 1")
        end = time.monotonic() + 10
        while clean(hold.pid) != before and time.monotonic() < end:
            time.sleep(0.05)
        assert clean(hold.pid) == before
        hold.command("go 1")


def test_a_child_runs_free(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        before = clean(hold.pid)
        r = record("alloc", hold.pid, "--json", *ALL)
        hold.command("mark")
        child = int(hold.command("fork"))
        hold.command("child go 2")
        end = time.monotonic() + 10
        while clean(child) != before and time.monotonic() < end:
            hold.command("child go 1")
            time.sleep(0.05)
        assert clean(child) == before
        hold.command("go 2")
        truth = hold.truth()
        result = r.interrupt().json()
        assert clean(child) == before and clean(hold.pid) == before
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()
    assert {s["labels"]["pid"] for s in result["stacks"]} == {hold.pid}


def test_follow_takes_the_child_in(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", "--follow", *ALL)
        hold.command("mark")
        child = int(hold.command("fork"))
        time.sleep(2)
        hold.command("child mark")
        hold.command("child go 5")
        hold.command("go 3")
        ours, theirs = hold.truth(), hold.truth(child=True)
        result = r.interrupt().json()
    for pid, truth in ((hold.pid, ours), (child, theirs)):
        stacks = [s for s in result["stacks"] if s["labels"]["pid"] == pid]
        score = compare(stacks_of_json({"stacks": stacks}), truth)
        assert score.path_error == 0, (pid, score.explain())
    assert result["lost_children"] == 0
    assert [p["pid"] for p in result["processes"]] == [hold.pid, child]


def test_exec_ends_the_record(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL)
        hold.command("mark")
        hold.command("many 500")
        hold.send(f"exec {PROGRAMS / 'hold'}")
        result = r.wait().json()
        assert hold.alive()
    assert result["ended_by"] == "exec"
    assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 500


def test_exit_ends_the_record(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL)
        hold.command("mark")
        hold.command("many 500")
        hold.send("quit")
        result = r.wait().json()
    assert result["ended_by"] == "exit"
    held = [s for s in result["stacks"] if "site_01" in s["frames"]]
    assert sum(s["count"] for s in held) == 500
    assert all("caller_c" in s["frames"] and "main" in s["frames"] for s in held)


def test_killed_target_still_has_its_result(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL)
        hold.command("mark")
        hold.command("many 500")
        os.kill(hold.pid, signal.SIGKILL)
        result = r.wait().json()
    assert result["ended_by"] == "exit"
    assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 500


def test_several_processes_are_summed(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as a, Hold(PROGRAMS / "hold-static") as b:
        r = record("alloc", a.pid, b.pid, "--json", *ALL)
        for hold, n in ((a, 100), (b, 300)):
            hold.command("mark")
            hold.command(f"many {n}")
        result = r.interrupt().json()
    for hold, n in ((a, 100), (b, 300)):
        assert sum(s["count"] for s in result["stacks"]
                   if "site_01" in s["frames"] and s["labels"]["pid"] == hold.pid) == n


def test_run_sees_the_first_allocation(needs_bpf, tmp_path):
    program = tmp_path / "early.c"
    program.write_text("""
#include <stdlib.h>
#include <stdio.h>
static void *volatile keep[3];
__attribute__((constructor, noinline)) static void before_main(void) { keep[0] = malloc(1111); }
__attribute__((noinline)) void in_main(void) { keep[1] = malloc(2222); __asm__ volatile(""); }
int main(void) { in_main(); free(malloc(50)); fputs("done\\n", stderr); return 0; }
""")
    for flags in ([], ["-static"]):
        exe = tmp_path / ("early" + "".join(flags))
        subprocess.run(["gcc", "-O1", "-g", *flags, "-o", exe, program], check=True)
        out = tmp_path / "held.json"
        r = run_memwho("run", "-o", out, "--", exe)
        assert "done" in r.err
        import json
        result = json.loads(out.read_text())
        sizes = {s["frames"][0]: s["bytes"] for s in result["stacks"] if s["bytes"]}
        assert sizes["before_main"] == 1111 and sizes["in_main"] == 2222
        assert result["ended_by"] == "exit"


def test_run_follows_a_shell(needs_bpf, tmp_path):
    out = tmp_path / "held.json"
    run_memwho("run", "--follow", "-o", out, "--", "sh", "-c",
               f"(sleep 4; printf 'mark\\nmany 77\\nquit\\n') | {PROGRAMS / 'hold'} >/dev/null; true")
    import json
    result = json.loads(out.read_text())
    assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 77


def test_threads_come_and_go(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL)
        hold.command("mark")
        for _ in range(10):
            hold.command("threads 8")
        truth = hold.truth()
        result = r.interrupt().json()
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()
    assert result["lost_events"] == 0


def test_beside_a_tracer(record, needs_bpf):
    """uprobes need no ptrace: a process under strace or gdb can be recorded."""
    with Hold(PROGRAMS / "hold") as hold:
        gdb = subprocess.Popen(["gdb", "-nx", "-batch", "-p", str(hold.pid), "-ex", "continue"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while "TracerPid:\t0" in pathlib.Path(f"/proc/{hold.pid}/status").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(1)
        try:
            r = record("alloc", hold.pid, "--json", *ALL)
            hold.command("mark")
            hold.command("many 40")
            result = r.interrupt().json()
        finally:
            gdb.kill()
            gdb.wait()
        assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 40
