# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""memwho alloc: every byte under the right caller and site, on every allocator.

The truth program (programs/hold.c) knows what it holds; what memwho reports is
compared path by path. Nothing may be lost, and nothing counted twice.
"""
import os
import pathlib

import pytest

from conftest import PROGRAMS, kernel_features
from hold import Hold, compare, complete_share, stacks_of_folded, stacks_of_json

ALL_SLOWDOWNS = ("--max-slowdown", "1000")
LOSSES = ("lost_events", "lost_bytes", "stacks_not_stored", "lost_children", "late_modules")

TARGETS = [
    ("dynamic", "hold", None),
    ("static", "hold-static", None),
    ("jemalloc", "hold", "libjemalloc.so.2"),
    ("tcmalloc", "hold", "libtcmalloc.so.4"),
    ("mimalloc", "hold", "libmimalloc.so.2"),
]


def uses_sessions():
    return kernel_features()["uprobe_session"] and "uprobe_session" not in os.environ.get(
        "MEMWHO_WITHOUT", "")


def nothing_lost(result):
    for key in LOSSES:
        assert result[key] == 0, (key, result[key])


def recorded(record, hold, commands, *options):
    """Attach, let the program work, end; the JSON result and the truth."""
    r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS, *options)
    hold.command("mark")
    for command in commands:
        hold.command(command)
    truth = hold.truth()
    return r.interrupt().json(), truth


@pytest.mark.parametrize("name,program,preload", TARGETS, ids=[t[0] for t in TARGETS])
def test_every_byte_under_its_caller(record, needs_bpf, name, program, preload):
    work = ["go 20", "free 10", "threads 4", "regrow 30", "signal 20", "churn 20", "free 10"]
    with Hold(PROGRAMS / program, preload=preload) as hold:
        hold.command("warm 20")
        result, truth = recorded(record, hold, work)
        assert hold.alive()
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()
    assert score.true_bytes > 1_000_000
    nothing_lost(result)
    assert result["held_bytes"] == score.reported_bytes + score.other
    # only the 600-deep site is cut, at 512 frames
    assert result["complete_stacks_percent"] > 95
    assert result["stacks_unreadable"] == 0
    assert result["engine"] == "bpf" and result["ended_by"] == "signal"
    # what children pay for until the detach is said
    has_own_new = name in ("jemalloc", "tcmalloc", "mimalloc")
    assert (result["session_probes"] > 0) == has_own_new or not uses_sessions()
    # Debian's mimalloc has functions that change an argument before anything else
    assert result["probes_single_stepped"] == 0 or name == "mimalloc"


def test_musl_without_frame_information(record, needs_bpf):
    """musl's libc has no unwind rows: its functions are followed by their code."""
    with Hold(PROGRAMS / "hold-musl") as hold:
        hold.command("warm 20")
        result, truth = recorded(record, hold, ["go 20", "free 10", "threads 4", "signal 20"])
    nothing_lost(result)
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()
    assert result["functions_followed"] > 0


