# SPDX-License-Identifier: GPL-2.0-or-later
"""./dev matrix lua: memwho refs on every release of Lua 5.3 and 5.4 that can be had, built from its source, and
on Luas that were built otherwise than as released. LUA_RELEASES names other releases."""
import os

import luatools
import pytest
from test_refs_lua import (Program, SCRIPT, check_objects, check_roots, check_sum, paths_of, program,  # noqa: F401
                           refs, waits)
import conftest

RELEASES = os.environ.get("LUA_RELEASES", " ".join(luatools.CRATES)).split()
KNOWN = [r for r in RELEASES if r[:3] in ("5.3", "5.4")]
NEWEST = [max(r for r in KNOWN if r.startswith(v)) for v in ("5.3", "5.4") if any(r.startswith(v) for r in KNOWN)]

# name: flags, edits of luaconf.h (5.3, 5.4), what is linked
DEFAULT = r"^#define (LUA_FLOAT_DEFAULT|LUA_FLOAT_TYPE)\s+LUA_FLOAT_DOUBLE"
LONG_DOUBLE = {"5.3": [], "5.4": [(DEFAULT, r"#define \1 LUA_FLOAT_LONGDOUBLE")]}
FLOAT = {"5.3": [], "5.4": [(DEFAULT, r"#define \1 LUA_FLOAT_FLOAT")]}
SMALL = {"5.3": [], "5.4": [(r"^#define LUA_32BITS.*", "#define LUA_32BITS 1")]}
NONE = {"5.3": [], "5.4": []}


def extra(n):
    edit = [(r"^#define LUA_EXTRASPACE.*", f"#define LUA_EXTRASPACE {n}")]
    return {"5.3": edit, "5.4": edit}


BUILDS = {
    "O0": (["-O0", "-g"], NONE),
    "O3": (["-O3", "-s"], NONE),
    "lto": (["-O2", "-flto", "-s"], NONE),
    "pie": (["-O2", "-fPIE", "-pie"], NONE),
    "nopie": (["-O2", "-fno-pie", "-no-pie", "-static"], NONE),
    "32bits": (["-O2", "-DLUA_32BITS"], SMALL),
    "float": (["-O2", "-DLUA_FLOAT_TYPE=1"], FLOAT),
    "longdouble": (["-O2", "-DLUA_FLOAT_TYPE=3"], LONG_DOUBLE),
    "c89": (["-O2", "-DLUA_USE_C89", "-DLUA_C89_NUMBERS"], NONE),
    "short-10": (["-O2", "-DLUAI_MAXSHORTLEN=10"], NONE),
    "short-200": (["-O2", "-DLUAI_MAXSHORTLEN=200"], NONE),
    "extra-0": (["-O2"], extra(0)),
    "extra-256": (["-O2"], extra(256)),
    "cache-7": (["-O2", "-DSTRCACHE_N=7", "-DSTRCACHE_M=2"], NONE),
    "compat": (["-O2", "-DLUA_COMPAT_5_2", "-DLUA_COMPAT_5_3"], NONE),
}


def built(release, name="plain"):
    flags, edits = BUILDS.get(name, (["-O2"], NONE))
    return luatools.build(release, name, flags, edits[release[:3]] if release[:3] in edits else ())


def check(program, p, release, roots=True):  # noqa: F811
    result = refs(str(p.pid), "--objects")
    assert result["runtime"] == f"Lua {release[:3]}"
    check_sum(result, p)
    if roots:
        check_roots(result, p)
    check_objects(result, p)
    assert "warnings" not in result, result["warnings"]
    paths = paths_of(p)
    for chain in ("_G.sessions;table;[…] table;.data string", "hidden upvalue;table;[…] string",
                  "_G.workers;table;[…] thread;buf string",
                  "_G.keys;table;[…] table;[weak key's value] table;[…] string",
                  "[…] userdata refs.box;[user value] string"):
        assert chain in paths, chain


@pytest.mark.parametrize("release", KNOWN)
@pytest.mark.parametrize("option", ["", "generational", "midcycle", "garbage"])
def test_release(program, release, option):  # noqa: F811
    check(program, program([built(release), "1", SCRIPT] + ([option] if option else [])), release)


@pytest.mark.parametrize("release", KNOWN)
def test_several_states(program, release):  # noqa: F811
    p = program([built(release), "3", SCRIPT])
    result = refs(str(p.pid))
    assert len(p.counts) == 3
    check_sum(result, p)


@pytest.mark.parametrize("release", NEWEST)
@pytest.mark.parametrize("name", BUILDS)
def test_build(program, release, name):  # noqa: F811
    # with long short strings the table of strings, which is nobody's, grows with what a root holds
    check(program, program([built(release, name), "1", SCRIPT]), release, name != "short-200")


@pytest.mark.parametrize("release", KNOWN)
def test_long_double(program, release):  # noqa: F811
    check(program, program([built(release, "longdouble"), "1", SCRIPT]), release)


@pytest.mark.parametrize("release", [r for r in RELEASES if r not in KNOWN])
def test_not_supported_yet(release):
    process = waits(built(release), "1", SCRIPT)
    try:
        r = conftest.run_memwho("refs", process.pid, code=1)
        assert f"has Lua {release[:3]} inside, which refs does not know yet" in r.err
    finally:
        process.kill()
        process.wait()
