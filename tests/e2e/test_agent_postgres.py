# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""The sampling engine on real PostgreSQL servers: memory contexts by samples, within what
their weights allow of the server's own account; resets and errors leave nothing behind."""
import collections
import math
import os
import platform
import resource
import subprocess

import conftest
import postgres
import pytest
from test_alloc_postgres import accounts, check_contexts as exact_contexts, leave_open, prepare_session, sequence, traced

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the agent is for x86-64")

MEAN = 1024
# built so that a function's beginning lies across two pages: its class is left out
LEFT_OUT = {(13, False): ("Generation", "GenerationFree cannot be patched: its beginning lies across two pages")}


def options(allocator="postgres"):
    return ("--engine", "agent", "--sample", MEAN, "--json", "--no-before", "--no-debuginfod", "--allocator", allocator)


def left_out(major):
    return LEFT_OUT.get((major, postgres.from_distribution(major)), (None, None))


@pytest.fixture(scope="module", params=postgres.majors(), ids=lambda major: f"pg{major}")
def server(request):
    postgres.need(request.param)
    with postgres.Server(request.param) as s:
        yield s


def slack(truth):
    """What an estimate may be off: five standard errors. A chunk of c bytes is drawn with
    1 - exp(-a/mean) for what was asked for, a, with a header, and c is at most about twice that:
    so its variance is below 2.2 c mean. Few samples are no normal distribution."""
    return 5 * math.sqrt(2.2 * MEAN * truth) + 8 * MEAN


def check_clean(result, pid):
    assert result["engine"] == "agent" and result["allocators"].split(",")[0] == "postgres"
    assert result["lost_events"] == result["lost_bytes"] == result["lost_contexts"] == 0
    # but for a class that cannot be recorded
    classes = [name for name, _ in LEFT_OUT.values()]
    assert all(gap["function"].startswith(tuple(classes)) for gap in result.get("not_covered") or []), result["not_covered"]
    assert not conftest.changed_code(pid)


def check_contexts(before, after, result):
    """{path: (recorded, truth)} of contexts that are new, each of them near the truth. What
    others hold is new only in part, and cannot be more than all that is there."""
    before, after, by_path = accounts(before), accounts(after), traced(result)
    new = {}
    for path, held in by_path.items():
        if not held:
            continue
        assert path in after, f"{path} is gone, and holds {held}"
        assert held <= after[path].chunk_bytes + slack(after[path].chunk_bytes), path
    for path, account in after.items():
        older = before.get(path, (0, False))[0]
        if account.blurred:
            continue
        more = account.chunk_bytes - older
        # what was there before may be gone, with other blocks in its place
        assert more - slack(account.chunk_bytes) <= by_path[path], path
        if not older:
            assert by_path[path] <= more + slack(more), path
            new[path] = by_path[path], more
    return new


@pytest.mark.parametrize("major", [m for m in postgres.majors() if left_out(m)[0]])
def test_a_class_that_cannot_be_patched_is_left_out(major, memwho):
    """All of it, each function with the reason; the other classes are recorded."""
    postgres.need(major)
    name, why = left_out(major)
    with postgres.Server(major) as server:
        s = server.session()
        got = memwho("alloc", s.pid, "-d", "1s", *options()).json()
        gaps = {gap["function"]: gap["reason"] for gap in got["not_covered"]}
        assert all(function.startswith(name) for function in gaps), gaps
        assert {f"{name}Alloc", f"{name}Free", f"{name}Realloc"} <= set(gaps), gaps
        assert gaps[f"{name}Free"] == why and f"{name}Free cannot be patched" in gaps[f"{name}Alloc"]
        assert got["patched_functions"] >= 8
        assert s.value("select 1") == "1" and not conftest.changed_code(s.pid)
        s.close()


