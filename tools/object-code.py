#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""object-code.py TOOL FOLDER FILE...: text of known builds (src/symbol/known/) from packages.

TOOL is build/tests/programs/object_code_text. FILE is a package of Debian (.deb, from `apt-get
download`), or a Rust toolchain's folder (rustup target add x86_64-unknown-linux-musl). Builds
whose text is the same become one, with all their versions in the title; what FOLDER has stays."""
import pathlib
import re
import subprocess
import sys
import tempfile

# of musl, which has no unwind tables, what stacks go through as well: its start, and functions that
# allocate or call those that do
MUSL = [f"{name}.lo" for name in (
    "lite_malloc malloc free realloc calloc aligned_alloc posix_memalign memalign valloc reallocarray "
    "malloc_usable_size __libc_start_main pthread_create").split()]
MUSL_CALLERS = {"malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "__libc_malloc",
                "__libc_calloc", "__libc_realloc"}
TCMALLOC = ["libtcmalloc_la-tcmalloc.o"]
TCMALLOC_MINIMAL = ["libtcmalloc_minimal_la-tcmalloc.o"]
JEMALLOC = ["jemalloc.o", "jemalloc.pic.o", "jemalloc_cpp.o", "jemalloc_cpp.pic.o"]
# package: (archive, title, members)
PACKAGES = {
    "libc6-dev": [("libc.a", "glibc", ["malloc.o"])],
    "musl-dev": [("libc.a", "musl", MUSL)],
    "libjemalloc-dev": [("libjemalloc.a", "jemalloc", JEMALLOC), ("libjemalloc_pic.a", "jemalloc pic", JEMALLOC)],
    "libgoogle-perftools-dev": [("libtcmalloc.a", "tcmalloc", TCMALLOC),
                                ("libtcmalloc_minimal.a", "tcmalloc minimal", TCMALLOC_MINIMAL)],
}


def members_of(archive, members):
    """Names of those that are wanted: with callers, where the library has no unwind tables."""
    if members is not MUSL:
        return members
    wants, defines, name = {}, {}, None
    for line in subprocess.run(["nm", archive], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True).stdout.splitlines():
        words = line.split()
        if line.endswith(":"):
            name = line[:-1]
        elif len(words) == 2 and words[0] == "U":
            wants.setdefault(name, set()).add(words[1])
        elif len(words) == 3 and words[1] in "TW":
            defines.setdefault(name, set()).add(words[2])
    called, found = set(MUSL_CALLERS), set()
    for _ in range(2):
        found |= {name for name, symbols in wants.items() if symbols & called}
        called |= set().union(*(defines.get(name, set()) for name in found))
    # equal to calloc but for what it calls
    return sorted(set(members) | found - {"libc_calloc.lo"})


def text_of(tool, title, archive, members):
    return subprocess.run([tool, title, archive, *members], check=True, stdout=subprocess.PIPE, text=True).stdout


def archives(path):
    """(title, version, archive, members) of a package or toolchain."""
    if path.is_dir():
        for found in path.glob("lib/rustlib/x86_64-unknown-linux-musl/lib/self-contained/libc.a"):
            version = re.match(r"[0-9.]+", path.name)
            yield "musl of Rust", version[0] if version else path.name, found, MUSL
        return
    package, version = path.name.split("_")[:2]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "--extract", path, folder], check=True)
        for name, title, members in PACKAGES[package]:
            for found in pathlib.Path(folder).rglob(name):
                yield f"{title} of Debian", version.replace("%3a", ":"), found, members


def main():
    tool, folder, *files = sys.argv[1:]
    folder = pathlib.Path(folder)
    known = {}  # body -> [kind, versions]
    for old in sorted(folder.glob("*.txt")):
        title, body = re.search(r"^title (.*)\n", old.read_text(), re.M)[1], old.read_text().split("\n", 2)[2]
        kind, _, versions = title.rpartition(": ")
        known[body] = [kind, versions.split(", ")]
    for path in map(pathlib.Path, files):
        for kind, version, archive, members in archives(path):
            body = text_of(tool, "", archive, members_of(archive, members)).split("\n", 1)[1]
            entry = known.setdefault(body, [kind, []])
            if version not in entry[1]:
                entry[1].append(version)
    for body, (kind, versions) in known.items():
        name = re.sub(r"[^a-z0-9]+", "-", f"{kind} {versions[0]}".lower()).strip("-")
        head = f"# SPDX-License-Identifier: GPL-2.0-or-later\ntitle {kind}: {', '.join(versions)}\n"
        (folder / f"{name}.txt").write_text(head + body)


main()
