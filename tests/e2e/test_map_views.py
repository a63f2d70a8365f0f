# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The views of memwho map, run --map, and what becomes of the target."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

import mapped

from conftest import MEMWHO, PROGRAMS

MIB = 1 << 20
KEPT = "/usr/lib/x86_64-linux-gnu/libc.so.6"


def status_bytes(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(key)


def file_rss(pid):
    """Resident bytes of the one mapping of KEPT that is a MiB long."""
    rss = 0
    text = pathlib.Path(f"/proc/{pid}/smaps").read_text()
    for m in re.finditer(r"^(\w+)-(\w+) r--p .*libc\.so\.6\n(?:.*\n)*?Rss: +(\d+) kB", text, re.M):
        if int(m[2], 16) - int(m[1], 16) == MIB:
            rss = int(m[3]) << 10
    return rss


def touch(target, record, *options):
    t = target("map_touch", KEPT)
    assert t.line() == "ready"
    recording = record("map", t.pid, "-d", "60s", "--json", *options)
    t.say()
    assert t.line() == "done"
    return t, json.loads(recording.interrupt().out)


def sums(result, key, *names):
    """Bytes of the stacks that have one of the frames; and of all."""
    by = {n: sum(s[key] for s in result["stacks"] if n in s["frames"]) for n in names}
    return by, sum(s[key] for s in result["stacks"])


def thp_works():
    mode = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return mode.exists() and "[never]" not in mode.read_text()


def test_touched_pages_are_whose_who_touched_them_first(needs_bpf, target, record):
    t, result = touch(target, record, "--by", "touched")
    by, total = sums(result, "touched_bytes", "touch_user", "touch_kernel", "touch_populate",
                     "touch_file", "touch_huge", "touch_zero", "touch_map", "[before attach]")
    # half of touch_user's first MiB was given back and touched by the kernel; half a MiB of
    # `before` is new
    assert by["touch_user"] == MIB + MIB // 2
    assert by["touch_kernel"] == MIB + MIB // 2
    assert by["touch_populate"] == 3 * MIB
    # what the faults brought in around their pages: the last window had none
    assert by["touch_file"] == file_rss(t.pid) > MIB - (1 << 16)
    assert by["touch_zero"] == 0 and by["touch_map"] == 0
    if thp_works():
        assert by["touch_huge"] == 2 * MIB
    assert by["[before attach]"] >= MIB // 2
    # all of it, and nothing else (VmRSS is kept in batches)
    assert abs(total - status_bytes(t.pid, "VmRSS")) < MIB // 2
    assert result["kernel_faults"] >= 300


def test_mapped_is_what_is_left(needs_bpf, target, record):
    t, result = touch(target, record)
    by, total = sums(result, "mapped_bytes", "touch_map", "touch_populate", "touch_huge",
                     "touch_file", "[before attach]")
    # a MiB of it was moved over another: 7 of 8 are left
    assert by["touch_map"] == 7 * MIB
    assert by["touch_populate"] == 3 * MIB and by["touch_huge"] == 4 * MIB
    assert by["touch_file"] == MIB
    assert total == status_bytes(t.pid, "VmSize")
    owners = {s["frames"][-2] for s in result["stacks"] if s["frames"][-1] == "[before attach]"}
    assert {"file", "main-stack"} <= owners
    one = next(s for s in result["stacks"] if "touch_populate" in s["frames"])
    assert one["labels"]["thread"] == "map_touch" and one["labels"]["kind"] == "mmap"
    assert one["labels"]["prot"] == "rw-" and one["resident_bytes"] == 3 * MIB


def test_calls_are_counted(needs_bpf, target, record):
    t, result = touch(target, record, "--by", "calls")
    counts = {}
    for s in result["stacks"]:
        if "call" in s["labels"]:
            counts[s["labels"]["call"]] = counts.get(s["labels"]["call"], 0) + s["calls"]
    assert counts["mmap"] == 4 and counts["mremap"] == 1 and counts["madvise"] == 2


@pytest.mark.parametrize("ending", ["svg", "html", "folded", "pb.gz", "speedscope.json", "json"])
def test_every_format(needs_bpf, memwho, target, tmp_path, ending):
    t = target("map_touch", KEPT)
    t.line()
    out = tmp_path / f"x.{ending}"
    memwho("map", t.pid, "-d", "0.2s", "-o", out)
    assert out.stat().st_size > 200


def test_the_table_says_what_it_shows(needs_bpf, memwho, target):
    t = target("map_touch", KEPT)
    t.line()
    assert "who mapped" in memwho("map", t.pid, "-d", "0.2s").out
    assert "mapping calls  0 in 0 stacks" in memwho("map", t.pid, "-d", "0.2s", "--by", "calls").out
    touched = memwho("map", t.pid, "-d", "0.2s", "--by", "touched", "--by", "kind").out
    assert "who touched first" in touched and "← mmap\n" in touched


def test_run_begins_at_the_exec(needs_bpf, memwho):
    result = json.loads(memwho("run", "--map", "--ranges", "--json", "--", "/bin/true").out)
    assert result["ended_by"] == "exit"
    frames = [r["frames"] for r in result["ranges"]]
    # the dynamic linker's own mappings have their stacks
    assert any("_dl_map_segments" in " ".join(f) for f in frames) or any(len(f) > 3 for f in frames)
    assert ["[by exec]"] in frames and ["[by the kernel]"] in frames
    assert not any(r["uncertain"] for r in result["ranges"])


def test_run_follows_forks_and_execs(needs_bpf, memwho, tmp_path):
    script, fifo = tmp_path / "script", tmp_path / "fifo"
    # children that come and go, then another program in the place of the first
    script.write_text(f"""#!/bin/sh
mkfifo {fifo}
sleep 0.01
(sleep 1; echo; sleep 0.3; echo) >{fifo} &
exec {PROGRAMS}/map_touch {KEPT} <{fifo}
""")
    script.chmod(0o755)
    r = memwho("run", "--map", "--json", "--", script)
    result = json.loads(r.out[r.out.index("{"):])
    assert result["ended_by"] == "exit" and result["processes"] >= 4
    # what is left at the end is the last program's, with its stacks
    by, total = sums(result, "mapped_bytes", "touch_map", "touch_populate", "[by exec]")
    assert by["touch_map"] == 7 * MIB and by["touch_populate"] == 3 * MIB and by["[by exec]"] > 0
    assert total == result["mapped_bytes"]


def test_an_exec_ends_it_when_it_is_not_followed(needs_bpf, target, record):
    t = target("/bin/sh", "-c", "echo ready; read x; exec sleep 5")
    assert t.line() == "ready"
    recording = record("map", t.pid, "-d", "60s", "--json")
    t.say()
    assert json.loads(recording.wait(timeout=30).out)["ended_by"] == "exec"


def test_fewer_stacks_within_a_limit_but_all_ranges(needs_bpf, target, record, tmp_path):
    t = target("map_churn", 2, 600000, 5, tmp_path / "record")
    assert t.line() == "ready"
    recording = record("map", t.pid, "-d", "200s", "--ranges", "--json", "--max-slowdown", "1.01",
                       "--ring", "256M")
    t.say()
    assert t.line(timeout=100) == "done"
    result = json.loads(recording.interrupt().out)
    ranges = mapped.Ranges(result, t.pid)
    assert mapped.differences(ranges.spans(), mapped.merged(mapped.of_maps(t.pid))) == (0, 0)
    assert result["stacks_dropped"] > 0 and result["lost_events"] == 0


def test_inside_a_pid_namespace(needs_bpf, tmp_path):
    """Process numbers there are not those of the kernel's helpers."""
    script = f"""
mkfifo {tmp_path}/in
{PROGRAMS}/map_touch {KEPT} <{tmp_path}/in >/dev/null & pid=$!
exec 3>{tmp_path}/in
{MEMWHO} map $pid -d 30s --json --ready-file {tmp_path}/ready >{tmp_path}/out & memwho=$!
until [ -e {tmp_path}/ready ]; do sleep 0.05; done
echo >&3
sleep 1
kill -INT $memwho
wait $memwho
kill -9 $pid
"""
    p = subprocess.run(["unshare", "-p", "-f", "--mount-proc", "sh", "-c", script], timeout=60,
                       capture_output=True, text=True)
    result = json.loads((tmp_path / "out").read_text())
    by, _ = sums(result, "mapped_bytes", "touch_map", "touch_populate")
    assert by["touch_map"] == 7 * MIB and by["touch_populate"] == 3 * MIB, p.stderr
    assert {s["labels"]["pid"] for s in result["stacks"]} != set()


def map_programs():
    """Ids of our programs in the kernel; another memwho's are among them."""
    out = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, text=True).stdout
    return {p["id"] for p in json.loads(out or "[]") if p.get("name", "").startswith("map_")}


@pytest.mark.skipif(not shutil.which("bpftool"), reason="needs bpftool")
def test_nothing_is_left_when_memwho_is_killed(needs_bpf, target, record):
    t = target("map_touch", KEPT)
    t.line()
    before = map_programs()
    recording = record("map", t.pid)
    own = map_programs() - before
    assert own
    recording.process.kill()
    recording.process.wait()
    t.say()
    assert t.line() == "done"
    for _ in range(100):
        if not own & map_programs():
            break
        time.sleep(0.1)
    assert not own & map_programs()


def test_without_privileges_it_says_what_is_missing(target):
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody")
    t = target("map_touch", KEPT)
    t.line()
    p = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", MEMWHO, "map",
                        str(t.pid), "-d", "1s"], capture_output=True, text=True)
    assert p.returncode == 1 and p.stdout == ""
    assert p.stderr.startswith("memwho: ") and "hint: " in p.stderr


def test_wrong_words(memwho, target):
    assert "TARGET" in memwho("map", code=2).err
    assert "ranges" in memwho("map", 1, "--ranges", "--format", "svg", code=2).err
    assert "run --map" in memwho("run", "--ranges", "--", "true", code=2).err
    assert "999999" in memwho("map", 999999, code=1).err
