# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=600 parallel
"""memwho's view of memory contexts against the server's own, row by row, on
binaries without symbols."""
import collections
import os
import re
import subprocess
import time

import pytest

import conftest
import postgres


@pytest.fixture(scope="module", params=postgres.majors(), ids=lambda major: f"pg{major}")
def server(request):
    postgres.need(request.param)
    if not (conftest.PROGRAMS / "pgtree").exists():
        pytest.skip("pgtree is not built")
    with postgres.Server(request.param, stripped=True) as s:
        yield s


def check_rows(server, pid, at_least):
    """Every row equal. Compared when the process did nothing meanwhile: a replay
    process gets a record every now and then."""
    for _ in range(10):
        before = postgres.seen(pid)
        truth = postgres.truth(server, pid)
        if postgres.seen(pid) == before:
            break
        time.sleep(0.3)
    else:
        pytest.fail("the process never rests")
    assert [s.row for s in before] == truth
    assert len(truth) >= at_least
    return before


def check_chunks(server, pid, seen):
    """Each chunk of each context decodes, by the plans that an engine runs."""
    counted = dict(line.split("\t") for line in postgres.pgtree(pid, "check").splitlines())
    assert int(counted["contexts"]) == len(seen)
    checked = {"AllocSet", "Generation"} | ({"Slab"} if server.major >= 16 else set())
    assert int(counted["checked"]) == sum(s.cls in checked for s in seen)
    for cls in checked:
        used = sum(s.chunk_bytes for s in seen if s.cls == cls)
        assert (int(counted[cls]) > 0) == (used > 0), cls
    return counted


def test_idle_backend(server):
    pid = server.session().pid
    check_chunks(server, pid, check_rows(server, pid, 80))


def test_backend_with_cursors_sorts_and_a_savepoint(server):
    s = server.session()
    s.do(postgres.RICH)
    seen = check_rows(server, s.pid, 130)
    counted = check_chunks(server, s.pid, seen)
    classes = collections.Counter(x.cls for x in seen)
    assert int(counted["chunks"]) > 50000
    # what sorts use changed: Generation 15 and 16, Bump from 17, tuplestores in 18
    assert (classes["Generation"] > 0) == (server.major in (15, 16, 18))
    assert (classes["Bump"] > 0) == (server.major >= 17)
    # a large block is one chunk with its own header
    assert any(x.row.total > 1 << 20 for x in seen)
    s.close()


def test_walsender_with_slabs(server):
    w = postgres.Walsender(server)
    try:
        seen = check_rows(server, w.pid, 100)
        check_chunks(server, w.pid, seen)
        classes = collections.Counter(x.cls for x in seen)
        assert classes["Slab"] == 2 and classes["Generation"] == 1
        assert postgres.pgtree(w.pid, "kind") == "walsender\n"
    finally:
        w.close()
        w.writer.close()


def test_used_is_what_sql_says(server):
    """From inside: everything but what the query itself uses (the view came with 14)."""
    s = server.session()
    if server.major < 14:
        assert "does not exist" in s.do("select * from pg_backend_memory_contexts")[0]
        return
    query = ("select name, coalesce(ident, ''), total_bytes, total_nblocks, free_bytes, free_chunks, "
             "used_bytes from pg_backend_memory_contexts")
    s.do(query)
    sql = collections.Counter()
    for line in s.do(query + " where coalesce(ident, '') !~ E'\\n'"):
        name, *_, total, blocks, free, chunks, used = line.split("|")
        sql[name, int(total), int(blocks), int(free), int(chunks), int(used)] += 1
    ours = collections.Counter((x.row.name, x.row.total, x.row.blocks, x.row.free, x.row.chunks, x.row.used)
                               for x in postgres.seen(s.pid))
    different = sum((ours - sql).values())
    assert different <= 8, ours - sql
    s.close()


def test_children_of_the_postmaster(server):
    s = server.session()
    kinds = {}
    for pid, title in server.processes().items():
        kinds.setdefault(postgres.pgtree(pid, "kind").strip(), []).append(title)
        for _ in range(3):  # one wakes up and gives its statistics away now and then
            rows = postgres.truth(server, pid)
            ours = [x.row for x in postgres.seen(pid)]
            if ours == rows:
                break
        assert ours == rows, title
    assert {"checkpointer", "background writer", "walwriter", "client backend",
            "logical replication launcher"} <= set(kinds)
    assert "background worker" not in kinds
    assert ("io worker" in kinds) == (server.major >= 18)
    assert postgres.pgtree(server.postmaster, "kind") == "postmaster\n"
    assert any("local" in t for t in kinds["client backend"])
    s.close()


