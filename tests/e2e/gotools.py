# SPDX-License-Identifier: GPL-2.0-or-later
"""Other Go toolchains, from the Go module proxy as the go command itself gets
them, kept in its module cache."""
import functools
import json
import os
import pathlib
import shutil
import subprocess

import conftest
import pytest

PROGRAMS = conftest.BUILD / "refs-programs"
# minor -> patch releases, the first that is served
RELEASES = {17: ["1.17.13", "1.17.12"], 18: ["1.18.10", "1.18.9"], 19: ["1.19.13", "1.19.12", "1.19.8"],
            20: ["1.20.14", "1.20.13"], 21: ["1.21.13", "1.21.12"], 22: ["1.22.12", "1.22.11"],
            23: ["1.23.12", "1.23.11"], 24: ["1.24.13", "1.24.12", "1.24.9"], 25: ["1.25.7", "1.25.6", "1.25.4"]}


def fetch(version):
    p = subprocess.run(["go", "mod", "download", "-json", f"golang.org/toolchain@v0.0.1-go{version}.linux-amd64"],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
                       env=dict(os.environ, GOFLAGS="-mod=mod"), timeout=240)
    try:
        return pathlib.Path(json.loads(p.stdout)["Dir"])
    except (ValueError, KeyError):
        return None


@functools.lru_cache(maxsize=None)
def goroot(minor):
    """Of go1.MINOR; None: the machine's own."""
    for version in RELEASES[minor]:
        found = fetch(version)
        if found:
            make_executable(found)
            return found
    return None


def make_executable(root):
    """A module has no executable files."""
    for program in [*root.glob("bin/*"), *root.glob("pkg/tool/*/*")]:
        program.chmod(program.stat().st_mode | 0o111)


def release(version):
    """The tree of exactly that release."""
    found = fetch(version) if shutil.which("go") else None
    if not found:
        assert not conftest.CI, f"go{version} cannot be had from the Go module proxy"
        pytest.skip(f"go{version} cannot be had")
    make_executable(found)
    return found


def need(minor):
    if not shutil.which("go"):
        assert not conftest.CI, "go is not installed"
        pytest.skip("no go")
    found = goroot(minor)
    if not found:
        assert not conftest.CI, f"go1.{minor} cannot be had from the Go module proxy"
        pytest.skip(f"go1.{minor} cannot be had")
    return found


def environment(root):
    return dict(os.environ, GOROOT=str(root), GOTOOLCHAIN="local", CGO_ENABLED="0", GOFLAGS="-mod=mod",
                GO111MODULE="on", PATH=f"{root}/bin:{os.environ['PATH']}")


def build(source, name, flags=(), *, minor=None, version=None, files=None, **variables):
    """The program in folder @source: by go1.MINOR, by exactly that release, or by the machine's own
    Go. Without cgo, unless CGO_ENABLED says so."""
    if version:
        root = release(version)
    else:
        root = need(minor) if minor else None
    if not root and not shutil.which("go"):
        assert not conftest.CI, "go is not installed"
        pytest.skip("no go")
    if not files:
        # 1.19 and 1.20 as modules of the proxy cannot build a package by its folder
        by_files = minor == 19 or version == "1.20" or (version or "").startswith("1.19")
        files = sorted(source.glob("*.go")) if by_files else ["."]
    env = environment(root) if root else dict(os.environ, GOFLAGS="-mod=mod", CGO_ENABLED="0")
    path = PROGRAMS / name
    PROGRAMS.mkdir(exist_ok=True)
    subprocess.run([root / "bin" / "go" if root else "go", "build", *flags, "-o", path, *files], cwd=source,
                   check=True, env=dict(env, **variables))
    return path


def printed_and_found(memwho, path):
    """A program prints "WORD ADDRESS HOW TYPE" lines, then "ready": {address: (how, type)} of that,
    {address: type} by memwho, and its result."""
    process = subprocess.Popen([path], stdout=subprocess.PIPE, text=True)
    try:
        truth = {}
        for line in process.stdout:
            words = line.rstrip("\n").split(" ", 3)
            if words[0] == "ready":
                break
            truth[int(words[1], 16)] = words[2], words[3]
        result = memwho("refs", process.pid, "--json", "--objects").json()
    finally:
        conftest.end(process)
    return truth, {int(o["address"], 16): o["type"] for o in result["objects"]}, result
