# SPDX-License-Identifier: GPL-2.0-or-later
"""Cgroups for tests."""
import contextlib
import pathlib
import time


@contextlib.contextmanager
def made(top, path):
    """The cgroup @path below @top, which is made and taken away again with those
    above it that were not there. Who is still in them then is moved to @top."""
    top = pathlib.Path(top)
    whole, new = top / path, []
    try:
        for p in [*reversed(whole.parents), whole]:
            if not p.exists():
                p.mkdir()
                new.append(p)
        yield whole
    finally:
        for p in new[::-1]:
            for pid in (p / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (top / "cgroup.procs").write_text(pid)
            for _ in range(200):
                try:
                    p.rmdir()
                    break
                except OSError:
                    time.sleep(0.02)
            else:
                p.rmdir()
