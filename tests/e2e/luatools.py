# SPDX-License-Identifier: GPL-2.0-or-later
"""Releases of Lua, built from the sources that crates of Rust bring along: for the matrix."""
import fcntl
import os
import re
import shutil
import subprocess

import conftest

DIR = conftest.BUILD / "lua"
EMBEDDING = conftest.SOURCE / "tests" / "programs" / "lua_refs.c"

# Which crate has it. Neither 5.3.0, 5.3.1 nor 5.4.5 is in any.
CRATES = {
    "5.3.2": ("td_clua", "0.1.3"),
    "5.3.3": ("lua", "0.0.10"),
    "5.3.4": ("lua53-sys", "0.1.1"),
    "5.3.5": ("lua-src", "535.0.1"),
    "5.3.6": ("lua-src", "540.0.1"),
    "5.4.0": ("lua-src", "540.0.1"),
    "5.4.1": ("lua-src", "541.0.0"),
    "5.4.2": ("lua-src", "542.0.0"),
    "5.4.3": ("lua-src", "543.0.0"),
    "5.4.4": ("lua-src", "544.0.1"),
    "5.4.6": ("lua-src", "546.0.2"),
    "5.4.7": ("lua-src", "547.0.0"),
    "5.4.8": ("lua-src", "548.1.1"),
    "5.4.9": ("lua-src", "551.1.0"),
    "5.5.1": ("lua-src", "551.1.0"),
}


def release_of(folder):
    """ "5.4.6" by the lua.h in a folder; None: it has none."""
    try:
        text = (folder / "lua.h").read_text(errors="replace")
    except OSError:
        return None
    numbers = [re.search(rf'#define\s+LUA_VERSION_{part}(?:_N)?\s+"?(\d+)"?', text)
               for part in ("MAJOR", "MINOR", "RELEASE")]
    return ".".join(n[1] for n in numbers) if all(numbers) else None


def fetch(crate, version):
    """The folder of a crate, unpacked by cargo itself."""
    project, to = DIR / f"{crate}-{version}.project", DIR / f"{crate}-{version}"
    if to.exists():
        return to
    (project / "src").mkdir(parents=True, exist_ok=True)
    (project / "src" / "lib.rs").write_text("")
    (project / "Cargo.toml").write_text('[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n'
                                        f'[dependencies]\n"{crate}" = "={version}"\n')
    subprocess.run(["cargo", "vendor", "--quiet", "vendored"], cwd=project, check=True, stdout=subprocess.DEVNULL)
    shutil.move(project / "vendored" / crate, to)
    shutil.rmtree(project)
    return to


def sources(release):
    """The folder with the sources of exactly that release."""
    DIR.mkdir(exist_ok=True)
    with open(DIR / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        top = fetch(*CRATES[release])
    for folder, _, files in os.walk(top):
        folder = type(top)(folder)
        if "lapi.c" in files and release_of(folder) == release:
            return folder
    raise FileNotFoundError(f"Lua {release} is not in {top}")


def configure(to, edits):
    """What an embedder changes in luaconf.h: each edit must find its place."""
    path = to / "luaconf.h"
    text = path.read_text(errors="replace")
    for pattern, new in edits:
        text, n = re.subn(pattern, new, text, flags=re.M)
        assert n, (pattern, "is not in luaconf.h")
    path.write_text(text)


def build(release, name="plain", flags=("-O2",), edits=(), link=()):
    """lua_refs with that Lua inside it, statically: the program's path."""
    to = DIR / f"{release}-{name}"
    program = to / "lua_refs"
    if program.exists() and program.stat().st_mtime > EMBEDDING.stat().st_mtime:
        return program
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(sources(release), to)
    configure(to, edits)
    files = [f for f in to.glob("*.c") if f.name not in ("lua.c", "luac.c", "ltests.c", "onelua.c", "print.c")]
    subprocess.run(["cc", "-w", *flags, "-I", to, "-o", program, EMBEDDING, *files, *link, "-lm", "-ldl",
                    "-lpthread"], check=True)
    return program
