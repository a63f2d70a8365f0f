# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: targets, memwho and its peers as things that can
be attached and detached, paired measuring, tables.

A figure is never one run. The target is one process; it is measured without
and with the recorder in turn (off, on, off, on ...), by its own CPU clock, so
that what else the machine does falls on both sides. Medians are printed, with
the lowest and highest, and all single figures go to build/bench/NAME.json.
"""
import json
import os
import pathlib
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("BUILD", SOURCE / "build")).resolve()
MEMWHO = os.environ.get("MEMWHO", str(BUILD / "memwho"))
PROGRAMS = BUILD / "tests" / "programs"
OUT = BUILD / "bench"
# "quick" to see that a script works; the figures in docs/ are of the full run
QUICK = os.environ.get("BENCH") == "quick"
PAIRS = 1 if QUICK else int(os.environ.get("BENCH_PAIRS", 7))

os.environ.setdefault("BUILD", str(BUILD))
sys.path.insert(0, str(SOURCE / "tests" / "e2e"))
from hold import Hold, library  # noqa: E402,F401


# ---- targets ----

def compiled(name, *flags):
    """bench/NAME.c, built as users build theirs."""
    OUT.mkdir(parents=True, exist_ok=True)
    file = pathlib.Path(__file__).with_name(f"{name}.c")
    program = OUT / "".join((name, *flags))
    if not program.exists() or program.stat().st_mtime < file.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-fomit-frame-pointer", "-fno-builtin",
                        "-fno-optimize-sibling-calls", "-pthread", *flags, "-o", program, file], check=True)
    return program


class Hot(Hold):
    """bench/hot.c; @how: as Hold has it."""

    def __init__(self, *flags, **how):
        super().__init__(compiled("hot", *flags), **how)

    def spin_ns(self, depth, ms, child=False):
        """CPU ns of a malloc/free pair."""
        pairs, ns = self.command(f"{'child ' if child else ''}spin {depth} {ms}",
                                 ms / 1000 + 60).split()
        return int(ns) / int(pairs)

    def crowd_ns(self, threads, depth, ms):
        """The same by @threads at once."""
        pairs, ns = self.command(f"crowd {threads} {depth} {ms}", ms / 1000 + 60).split()
        return int(ns) / int(pairs)


def cpu_ns(pid, tid=None):
    """CPU time of a process's main thread so far, to the nanosecond."""
    return int(pathlib.Path(f"/proc/{pid}/task/{tid or pid}/schedstat").read_text().split()[0])


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def map_bytes(pid):
    """Kernel memory of the BPF maps that a process holds."""
    total, seen = 0, set()
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            fields = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        if "map_id" in fields and fields["map_id"] not in seen:
            seen.add(fields["map_id"])
            total += int(fields["memlock"])
    return total


# ---- recorders ----

