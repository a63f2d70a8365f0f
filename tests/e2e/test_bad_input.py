# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""What cannot be recorded: one clear sentence, a hint, exit 1 or 2, and nothing
left in the target. And what looks as if it could not, but can."""
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

import conftest
from conftest import PROGRAMS, changed_code
from hold import Hold, compare, stacks_of_json

pytestmark = pytest.mark.usefixtures("needs_bpf")
PAUSE_64 = ".globl _start\n_start:\nmov $34, %eax\nsyscall\njmp _start\n"
PAUSE_32 = ".globl _start\n_start:\nmov $29, %eax\nint $0x80\njmp _start\n"


def refused(result, *said, codes=(1,)):
    """One sentence, at most one hint, no output."""
    assert result.code in codes, result
    lines = [line for line in result.err.splitlines() if line.startswith("memwho: ")]
    for word in said:
        assert any(word in line for line in result.err.splitlines()), result
    assert lines and result.out == "", result
    assert "Sanitizer" not in result.err and result.err.count("hint: ") <= 1, result


def alloc(memwho, pid, *args, **kw):
    return memwho("alloc", pid, "-d", "200ms", *args, **{"code": None, **kw})


def assemble(folder, text, *flags):
    (folder / "p.s").write_text(text)
    subprocess.run(["as", *flags[:1], "p.s", "-o", "p.o"], cwd=folder, check=True)
    subprocess.run(["ld", *flags[1:], "p.o", "-o", "p"], cwd=folder, check=True)
    return folder / "p"


@pytest.mark.parametrize("duration", ["0", "-1", "0s", "1y", "x", ""])
def test_a_duration_that_is_none(memwho, duration):
    refused(memwho("alloc", os.getpid(), "-d", duration, code=None), "not a time above 0", codes=(2,))


@pytest.mark.parametrize("args, said", [
    (("--max-slowdown", "0.5"), "not a factor"), (("--format", "svgg"), "no format 'svgg'"),
    (("-o", "x.doc"), "no format has the ending"), (("--focus", "("), "--focus ("),
    (("--engine", "magic"), "magic"), (("--allocator", "nonesuch"), "nonesuch"),
    (("--until", "rss>"), "rss>"), (("--min-size", "-5"), "not a size"),
])
def test_options_are_judged_before_anything_is_touched(memwho, target, tmp_path, args, said):
    refused(memwho("alloc", target("hold").pid, "-d", "30s", *args, code=None, timeout=20,
                   cwd=tmp_path), said, codes=(1, 2))
    assert list(tmp_path.iterdir()) == []


def test_no_such_engine(memwho, target):
    refused(alloc(memwho, target("hold").pid, "--engine", "valgrind"), "valgrind", "agent", codes=(2,))


def test_no_such_process(memwho):
    refused(alloc(memwho, 4194303), "4194303")
    refused(alloc(memwho, "a-process-that-nobody-runs"), "a-process-that-nobody-runs")


def test_a_name_that_several_have_lists_them(memwho, tmp_path, target):
    shutil.copy(PROGRAMS / "hold", tmp_path / "twin")
    pids = [target(str(tmp_path / "twin")).pid for _ in range(2)]
    refused(alloc(memwho, "twin"), *map(str, pids))


def test_a_name_that_one_has(memwho, tmp_path, target):
    shutil.copy(PROGRAMS / "hold", tmp_path / "only-one-of-it")
    t = target(str(tmp_path / "only-one-of-it"))
    t.line()
    assert alloc(memwho, "only-one-of-it", "--json", code=0).json()["ended_by"] == "duration"


def test_a_kernel_thread(memwho):
    refused(alloc(memwho, 2), "kernel thread")


def test_a_zombie(memwho):
    p = subprocess.Popen(["true"])
    while pathlib.Path(f"/proc/{p.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.01)
    refused(alloc(memwho, p.pid), str(p.pid))
    p.wait()


def test_a_32_bit_program(memwho, target, tmp_path):
    t = target(str(assemble(tmp_path, PAUSE_32, "--32", "-m", "elf_i386")))
    refused(alloc(memwho, t.pid), "32-bit")
    assert changed_code(t.pid) == []


def test_a_program_without_allocator(memwho, target, tmp_path):
    t = target(str(assemble(tmp_path, PAUSE_64)))
    refused(alloc(memwho, t.pid), "alloc")
    assert changed_code(t.pid) == []


def test_a_target_that_exits_during_the_attach(memwho):
    for ms in (1, 5, 10, 20, 40, 80, 120, 200, 300, 400):
        p = subprocess.Popen(["sleep", str(ms / 1000)])
        r = memwho("alloc", p.pid, "-d", "5s", "--json", code=None, timeout=30)
        p.wait()
        assert r.code in (0, 1) and "Sanitizer" not in r.err, r
        if r.code == 0:
            assert r.json()["ended_by"] == "exit", r
        else:
            refused(r)


@pytest.mark.parametrize("missing", ["btf", "bpf_loop", "bpf"])
def test_a_kernel_without_it(memwho, target, missing):
    t = target("hold")
    refused(alloc(memwho, t.pid, "--engine", "bpf", env={"MEMWHO_WITHOUT": missing}))
    assert changed_code(t.pid) == []


@pytest.mark.parametrize("missing", ["uprobe_multi,uprobe_session", "btf_enum64", "map_files",
                                     "pagemap_scan,procmap_query,openat2", "debuginfod,cache"])
def test_without_it_a_recording_is_as_exact(monkeypatch, missing):
    monkeypatch.setenv("MEMWHO_WITHOUT", missing)
    with Hold(PROGRAMS / "hold") as hold:
        exact(hold)


@pytest.mark.parametrize("dropped, said", [
    ("-all", "CAP_"), ("-cap_38,-cap_21", "CAP_PERFMON"), ("-cap_39,-cap_21", "CAP_BPF")])
def test_a_missing_capability_is_named(target, dropped, said):
    t = target("hold")
    p = subprocess.run(["setpriv", f"--bounding-set={dropped}", "--inh-caps=-all", conftest.MEMWHO,
                        "alloc", "--engine", "bpf", str(t.pid), "-d", "200ms"],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 1 and said in p.stderr and "hint: " in p.stderr, p.stderr
    assert changed_code(t.pid) == []


def test_a_busy_target_is_refused_with_the_figure(memwho, target):
    t = target("hold")
    t.line()
    t.say("spin 20000")
    r = alloc(memwho, t.pid, timeout=30)
    refused(r, "--max-slowdown")
    assert changed_code(t.pid) == []


def exact(hold, memwho_args=()):
    """Record a known sequence of @hold; the result as a dict."""
    hold.command("warm 20")  # what the program does only once is behind it
    ready = pathlib.Path(f"/tmp/memwho-ready-{hold.pid}")
    ready.unlink(missing_ok=True)
    recording = conftest.Recording(["alloc", hold.pid, "--json", "--max-slowdown", "1000x", *memwho_args], ready)
    try:
        recording.wait_ready()
        hold.command("mark")
        hold.command("go 10")
        result = recording.interrupt().json()
    finally:
        ready.unlink(missing_ok=True)
        if recording.process.poll() is None:
            recording.process.kill()
    score = compare(stacks_of_json(result), hold.truth())
    assert score.path_error == 0 and score.true_bytes > 0, score.explain()
    assert changed_code(hold.pid) == []
    return result


def test_under_another_tracer_it_works():
    with Hold(PROGRAMS / "hold") as hold:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.ptrace(0x4206, hold.pid, None, None) == 0, os.strerror(ctypes.get_errno())  # SEIZE
        exact(hold)


def test_a_replaced_binary_keeps_its_names(tmp_path):
    shutil.copy(PROGRAMS / "hold", tmp_path / "gone")
    with Hold(tmp_path / "gone") as hold:
        os.unlink(tmp_path / "gone")
        shutil.copy("/bin/true", tmp_path / "gone")
        exact(hold)


def test_in_another_mount_namespace_it_works(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    script = f"mount -t tmpfs none {inside} && cp {PROGRAMS}/hold {inside}/ && exec {inside}/hold"
    with Hold(script, wrapper=["unshare", "-m", "sh", "-c"]) as hold:
        assert not list(inside.iterdir())
        exact(hold)


def test_a_full_disk_keeps_the_old_file(memwho, target, tmp_path):
    t = target("hold")
    t.line()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", tmp_path], check=True)
    try:
        old = tmp_path / "held.html"
        old.write_text("old")
        r = alloc(memwho, t.pid, "-o", old)
        assert r.code == 1 and "No space left" in r.err, r
        assert "memory held" in r.out  # what was recorded is not lost
        assert old.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["held.html"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert changed_code(t.pid) == []


def test_a_killed_memwho_leaves_nothing(target, record):
    t = target("hold")
    t.line()
    r = record("alloc", t.pid)
    assert changed_code(t.pid) != []
    r.process.send_signal(signal.SIGKILL)
    r.process.communicate()
    end = time.monotonic() + 10
    while changed_code(t.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert changed_code(t.pid) == []
    t.say("go 3")
    assert t.line().startswith("ok")