FRAMES = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void *volatile keep[1000];
static int n;
__attribute__((noinline)) void leak(void) { keep[n++] = malloc(1000); __asm__ volatile(""); }
__attribute__((noinline)) void realigned(int k)
{
	char buf[k];
	__attribute__((aligned(64))) char vector[256];
	memset(buf, 0, k);
	memset(vector, 1, 256);
	__asm__ volatile("" ::"r"(buf), "r"(vector) : "memory");
	leak();
	__asm__ volatile("");
}
__attribute__((noinline)) void far_frame(void)
{
	char b[100 * 1024];
	memset(b, 0, sizeof(b));
	__asm__ volatile("" ::"r"(b) : "memory");
	leak();
	__asm__ volatile("");
}
int main(void)
{
	char line[16];
	puts("ready");
	fflush(stdout);
	if (!fgets(line, 16, stdin))
		return 1;
	for (int i = 0; i < 50; i++) {
		realigned(100 + i);
		far_frame();
	}
	puts("done");
	fflush(stdout);
	return !fgets(line, 16, stdin);
}
"""


@pytest.mark.parametrize("flags", ["-O0", "-O2 -fomit-frame-pointer", "-O2 -fcf-protection"])
def test_unusual_frames(record, target, needs_bpf, tmp_path, flags):
    import subprocess
    (tmp_path / "frames.c").write_text(FRAMES)
    subprocess.run(["gcc", *flags.split(), "-o", tmp_path / "frames", tmp_path / "frames.c"],
                   check=True)
    t = target(tmp_path / "frames")
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json")
    t.say()
    assert t.line() == "done"
    result = r.interrupt().json()
    held = {s["frames"][1]: s for s in result["stacks"] if s["frames"][0] == "leak"}
    assert {name: s["bytes"] for name, s in held.items()} == {"realigned": 50000,
                                                              "far_frame": 50000}
    assert all(s["frames"][2] == "main" and s["frames"][-1] == "_start" for s in held.values())
    assert result["complete_stacks_percent"] == 100


def test_what_throws_still_throws(record, needs_bpf):
    """A return probe on operator new would turn the exception into terminate."""
    for preload in (None, "libjemalloc.so.2", "libtcmalloc.so.4"):
        with Hold(PROGRAMS / "hold", preload=preload) as hold:
            hold.command("warm 1")
            result, truth = recorded(record, hold, ["throw 200", "longjmp 200", "newhandler 50",
                                                    "go 2"])
            assert hold.alive()
        score = compare(stacks_of_json(result), truth)
        assert score.path_error == 0, (preload, score.explain())
        nothing_lost(result)


def test_older_blocks_are_not_ours(record, needs_bpf):
    """Frees of blocks from before the attach are counted, with their bytes."""
    with Hold(PROGRAMS / "hold") as hold:
        hold.command("many 1000")
        r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("free 100")
        result = r.interrupt().json()
    assert result["freed_older_objects"] >= 1000
    assert result["freed_older_bytes"] > 0
    assert not [s for s in result["stacks"] if "site_01" in s["frames"] and s["bytes"]]


def test_a_late_module_is_added(record, needs_bpf):
    plugin = PROGRAMS / "hold_plugin.so"
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command(f"dlopen {plugin} 5")
        hold.command("sleep 300")
        hold.command(f"dlopen {plugin} 50")
        truth = hold.truth()
        result = r.interrupt().json()
    score = compare(stacks_of_json(result), truth)
    assert score.reported_bytes == score.true_bytes, score.explain()
    named = [s for s in result["stacks"] if "plugin_site" in s["frames"]]
    assert named and sum(s["count"] for s in named) >= 50
    nothing_lost(result)


def test_a_late_allocator_of_another_family_is_added(record, needs_bpf):
    """mimalloc comes by dlopen into a program that had glibc's malloc alone."""
    plugin = PROGRAMS / "hold_plugin_own.so"
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command(f"dlopen {plugin} 5")
        hold.command("sleep 500")
        hold.command(f"dlopen {plugin} 50")
        result = r.interrupt().json()
    named = [s for s in result["stacks"] if "plugin_site" in s["frames"][:2]]  # not what dlopen itself took
    # what came before the probes were there is not seen
    assert 50 <= sum(s["count"] for s in named) <= 55
    assert all(s["bytes"] == 128 * s["count"] for s in named)
    assert "mimalloc" in result["allocators"], result["allocators"]