def test_contexts_are_estimated(server, record):
    s = prepare_session(server)
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, *options())
    sequence(s, "q")
    leave_open(s)
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_clean(result, s.pid)
    new = check_contexts(before, after, result)
    assert sum("TopPortalContext/PortalContext/" in path for path in new) >= 3
    recorded, truth = (sum(x) for x in zip(*new.values()))
    assert truth > 1e6
    assert abs(recorded - truth) <= slack(truth) - 8 * MEAN
    plans = [x for x in result["stacks"] if x["labels"].get("context", "").endswith("/CachedPlanSource")]
    assert plans
    for x in plans:
        assert x["labels"]["class"] == "AllocSet" and x["labels"]["backend_type"] == "client backend"
        assert x["labels"]["pid"] == s.pid and x["labels"]["ident"]
    assert any(x["labels"]["ident"].startswith("prepare q") for x in plans)
    # who called is known, as far as there was room for stacks
    known = [x for x in result["stacks"] if x["frames"][-1] == "_start"]
    assert sum(x["bytes"] for x in known) > 0.1 * result["held_bytes"]
    s.close()


def test_resets_by_the_thousand_leave_nothing(server, record):
    s = prepare_session(server)
    work = ("do $$ begin for i in 1..1500 loop perform length(string_agg(repeat('x', 100), ',')) from "
            "generate_series(1, 40); begin perform 1 / (i % 3); exception when division_by_zero then null; end; "
            "end loop; end $$")
    s.do(work)
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, *options())
    for i in range(1500):
        s.do("select count(*) from generate_series(1, 30)")
    s.do(work)
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_clean(result, s.pid)
    check_contexts(before, after, result)
    assert result["samples"] > 3000 and result["samples_reset"] > 1000
    # far less than one sample of a query stays
    more = sum(x.chunk_bytes for x in after) - sum(x.chunk_bytes for x in before)
    assert result["held_bytes"] < max(more, 0) + 100000 and result["samples_held"] < 500
    assert s.value("select 1") == "1"
    s.close()


def set_limit(pid, soft, hard):
    """Of its address space; as the server's user, for which no privilege is needed."""
    uid, gid = postgres.user()
    text = ["unlimited" if x == resource.RLIM_INFINITY else str(x) for x in (soft, hard)]
    as_user = {"user": uid, "group": gid} if os.geteuid() == 0 else {}
    subprocess.run(["prlimit", f"--pid={pid}", f"--as={text[0]}:{text[1]}"], check=True, **as_user)


def test_errors_leave_the_sums_right(server, record):
    """ERROR is a longjmp; out of memory leaves palloc() and repalloc() themselves that way."""
    s = prepare_session(server)
    big = "select length(string_agg(repeat('x', 1000000), '')) from generate_series(1, 900)"
    sequence(s, "w")
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, *options())
    limit = int(open(f"/proc/{s.pid}/statm").read().split()[0]) * resource.getpagesize() + (200 << 20)
    hard = resource.RLIM_INFINITY
    set_limit(s.pid, limit, hard)
    said = [" ".join(s.do(big)) for _ in range(10)]
    said += [" ".join(s.do("select length(repeat('y', 900000000))")) for _ in range(5)]
    set_limit(s.pid, hard, hard)
    assert all("out of memory" in x for x in said), said
    s.do("begin; declare kept cursor with hold for select g, repeat('y', 100) from "
         "generate_series(1, 5000) g; commit")
    assert "division" in " ".join(s.do("begin; savepoint a; select 1 / 0; rollback"))
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_clean(result, s.pid)
    check_contexts(before, after, result)
    assert result["held_bytes"] < sum(x.chunk_bytes for x in after) + slack(5e6)
    assert s.value("select 1") == "1"
    s.close()


def test_the_same_as_by_ebpf(server, record, needs_bpf):
    """The same work recorded exactly, in another backend: in contexts that only the work fills
    the estimate is near it."""
    def by(*args):
        s = prepare_session(server)
        s.do("deallocate all; close all")
        r = record("alloc", s.pid, "--json", "--no-before", "--no-debuginfod", "--allocator", "postgres", *args)
        sequence(s, "q")
        result = r.interrupt().json()
        assert not conftest.changed_code(s.pid)
        s.close()
        return traced(result)

    truth, estimate = by("--engine", "bpf", "--max-slowdown", "1000"), by(*options())
    work = [path for path in truth if "CachedPlan" in path or "PortalHold" in path or "Prepared" in path]
    assert sum(truth[path] for path in work) > 300000
    for path in work:
        assert abs(estimate[path] - truth[path]) <= slack(truth[path]), path
    assert abs(sum(estimate.values()) - sum(truth.values())) <= slack(sum(truth.values())) + 50000


