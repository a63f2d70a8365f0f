# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs: what variables of generic functions hold. Their code is made for a shape; the types are in
the dictionary of the call."""
import os
import subprocess

import conftest
import gotools
import pytest

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_generic"
MINORS = [0] + [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split() if int(m) >= 18]

# The runtime puts several of them into one block of 16 bytes (mallocgc's tiny allocator): the
# block may have the type of its other tenant.
TINY = {"int"}


def look(memwho, path):
    """Triples of what holds an object, its true type and what memwho says, and the result."""
    truth, found, result = gotools.printed_and_found(memwho, path)
    # behind a malloc header the object begins 8 bytes later; a record that was only copied is gone
    return [(name, t, found.get(a, found.get(a - 8))) for a, (name, t) in truth.items() if a in found or a - 8 in found], result


@pytest.mark.parametrize("minor", MINORS)
def test_dictionaries(memwho, minor):
    rows, result = look(memwho, gotools.build(SOURCE, f"refs-generic-{minor}", minor=minor))
    # hold() and wait() of two types with one shape are one function, and each call knows its own
    assert len(rows) >= 36
    wrong = [r for r in rows if r[2] and r[2] != r[1] and r[1] not in TINY]
    assert not wrong, wrong
    # what has no pointers in it and is only pointed into may be anything
    assert all(r[2] for r in rows if "int" not in r[1]), rows
    frames = {f for s in result["stacks"] for f in s["frames"]}
    assert not [f for f in frames if "go.shape" in f]
    assert {"main.hold[...].tree main.node[*main.record]", ".left main.node[*main.record]",
            "main.hold[...].list []*main.other", "main.(*holder[...]).wait.value main.other"} <= frames, frames


@pytest.mark.parametrize("minor", [MINORS[0], MINORS[1], MINORS[-1]])
def test_without_symbols(memwho, minor, tmp_path):
    """DWARF alone does not tell whose dictionary it is: a shape is called a shape."""
    path = tmp_path / "bare"
    subprocess.run(["strip", "--strip-all", "--keep-section=.debug*", "--keep-section=.zdebug*", "-o", path,
                    gotools.build(SOURCE, f"refs-generic-{minor}", minor=minor)], check=True)
    rows, _ = look(memwho, path)
    wrong = [r for r in rows if r[2] and r[2] != r[1] and r[1] not in TINY and "go.shape." not in r[2]]
    assert not wrong and any("go.shape." in r[2] for r in rows), wrong
    rows, _ = look(memwho, gotools.build(SOURCE, f"refs-generic-{minor}-stripped", ["-ldflags=-s -w"], minor=minor))
    wrong = [r for r in rows if r[2] and r[2].rstrip("?") != r[1] and r[1] not in TINY]
    assert not wrong, wrong
