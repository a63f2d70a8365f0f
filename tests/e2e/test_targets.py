# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=400 parallel
"""Large and hostile targets; signals, conditions, closed and full outputs; the
figures of the attach are printed, not asserted."""
import json
import os
import pty
import re
import resource
import signal
import subprocess
import time

import pytest

import conftest
from conftest import PROGRAMS, Recording, changed_code
from hold import Hold
from refusal import INFO, refused

pytestmark = pytest.mark.usefixtures("needs_bpf")
ALL = ("--max-slowdown", "1000")


class Many:
    """tests/programs/many: .go() lets each thread allocate."""

    def __init__(self, target, threads, mappings=0, name=None, program=PROGRAMS / "many"):
        self.target = target(program, threads, mappings, *([name] if name else []))
        assert self.target.line(60) == "ready"
        self.pid = self.target.pid

    def go(self):
        self.target.say("go")
        assert self.target.line(60) == "done"


def recorded(many, record, *args):
    r = record("alloc", many.pid, *ALL, *args)
    many.go()
    return r.interrupt()


def figures(what, result):
    print(f"{what}: attached in {result['attach_seconds']:.3f} s and detached in "
          f"{result['detach_seconds']:.3f} s, {result['memwho_cpu_seconds']:.3f} s of processor")


def held_by_threads(result, n):
    """Every thread's own allocation, once."""
    stacks = [s for s in result["stacks"] if "hold_some" in s["frames"]]
    assert sum(s["count"] for s in stacks) == n
    assert sum(s["bytes"] for s in stacks) == sum(1000 + i for i in range(n))
    assert all(s["frames"][:3] == ["hold_some", "thread", "start_thread"] for s in stacks), stacks[:2]


# ---- large ones ----

@pytest.mark.parametrize("threads", [64, 600])
def test_many_threads(target, record, threads):
    many = Many(target, threads)
    result = recorded(many, record, "--json").json()
    figures(f"{threads} threads", result)
    held_by_threads(result, threads)
    assert result["lost_events"] == 0 and changed_code(many.pid) == []


@pytest.mark.parametrize("mappings", [10_000, 50_000])
def test_many_mappings(target, record, mappings):
    many = Many(target, 4, mappings)
    with open(f"/proc/{many.pid}/maps") as f:
        assert len(f.readlines()) >= mappings
    result = recorded(many, record, "--json").json()
    figures(f"{mappings} mappings", result)
    held_by_threads(result, 4)
    assert result["lost_events"] == 0 and changed_code(many.pid) == []


