# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""Captures pushed as OTLP profiles (kind = otlp) to a server that decodes them by OpenTelemetry's
published Go module and refuses what that does not know or its comments forbid
(programs/otlp-double): what arrives is what the capture had, stack by stack."""
import collections
import os
import re
import shutil
import subprocess

import pytest

import conftest
import engines
import gopprof
from conftest import PROGRAMS
from test_serve_push import Server, pusher, write_profile

CASES = ["small", "plain", "hostile", "deep", "sampled", "empty"]


@pytest.fixture(scope="module")
def double():
    folder = conftest.BUILD / "otlp-double"
    folder.mkdir(exist_ok=True)
    for name in "main.go", "go.mod":
        shutil.copy(conftest.SOURCE / "tests/programs/otlp-double" / name, folder)
    if not shutil.which("go"):
        assert not conftest.CI, "go is not installed"
        pytest.skip("no go")
    for words in ("mod", "tidy", "-e"), ("build", "-o", "otlp-double", "."):
        p = subprocess.run(["go", *words], cwd=folder, capture_output=True, text=True, timeout=240,
                           env={**os.environ, "GOFLAGS": "-mod=mod"})
        if p.returncode:
            assert not conftest.CI, p.stderr
            pytest.skip(f"cannot be built: {p.stderr}")
    return folder / "otlp-double"


@pytest.fixture
def server(double, tmp_path):
    made = []

    def make(*options):
        made.append(Server(tmp_path, *options))
        made[-1].double = double
        return made[-1].start()
    yield make
    for one in made:
        one.stop()


def plain(name):
    """A frame without a name is its place; the server has that with the module's folders. In gopprof
    all instances of a generic function are one."""
    return re.sub(r"\[.*\]", "[...]", re.sub(r"^.*/(?=[^/]*\+0x[0-9a-f]+$)", "", name))


def signed(v):
    return v - (1 << 64) if v >> 63 else v


def frames_of(text):
    """[(function, file, line)] of a stack as the double writes it, without labels."""
    frames = []
    for location in text.split(";"):
        place, *lines = location.split("|")
        if location.startswith("{"):
            break
        frames += [(plain(name), file, int(line)) for name, file, line in (at.rsplit(":", 2) for at in lines)] or \
            [(plain(place), "", 0)]
    return tuple(frames)


@pytest.mark.parametrize("case", CASES)
def test_stack_by_stack(server, tmp_path, case):
    made = subprocess.run([PROGRAMS / "picture", case, tmp_path / "a.pb.gz"])
    assert made.returncode == 0
    s = server()
    with pusher("otlp", f"http://127.0.0.1:{s.port}/", tmp_path / "q") as p:
        p.add(1, tmp_path / "a.pb.gz")
        p.until_sent(1, 60)
        assert p.counts()["sent"] == 1, p.counts()
    types, samples = gopprof.read(tmp_path / "a.pb.gz")
    [one] = s.seen()
    assert {t: one["totals"].get(t, 0) for t in types} == {t: sum(signed(k.values[i]) for k in samples)
                                                           for i, t in enumerate(types)}
    assert set(one["units"]) <= set(types) and all(one["units"].values())
    if case == "hostile":  # names with the double's own marks: sums only
        return
    for i, kind in enumerate(types):
        wanted, got = collections.Counter(), collections.Counter()
        for sample in samples:
            wanted[tuple((plain(f), file, line) for f, file, line in sample.frames)] += signed(sample.values[i])
        for text, value in one["stacks"].items():
            if text.startswith(kind + ";"):
                got[frames_of(text[len(kind) + 1:])] += value
        assert {k: v for k, v in got.items() if v} == {k: v for k, v in wanted.items() if v}, kind


def test_labels_stay(server, tmp_path):
    subprocess.run([PROGRAMS / "picture", "small", tmp_path / "a.pb.gz"], check=True)
    _, samples = gopprof.read(tmp_path / "a.pb.gz")
    s = server()
    with pusher("otlp", f"http://127.0.0.1:{s.port}", tmp_path / "q", "label=zone=a b") as p:
        p.add(1, tmp_path / "a.pb.gz")
        p.until_sent(1)
    [one] = s.seen()
    assert one["labels"]["zone"] == "a b" and one["labels"]["service.name"] == "api"
    keys = {k for sample in samples for k in sample.labels}
    seen = set(re.findall(r"[{,]([^=,{}]+)=", " ".join(one["stacks"])))
    assert keys and seen == keys, (seen, keys)


def test_yes_but(server, tmp_path):
    """An answer 200 that says the profiles were not taken is no delivery, and is not asked again."""
    s = server("--reject", "not today")
    with pusher("otlp", f"http://127.0.0.1:{s.port}", tmp_path / "q") as p:
        p.add(1, write_profile(tmp_path / "a", 4711))
        p.until_sent(1)
        counts = p.counts()
    assert counts["refused"] == 1 and counts["sent"] == counts["retries"] == counts["queued"] == 0
    assert "not today" in counts["error"], counts


def test_no_profile(server, tmp_path):
    """What can never be sent does not stand in the way of the rest."""
    (tmp_path / "bad").write_bytes(b"no profile")
    s = server()
    with pusher("otlp", f"http://127.0.0.1:{s.port}", tmp_path / "q") as p:
        p.add(1, tmp_path / "bad")
        p.add(2, write_profile(tmp_path / "a", 4711))
        engines.until(lambda: p.counts()["queued"] == 0)
        assert (p.counts()["sent"], p.counts()["refused"]) == (1, 1)
    assert [one["totals"] for one in s.seen()] == [{"inuse_space": 4711}]