def test_contexts_and_malloc_together(server, record):
    """libc lies too far away from a position-independent server for one agent: it is named."""
    s = server.session()
    r = record("alloc", s.pid, "--engine", "agent", "--sample", MEAN, "--json", "--no-before", "--no-debuginfod")
    s.do("prepare a as select * from pg_class where relname = $1")
    result = r.interrupt().json()
    assert any("context" in x["labels"] for x in result["stacks"])
    named = " ".join(x["function"] + " " + x["reason"] for x in result.get("not_covered") or [])
    assert "malloc" in traced_functions(result) or "too far away" in named
    assert not conftest.changed_code(s.pid)
    s.close()


def traced_functions(result):
    return {frame for x in result["stacks"] for frame in x["frames"]}


# ---- exactly ----

def exact_options(allocator="postgres"):
    return ("--engine", "agent", "--exact", "--json", "--no-debuginfod", "--allocator", allocator)


def check_exact(result, pid):
    """Nothing was lost, and all that is held has its stack."""
    assert result["engine"] == "agent" and result["mode"] == "exact"
    assert result["lost_events"] == result["lost_bytes"] == result["lost_contexts"] == 0
    assert result["allocated_bytes"] - result["freed_bytes"] == result["held_bytes"]
    assert result["allocations"] - result["frees"] == result["held_objects"]
    assert sum(x["bytes"] for x in result["stacks"]) == result["held_bytes"]
    assert not conftest.changed_code(pid)


# of which every class can be recorded: what one that is left out holds is not known
WHOLE = pytest.mark.parametrize("server", [m for m in postgres.majors() if not left_out(m)[0]], indirect=True,
                                ids=lambda major: f"pg{major}")


@WHOLE
def test_every_context_is_exact(server, record):
    """As by eBPF, each context to the byte of the server's own account."""
    s = prepare_session(server)
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, *exact_options())
    sequence(s, "q")
    leave_open(s)
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_exact(result, s.pid)
    new = exact_contexts(before, after, result)
    assert sum("TopPortalContext/PortalContext/" in path for path in new) >= 3
    plans = "TopMemoryContext/CacheMemoryContext/CachedPlanSource"
    assert traced(result)[plans] == accounts(after)[plans].chunk_bytes - accounts(before)[plans].chunk_bytes > 0
    assert any(x["labels"].get("ident", "").startswith("prepare q") for x in result["stacks"])
    s.close()


@WHOLE
def test_what_is_closed_is_not_held_exactly(server, record):
    """Resets by the thousand, errors, and out of memory in palloc() and repalloc()."""
    s = prepare_session(server)
    s.do("deallocate all; close all")
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, *exact_options())
    sequence(s, "q")
    for i in range(300):
        s.do("select count(*) from generate_series(1, 30)")
    limit = int(open(f"/proc/{s.pid}/statm").read().split()[0]) * resource.getpagesize() + (200 << 20)
    set_limit(s.pid, limit, resource.RLIM_INFINITY)
    said = [" ".join(s.do("select length(string_agg(repeat('x', 1000000), '')) from generate_series(1, 900)"))
            for _ in range(5)]
    set_limit(s.pid, resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert all("out of memory" in x for x in said), said
    s.do("deallocate all; close all")
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_exact(result, s.pid)
    exact_contexts(before, after, result)
    assert not [path for path in traced(result) if "PortalHold" in path or "ExecutorState" in path]
    assert result["allocated_bytes"] > 5e6 and result["held_bytes"] < result["allocated_bytes"] / 20
    assert s.value("select 1") == "1"
    s.close()
