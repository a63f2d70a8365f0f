# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho refs: what closures hold, when several have one shape. From 1.23 on DWARF tells where a closure
has what; before, its function's variables have the same types and, up to 1.20, the same names."""
import os

import conftest
import gotools
import pytest

SOURCE = conftest.SOURCE / "tests" / "programs" / "refs_closures"
MINORS = [0] + [int(m) for m in os.environ.get("REFS_MINORS", "18 21 22 24").split()]


def look(memwho, path):
    truth, found, _ = gotools.printed_and_found(memwho, path)
    return [(how, t, found.get(a, found.get(a - 8))) for a, (how, t) in truth.items()]


@pytest.mark.parametrize("minor", MINORS)
def test_captured(memwho, minor):
    rows = look(memwho, gotools.build(SOURCE, f"refs-closures-{minor}", minor=minor))
    assert len(rows) == 700 and all(f is not None for _, _, f in rows)
    wrong = [r for r in rows if r[2] and r[2].rstrip("?") != r[1]]
    assert not wrong, wrong
    typed = {how for how, _, f in rows if f}
    untyped = {how for how, _, f in rows if not f}
    guessed = {how for how, _, f in rows if f.endswith("?")}
    if minor and 21 <= minor <= 22:
        # the fields of a closure have no names: two that hold an a and a b, each in its own order, may be either
        assert untyped <= {"two"} and typed >= {"one", "inner", "list", "listed", "changed"}
    else:
        assert not untyped and not guessed, (untyped, guessed)


@pytest.mark.parametrize("minor", MINORS)
def test_stripped(memwho, minor):
    """Nothing tells them apart, so nothing is said."""
    rows = look(memwho, gotools.build(SOURCE, f"refs-closures-{minor}-stripped", ["-ldflags=-s -w"], minor=minor))
    wrong = [r for r in rows if r[2] and r[2].rstrip("?") != r[1]]
    assert not wrong, wrong
    assert not [r for r in rows if r[2] and not r[2].endswith("?")]
