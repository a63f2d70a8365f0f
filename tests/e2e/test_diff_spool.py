# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=60 parallel
"""memwho diff of folders: spools of memwho serve, of this machine and of others. The newest captures of
one build are compared, however many there are."""
import gzip
import os
import resource
import time

from conftest import run_memwho
from test_serve_push import field, varint

# so that a capture takes room: hexadecimal digits of chance pack to half
NAMES = [b"f%d_" % i + os.urandom(100).hex().encode() for i in range(2000)]


def profile(build, held, spread=0):
    """@held bytes in the function `grew`; @spread functions more that hold 1,000 each."""
    texts = [b"", b"inuse_space", b"bytes", b"space", b"/usr/bin/api", build, b"/usr/lib/libc.so.6", b"feed", b"grew"]
    texts += NAMES[:spread]
    body = field(1, field(1, 1) + field(2, 2))
    for i, value in enumerate([held] + spread * [1000]):
        body += field(2, field(1, varint(i + 1)) + field(2, varint(value)))
    body += field(3, field(1, 1) + field(2, 4096) + field(3, 8192) + field(5, 6) + field(6, 7))
    body += field(3, field(1, 2) + field(2, 65536) + field(3, 1 << 30) + field(5, 4) + field(6, 5))
    for i in range(spread + 1):
        body += field(4, field(1, i + 1) + field(2, 2) + field(3, 65536 + i) + field(4, field(1, i + 1)))
        body += field(5, field(1, i + 1) + field(2, 8 + i))
    body += b"".join(field(6, t) for t in texts)
    body += field(9, 1795690800 * 10**9) + field(11, field(1, 3) + field(2, 2)) + field(12, field(1, 1) and 1)
    return gzip.compress(body)


def keep(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.pb.gz").write_bytes(data)


def grown(*args):
    r = run_memwho("diff", *args, "--format", "folded")
    values = {x.rpartition(" ")[0]: int(x.rpartition(" ")[2]) for x in r.out.splitlines()}
    return values.get("grew", 0), r.err


def test_the_newest_of_one_build(tmp_path):
    a, b = tmp_path / "host1" / "api", tmp_path / "host2" / "api"
    keep(a, "20261101T000000Z-9-growth", profile(b"0a0a", 100))
    keep(a, "20261101T000000Z-10-growth", profile(b"0a0a", 200))   # the newer one of that second
    keep(a, "20261102T000000Z-11-growth", profile(b"0b0b", 5))
    keep(b, "20261031T000000Z-1-baseline", profile(b"0a0a", 1))
    keep(b, "20261103T000000Z-2-growth", profile(b"0a0a", 900))
    more, said = grown(a, b)
    assert more == 700 and "20261101T000000Z-10-growth.pb.gz, build 0a0a" in said and "no two captures" not in said
    assert grown(a.parent, b.parent)[0] == 700   # spools of one target
    keep(b, "20261104T000000Z-3-growth", b"broken")
    more, said = grown(a, b)
    assert more == 700 and "3-growth.pb.gz is left out" in said
    # with one file, what goes with it is looked for; nothing of that build: the newest, and it is said
    more, said = grown(a / "20261102T000000Z-11-growth.pb.gz", b)
    assert more == 895 and "no two captures of one build" in said


def test_what_is_no_spool(tmp_path):
    keep(tmp_path / "s" / "api", "20261101T000000Z-1-growth", profile(b"0a", 1))
    keep(tmp_path / "s" / "db", "20261101T000000Z-2-growth", profile(b"0a", 1))
    r = run_memwho("diff", tmp_path / "s", tmp_path / "s", code=2)
    assert "captures of several targets" in r.err and "api" in r.err and "db" in r.err
    (tmp_path / "empty").mkdir()
    assert "has no capture" in run_memwho("diff", tmp_path / "empty", tmp_path / "s" / "db", code=1).err


def test_a_gibibyte_in_two_seconds(tmp_path):
    """Two spools that are as large together, and only the last pair that is tried is of one build."""
    size = 0
    for i, host in enumerate(("host1", "host2")):
        folder = tmp_path / host / "api"
        for n in range(8):
            build = b"%02x%02x" % (n, i if n else 0)
            keep(folder, f"2026110{1 + n}T000000Z-{n + 1}-growth", profile(build, 1000 * (n + 1) + i, len(NAMES)))
        first = folder / "20261101T000000Z-1-growth.pb.gz"
        bytes_of_one = first.stat().st_size
        for n in range((1 << 29) // bytes_of_one):  # links: their content is not what costs
            os.link(first, folder / f"20260101T000000Z-{n}-baseline.pb.gz")
            size += bytes_of_one
    assert size > 0.99 * (1 << 30)
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    more, _ = grown(tmp_path / "host1" / "api", tmp_path / "host2" / "api")
    took, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert more == 1
    print(f"{size >> 20} MiB in {2 * ((1 << 29) // bytes_of_one)} captures: {cpu:.2f} s of CPU time, {took:.2f} s")
    assert cpu < 2  # the machine may be busy
