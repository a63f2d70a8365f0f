# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho serve: rules by the limit of a real memory cgroup and by its kills, on the version that this
machine has (v1; v2 by ./dev vm, too)."""
import pathlib

import conftest
from conftest import PROGRAMS, Target
from serving import Serve, until
from test_blackbox import LIMIT, cgroup, oom_kills  # noqa: F401, a fixture
from test_serve_growth import captures

MIB = 1 << 20


def charge(cgroup, mib, first_to_go=1):  # noqa: F811
    return Target([PROGRAMS / "charge", "cgroup", cgroup, "anon", str(mib)],
                  preexec_fn=lambda: pathlib.Path("/proc/self/oom_score_adj").write_text(str(500 * first_to_go)))


def test_limit_and_kills(tmp_path, cgroup):  # noqa: F811
    first, others = charge(cgroup, 4, first_to_go=0), []
    rules = [f'[trigger "{name}"]\nrule = {rule}\ncapture = ladder\nwarmup = 0\ncooldown = 0'
             for name, rule in (("near", "above 80% of limit"), ("killed", "oom"))]
    try:
        assert first.line() == "ready"
        with Serve(tmp_path, f"spool = {tmp_path}/spool", '[target "api"]', f"pid = {first.pid}", *rules) as s:
            until(lambda: len(captures(s, "baseline")) == 2, 60)
            others.append(charge(cgroup, (LIMIT * 7 // 10) // MIB - 4))  # below
            assert others[0].line() == "ready"
            until(lambda: 'memwho_cgroup_used_bytes{target="api"' in s.get("/metrics").text, 30)
            assert len(captures(s)) == 2
            others.append(charge(cgroup, (LIMIT * 2 // 10) // MIB))
            assert others[1].line() == "ready"
            until(lambda: len(captures(s)) == 3, 30)
            near = captures(s)[0]
            assert "limit" in near["reason"] and near["baseline"] in [c["id"] for c in captures(s, "baseline")], near
            before = oom_kills(cgroup)
            others.append(charge(cgroup, LIMIT // MIB))  # there is no room: the kernel kills one of them
            until(lambda: oom_kills(cgroup) > before, 30)
            until(lambda: captures(s, "oom"), 30)
            assert not [c for c in captures(s) if c["target"] != "api"]
    finally:
        for t in [first, *others]:
            conftest.end(t.process)
