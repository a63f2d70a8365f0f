# SPDX-License-Identifier: GPL-2.0-or-later
"""Drive a truth program (tests/programs/hold.c lists its commands) and compare
what a recorder reported with what the program knows that it holds.

    with Hold(programs / "hold", preload="libjemalloc.so.2") as hold:
        hold.command("warm 20")
        ... attach memwho to hold.pid ...
        hold.command("mark")
        hold.command("go 100")
        score = compare(stacks_of_folded(text), hold.truth())
        assert score.path_error == 0, score.explain()
"""
import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time

# sites whose stacks are deeper than stacks are walked: their caller is cut off
DEEP_SITES = frozenset({"site_18"})
SITE = re.compile(r"(site_\d\d|plugin_site)$")
CALLER = re.compile(r"(caller_\w+|plugin_caller)$")
LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")


def library(name):
    """Full path of a system library, or None."""
    for folder in LIBRARY_FOLDERS:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    return None


class Hold:
    """A running truth program. `preload` is a library's name or path."""

    def __init__(self, program, preload=None, env=None, wrapper=()):
        environment = dict(os.environ)
        for name in ("LD_PRELOAD", "MALLOC_CONF"):
            environment.pop(name, None)
        if preload:
            path = preload if os.path.isabs(preload) else library(preload)
            if not path:
                raise FileNotFoundError(preload)
            environment["LD_PRELOAD"] = path
            if "mimalloc" in path:  # Debian's aborts when new fails, nothrow or not
                environment["HOLD_NO_FAILING_NEW"] = "1"
        environment.update(env or {})
        self.process = subprocess.Popen(
            [*wrapper, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment)
        self.pid = self.process.pid
        self.buffer = b""
        self.expect("ready")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def line(self, timeout=60):
        """The next line of the program's output."""
        end = time.monotonic() + timeout
        fd = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"hold {self.pid} is silent")
            data = os.read(fd, 65536)
            if not data:
                raise EOFError(f"hold {self.pid} ended: {self.process.wait()}")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def expect(self, word, timeout=60):
        line = self.line(timeout)
        if line.split(" ", 1)[0] != word:
            raise RuntimeError(f"hold {self.pid}: {line!r} instead of {word}")
        return line[len(word):].strip()

    def send(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def command(self, command, timeout=60):
        """Run a command; returns what its answer has behind "ok"."""
        self.send(command)
        return self.expect("ok", timeout)

    def truth(self, child=False):
        return json.loads(self.command("child truth" if child else "truth"))

    def spin(self, ms):
        """(malloc/free pairs, CPU nanoseconds) of a hot loop."""
        pairs, ns = self.command(f"spin {ms}", ms / 1000 + 60).split()
        return int(pairs), int(ns)

    def alive(self):
        return self.process.poll() is None

    def close(self):
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def other_rust(folder, target, version):
    """A copy of the project with that version, and no lock that names another."""
    copy = f"{target}-{version}/project"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("Cargo.lock", "target"))
    toml = os.path.join(copy, "Cargo.toml")
    with open(toml) as f:
        text = re.sub(r'(tikv-jemallocator = .*?version = )"[^"]*"', rf'\1"={version}"', f.read())
    with open(toml, "w") as f:
        f.write(text)
    subprocess.run(["cargo", "generate-lockfile", "--manifest-path", toml], check=True)
    return copy


def build_rust(source, build, profiler=True):
    """The truth program in Rust with a static jemalloc; built once. Raises
    RuntimeError with what is missing (no cargo, no network). RUST_JEMALLOC: another
    version of the crate with jemalloc (0.4.3 has 5.2.1). Without @profiler only the service
    (caches) is built, by default with 0.6.1: its jemalloc then has neither profiler nor statistics."""
    folder = os.path.join(source, "tests", "programs", "rust")
    target = os.path.join(build, "rust")
    version = os.environ.get("RUST_JEMALLOC") or (None if profiler else "0.6.1")
    if version:
        folder, target = other_rust(folder, target, version), f"{target}-{version}"
    without = [] if profiler else ["--no-default-features", "--bin", "caches"]
    target += "" if profiler else "-noprof"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", target,
               "--manifest-path", os.path.join(folder, "Cargo.toml"), *without]
    try:
        p = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=1200)
    except FileNotFoundError as e:
        raise RuntimeError("no cargo: apt-get install cargo") from e
    if p.returncode:
        raise RuntimeError(f"cargo build failed: {p.stderr.strip()[-2000:]}")
    return os.path.join(target, "release", "hold-rust")