def test_parallel_and_walreceiver_kinds(server):
    s = server.session()
    s.do("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;"
         "set max_parallel_workers_per_gather = 2; create table big as select g from generate_series(1, 30000) g")
    s.send("select count(*) from big where pg_sleep(0.0005) is not null")
    pid = server.process("parallel worker")
    assert postgres.pgtree(pid, "kind") == "parallel worker\n"
    subprocess.run(["kill", "-INT", str(s.pid)], check=True)
    s.close()


def regions(pid):
    """({heap: fields}, {heap: figures}, [(heap, start, end, claim)])"""
    heaps, figures, ranges = {}, collections.defaultdict(dict), []
    for kind, *f in (line.split("\t") for line in postgres.pgtree(pid, "regions").splitlines()):
        if kind == "heap":
            heaps[f[1]] = dict(zip(("kind", "name", "inside", "in_use", "detail", "evidence", "why"), f))
        elif kind == "figure":
            figures[f[0]][f[1]] = int(f[2])
        else:
            ranges.append((f[0], int(f[1], 0), int(f[2], 0), f[3]))
    assert all(h["kind"] == "postgres" for h in heaps.values())
    return heaps, figures, ranges


def shared_mappings(pid):
    with open(f"/proc/{pid}/maps") as f:
        found = [line.split(None, 5) for line in f]
    return {tuple(int(x, 16) for x in f[0].split("-")): f[5].strip() for f in found if f[1] == "rw-s"}


def test_shared_memory_is_named(server):
    """All of it, in each kind of process, with the server's own figures."""
    s = server.session()
    s.do("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;"
         "set max_parallel_workers_per_gather = 2; create table if not exists wide as "
         "select g from generate_series(1, 30000) g")
    s.send("select count(*) from wide where pg_sleep(0.0005) is not null")
    worker = server.process("parallel worker")
    unused = int(server.sql("select size from pg_shmem_allocations where name is null")[0])
    for pid in (server.postmaster, s.pid, worker, server.process("checkpointer")):
        heaps, figures, ranges = regions(pid)
        assert {(start, end) for _, start, end, _ in ranges} == set(shared_mappings(pid))
        assert all(claim == "proven" for *_, claim in ranges)
        main = figures["shared memory"]
        assert main["shared_buffers_bytes"] == 32 << 20
        assert heaps["shared memory"]["detail"] == "shared buffers 32.0 MiB"
        assert main["total_bytes"] - int(heaps["shared memory"]["in_use"]) == unused
        segments = sum("PostgreSQL." in name for name in shared_mappings(pid).values())
        assert figures["dynamic shared memory"]["segments"] == segments
        if pid in (s.pid, worker):
            assert segments >= 2
    subprocess.run(["kill", "-INT", str(s.pid)], check=True)
    s.close()


def test_system_v_shared_memory():
    """The other way to have it: the segment is its own header, and keeps others out itself."""
    postgres.need(postgres.DISTRIBUTION)
    with postgres.Server(postgres.DISTRIBUTION, config="shared_memory_type = sysv") as server:
        pid = server.session().pid
        heaps, figures, ranges = regions(pid)
        assert {(start, end) for _, start, end, _ in ranges} == set(shared_mappings(pid))
        assert [claim for name, *_, claim in ranges if name == "shared memory"] == ["proven"]
        assert figures["shared memory"]["shared_buffers_bytes"] == 32 << 20
        assert all("SYSV" in name or "PostgreSQL." in name for name in shared_mappings(pid).values())


def test_contexts_are_inside_malloc(server):
    pid = server.session().pid
    postgres.rest(pid)
    heaps, figures, _ = regions(pid)
    contexts, seen = heaps["memory contexts"], postgres.seen(pid)
    assert contexts["inside"] == "glibc-arena" and not contexts["why"]
    assert int(contexts["in_use"]) == sum(x.row.used for x in seen)
    assert figures["memory contexts"] == {
        "total_bytes": sum(x.row.total for x in seen), "free_bytes": sum(x.row.free for x in seen),
        "contexts": len(seen), "blocks": sum(x.row.blocks for x in seen)}


