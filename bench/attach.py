#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long attaching and detaching take, on small and on big programs, with an
empty and with a filled cache of unwind tables, by uprobe_multi and by perf events.

"start to ready" is the whole of it as a user waits for it: start of memwho,
symbols of the allocator, tables, loading the programs, the guard's count
(200 ms on a quiet target), attaching. "attach" is the report's attach_seconds,
that is without the guard's count; "detach" its detach_seconds: when they are
over the target runs at full speed. "end" is from Ctrl-C to memwho's exit, with
symbols looked up and the result written."""
import contextlib
import os
import pathlib
import subprocess
import tempfile
import time

import common
from common import Hot, Memwho, figure, keep, say, spread, table


@contextlib.contextmanager
def small():
    with Hot() as hot:
        yield hot.pid


@contextlib.contextmanager
def postgres():
    import postgres as pg
    with pg.Server(pg.DISTRIBUTION) as server:
        session = server.session()
        session.do("select count(*) from pg_class")
        yield session.pid


@contextlib.contextmanager
def idle(*argv, settle=1.5):
    p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    time.sleep(settle)
    try:
        if p.poll() is not None:
            raise RuntimeError(f"{argv[0]} ended")
        yield p.pid
    finally:
        p.kill()
        p.wait()
        p.stdin.close()


TARGETS = {
    "small C program": small,
    "PostgreSQL backend": postgres,
    "node (C++, one file)": lambda: idle("node", "-e", "setInterval(() => {}, 1000)"),
    "rustc (Rust, and LLVM in C++)": lambda: idle("rustc", "-"),
    "clang (LLVM in C++)": lambda: idle("clang-14", "-x", "c", "-fsyntax-only", "-"),
}
WAYS = {"uprobe_multi": {}, "perf events": {"MEMWHO_WITHOUT": "uprobe_multi"}}


def mapped_code_mb(pid):
    """Megabytes of files that are mapped as code, whole files."""
    files = {}
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and "x" in fields[1] and fields[5].startswith("/"):
            with contextlib.suppress(OSError):
                files[fields[5]] = os.path.getsize(fields[5])
    return sum(files.values()) / 1e6


def once(pid, env):
    m = Memwho(name="memwho", env=env)
    m.attach(pid)
    time.sleep(0.3)
    m.detach()
    m.close()
    return {"start to ready": m.attach_seconds, "attach": m.result["attach_seconds"],
            "detach": m.result["detach_seconds"], "end": m.detach_seconds}


def measure(pid):
    runs = {}
    for _ in range(common.PAIRS):
        for way, env in WAYS.items():
            with tempfile.TemporaryDirectory(prefix="memwho-bench-") as cache:
                env = {**env, "XDG_CACHE_HOME": cache}
                runs.setdefault((way, "empty"), []).append(once(pid, env))
                runs.setdefault((way, "filled"), []).append(once(pid, env))
    return runs


def main():
    rows, data = [], {}
    for name, target in TARGETS.items():
        try:
            with target() as pid:
                size = mapped_code_mb(pid)
                runs = measure(pid)
        except (RuntimeError, OSError) as e:
            say(f"# {name}: left out ({e})")
            continue
        for (way, cache), all_of in runs.items():
            keys = ("start to ready", "attach", "detach", "end")
            s = {k: spread([r[k] for r in all_of]) for k in keys}
            data[f"{name}, {way}, cache {cache}"] = {"mapped_mb": size, **s}
            rows.append([name, f"{size:.0f}", way, cache,
                         *(figure(s[k]["median"], 2) + f" ({figure(s[k]['low'], 2)})" for k in keys)])
        say(f"# {name}: done")
    table(["target", "MB of files with code", "probes by", "cache", "start to ready s", "attach s",
           "detach s", "end s"], rows)
    keep("attach", data)


if __name__ == "__main__":
    main()