BIG = """
.text
.macro function
.globl big_\\@
.type big_\\@, @function
big_\\@:
.cfi_startproc
push %rbx
.cfi_def_cfa_offset 16
.cfi_offset %rbx, -16
sub $32, %rsp
.cfi_def_cfa_offset 48
.skip 300, 0x90
add $32, %rsp
.cfi_def_cfa_offset 16
pop %rbx
.cfi_def_cfa_offset 8
ret
.cfi_endproc
.size big_\\@, .-big_\\@
.endm
.rept 250000
function
.endr
.section .note.GNU-stack,"",@progbits
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86 assembler")
def test_a_program_of_100_megabytes(target, record, tmp_path):
    (tmp_path / "big.s").write_text(BIG)
    source = conftest.SOURCE / "tests" / "programs" / "many.c"
    subprocess.run(["gcc", "-O1", "-pthread", "-fno-builtin", "-D_GNU_SOURCE", source, "big.s", "-o", "big"],
                   cwd=tmp_path, check=True)
    assert (tmp_path / "big").stat().st_size > 90 << 20
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    try:
        for what in ("100 MB, first time", "100 MB, cached"):
            many = Many(target, 4, program=tmp_path / "big")
            result = recorded(many, record, "--json").json()
            figures(what, result)
            held_by_threads(result, 4)
            many.target.stop()
    finally:
        del os.environ["XDG_CACHE_HOME"]
    for name in ("big", "big.s"):
        (tmp_path / name).unlink()


# ---- hostile names ----

HOSTILE = "\x1b[2J\nna\"<m>"


def test_hostile_names_in_json(target, record):
    many = Many(target, 16, name=HOSTILE)
    done = recorded(many, record, "--json")
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.raw)  # newlines are the writer's own
    result = done.json()
    held_by_threads(result, 16)
    assert result["target"] == f"{HOSTILE} ({many.pid})"
    names = {s["labels"].get("thread", "") for s in result["stacks"]}
    assert names == {"plain", "a\nb", "\x1b[31mred", "\"q\\", "<b>&\ufffd\ufffd", "a;b c", "\t\r\v", ""}


@pytest.mark.parametrize("args", [[], ["--by", "thread"], ["--every", "400ms", "-d", "1s"]])
def test_hostile_names_in_a_table(target, record, args):
    many = Many(target, 16, name=HOSTILE)
    r = record("alloc", many.pid, *ALL, *args)
    many.go()
    done = r.wait() if "-d" in args else r.interrupt()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", done.raw), done.raw
    assert "hold_some" in done.out and "red" in done.out


@pytest.mark.parametrize("format", ["folded", "stap", "svg", "html", "speedscope", "heap"])
def test_hostile_names_in_every_format(target, record, format):
    many = Many(target, 16, name=HOSTILE)
    done = recorded(many, record, "--format", format, "--by", "thread")
    assert b"\x1b" not in done.raw and b"<b>&\xff" not in done.raw
    if format == "folded":
        values = [line.rsplit(" ", 1)[1] for line in done.out.splitlines()]
        assert sum(map(int, values)) == sum(1000 + i for i in range(16))
    if format == "svg":
        import xml.etree.ElementTree
        xml.etree.ElementTree.fromstring(done.raw)
    if format == "speedscope":
        json.loads(done.raw)


def test_hostile_names_in_refusals(target, tmp_path):
    many = Many(target, 1, name="\x1b[2Jx")
    r = refused("alloc", many.pid, "--allocator", "mimalloc", said="mimalloc")
    assert "\x1b" not in r.err
    r = refused("alloc", "\x1b[31mno-such\nprocess", said="no process is called")
    assert "\x1b" not in r.err


# ---- signals ----

@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_any_phase(how):
    """A result, or (before anything was attached) nothing at all; and nothing
    stays behind."""
    with Hold(PROGRAMS / "hold") as hold:
        hold.command("warm 1")
        for ms in (0, 3, 6, 10, 20, 40, 80, 120, 160, 200, 260, 320, 400, 500, 700):
            r = subprocess.Popen([conftest.MEMWHO, "alloc", str(hold.pid), "--json", *ALL],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(ms / 1000)
            r.send_signal(how)
            out, err = r.communicate(timeout=60)
            if r.returncode == 0:
                assert json.loads(out)["ended_by"] == "signal"
            else:
                assert r.returncode == -how and out == b"" and ms <= 320, (ms, r.returncode, err)
            assert changed_code(hold.pid) == []
        hold.command("go 1")


def test_a_signal_while_a_program_is_started(tmp_path):
    """`run` that is ended in any phase leaves no held program behind."""
    for ms in (0, 20, 60, 120, 200, 350, 500, 800):
        mark = f"{1000 + ms}.0{os.getpid()}"
        with open(tmp_path / "err", "wb") as to:  # the program has it, too, and goes on
            r = subprocess.Popen([conftest.MEMWHO, "run", "-o", tmp_path / "held.json", "--", "sleep", mark],
                                 stdout=subprocess.DEVNULL, stderr=to)
        time.sleep(ms / 1000)
        r.send_signal(signal.SIGTERM)
        r.wait(timeout=60)
        err = (tmp_path / "err").read_bytes()
        assert r.returncode in (0, -signal.SIGTERM), (ms, err)
        found = subprocess.run(["pgrep", "-f", f"^sleep {mark}"], capture_output=True, text=True).stdout.split()
        for pid in map(int, found):
            with open(f"/proc/{pid}/status") as f:
                status = f.read()
            assert "TracerPid:\t0" in status and "State:\tS" in status, status
            assert f"process {pid} goes on" in err.decode()
            os.kill(pid, signal.SIGKILL)


def test_two_signals_at_once_are_one(record):
    """timeout(1) sends two."""
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL)
        hold.command("mark")
        hold.command("many 9")
        r.process.send_signal(signal.SIGTERM)
        result = r.interrupt(signal.SIGTERM).json()
    assert result["ended_by"] == "signal"


# ---- conditions ----

@pytest.mark.parametrize("condition", ["rss>1", "rss<1T", "held<1G"])
def test_a_condition_that_is_true_already(condition):
    with Hold(PROGRAMS / "hold") as hold:
        begun = time.monotonic()
        result = conftest.run_memwho("alloc", hold.pid, "--json", "-d", "60s", "--until", condition).json()
        assert result["ended_by"] == "condition" and time.monotonic() - begun < 30


def test_until_so_much_is_held(record):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", "--until", "held>1M", *ALL)
        hold.command("mark")
        hold.command("many 100")
        time.sleep(0.5)
        assert r.process.poll() is None
        hold.command("many 100000")
        result = r.wait(timeout=60).json()
    assert result["ended_by"] == "condition" and result["held_bytes"] > 1 << 20


def rss(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def test_until_it_is_so_large(record):
    with Hold(PROGRAMS / "hold") as hold:
        limit = rss(hold.pid) + (8 << 20)
        r = record("alloc", hold.pid, "--json", "--until", f"rss>{limit}", *ALL)
        hold.command("mark")
        time.sleep(0.5)
        assert r.process.poll() is None
        while rss(hold.pid) < limit + (1 << 20):
            hold.command("many 5000")
        result = r.wait(timeout=60).json()
    assert result["ended_by"] == "condition" and result["held_bytes"] > 1 << 20


# ---- where the output goes ----

@pytest.mark.parametrize("args", [["--json"], [], ["--every", "100ms", "-d", "30s"], ["--format", "svg"]])
def test_nobody_reads(args):
    """A closed pipe is an error, not a signal; and the target is left."""
    with Hold(PROGRAMS / "hold") as hold:
        reader, writer = os.pipe()
        os.close(reader)
        p = subprocess.run([conftest.MEMWHO, "alloc", str(hold.pid), "-d", "300ms", *args], stdout=writer,
                           stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(writer)
        assert p.returncode == 1 and "standard output: cannot write: Broken pipe" in p.stderr
        assert changed_code(hold.pid) == []


def test_full_and_closed_outputs(tmp_path):
    with Hold(PROGRAMS / "hold") as hold:
        command = f"{conftest.MEMWHO} alloc {hold.pid} -d 200ms"

        def shell(text):
            return subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)
        p = shell(command + " --json > /dev/full")
        assert p.returncode == 1 and "No space left" in p.stderr
        p = shell(command + " >&-")
        assert p.returncode == 1 and "Bad file descriptor" in p.stderr
        # remarks must not end in the file that has the number of a closed descriptor
        out = tmp_path / "held.json"
        p = shell(f"{command} -q -o {out} <&- 2>&-")
        assert p.returncode == 0 and json.loads(out.read_text())["ended_by"] == "duration"
        p = shell(f"{command} -v -o {out} <&- 2>&-")
        assert p.returncode == 0 and json.loads(out.read_text())["ended_by"] == "duration"
        p = shell(f"ulimit -f 1; {command} --format html -o {out}")
        assert p.returncode == 1 and "File too large" in p.stderr
        assert json.loads(out.read_text()) and os.listdir(tmp_path) == ["held.json"]
        assert changed_code(hold.pid) == []


def on_a_terminal(args, env):
    """What memwho writes to a terminal, standard error apart."""
    master, slave = pty.openpty()
    p = subprocess.Popen([conftest.MEMWHO, *map(str, args)], stdin=subprocess.DEVNULL, stdout=slave,
                         stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm", **env})
    os.close(slave)
    out = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        out += data
    os.close(master)
    p.stderr.close()
    assert p.wait(timeout=60) == 0
    return out


def test_colours_are_for_terminals_and_who_wants_them(target, record):
    with Hold(PROGRAMS / "hold") as hold:
        hold.send("sleep 1")
        args = ["alloc", hold.pid, "-d", "300ms", *ALL]
        assert b"\x1b[" in on_a_terminal(args, {"NO_COLOR": ""})
        assert b"\x1b[" not in on_a_terminal(args, {"NO_COLOR": "1"})
        assert b"\x1b[" not in on_a_terminal(args, {"TERM": "dumb"})
        assert "\x1b[" not in conftest.run_memwho(*args).out


def test_quiet_and_talkative():
    with Hold(PROGRAMS / "hold") as hold:
        r = conftest.run_memwho("alloc", hold.pid, "-d", "200ms", "--json", "--quiet")
        assert r.err == "" and r.json()["ended_by"] == "duration"
        r = conftest.run_memwho("alloc", hold.pid, "-d", "200ms", "--json")
        assert INFO in r.err
        # a failure is told all the same
        assert "no process 4194303" in conftest.run_memwho("alloc", 4194303, "-q", code=1).err


def test_the_ready_file_comes_when_it_has_begun(tmp_path):
    ready = tmp_path / "ready"
    with Hold(PROGRAMS / "hold") as hold:
        r = Recording(["alloc", hold.pid, "--json"], ready).wait_ready()
        hold.command("mark")
        hold.command("many 21")
        result = r.interrupt().json()
        assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 21
        ready.unlink()
        refused("alloc", hold.pid, "--ready-file", ready, "--allocator", "mimalloc", said="mimalloc")
        assert not ready.exists()