def test_probes_sit_on_emulated_instructions(server):
    lines = [line.split("\t") for line in postgres.pgtree(server.session().pid, "probes").splitlines()]
    probes = {f[1]: f for f in lines if f[0] == "probe"}
    assert not [f for f in lines if f[0] == "gap"]
    classes = ["AllocSet", "Generation", "Slab"]
    wanted = {c + m for c in classes for m in ("Alloc", "Free", "Realloc", "Reset", "Delete")}
    if server.major >= 17:
        wanted |= {"BumpAlloc", "BumpReset", "BumpDelete"}
    assert set(probes) == wanted
    for name, f in probes.items():
        if name.startswith("AllocSet"):
            assert f[4] == "emulated", f
    # helpers that methods jump to, creators
    assert len([f for f in lines if f[0] == "range"]) > len(probes)


def test_names_are_paths(server):
    s = server.session()
    s.do("prepare q as select * from pg_class where oid = $1")
    seen = postgres.seen(s.pid)
    plan = next(x for x in seen if x.row.name == "CachedPlanSource")
    path, cls, ident, used = postgres.pgtree(s.pid, "names", hex(plan.address)).rstrip("\n").split("\t")
    assert path == "TopMemoryContext/CacheMemoryContext/CachedPlanSource"
    assert cls == "AllocSet" and ident.startswith("prepare q as select") and int(used) == plan.row.used
    # a hash table goes by its own name
    table = next(x for x in seen if x.row.name == "Relcache by OID")
    assert postgres.pgtree(s.pid, "names", hex(table.address)).startswith(
        "TopMemoryContext/Relcache by OID\tAllocSet\t\t")
    assert postgres.pgtree(s.pid, "names", "0x1000") == "\t\t\t0\n"
    s.close()


BUSY = ("do $$ declare x text; begin for i in 1..400000 loop "
        "select string_agg(b, ',') into x from t where a between i % 900 and i % 900 + 20; end loop; end $$")


def walks(pid, n, *how):
    return {k: int(v) for k, v in (line.split("\t") for line in
                                   postgres.pgtree(pid, "walks", n, *how).splitlines())}


def busy(server):
    s = server.session()
    s.do("create table if not exists t(a int primary key, b text);"
         "insert into t select g, 'x' from generate_series(1, 1000) g on conflict do nothing")
    s.send(BUSY)
    return s


def test_a_busy_backend_is_never_half_read(server):
    """Torn twice it is stopped for the time of a copy; none is given up."""
    s = busy(server)
    counted = walks(s.pid, 60)
    assert s.pid in server.processes()
    assert counted["walks"] == 60 and counted["given up"] == 0
    # stopped in the middle of an update it is torn as well: seldom
    stopped = walks(s.pid, 60, "stopped")
    assert stopped["given up"] == 0 and 60 <= stopped["stops"] < 90, stopped
    assert 0 < stopped["mean stop us"] < 20000, stopped
    for seen in (postgres.seen(s.pid) for _ in range(5)):
        assert seen[0].row.name == "TopMemoryContext"
        assert all(x.row.used == x.row.total - x.row.free and x.row.free >= 0 for x in seen)
    subprocess.run(["kill", "-INT", str(s.pid)], check=True)
    s.close()


def test_a_busy_backend_that_somebody_else_traces(server):
    """It is not stopped then: looked at again and again, and the tracer does not notice."""
    s = busy(server)
    tracer = subprocess.Popen(["gdb", "-nx", "-batch", "-p", str(s.pid), "-ex", "continue"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    try:
        postgres.wait_for("the tracer", lambda: re.search(
            rf"^TracerPid:\s+{tracer.pid}$", open(f"/proc/{s.pid}/status").read(), re.M))
        postgres.wait_for("running", lambda: re.search(
            r"^State:\s+[RS]", open(f"/proc/{s.pid}/status").read(), re.M))
        counted = walks(s.pid, 10)
        assert counted["walks"] == 10 and counted["stops"] == 0
        assert tracer.poll() is None
    finally:
        tracer.terminate()
        tracer.wait()
        tracer.stdout.close()
    subprocess.run(["kill", "-INT", str(s.pid)], check=True)
    s.close()


def gdb(pid, *commands):
    args = [x for c in commands for x in ("-ex", c)]
    p = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), *args, "-ex", "detach"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, timeout=60)
    return p.stdout


