# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The agent's exact mode on the allocators that are not glibc's: every site of a truth program that
calls all entry points (realloc chains, aligned, new[], sized delete, frees by other threads, 10 % freed)
is 0 bytes off."""
import os
import platform

import pytest
from conftest import BUILD, PROGRAMS, SOURCE
from hold import Hold, build_mimalloc, build_rust, compare, library, stacks_of_json
from test_agent import untouched
from test_agent_exact import assert_whole, record  # noqa: F401, a fixture

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

# program, or what builds it, preloaded, allocator as the report says it, sites
CASES = {
    "musl": ("hold-musl", None, "musl", 15),
    "musl dynamic": ("hold-musl-dynamic", None, "musl", 15),
    "mimalloc": ("hold", "libmimalloc.so.2", "mimalloc", 24),
    "tcmalloc": ("hold", "libtcmalloc.so.4", "tcmalloc", 25),
    "jemalloc static": ("hold-jemalloc-static", None, "jemalloc", 25),
    "mimalloc static": (build_mimalloc, None, "mimalloc", 24),
    "rust": (build_rust, None, "jemalloc", 11),
}
# strdup() is mimalloc's own there, which a plan cannot count: named, and not recorded
NAMED = {"mimalloc static": ("mi_strdup", "site_14")}


@pytest.mark.parametrize("case", CASES)
def test_every_site(record, case):  # noqa: F811
    program, preload, allocator, sites = CASES[case]
    try:
        program = program(SOURCE, BUILD) if callable(program) else PROGRAMS / program
    except RuntimeError as e:
        pytest.skip(str(e))
    if not os.path.exists(program) or (preload and not library(preload)):
        pytest.skip(f"{program} or {preload} is not there")
    with Hold(program, preload=preload) as hold:
        hold.command("warm 3")
        for _ in range(2):  # the second attach uses what the first has left
            r = record(hold.pid)
            hold.command("mark")
            for command in ["go 1"] * 8 + ["free 10"] + ["go 1"] * 8:
                hold.command(command)
            truth = hold.truth()
            got = r.interrupt().json()
            untouched(hold.pid)
            assert got["mode"] == "exact" and got["lost_torn"] == 0 and got["lost_late"] == 0, got
            assert allocator in got["allocators"].replace(",", " ").split(), got["allocators"]
            function, site = NAMED.get(case, (None, None))
            assert not function or function in {gap["function"] for gap in got["not_covered"]}, got["not_covered"]
            truth["sites"] = {path: row for path, row in truth["sites"].items() if path.rsplit(";")[-1] != site}
            score = compare(stacks_of_json(got), truth)
            assert score.path_error == 0, score.explain()
            held = [path for path, row in truth["sites"].items() if row["bytes"]]
            assert len({path.rsplit(";")[-1] for path in held}) >= sites - 1, held
            assert_whole(got)
        assert hold.alive()