class Recorder:
    """Something that attaches to a process. attach() returns when it has taken
    effect; detach() when it has left the target."""
    name = "?"

    def missing(self):
        """Why it cannot run here; "" if it can."""
        return ""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="memwho-bench-"))
        self.attach_seconds = self.detach_seconds = 0
        self.process = None

    def attach(self, pid):
        begin = time.monotonic()
        self.start(pid)
        self.attach_seconds = time.monotonic() - begin
        return self

    def detach(self):
        begin = time.monotonic()
        self.stop()
        self.detach_seconds = time.monotonic() - begin
        return self

    def spawn(self, argv, env=None, **kw):
        # a session of its own: a Ctrl-C of ours reaches it only from here. A shell
        # that started us in the background has SIGINT ignored, and bash keeps it so.
        self.process = subprocess.Popen(
            [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=open(self.folder / "out", "wb"),
            stderr=open(self.folder / "err", "wb"), start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            env={**os.environ, **(env or {})}, **kw)

    def output(self, which="out"):
        return (self.folder / which).read_text(errors="replace")

    def wait_until(self, what, condition, timeout=90):
        end = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.output()} {self.output('err')}")
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"{self.name}: no {what}")
            time.sleep(0.002)

    def interrupt(self, timeout=300, group=False):
        """Ctrl-C, and wait for the end."""
        end = time.monotonic() + timeout
        (os.killpg if group else os.kill)(self.process.pid, signal.SIGINT)
        while True:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} does not end")
            time.sleep(0.001)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.peak_bytes = usage.ru_maxrss * 1024

    def kill(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Memwho(Recorder):
    name = "memwho"

    def __init__(self, *options, name=None, env=None):
        super().__init__()
        self.options, self.env = options, env
        self.name = name or " ".join(("memwho", *options))

    def start(self, pid):
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        self.spawn([MEMWHO, "alloc", pid, "--max-slowdown", "1000000000000", "--quiet",
                    "-o", self.folder / "result.json", "--format", "json",
                    "--ready-file", ready, *self.options], env=self.env)
        self.wait_until("ready file", ready.exists)

    def stop(self):
        self.interrupt()
        if self.process.returncode:
            raise RuntimeError(f"{self.name}: {self.output('err')}")
        self.result = json.loads((self.folder / "result.json").read_text())

    def stacks(self):
        from hold import stacks_of_json
        return stacks_of_json(self.result)


class Heaptrack(Recorder):
    """As Debian ships it, dash does not run its `trap cleanup EXIT` on Ctrl-C:
    run by bash it leaves the target."""
    name = "heaptrack -p"

    def missing(self):
        return "" if shutil.which("heaptrack") and shutil.which("gdb") else "apt-get install heaptrack gdb"

    def start(self, pid):
        self.spawn(["bash", shutil.which("heaptrack"), "-o", self.folder / "data", "-p", pid])
        self.wait_until("injection", lambda: "injection finished" in self.output(), 120)

    def stop(self):
        self.interrupt(timeout=60, group=True)

    def stacks(self):
        """What is held at the end: heaptrack_print's leaks as a flame graph."""
        data, = self.folder.glob("data*.zst")
        folded = self.folder / "folded"
        subprocess.run(["heaptrack_print", "-f", data, "--flamegraph-cost-type", "leaked", "-F",
                        folded], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        from hold import stacks_of_folded
        stacks = stacks_of_folded(folded.read_text())
        return [([f.split("(")[0].strip() for f in frames], size) for frames, size in stacks]


class Memleak(Recorder):
    """bcc's. MEMLEAK is the command to run it by, where `memleak-libbpf` is not
    in the PATH; docs/benchmarks.md says how to have Debian 13's on Debian 12."""
    name = "memleak (libbpf)"

    def __init__(self, *options, name=None):
        super().__init__()
        self.options = options
        self.name = name or self.name
        self.command = shlex.split(os.environ.get("MEMLEAK", "memleak-libbpf"))

    def missing(self):
        return "" if shutil.which(self.command[0]) else "no memleak-libbpf (Debian 13: libbpf-tools)"

    def start(self, pid):
        env = {"TERM": "dumb"}
        self.spawn([*shlex.split("stdbuf -oL") , *self.command, "-p", pid, *self.options], env=env)
        # says nothing of use before the first report: it has effect when the code has changed
        self.wait_until("breakpoint", lambda: has_breakpoint(pid))
        time.sleep(0.3)

    def stop(self):
        self.interrupt()


class Profiler(Recorder):
    """jemalloc's own, turned on and off in a process that began with it; one sample in
    @sample_bytes, a power of two."""

    def __init__(self, sample_bytes):
        super().__init__()
        self.shift = sample_bytes.bit_length() - 1
        self.name = f"jemalloc, lg_prof_sample:{self.shift}"
        self.preload = "libjemalloc.so.2"
        self.env = {"MALLOC_CONF": f"prof:true,prof_active:false,lg_prof_sample:{self.shift}"}
        self.hot = None

    def missing(self):
        path = library(self.preload)
        has = path and b"prof_active" in pathlib.Path(path).read_bytes()
        return "" if has else "apt-get install libjemalloc2 (one built with its profiler)"

    def start(self, pid):
        self.hot.command("profile 1")

    def stop(self):
        self.hot.command("profile 0")


class Bpftrace(Recorder):
    """One probe that counts: the least that any tracer of this kind costs."""
    name = "bpftrace, malloc counted"

    def missing(self):
        return "" if shutil.which("bpftrace") else "apt-get install bpftrace"

    def start(self, pid):
        libc = mapped_file(pid, "libc.so.6")
        self.spawn(["bpftrace", "-p", pid, "-e", f"uprobe:{libc}:malloc {{ @ = count(); }}"])
        self.wait_until("breakpoint", lambda: has_breakpoint(pid))
        time.sleep(0.3)

    def stop(self):
        self.interrupt()


def mapped_file(pid, name):
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if path.rsplit("/", 1)[-1] == name:
            return path
    raise FileNotFoundError(name)


def has_breakpoint(pid):
    """Is there a byte of libc's code that is not the file's?"""
    from conftest import changed_code
    try:
        return bool(changed_code(pid))
    except OSError:
        return False


def all_gone(pid):
    from conftest import changed_code
    return not changed_code(pid)


# ---- measuring ----

def spread(values):
    values = sorted(values)
    return {"median": statistics.median(values), "low": values[0], "high": values[-1], "all": values}


def paired(measure, recorder, pid, pairs=None):
    """[(without, with)], in turn, in one process; the recorder's times too."""
    rows = []
    for _ in range(pairs or PAIRS):
        off = measure()
        recorder.attach(pid)
        try:
            on = measure()
        finally:
            recorder.detach()
        rows.append({"off": off, "on": on, "attach_s": recorder.attach_seconds,
                     "detach_s": recorder.detach_seconds})
    rows.append({"after": measure()})
    return rows


def summary(rows):
    pairs = [r for r in rows if "on" in r]
    return {"off": spread([r["off"] for r in pairs]), "on": spread([r["on"] for r in pairs]),
            "added": spread([r["on"] - r["off"] for r in pairs]),
            "ratio": spread([r["on"] / r["off"] for r in pairs]),
            "attach_s": spread([r["attach_s"] for r in pairs]),
            "detach_s": spread([r["detach_s"] for r in pairs]),
            "after": rows[-1]["after"]}


def say(*words):
    print(*words, flush=True)


def table(head, rows):
    """As the documentation has it."""
    say("| " + " | ".join(head) + " |")
    say("|" + "---|" * len(head))
    for row in rows:
        say("| " + " | ".join(str(c) for c in row) + " |")
    say()


def figure(x, digits=3):
    """12345.6 -> 12,346; 1.2345 -> 1.23"""
    if x is None:
        return "-"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.{digits}g}"


def span(s, digits=3):
    return f"{figure(s['median'], digits)} ({figure(s['low'], digits)} to {figure(s['high'], digits)})"


def keep(name, data):
    """All single figures, for whoever wants other statistics."""
    OUT.mkdir(parents=True, exist_ok=True)
    machine = {"kernel": os.uname().release, "cpus": os.cpu_count(),
               "cpu": next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                            if line.startswith("model name")), "?"),
               "load": os.getloadavg(), "date": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    (OUT / f"{name}.json").write_text(json.dumps({"machine": machine, **data}, indent=1))
    say(f"# {machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, load "
        f"{machine['load'][0]:.1f}; single figures: {OUT.name}/{name}.json")


def usable(recorders):
    for r in recorders:
        why = r.missing()
        if why:
            say(f"# {r.name}: left out ({why})")
        else:
            yield r