def test_what_does_not_fit_is_refused(server):
    """A context with a method table that the binary does not have."""
    s = server.session()
    victim = next(x for x in postgres.seen(s.pid) if x.row.name == "ErrorContext")
    at = f"*(long *){victim.address + 16:#x}"
    old = re.search(r"\$1 = (\d+)", gdb(s.pid, "p/d " + at, f"set var {at} = {victim.address}"))[1]
    try:
        for what in ("tree", "probes"):
            err = postgres.pgtree(s.pid, what, code=1)
            assert "its method table is not a known one" in err and f"{victim.address:#x}" in err
            assert f"PostgreSQL {server.major}." in err and "not laid out in a way known here" in err
    finally:
        gdb(s.pid, f"set var {at} = {old}")
    assert postgres.seen(s.pid)[0].row.name == "TopMemoryContext"
    s.close()


def test_replaying_standby(server):
    """Last: it stops the server to copy it."""
    standby = server.standby()
    standby.wait_replayed()
    startup = standby.process("startup")
    assert postgres.pgtree(startup, "kind") == "startup\n"
    check_chunks(standby, startup, check_rows(standby, startup, 9))
    # an open transaction with many locks: what it holds grows
    s = server.session()
    s.do("begin; do $$ begin for i in 1..300 loop execute 'create table r' || i || '(a int)'; "
         "execute 'lock table r' || i || ' in access exclusive mode'; end loop; end $$")
    server.sql("create table flush(a int)")
    standby.wait_replayed()
    grown = check_rows(standby, startup, 9)
    assert any(x.row.name == "LOCALLOCK hash" and x.row.used > 30000 for x in grown)
    kinds = {postgres.pgtree(pid, "kind").strip() for pid in standby.processes()}
    assert {"startup", "walreceiver", "checkpointer"} <= kinds


def test_other_processes_are_no_servers():
    assert "is not a PostgreSQL server" in postgres.pgtree(os.getpid(), "tree", code=1)


def test_a_heap_too_large_to_copy():
    """Beyond 256 MiB the walk reads the process as it goes."""
    postgres.need_extension()
    with postgres.Server(postgres.DISTRIBUTION, extension=True) as server:
        s = server.session()
        s.do("select pgleak_query(1900000); select pgleak_hold(2000)")
        seen = check_rows(server, s.pid, 80)
        assert sum(x.row.total for x in seen) > 256 << 20
        leaked = next(x for x in seen if x.row.name == "CacheMemoryContext")
        assert leaked.chunk_bytes > 1900000 * 144
        # stopped, it is read on demand
        s.send("do $$ begin for i in 1..10000000 loop perform i::text; end loop; end $$")
        counted = walks(s.pid, 20)
        assert counted["given up"] == 0 and counted["longest stop us"] < 1000000, counted
        subprocess.run(["kill", "-INT", str(s.pid)], check=True)
        s.do("select 1")
        start = time.monotonic()
        assert "AllocSetAlloc" in postgres.pgtree(s.pid, "probes")
        assert time.monotonic() - start < 5  # a sample of chunks, not all


def test_contexts_as_a_user_sees_them(server, memwho):
    """memwho PID --contexts: each row, name included, as the server has it."""
    s = server.session()
    s.do(postgres.RICH)
    truth = postgres.truth(server, s.pid)
    result = memwho(s.pid, "--contexts", "--json").json()
    rows = result["contexts"]
    assert [(r["level"], r["name"], r["total_bytes"], r["blocks"], r["free_bytes"], r["free_chunks"], r["used_bytes"])
            for r in rows] == [(t.level, t.name, t.total, t.blocks, t.free, t.chunks, t.used) for t in truth]
    assert all(r["path"].split("/")[0] == "TopMemoryContext" and r["pid"] == s.pid for r in rows)
    assert result["total_bytes"] == sum(t.total for t in truth)
    assert result["backend_type"] == "client backend"
    text = memwho(s.pid, "--contexts").out
    assert "CacheMemoryContext" in text and f"process {s.pid} (client backend)" in text
    # what malloc holds outside is said when it is proven: at least headers, and some of libpq's
    if "outside_bytes" in result:
        assert 0 < result["outside_bytes"] < result["total_bytes"]
        assert result["malloc_in_use_bytes"] >= result["total_bytes"] + result["outside_bytes"]
    s.close()