def test_stacks_are_walked_to_their_start(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--format", "folded", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("go 5")
        text = r.interrupt().out
    stacks = stacks_of_folded(text)
    assert complete_share(stacks) > 0.97
    deepest = max(len(frames) for frames, _ in stacks)
    assert deepest >= 512
    cut = [frames for frames, _ in stacks if len(frames) >= 512]
    assert all(frames[0].startswith("[deeper than 512") for frames in cut)


def test_age_and_size_filters(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", "--older-than", "1s", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("many 100")
        hold.command("sleep 1300")
        hold.command("many 50")
        old = r.interrupt().json()
        r = record("alloc", hold.pid, "--json", "--min-size", "100K", *ALL_SLOWDOWNS)
        hold.command("go 3")
        big = r.interrupt().json()
    counts = [s["count"] for s in old["stacks"] if "site_01" in s["frames"] and s["bytes"]]
    assert sum(counts) == 100
    held = [s for s in big["stacks"] if s["bytes"]]
    assert held and all(s["bytes"] / s["count"] >= 100 << 10 for s in held)


def test_peak_keeps_the_maximum(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", "--peak", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("many 20000")
        hold.command("sleep 300")
        top = sum(row["bytes"] for row in hold.truth()["sites"].values())
        hold.command("free 100")
        hold.command("sleep 200")
        result = r.interrupt().json()
    assert result["peak_held_bytes"] >= top
    held = sum(s["bytes"] for s in result["stacks"] if "site_01" in s["frames"])
    assert 0.98 * top <= held <= top


def test_the_table_grows(record, needs_bpf):
    """Far more live blocks than the table begins with."""
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("many 3000000", timeout=400)
        truth = hold.truth()
        result = r.interrupt(timeout=200).json()
    nothing_lost(result)
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0, score.explain()
    assert sum(s["count"] for s in result["stacks"] if "site_01" in s["frames"]) == 3_000_000


def test_every_look_adds_up(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", "--every", "500ms", "-d", "2400ms",
                   *ALL_SLOWDOWNS)
        hold.command("mark")
        for _ in range(4):
            hold.command("many 100")
            hold.command("sleep 450")
        out = r.wait().out
    import json
    decoder, looks = json.JSONDecoder(), []
    while out.strip():
        value, end = decoder.raw_decode(out.lstrip())
        looks.append(value)
        out = out.lstrip()[end:]
    assert len(looks) >= 4

    def held(look, key="bytes"):
        return sum(s.get(key, 0) for s in look["stacks"] if "site_01" in s["frames"])

    growth = [held(look, "growth_bytes") for look in looks[:-1]]
    assert sum(growth) == held(looks[-2])
    assert held(looks[-1]) >= held(looks[0]) > 0
    assert looks[-1]["ended_by"] == "duration"


def test_the_end_of_looks_at_growth_is_all_of_it(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", "--every", "300ms", "--type", "growth_space", *ALL_SLOWDOWNS)
        hold.command("mark")
        for _ in range(2):
            hold.command("many 100")
            hold.command("sleep 400")
        out = r.interrupt().out
    import json
    decoder, looks = json.JSONDecoder(), []
    while out.strip():
        value, end = decoder.raw_decode(out.lstrip())
        looks.append(value)
        out = out.lstrip()[end:]
    grown = [sum(s["bytes"] for s in look["stacks"] if "site_01" in s["frames"]) for look in looks]
    assert looks[-1]["ended_by"] == "signal" and looks[-1]["value_type"] == "growth_space"
    assert grown[-1] == sum(grown[:-1]) > 0


def test_no_frame_is_a_guess(record, needs_bpf, tmp_path):
    """In a stripped copy, addresses that no exported symbol covers stay addresses."""
    import subprocess
    stripped = tmp_path / "hold-stripped"
    subprocess.run(["strip", "-o", stripped, PROGRAMS / "hold"], check=True)
    with Hold(stripped) as hold:
        r = record("alloc", hold.pid, "--json", *ALL_SLOWDOWNS)
        hold.command("go 1")
        result = r.interrupt().json()
    frames = {f for s in result["stacks"] for f in s["frames"]}
    assert not [f for f in frames if f.startswith(("site_", "caller_"))]
    assert [f for f in frames if f.startswith("hold-stripped+0x")]
    assert pathlib.Path(stripped).exists()
    assert result["complete_stacks_percent"] > 95


def test_the_profile_has_the_types_of_go(record, needs_bpf, tmp_path):
    import subprocess
    with Hold(PROGRAMS / "hold") as hold:
        out = tmp_path / "held.pb.gz"
        r = record("alloc", hold.pid, "-o", out, *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("go 3")
        hold.command("churn 100")
        truth = hold.truth()
        r.interrupt()
    raw = subprocess.run(["go", "tool", "pprof", "-raw", out], capture_output=True, text=True,
                         check=True).stdout
    types = next(line for line in raw.splitlines() if line.startswith("alloc_objects"))
    assert types.split() == ["alloc_objects/count", "alloc_space/bytes", "inuse_objects/count",
                             "inuse_space/bytes[dflt]"]
    samples = [list(map(int, line.split(":")[0].split())) for line in raw.splitlines()
               if line[:1] == " " and ":" in line and line.split(":")[0].strip().count(" ") >= 3]
    held = sum(row["bytes"] for row in truth["sites"].values())
    assert sum(s[3] for s in samples) >= held
    assert sum(s[1] for s in samples) > sum(s[3] for s in samples)  # and what was freed again
    assert all(s[0] >= s[2] and s[1] >= s[3] for s in samples)


def test_stap_lines_say_where_in_the_function(record, needs_bpf):
    import re
    import subprocess
    program = PROGRAMS / "hold"
    with Hold(program) as hold:
        r = record("alloc", hold.pid, "--format", "stap", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("go 2")
        text = r.interrupt().out
    sizes = {}
    for line in subprocess.run(["nm", "-S", program], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        if len(line.split()) == 4:
            start, size, _, name = line.split()
            sizes[name] = (int(start, 16), int(size, 16))
    seen = 0
    for address, name, offset, size, module in re.findall(
            r"^ 0x(\w+) : (\S+)\+0x(\w+)/0x(\w+) \[(.*)\]$", text, re.M):
        if module.endswith("/hold") and name in sizes:
            assert int(address, 16) == sizes[name][0] + int(offset, 16)
            assert int(size, 16) == sizes[name][1]
            seen += 1
    assert seen > 100


def test_churn_is_what_was_freed_again(record, needs_bpf, tmp_path):
    from conftest import run_memwho
    with Hold(PROGRAMS / "hold") as hold:
        out = tmp_path / "held.pb.gz"
        r = record("alloc", hold.pid, "-o", out, *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("many 300")
        before = sum(row["bytes"] for row in hold.truth()["sites"].values())
        hold.command("free 50")
        after = sum(row["bytes"] for row in hold.truth()["sites"].values())
        r.interrupt()
    churn = run_memwho("render", out, "--type", "churn", "--json").json()
    freed = sum(s["bytes"] for s in churn["stacks"] if "site_01" in s["frames"])
    assert freed == before - after > 0


def test_churn_is_a_view_of_a_recording_too(record, needs_bpf):
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--type", "churn", "--json", *ALL_SLOWDOWNS)
        hold.command("mark")
        hold.command("many 300")
        before = sum(row["bytes"] for row in hold.truth()["sites"].values())
        hold.command("free 50")
        after = sum(row["bytes"] for row in hold.truth()["sites"].values())
        result = r.interrupt().json()
    freed = sum(s["bytes"] for s in result["stacks"] if "site_01" in s["frames"])
    assert freed == before - after > 0
