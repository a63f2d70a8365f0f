# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300
"""What memwho says of its own losses, against what a program knows: tables that
are made too small lose things, and every loss is a figure that adds up."""
import subprocess

import pytest

from conftest import PROGRAMS
from hold import Hold

ALL = ("--max-slowdown", "1000")

PATHS = """
#include <stdio.h>
#include <stdlib.h>
static void *volatile sink;
#define SIDE(name, other, size)                                                                    \
	__attribute__((noinline)) int name(unsigned path, int depth)                               \
	{                                                                                          \
		int r;                                                                             \
		if (!depth) {                                                                      \
			sink = malloc(size);                                                       \
			return 1;                                                                  \
		}                                                                                  \
		r = path & 1 ? left(path >> 1, depth - 1) : right(path >> 1, depth - 1);           \
		__asm__ volatile("" : "+r"(r));                                                    \
		return r + 1;                                                                      \
	}
int left(unsigned path, int depth);
int right(unsigned path, int depth);
SIDE(left, right, 100)
SIDE(right, left, 100)
int main(int argc, char **argv)
{
	char line[16];
	puts("ready");
	fflush(stdout);
	if (!fgets(line, 16, stdin))
		return 1;
	for (unsigned i = 0; i < 1u << 17; i++)
		left(i, 17);
	puts("done");
	fflush(stdout);
	return !fgets(line, 16, stdin);
}
"""


def test_a_full_table_is_counted_to_the_byte(record, needs_bpf):
    blocks = 400_000
    with Hold(PROGRAMS / "hold") as hold:
        r = record("alloc", hold.pid, "--json", *ALL, env={"MEMWHO_WITHOUT": "table_growth"})
        hold.command("mark")
        hold.command(f"many {blocks}", timeout=200)
        truth = sum(row["bytes"] for row in hold.truth()["sites"].values())
        result = r.interrupt().json()
    held = [s for s in result["stacks"] if "site_01" in s["frames"]]
    assert result["lost_bytes"] > 0 and result["lost_events"] > 100_000
    assert sum(s["count"] for s in held) + result["lost_table_full"] == blocks
    assert sum(s["bytes"] for s in held) + result["lost_bytes"] == truth
    assert result["allocated_bytes"] >= truth


def test_stacks_that_did_not_fit_are_counted(record, target, needs_bpf, tmp_path):
    (tmp_path / "paths.c").write_text(PATHS)
    subprocess.run(["gcc", "-O2", "-o", tmp_path / "paths", tmp_path / "paths.c"], check=True)
    t = target(tmp_path / "paths")
    assert t.line() == "ready"
    r = record("alloc", t.pid, "--json", *ALL)
    t.say()
    assert t.line(120) == "done"
    result = r.interrupt().json()
    without = sum(s["count"] for s in result["stacks"] if s["frames"][0].startswith("[stack not"))
    assert without == result["stacks_not_stored"] > 50_000
    assert sum(s["count"] for s in result["stacks"]) >= 1 << 17
    assert sum(s["bytes"] for s in result["stacks"]) - 100 * (1 << 17) < 10_000
    share = 100 * (1 - without / (1 << 17))
    assert result["complete_stacks_percent"] == pytest.approx(share, abs=0.5)
