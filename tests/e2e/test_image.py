# SPDX-License-Identifier: GPL-2.0-or-later
"""Cores and processes as one readable thing (src/target/image.h), against the
process that the core is of."""
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess

import conftest
import pytest

IMAGER = conftest.PROGRAMS / "imager"


def imager(what, *args, options=(), code=0):
    p = subprocess.run([IMAGER, *map(str, options), str(what), *map(str, args)],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert p.returncode == code, (p.returncode, p.stdout[-500:], p.stderr)
    if code:
        return p.stderr
    lines = [line.split(" ", 1) for line in p.stdout.splitlines()]
    out = {key: value for key, value in lines if key not in ("segment", "thread", "word")}
    for kind in ("segment", "thread", "word"):
        out[kind] = [value.split() for key, value in lines if key == kind]
    return out


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """A process, its words at known addresses, and the kernel's and gcore's core of it."""
    where = tmp_path_factory.mktemp("core")
    exe = where / "what"
    shutil.copy(conftest.PROGRAMS / "what", exe)
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
    p = subprocess.Popen([exe], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=where,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)))
    at = {}
    for line in p.stdout:
        if line == "ready\n":
            break
        name, address = line.split()
        at[name] = int(address, 16)
    # all kinds of mappings, read-only parts of files too
    pathlib.Path(f"/proc/{p.pid}/coredump_filter").write_text("0x33")
    words = {}
    with open(f"/proc/{p.pid}/mem", "rb") as f:
        for name, address in at.items():
            if name == "untouched":
                continue
            f.seek(address & ~7)
            words[name] = (address & ~7, struct.unpack("Q", f.read(8))[0])
    live = imager(p.pid, *(hex(a) for a, _ in words.values()), hex(at["untouched"]))
    subprocess.run(["gcore", "-o", where / "gcore", str(p.pid)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    p.send_signal(signal.SIGABRT)
    p.wait()
    cores = {"gcore": where / f"gcore.{p.pid}"}
    found = [f for f in where.iterdir() if f.name.startswith("core")]
    if found:
        cores["kernel"] = found[0]
    elif os.environ.get("CI") == "true" and not pattern.startswith(("|", "/")):
        pytest.fail(f"no core by core_pattern {pattern!r}")
    return {"exe": exe, "pid": p.pid, "at": at, "words": words, "live": live, "cores": cores,
            "where": where}


def check_words(got, words):
    assert [(int(a, 16), v) for a, v in got["word"][:len(words)]] == \
        [(a, hex(v)) for a, v in words.values()]


def test_a_process(crashed):
    check_words(crashed["live"], crashed["words"])
    assert crashed["live"]["word"][-1][1] == "0x0", "never touched: zeros, without touching it"
    assert crashed["live"]["exe"].endswith("/what")


@pytest.mark.parametrize("kind", ["kernel", "gcore"])
def test_a_core(crashed, kind):
    if kind not in crashed["cores"]:
        pytest.skip("core_pattern pipes cores away")
    words = crashed["words"]
    got = imager(crashed["cores"][kind], *(hex(a) for a, _ in words.values()))
    check_words(got, words)
    assert got["pid"] == str(crashed["pid"]) and got["comm"] == "what"
    assert got["signal"] == ("6" if kind == "kernel" else got["signal"])
    assert len(got["thread"]) == 2 and got["missing"] == "0"
    assert got["exe"] and got["bias"] == crashed["live"]["bias"]
    assert any(s[-1].endswith("/what") for s in got["segment"])


@pytest.mark.parametrize("tool", ["zstd", "gzip", "lz4"])
def test_compressed(crashed, tool, tmp_path):
    if not shutil.which(tool):
        assert os.environ.get("CI") != "true", f"{tool} is not installed"
        pytest.skip(f"no {tool}")
    packed = tmp_path / "core.packed"
    with open(crashed["cores"]["gcore"], "rb") as f, open(packed, "wb") as to:
        subprocess.run([tool, "-c", "-q"] if tool != "gzip" else [tool, "-c"], stdin=f, stdout=to, check=True)
    words = crashed["words"]
    check_words(imager(packed, *(hex(a) for a, _ in words.values())), words)


def test_truncated(crashed, tmp_path):
    """What is there is read; how much is gone is told."""
    whole = crashed["cores"]["gcore"].read_bytes()
    for share in (0.9, 0.5, 0.2):
        short = tmp_path / f"short{share}"
        short.write_bytes(whole[:int(len(whole) * share)])
        got = imager(short, *(hex(a) for a, _ in crashed["words"].values()))
        assert int(got["missing"]) > 0
        for (_, value), (_, true) in zip(got["word"], crashed["words"].values()):
            assert value in ("absent", hex(true))
    for n in (0, 3, 40, 70, 300):
        short = tmp_path / "tiny"
        short.write_bytes(whole[:n])
        assert re.search("core|cut off", imager(short, code=1))


def test_the_program_must_be_the_right_one(crashed, tmp_path):
    core = crashed["cores"]["gcore"]
    other = tmp_path / "what"
    shutil.copy(conftest.PROGRAMS / "hold", other)
    assert "no-exe" in imager(core, options=("-e", other))
    assert "is not the program" in imager(core, options=("-e", other))["no-exe"]
    assert "exe" in imager(core, options=("-e", crashed["exe"]))
    moved = tmp_path / "sysroot"
    (moved / str(crashed["where"]).lstrip("/")).mkdir(parents=True)
    shutil.copy(crashed["exe"], moved / str(crashed["exe"]).lstrip("/"))
    assert "exe" in imager(core, options=("-s", moved))
    assert "exe" not in imager(core, options=("-s", tmp_path))


def test_what_the_core_left_out_comes_from_the_program(crashed, tmp_path):
    """gcore leaves read-only parts of files out."""
    at = crashed["at"]["function"] & ~7
    true = crashed["words"]["function"][1]
    core = crashed["cores"]["gcore"]
    assert imager(core, hex(at))["word"] == [[hex(at), hex(true)]]


def test_what_is_no_core(crashed, tmp_path):
    assert "not a core" in imager(crashed["exe"], code=1)
    text = tmp_path / "text"
    text.write_text("no core at all, but longer than an ELF header, which has sixty-four bytes in it\n")
    assert "not a core" in imager(text, code=1)
    assert "No such file" in imager(tmp_path / "none", code=1)
    arm = bytearray(crashed["cores"]["gcore"].read_bytes()[:1 << 16])
    arm[18] = 183
    text.write_bytes(arm)
    assert "on arm64" in imager(text, code=1)
    small = bytearray(arm)
    small[4] = 1
    text.write_bytes(small)
    assert "32-bit" in imager(text, code=1)


def test_damaged_headers(crashed, tmp_path):
    """Any byte of the headers and notes may be wrong: an answer, never a crash."""
    whole = crashed["cores"]["gcore"].read_bytes()
    bad = tmp_path / "bad"
    for at in list(range(16, 64)) + list(range(64, 2000, 37)):
        data = bytearray(whole[:1 << 17])
        data[at] ^= 0xff
        bad.write_bytes(data)
        p = subprocess.run([IMAGER, bad, "0x1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert p.returncode in (0, 1), (at, p.returncode, p.stderr)