def test_contexts_of_a_whole_server(server, memwho, tmp_path):
    s = server.session()
    s.do("select 1")
    result = memwho(s.pid, "--contexts", "--follow", "--json").json()
    pids = {r["pid"] for r in result["processes"]}
    assert {server.postmaster, s.pid} <= pids and len(pids) >= 4
    assert {"client backend", "checkpointer"} <= {r["process"] for r in result["processes"]}
    assert result["total_bytes"] == sum(r["total_bytes"] for r in result["contexts"])
    memwho(s.pid, "--contexts", "-o", tmp_path / "c.svg")
    assert "CacheMemoryContext" in (tmp_path / "c.svg").read_text()
    s.close()


def kept_for_reuse(server, pid):
    """(contexts, bytes) in context_freelists, by the symbol that the package's own program has: each
    list's count, and of each context its first block with the struct in front."""
    symbols = subprocess.run(["nm", postgres.fetch(server.major) / "native/bin/postgres"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    at = int(re.search(r"^(\w+) [bBdD] context_freelists$", symbols, re.M)[1], 16)
    with open(f"/proc/{pid}/maps") as f:
        at += min(int(line.split("-")[0], 16) for line in f if line.rstrip().endswith("/bin/postgres"))
    # the struct's fields, as aset.c of this major has them: links, and the end of the first block
    next_at, node = 48, {13: 224, 14: 224, 15: 224, 16: 224}.get(server.major, 200)
    count = size = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        def word(addr):
            mem.seek(addr)
            return int.from_bytes(mem.read(8), "little")
        for first in (at, at + 16):
            count += word(first) & 0xffffffff
            context = word(first + 8)
            while context:
                size += word(context + node + 32) - context  # AllocBlockData.endptr
                context = word(context + next_at)
    return count, size


def malloc_in_use(server, pid):
    """By malloc_stats() called in the process: (arenas and mapped blocks)."""
    postgres.rest(pid)
    before = server.log.stat().st_size
    gdb(pid, "call (void)malloc_stats()")

    def written():
        with open(server.log, errors="replace") as f:
            f.seek(before)
            return re.search(r"Total \(incl\. mmap\):\nsystem bytes +=.*\nin use bytes +=\s+(\d+)", f.read())
    return int(postgres.wait_for("malloc_stats in the log", written)[1])


def test_what_is_outside_of_contexts(server, memwho):
    """Deleted contexts that are kept, and malloc's account, against the process itself."""
    s = server.session()
    s.do(postgres.RICH)
    s.do("rollback")
    postgres.rest(s.pid)
    result = memwho(s.pid, "--contexts", "--json").json()
    row, = result["processes"]
    in_use = malloc_in_use(server, s.pid)
    # what threads' caches hold is in use by malloc's account, and free for the program
    assert 0 <= in_use - result["malloc_in_use_bytes"] < 64 << 10
    assert row["parked_bytes"] > 50 << 10
    assert result["outside_bytes"] == result["malloc_in_use_bytes"] - result["total_bytes"] - row["parked_bytes"]
    assert 0 < result["outside_bytes"] < 1 << 20
    if not postgres.from_distribution(server.major):
        count, size = kept_for_reuse(server, s.pid)
        assert count > 10 and row["parked_bytes"] == size
    # memory that malloc gives and no context has (set_config keeps its text so up to 15)
    if server.major <= 15:
        s.do("select length(set_config('memwho.text', repeat('x', 1000000), false))")
        postgres.rest(s.pid)
        grown = memwho(s.pid, "--contexts", "--json").json()
        assert 1000000 <= grown["outside_bytes"] - result["outside_bytes"] < 1100000
    s.close()


def test_parallel_workers_name_their_leader(server, memwho):
    s = server.session()
    s.do("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;"
         "set max_parallel_workers_per_gather = 2; create table if not exists led as "
         "select g from generate_series(1, 30000) g")
    s.send("select count(*) from led where pg_sleep(0.0005) is not null")
    worker = server.process("parallel worker")
    result = memwho(s.pid, "--contexts", "--follow", "--json").json()
    row = next(r for r in result["processes"] if r["pid"] == worker)
    assert row["process"] == "parallel worker" and row["leader"] == s.pid
    assert {x["labels"]["leader"] for x in result["stacks"] if x["labels"].get("leader")} in ({s.pid}, {str(s.pid)})
    text = memwho(s.pid, "--contexts", "--follow", "--rows", 2000).out
    assert text.count(f"process {worker} (parallel worker) for {s.pid}") == 2
    subprocess.run(["kill", "-INT", str(s.pid)], check=True)
    s.close()
