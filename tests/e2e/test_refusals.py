# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Every wrong option and target has its sentence and hint (see test_bad_input.py
for what is looked at first); processes that end at any moment of the attach;
kernels that have less."""
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import conftest
from conftest import PROGRAMS, changed_code
from hold import Hold, library
from refusal import refused


def missing(*words):
    """Skip when the compiler or whatever is not installed."""
    for word in words:
        if not shutil.which(word):
            pytest.skip(f"{word} is not installed")


def run_shell(command, folder):
    subprocess.run(command, shell=True, cwd=folder, check=True)


# ---- the command line ----

@pytest.mark.parametrize("args, said", [
    (["-d", "0"], "duration"), (["-d", "-1"], "duration"), (["-d", "abc"], "duration"),
    (["-d", ""], "duration"), (["-d", "inf"], "duration"), (["-d", "1e3"], "duration"),
    (["-d", "0.0s"], "duration"), (["-d", "9999d"], "duration"), (["-d"], "needs a value"),
    (["--every", "0"], "every"), (["--older-than", "-1"], "older-than"),
    (["--engine", "fast"], ("no engine 'fast'", "auto, bpf, agent")),
    (["--allocator", "foo"], ("no allocator 'foo'", "--help")),
    (["--allocator", "libc,foo"], "no allocator 'foo'"),
    (["--allocator", ""], "allocator"), (["--allocator", ","], "allocator"),
    (["--format", "foo"], ("no format 'foo'", "svg")),
    (["--format", "jsn"], ("no format 'jsn'", "did you mean json?")),
    (["-o", "x.foo"], ("ending", ".svg")), (["-o", ""], "empty"),
    (["--json", "--format", "svg"], "exclude"),
    (["--until", "foo"], ("'foo' is not a condition", "rss>2G")),
    (["--until", "rss>"], "condition"), (["--until", "rss=2G"], "condition"),
    (["--until", "held>-1"], "condition"), (["--until", "rss>2X"], "condition"),
    (["--until", "held>99999999999999G"], "condition"),
    (["--min-size", "10", "--max-size", "5"], "--min-size is above --max-size"),
    (["--min-size", "x"], "not a size"), (["--max-slowdown", "0"], "max-slowdown"),
    (["--focus", "("], "--focus"), (["--ignore", "["], "--ignore"),
    (["--rows", "x"], "--rows"), (["--min-width", "wide"], "--min-width"),
    (["--type", "foo"], ("--type foo", "inuse_space")),
    (["--type", "growth_space"], "--every"),
    (["--nonsense"], "no option --nonsense"), (["--ready-file"], "needs a value"),
])
def test_a_wrong_option(args, said, needs_bpf):
    """The target would do: the option is what is wrong."""
    refused("alloc", os.getpid(), *args, code=2, said=said)


@pytest.mark.parametrize("args, code, said", [
    ([], 2, "which process?"), (["0"], 2, "not a process id"), ([""], 2, "empty"),
    (["99999999999999"], 2, "not a process id"), (["-5"], 2, "no option -5"),
    (["4194303"], 1, "there is no process 4194303"),
    (["no-such-program"], 1, ("no process is called 'no-such-program'", "pidfile:PATH")),
    (["pidfile:"], 2, "nothing follows"), (["cgroup:"], 2, "nothing follows"),
    (["container:"], 2, "nothing follows"),
    (["pidfile:/nonexistent/pid"], 1, "/nonexistent/pid: No such file"),
    (["pidfile:/proc"], 1, "/proc: Is a directory"),
    (["cgroup:/nonexistent"], 1, "no cgroup '/nonexistent'"),
    (["container:0123456789ab"], 1, "no process runs in a container"),
    (["container:zz"], 2, "not a container id"),
])
def test_a_wrong_target(args, code, said, needs_bpf):
    refused("alloc", *args, code=code, said=said)


@pytest.mark.parametrize("args, code, said", [
    ([], 2, "which program?"), (["--"], 2, "which program?"),
    (["--", "/nonexistent/program"], 1, "No such file or directory"),
    (["--", "/"], 1, "Permission denied"), (["--", ""], 1, "No such file"),
    (["-o", "/nonexistent/x.svg", "--", "true"], 1, "/nonexistent/x.svg"),
])
def test_run_with_nothing_to_run(args, code, said, needs_bpf):
    refused("run", *args, code=code, said=said)


def test_a_wrong_command_line_starts_nothing(needs_bpf, tmp_path):
    for args in (["-o", "/nonexistent/x.svg"], ["--type", "foo"], ["-d", "0"],
                 ["--ready-file", "/nonexistent/r"], ["--allocator", "foo"]):
        r = conftest.run_memwho("run", *args, "--", "touch", tmp_path / "started", code=None)
        assert r.code in (1, 2) and r.out == ""
        assert not (tmp_path / "started").exists(), args


def test_memwho_does_not_record_itself(needs_bpf, tmp_path):
    script = f"exec {conftest.MEMWHO} alloc $$ -d 1s"
    p = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert p.returncode == 2 and "memwho itself" in p.stderr and p.stdout == ""


# ---- places that cannot be written ----

def test_where_nothing_can_be_written(needs_bpf, tmp_path):
    """Found before the recording, not after it; and the target was not touched."""
    (tmp_path / "folder.svg").mkdir()
    with Hold(PROGRAMS / "hold") as hold:
        begun = time.monotonic()
        for args, said in (
                (["-o", "/nonexistent/x.svg"], "/nonexistent/x.svg"),
                (["-o", tmp_path / "folder.svg"], "Is a directory"),
                (["-o", "/proc/x.svg"], "/proc/x.svg"),
                (["--ready-file", "/nonexistent/r"], ("ready file", "No such file")),
                (["--ready-file", "/proc/r"], "ready file")):
            refused("alloc", hold.pid, "-d", "30s", *args, said=said)
        assert time.monotonic() - begun < 25
        assert changed_code(hold.pid) == []
    assert os.listdir(tmp_path) == ["folder.svg"]


def test_a_ready_file_of_an_earlier_run_is_not_ours(needs_bpf, tmp_path):
    ready = tmp_path / "ready"
    ready.write_text("old")
    with Hold(PROGRAMS / "hold") as hold:
        r = conftest.Recording(["alloc", hold.pid, "--json"], ready)
        end = time.monotonic() + 60
        while not ready.exists() or ready.read_text():
            assert r.process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        assert b"\xcc" in first_bytes(hold.pid)
        r.interrupt()
        # it is there to be seen: a failing run leaves none
        refused("alloc", 4194303, "--ready-file", ready)
    assert not ready.exists()


def first_bytes(pid):
    from test_alloc_life import symbol_bytes
    return symbol_bytes(pid, "libc.so.6", "malloc")


# ---- processes that cannot be recorded ----

def test_32_bit(target, needs_bpf, tmp_path):
    missing("as", "ld")
    (tmp_path / "p.s").write_text(".globl _start\n_start: mov $29, %eax\nint $0x80\njmp _start\n")
    run_shell("as --32 p.s -o p.o && ld -m elf_i386 p.o -o old-program", tmp_path)
    program = tmp_path / "old-program"
    pid = target(program).pid
    refused("alloc", pid, said=("old-program", "32-bit"))
    program.unlink()  # its auxiliary vector says so, too
    refused("alloc", pid, said="32-bit")


def test_no_allocator_symbol(target, needs_bpf, tmp_path):
    """No libc at all; a static program without its symbols, asked for an allocator that it has not."""
    missing("as", "ld", "strip")
    (tmp_path / "p.s").write_text(".globl _start\n_start: mov $34, %eax\nsyscall\njmp _start\n")
    run_shell("as p.s -o p.o && ld p.o -o no-libc", tmp_path)
    pid = target(tmp_path / "no-libc").pid
    refused("alloc", pid, said=(f"process {pid}", "no allocator", "doctor"))
    run_shell(f"strip -o static {PROGRAMS / 'hold-static'}", tmp_path)
    with Hold(tmp_path / "static") as hold:
        refused("alloc", hold.pid, "--allocator", "jemalloc", said=("no allocator of 'jemalloc'", "doctor"))
        assert changed_code(hold.pid) == []


def test_an_allocator_that_is_another(needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        refused("alloc", hold.pid, "--allocator", "mimalloc", said="no allocator of 'mimalloc'")
        refused("alloc", hold.pid, "--allocator", "postgres", said="no allocator of 'postgres'")


GO = """package main
import ("fmt"; "bufio"; "os")
func main() { fmt.Println("ready"); bufio.NewReader(os.Stdin).ReadString('\\n') }
"""


def test_go_is_refused_with_the_reason(target, needs_bpf, tmp_path):
    missing("go")
    (tmp_path / "main.go").write_text(GO)
    env = {**os.environ, "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off",
           "GOFLAGS": "", "CGO_ENABLED": "0"}
    for flags in ([], ["-ldflags=-s -w"]):
        subprocess.run(["go", "build", *flags, "-o", "server", "main.go"], cwd=tmp_path, env=env,
                       check=True)
        t = target(tmp_path / "server")
        assert t.line() == "ready"
        refused("alloc", t.pid, said=("records no heap profile", "net/http/pprof", "memwho refs", "--allocator libc"))
        refused("alloc", t.pid, "--engine", "bpf", said=("Go program", "its heap is not malloc's"))
        # asked for all the same: there is no malloc in it
        refused("alloc", t.pid, "--allocator", "libc", said="no allocator of 'libc'")


# ---- processes that end ----

def started_sleep():
    """A process that has its libraries."""
    process = subprocess.Popen(["sleep", "1000"])
    while "/libc" not in pathlib.Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.001)
    return process


@pytest.mark.parametrize("reaped", [True, False])
@pytest.mark.parametrize("step, times", [(0.008, 10), (0.06, 14)])
def test_exit_while_it_attaches(needs_bpf, reaped, step, times):
    """Ended in any phase: a sentence, or a result that says "exit". Killed and
    not reaped, it is a zombie to which probes can be attached without an error."""
    for i in range(times):
        process = started_sleep()
        r = subprocess.Popen([conftest.MEMWHO, "alloc", str(process.pid), "--json"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        time.sleep(i * step)
        process.kill()
        if reaped:
            process.wait()
        out, err = r.communicate(timeout=60)
        process.wait()
        assert r.returncode in (0, 1), (i, err)
        if r.returncode == 0:
            assert '"ended_by":"exit"' in out, out[:500]
        else:
            assert out == ""
            last = [line for line in err.splitlines() if "hint:" not in line][-1]
            assert "ended" in last or "no process" in last or "zombie" in last, (i, err)


def test_one_of_several_ends_while_it_attaches(needs_bpf):
    """The others are recorded all the same."""
    with Hold(PROGRAMS / "hold") as hold:
        for i in range(12):
            others = [started_sleep() for _ in range(2)]
            r = subprocess.Popen(
                [conftest.MEMWHO, "alloc", *(str(p.pid) for p in others), str(hold.pid),
                 "-d", "200ms", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(0.05 * i)
            for p in others:
                p.kill()
                p.wait()
            out, err = r.communicate(timeout=60)
            assert r.returncode == 0, (i, err)
            assert '"ended_by":"duration"' in out


def test_of_several_one_is_gone(needs_bpf, record):
    gone = subprocess.Popen(["true"])
    gone.wait()
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", gone.pid, hold.pid, 2, "--json")
        hold.command("mark")
        hold.command("many 60")
        done = r.interrupt()
    result = done.json()
    assert f"process {gone.pid} is left out" in done.err and "process 2 is left out" in done.err
    assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 60
    assert result["ended_by"] == "signal"
    r = conftest.run_memwho("alloc", gone.pid, 4194302, code=1)
    assert "none of the 2 processes" in r.err and "hint:" in r.err and r.out == ""


# ---- kernels that have less ----

@pytest.mark.parametrize("feature, said", [
    ("btf", ("BTF", "CONFIG_DEBUG_INFO_BTF")), ("bpf_loop", ("bpf_loop", "5.17")),
    ("bpf", ("no BPF programs", "CONFIG_BPF_SYSCALL")),
])
def test_a_kernel_without(needs_bpf, feature, said):
    with Hold(PROGRAMS / "hold") as hold:
        only = ("--engine", "bpf")
        refused("alloc", hold.pid, *only, said=said, env={"MEMWHO_WITHOUT": feature})
        refused("run", *only, "--", "true", said=said, env={"MEMWHO_WITHOUT": feature})
        assert changed_code(hold.pid) == []


@pytest.mark.parametrize("features", [
    "uprobe_multi", "uprobe_session", "uprobe_multi,uprobe_session", "map_files", "openat2",
    "pagemap_scan,procmap_query", "cache,debuginfod"])
@pytest.mark.parametrize("preload", [None, "libtcmalloc.so.4"])
def test_a_kernel_with_less_does_it_too(needs_bpf, record, features, preload):
    if preload and not library(preload):
        pytest.skip(f"{preload} is not installed")
    if preload and "uprobe" not in features:
        return
    from hold import compare, stacks_of_json
    with Hold(PROGRAMS / "hold", preload=preload) as hold:
        r = record("alloc", hold.pid, "--json", "--max-slowdown", "1000",
                   env={"MEMWHO_WITHOUT": features})
        hold.command("mark")
        hold.command("many 500")
        hold.command("go 1" if not preload else "many 10")
        truth = hold.truth()
        result = r.interrupt().json()
        assert changed_code(hold.pid) == []
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()


def test_a_feature_that_does_not_exist(needs_bpf):
    refused("alloc", os.getpid(), code=2, said="no feature is called 'foo'",
            env={"MEMWHO_WITHOUT": "foo"})