def build_mimalloc(source, build):
    """The truth program, static, with mimalloc as its malloc: of the crate that brings its sources.
    Raises RuntimeError as build_rust() does."""
    folder = os.path.join(source, "tests", "programs")
    target, program = os.path.join(build, "mimalloc"), os.path.join(build, "mimalloc", "hold-mimalloc-static")
    flags = ("-O2 -g -D_GNU_SOURCE -fomit-frame-pointer -fno-builtin -fno-optimize-sibling-calls -w "
             "-DHOLD_STATIC -DHOLD_NO_PVALLOC").split()
    try:
        p = subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "--target-dir", target,
                            "--manifest-path", os.path.join(folder, "mimalloc", "Cargo.toml")],
                           stderr=subprocess.PIPE, text=True, timeout=1200)
    except FileNotFoundError as e:
        raise RuntimeError("no cargo: apt-get install cargo") from e
    if p.returncode:
        raise RuntimeError(f"cargo build failed: {p.stderr.strip()[-2000:]}")
    archive = max(glob.glob(os.path.join(target, "release", "build", "libmimalloc-sys-*", "out", "libmimalloc.a")),
                  key=os.path.getmtime)
    subprocess.run(["g++", *flags, "-fsized-deallocation", "-static", "-x", "c", os.path.join(folder, "hold.c"),
                    "-x", "c++", os.path.join(folder, "hold_cxx.cc"), "-x", "none", "-Wl,--whole-archive", archive,
                    "-Wl,--no-whole-archive", "-lpthread", "-o", program], check=True, stderr=subprocess.DEVNULL)
    return program


def stacks_of_folded(text):
    """[(frames, bytes)], root first, of folded lines."""
    stacks = []
    for line in text.splitlines():
        if line.strip():
            path, _, value = line.rpartition(" ")
            stacks.append((path.split(";"), int(value)))
    return stacks


def stacks_of_json(result):
    """The same of a JSON result (a dict), whose frames are leaf first."""
    return [(list(reversed(s["frames"])), s["bytes"]) for s in result["stacks"]]


def path_of(frames, deep_sites=DEEP_SITES):
    """"caller;site" of a root-first stack, or None: not one of the program's."""
    site = caller = None
    for frame in reversed(frames):
        if site is None and SITE.match(frame):
            site = frame
            if site in deep_sites:
                return "*;" + site
        elif site is not None and CALLER.match(frame):
            caller = frame
            break
    if site is None:
        return None
    return f"{caller or '?'};{site}"


class Score:
    def __init__(self, reported, true, other):
        self.reported = reported  # {"caller;site": bytes}
        self.true = true
        self.other = other  # bytes under no site: the program's and libc's own
        keys = sorted(set(reported) | set(true))
        self.wrong = {k: (reported.get(k, 0), true.get(k, 0)) for k in keys
                      if reported.get(k, 0) != true.get(k, 0)}
        self.true_bytes = sum(true.values())
        self.reported_bytes = sum(reported.values())
        error = sum(abs(got - want) for got, want in self.wrong.values())
        self.path_error = error / self.true_bytes if self.true_bytes else float(error > 0)

    def explain(self):
        lines = [f"path error {self.path_error:.4%}: {self.reported_bytes} reported, "
                 f"{self.true_bytes} true, {self.other} elsewhere"]
        lines += [f"  {k}: {got} instead of {want} ({got - want:+d})"
                  for k, (got, want) in self.wrong.items()]
        return "\n".join(lines)


def compare(stacks, truth, deep_sites=DEEP_SITES):
    """Path error = sum of |reported - true| over (caller, site) / truth: a byte
    under the wrong caller counts twice. `stacks` as stacks_of_folded() gives."""
    reported, other = {}, 0
    for frames, size in stacks:
        path = path_of(frames, deep_sites)
        if path is None:
            other += size
        else:
            reported[path] = reported.get(path, 0) + size
    true = {}
    for key, row in truth["sites"].items():
        site = key.split(";")[1]
        key = "*;" + site if site in deep_sites else key
        true[key] = true.get(key, 0) + row["bytes"]
    return Score(reported, {k: v for k, v in true.items() if v}, other)


def complete_share(stacks, roots=("_start", "__clone3", "clone", "__clone", "_start_c")):
    """Share of the bytes whose outermost frame is a start of a program or thread."""
    total = sum(size for _, size in stacks)
    whole = sum(size for frames, size in stacks if frames and frames[0] in roots)
    return whole / total if total else 1.0
