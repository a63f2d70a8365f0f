# SPDX-License-Identifier: GPL-2.0-or-later
"""memwho for arm64 on cores of real arm64 Go programs, both under qemu's user emulation: what
each variable keeps, against what the program printed; with DWARF, and stripped (then by the table
of offsets that tools/go-layout.py --arm64 made)."""
import json
import os
import signal
import subprocess

import conftest
import gotools
import pytest

QEMU = ["qemu-aarch64-static", "-L", os.environ["SYSROOT"]]
# minor (None: the machine's own), flags
BUILDS = {"1.18": (18, []), "1.18-stripped": (18, ["-ldflags=-s -w"]), "1.22": (22, []),
          "1.24-stripped": (24, ["-ldflags=-s -w"]), "own": (None, []), "own-stripped": (None, ["-ldflags=-s -w"])}


def dump(program, folder):
    """A core of the program after it has said what it holds, and that."""
    env = dict(os.environ, GOTRACEBACK="crash")
    process = subprocess.Popen(["sh", "-c", f"ulimit -c unlimited; exec qemu-aarch64-static {program}"], cwd=folder,
                               env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True)
    said = []
    try:
        for line in process.stdout:
            if line.split() == ["ready"]:
                break
            said.append(line.split())
        process.send_signal(signal.SIGABRT)
        process.wait(timeout=60)
    finally:
        conftest.end(process)
    cores = list(folder.glob("qemu_*.core"))
    assert len(cores) == 1, "qemu leaves a core of the program"
    return cores[0], said


def refs(core, program):
    p = subprocess.run([*QEMU, conftest.MEMWHO, "refs", core, "--exe", program, "--json"], capture_output=True,
                       text=True, timeout=200)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


@pytest.mark.parametrize("name", BUILDS)
def test_what_a_program_printed(name, tmp_path):
    minor, flags = BUILDS[name]
    program = gotools.build(conftest.SOURCE / "tests/programs/refs", f"arm64-{name}", flags, minor=minor,
                            GOARCH="arm64")
    core, said = dump(program, tmp_path)
    graph = refs(core, program)
    live = next(int(w[1]) for w in said if w[0] == "live")
    assert abs(graph["live_bytes"] - live) <= live / 100
    assert graph["self_check"]["missing_bytes"] == 0
    holders = [r for r in graph["roots"] if r["name"].startswith("goroutines of main.hold")]
    assert sum(r["retained_bytes"] for r in holders) >= 4 * 16 * 8192, "4 goroutines hold 16 buffers each"
    if "stripped" in name:
        assert graph["typed_bytes"] >= live * (70 if minor != 18 else 20) / 100
        return
    assert graph["typed_bytes"] >= live * 97 / 100
    kept = {r["name"].split()[0]: r["retained_bytes"] for r in graph["roots"] if r["kind"] == "global"}
    truth = {w[1]: int(w[2]) for w in said if w[0] == "root"}
    assert len(truth) >= 9
    for variable, size in truth.items():
        assert abs(kept.get(variable, 0) - size) <= size / 100 + 8192, variable


def test_a_core_of_another_machine_is_refused(tmp_path):
    header = bytearray(64)
    header[:20] = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x04\x00\x3e\x00" # ET_CORE, x86-64
    (tmp_path / "core").write_bytes(header)
    p = subprocess.run([*QEMU, conftest.MEMWHO, "refs", tmp_path / "core"], capture_output=True, text=True)
    assert p.returncode != 0 and "x86-64" in p.stderr and "cores of arm64" in p.stderr
