# SPDX-License-Identifier: GPL-2.0-or-later
"""What every end-to-end test needs: memwho itself, targets, privileges.

A missing privilege or kernel feature is a skip with its reason; with CI=true a
skip is a failure. Targets speak in lines: they print one when they are ready,
and wait for one on their standard input before they go on (see Target).
"""
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

# a default engine that depends on how busy the machine is would make other tests random:
# theirs is the exact one, as by `--engine bpf`; test_agent_budget.py takes this away
os.environ.setdefault("MEMWHO_BUDGET", "none")

import pytest

import webdriver

SOURCE = pathlib.Path(os.environ.get("SOURCE", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("BUILD", SOURCE / "build"))
MEMWHO = os.environ.get("MEMWHO", str(BUILD / "memwho"))
PROGRAMS = BUILD / "tests" / "programs"
CI = os.environ.get("CI") == "true"
ARTEFACTS = pathlib.Path(os.environ.get("MEMWHO_ARTEFACTS", BUILD / "pictures"))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """A folder for tmp_path of this session alone: the one that pytest would share is closed to
    all others by each session that begins, also while tests of another one have given up root."""
    if not config.option.basetemp:
        top = pathlib.Path(tempfile.mkdtemp(prefix="memwho-tests-"))
        config.add_cleanup(lambda: shutil.rmtree(top, ignore_errors=True))
        config.option.basetemp = str(top / "t")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI=true does not allow: {report.longrepr}"


class Result:
    """A finished memwho: .code, .out, .err (text), .json()."""

    def __init__(self, args, code, out, err):
        self.args, self.code, self.raw, self.err = args, code, out, err.decode(errors="replace")
        self.out = out.decode(errors="replace")

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"memwho {' '.join(map(str, self.args))} -> {self.code}\n{self.out}\n{self.err}"


def run_memwho(*args, code=0, timeout=120, env=None, **kw):
    """Run to the end. @code: the expected exit code, None for any."""
    p = subprocess.run([MEMWHO, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=timeout, env={**os.environ, **(env or {})},
                       **{"stdin": subprocess.DEVNULL, **kw})
    result = Result(args, p.returncode, p.stdout, p.stderr)
    if code is not None and p.returncode != code:
        pytest.fail(f"expected exit code {code}: {result!r}")
    return result


class Target:
    """A program under test: .pid, .line() reads one, .say() writes one."""

    def __init__(self, argv, env=None, **kw):
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, bufsize=0,
                                        env={**os.environ, **(env or {})}, **kw)
        self.pid = self.process.pid
        self.buffer = b""

    def line(self, timeout=30):
        end = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise TimeoutError(f"{self.process.args}: no line within {timeout} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(2)
                raise EOFError(f"{self.process.args} ended ({self.process.poll()})")
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\n", 1)
        return text.decode(errors="replace")

    def say(self, text=""):
        self.process.stdin.write(text.encode() + b"\n")

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Recording:
    """memwho at work in the background; .wait() or .interrupt() ends it."""

    def __init__(self, args, ready, env=None):
        self.args, self.ready = args, ready
        self.process = subprocess.Popen(
            [MEMWHO, *map(str, args), "--ready-file", str(ready)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        self.pid = self.process.pid

    def wait_ready(self, timeout=60):
        end = time.monotonic() + timeout
        while not self.ready.exists():
            if self.process.poll() is not None:
                pytest.fail(f"ended before it was ready: {self.wait(code=None)!r}")
            if time.monotonic() > end:
                self.process.kill()
                pytest.fail(f"not ready within {timeout} s: {self.wait(code=None)!r}")
            time.sleep(0.01)
        return self

    def wait(self, code=0, timeout=120):
        out, err = self.process.communicate(timeout=timeout)
        result = Result(self.args, self.process.returncode, out, err)
        if code is not None and result.code != code:
            pytest.fail(f"expected exit code {code}: {result!r}")
        return result

    def interrupt(self, how=signal.SIGINT, **kw):
        self.process.send_signal(how)
        return self.wait(**kw)


@pytest.fixture
def memwho():
    """memwho("alloc", pid, "-d", "1s") -> Result"""
    return run_memwho


@pytest.fixture
def target():
    """target("hold", "7") starts build/tests/programs/hold; an absolute path is
    taken as it is. All are killed at the end."""
    started = []

    def start(name, *args, **kw):
        path = pathlib.Path(name)
        started.append(Target([path if path.is_absolute() else PROGRAMS / path, *args], **kw))
        return started[-1]

    yield start
    for t in started:
        t.stop()


@pytest.fixture
def record(tmp_path):
    """record("alloc", pid, "--json") -> Recording that has begun"""
    started = []

    def start(*args, wait_ready=True, **kw):
        r = Recording(args, tmp_path / f"ready-{len(started)}", **kw)
        started.append(r)
        return r.wait_ready() if wait_ready else r

    yield start
    for r in started:
        if r.process.poll() is None:
            r.process.kill()
            r.process.communicate()


def kernel_features():
    return run_memwho("--version", "--json").json()["kernel_features"]


@pytest.fixture(scope="module")
def browser():
    if not webdriver.find():
        pytest.skip("needs chromium and chromedriver (packages chromium, chromium-driver)")
    with webdriver.Browser() as b:
        yield b


def leave_page(browser, name):
    """What each test of a page ends with: its picture is kept, and its console empty."""
    name = re.sub(r"\W+", "-", name).strip("-")
    browser.screenshot(ARTEFACTS / f"{name}.png")
    assert browser.problems() == []


@pytest.fixture
def needs_bpf():
    """Skip where the exact engine cannot work."""
    missing = [k for k in ("bpf", "uprobes", "bpf_loop") if not kernel_features().get(k)]
    if os.geteuid() != 0:
        pytest.skip("needs root (uprobes and BPF programs)")
    if missing:
        pytest.skip("this kernel offers no " + ", ".join(missing))


def changed_code(pid):
    """["path+0xoffset", ...]: bytes of the process's code that differ from the
    file they come from. With no probe set there are none."""
    changed = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            m = re.match(r"(\w+-\w+) r.x. (\w+) \S+ (\d+)\s+(/.*)", line)
            if not m or m[3] == "0":
                continue
            start, end = (int(x, 16) for x in m[1].split("-"))
            mem.seek(start)
            now = mem.read(end - start)
            with open(f"/proc/{pid}/map_files/{start:x}-{end:x}", "rb") as f:
                f.seek(int(m[2], 16))
                then = f.read(end - start)
            changed += [f"{m[4]}+{int(m[2], 16) + i:#x}" for i in range(min(len(now), len(then)))
                        if now[i] != then[i]] if now[:len(then)] != then[:len(now)] else []
    return changed


def end(process):
    """Of a program that the test talks to."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
