# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=900 parallel
"""Who allocated what is held, by memory context, on real servers without symbols:
equal to the server's own account to the byte of chunk space."""
import collections
import os
import re
import subprocess
import time

import pytest

import conftest
import postgres

# the exact engine is dear on a busy backend, and these are
FAST = ("--max-slowdown", "1000", "--no-debuginfod")


@pytest.fixture(scope="module", params=postgres.majors(), ids=lambda major: f"pg{major}")
def server(request):
    postgres.need(request.param)
    with postgres.Server(request.param, stripped=True) as s:
        yield s


@pytest.fixture(scope="module")
def pgleak():
    """The distribution's server with the extension, and a standby of it."""
    postgres.need_extension()
    with postgres.Server(postgres.DISTRIBUTION, extension=True) as s:
        s.standby().wait_replayed()
        yield s


def check_complete(result):
    assert result["lost_events"] == 0 and result["lost_bytes"] == 0
    assert result["complete_stacks_percent"] >= 99
    assert result["held_bytes"] == sum(s["bytes"] for s in result["stacks"])
    for stack in result["stacks"]:
        assert stack["frames"][-1] == "_start", stack["frames"]


def traced(result):
    """{path of contexts: bytes held}; "" for what belongs to none."""
    by_path = collections.Counter()
    for stack in result["stacks"]:
        by_path[stack["labels"].get("context", "")] += stack["bytes"]
    return by_path


Account = collections.namedtuple("Account", "chunk_bytes blurred")


def accounts(seen):
    """{path: Account} of a tree. Blurred: the server cannot tell what is freed in
    a block of a Generation context that is still in use."""
    found, names = {}, []
    for s in seen:
        names = names[:s.row.level] + [s.row.name]
        old = found.get("/".join(names), Account(0, False))
        blurred = s.cls == "Generation" and s.row.chunks > 0
        found["/".join(names)] = Account(old.chunk_bytes + s.chunk_bytes, old.blurred or blurred)
    return found


def check_contexts(before, after, result):
    """In every context: what is there now = what was recorded + what of before
    the attach is still there. Returns {path: bytes} of contexts that are new."""
    before, after, by_path = accounts(before), accounts(after), traced(result)
    new = {}
    assert set(by_path) - {""} <= set(after)
    for path, account in after.items():
        older = before.get(path, Account(0, False)).chunk_bytes
        rest = account.chunk_bytes - by_path[path]
        if account.blurred:
            assert rest >= 0, path
        else:
            assert 0 <= rest <= older, f"{path}: before {older}, now {account}, recorded {by_path[path]}"
        if not older and not account.blurred and account.chunk_bytes:
            assert rest == 0, path
            new[path] = by_path[path]
    return new


def sequence(s, tag):
    """Contexts that stay, that are nested and deleted, reset, aborted; large
    blocks; reallocs in place and moving."""
    for i in range(30):
        s.do(f"prepare {tag}{i} as select * from pg_class where oid = $1 and relname <> '{tag}'")
    s.do(f"begin; declare {tag}_hold cursor with hold for select g, repeat('y', 100) from "
         "generate_series(1, 4000) g; commit")
    s.do("do $$ begin for i in 1..60 loop begin perform 1 / (i % 5 - 2); "
         "exception when division_by_zero then null; end; end loop; end $$")
    s.do("begin; savepoint a; select count(*) from t x join t y using (a); select 1 / 0; rollback")
    s.do("select length(string_agg(repeat('x', g), ',')) from generate_series(1, 1200) g")
    s.do("select length(repeat('y', 3000000)), length(array_agg(g)::text) from generate_series(1, 3000) g")
    s.do(f"create temp table {tag}_temp(a int primary key, b text); insert into {tag}_temp select g, 'x' "
         f"from generate_series(1, 200) g; drop table {tag}_temp")
    s.do(f"create function pg_temp.{tag}_f(x int) returns int language plpgsql as $$ declare y int; begin "
         "select count(*) into y from t where a < x; return y; end $$")
    s.do(f"select sum(pg_temp.{tag}_f(g)) from generate_series(1, 20) g")


def leave_open(s):
    """A transaction with cursors: sorts and hashes keep their contexts, of other classes."""
    s.do("begin; declare c1 cursor for select g, repeat('z', g % 300) from generate_series(1, 12000) g "
         "order by 2; fetch 3 from c1; declare c2 cursor for select a, count(*) from t group by a; "
         "fetch 1 from c2; savepoint s1; select count(*) from t")


def prepare_session(server):
    s = server.session()
    s.do("create table if not exists t(a int primary key, b text);"
         "insert into t select g, repeat('x', 20) from generate_series(1, 2000) g on conflict do nothing")
    sequence(s, "warm")
    return s


def sql_used(session, names):
    """The server's own used bytes, from inside."""
    wanted = ", ".join(f"'{n}'" for n in names)
    lines = session.do("select name, sum(used_bytes) from pg_backend_memory_contexts "
                       f"where name in ({wanted}) group by 1")
    return {name: int(used) for name, used in (line.rsplit("|", 1) for line in lines)}


def test_every_context_is_exact(server, record, needs_bpf):
    s = prepare_session(server)
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, "--json", *FAST)
    sequence(s, "q")
    leave_open(s)
    # 14+: the server's own words, while the recording runs
    kept = ("CachedPlanSource", "CachedPlanQuery", "PortalHoldContext", "PL/pgSQL function")
    by_sql = sql_used(s, kept) if server.major >= 14 else {}
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_complete(result)
    new = check_contexts(before, after, result)
    # to be compared with the server itself: the tree is its own, row by row
    assert [x.row for x in after] == postgres.truth(server, s.pid)
    for name in by_sql:
        assert by_sql[name] == sum(x.row.used for x in after if x.row.name == name), name
    # what cursors made is new and exact: AllocSet on all, and by version
    assert sum("TopPortalContext/PortalContext/" in path for path in new) >= 3
    classes = {x.cls for x in after}
    assert ("Bump" in classes) == (server.major >= 17)
    sorts = [x for x in after if x.row.name == "Caller tuples"]
    assert sorts and all(x.cls == {13: "AllocSet", 14: "AllocSet", 15: "Generation", 16: "Generation"}
                         .get(server.major, "Bump") for x in sorts)
    caller = next(path for path in accounts(after) if path.endswith("Caller tuples"))
    assert traced(result)[caller] > 1 << 20
    assert caller in new or sorts[0].cls == "Generation"
    # plans of 30 statements; the warm ones are older
    plans = "TopMemoryContext/CacheMemoryContext/CachedPlanSource"
    assert traced(result)[plans] == accounts(after)[plans].chunk_bytes - accounts(before)[plans].chunk_bytes
    s.close()


def test_labels(server, record, needs_bpf):
    s = prepare_session(server)
    r = record("alloc", s.pid, "--json", *FAST)
    s.do("prepare labelled as select * from pg_class where oid = $1")
    result = r.interrupt().json()
    plans = [x for x in result["stacks"] if x["labels"].get("context", "").endswith("/CachedPlanSource")]
    assert plans
    for x in plans:
        assert x["labels"]["class"] == "AllocSet" and x["labels"]["pid"] == s.pid
        assert x["labels"]["backend_type"] == "client backend"
        assert x["labels"]["ident"].startswith("prepare labelled as select")
    assert result["processes"][0]["kind"] == "client backend"
    s.close()


def test_what_is_closed_is_not_held(server, record, needs_bpf):
    """Deleting and resetting contexts frees all that they held."""
    s = prepare_session(server)
    s.do("deallocate all; close all")
    before = postgres.seen(s.pid)
    r = record("alloc", s.pid, "--json", *FAST)
    sequence(s, "q")
    s.do("deallocate all; close all")
    result = r.interrupt().json()
    after = postgres.seen(s.pid)
    check_complete(result)
    check_contexts(before, after, result)
    held = [path for path in traced(result) if re.search("CachedPlan(Source|Query)|PortalHold|ExecutorState", path)]
    plpgsql = [path for path in held if "CachedPlan" in path]
    # a function's own plans may stay; the statements' and the cursor's may not
    assert not [path for path in held if path not in plpgsql]
    assert result["context_resets"] > 100 and result["allocated_bytes"] > 5e6
    assert result["held_bytes"] < result["allocated_bytes"] / 20
    # sizes, and no addresses: 1,000 statements take less than this, and more is not freed than there was
    assert result["freed_bytes"] < result["allocated_bytes"] < 1 << 30
    assert sum(x["alloc_bytes"] for x in result["stacks"]) <= result["allocated_bytes"]
    s.close()


def test_blocks_of_contexts_are_not_counted_again(server, record, needs_bpf):
    """Contexts and malloc together: what malloc gives to a context is the context's."""
    hold = "declare h cursor with hold for select g, repeat('y', 100) from generate_series(1, 20000) g"
    guc = "select length(set_config('my.big', repeat('a', 1000000), false))"

    def measure(allocators):
        s = server.session()
        s.do("select 1; begin; declare w cursor with hold for select 1; commit; "
             "select set_config('my.small', 'a', false)")
        r = record("alloc", s.pid, "--json", "--allocator", allocators, *FAST)
        s.do(f"begin; {hold}; commit")
        s.do(guc)
        result = r.interrupt().json()
        s.close()
        check_complete(result)
        return traced(result)

    contexts, malloc, both = measure("postgres"), measure("libc"), measure("postgres,libc")
    # PG 18 keeps a hold cursor's tuples in a context of their own below it
    def held(x):
        return sum(n for path, n in x.items() if "PortalHold" in path)
    assert held(contexts) > 2.5e6 and held(contexts) == held(both)
    assert contexts[""] == 0 and set(malloc) == {""}
    assert malloc[""] > 2.5e6
    # a setting is malloc()ed up to 15, and has a context from 16
    if server.major <= 15:
        assert 1000001 <= both[""] < 1100000
    else:
        assert both[""] < 100000
        assert both["TopMemoryContext/GUCMemoryContext"] >= 1000000
    assert sum(malloc.values()) >= both[""]


def test_found_by_itself(server, record, needs_bpf):
    s = server.session()
    r = record("alloc", s.pid, "--json", *FAST)
    s.do("prepare a as select 1")
    result = r.interrupt().json()
    assert result["allocators"] == "postgres,libc"
    assert result["stacks"] and any("context" in x["labels"] for x in result["stacks"])
    assert not conftest.changed_code(s.pid)
    s.close()


def test_postmaster_and_all_its_children(server, record, needs_bpf):
    """Old and new backends and parallel workers, each with its label."""
    old = server.session()
    old.do("create table if not exists big as select g, repeat('x', 100) x from generate_series(1, 60000) g; "
           "analyze big")
    pidfile = f"pidfile:{server.data}/postmaster.pid"
    r = record("alloc", pidfile, "--follow", "--json", "--allocator", "postgres", *FAST)
    new = server.session()
    time.sleep(1)  # a child is taken in shortly after it began
    for s in (old, new):
        s.do("prepare followed as select * from pg_class where oid = $1")
    busy = server.session()
    busy.do("set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; "
            "set max_parallel_workers_per_gather = 2; set parallel_leader_participation = off")
    # each worker sorts what it scans, so it holds more and more
    busy.send("select x from big where pg_sleep(0.001) is not null order by x, g")
    worker = server.process("parallel worker")
    time.sleep(2)
    result = r.interrupt().json()
    subprocess.run(["kill", "-INT", str(busy.pid)], check=True)
    by_pid = collections.defaultdict(collections.Counter)
    for x in result["stacks"]:
        by_pid[x["labels"]["pid"]][x["labels"]["backend_type"]] += x["bytes"]
    for s in (old, new):
        assert set(by_pid[s.pid]) == {"client backend"}
        plan = sum(x["bytes"] for x in result["stacks"] if x["labels"]["pid"] == s.pid
                   and x["labels"].get("context", "").endswith("/CachedPlanSource"))
        mine = [y for y in postgres.seen(s.pid) if y.row.name == "CachedPlanSource"]
        assert plan == sum(y.chunk_bytes for y in mine) > 0
    assert set(by_pid[worker]) == {"parallel worker"} and by_pid[worker]["parallel worker"] > 10000
    kinds = {x["pid"]: x["kind"] for x in result["processes"]}
    assert kinds[worker] == "parallel worker" and kinds[server.postmaster] == "postmaster"
    assert {"checkpointer", "client backend"} <= set(kinds.values())
    # no context of the new one holds more than it has
    tree = accounts(postgres.seen(new.pid))
    mine = {"stacks": [x for x in result["stacks"] if x["labels"]["pid"] == new.pid]}
    for path, held in traced(mine).items():
        assert 0 < held <= tree[path].chunk_bytes, path
    for s in (old, new, busy):
        s.close()


def test_a_layout_that_is_not_known_is_refused(server, memwho, needs_bpf):
    """With what was found, and without a probe being set."""
    s = server.session()
    victim = next(x for x in postgres.seen(s.pid) if x.row.name == "ErrorContext")
    with open(f"/proc/{s.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(victim.address + 16)
        methods = memory.read(8)
        memory.seek(victim.address + 16)
        memory.write((victim.address + 8).to_bytes(8, "little"))
        try:
            r = memwho("alloc", s.pid, "-d", "1s", "--allocator", "postgres", *FAST, code=1)
        finally:
            memory.seek(victim.address + 16)
            memory.write(methods)
    assert "not laid out in a way known here" in r.err and f"{victim.address:#x}" in r.err
    assert r.out == "" and not conftest.changed_code(s.pid)
    assert s.value("select 1") == "1"
    s.close()


# ---- the extension, which knows the truth ----

def by_function(result, name):
    """(count, bytes) of the stacks that go through a function."""
    found = [x for x in result["stacks"] if name in x["frames"]]
    return sum(x["count"] for x in found), sum(x["bytes"] for x in found)


def grown(session, work):
    """What the extension says that @work added, by site."""
    before = postgres.pgleak_truth(session)
    work()
    after = postgres.pgleak_truth(session)
    return {site: (after[site][0] - before[site][0], after[site][1] - before[site][1]) for site in after}


def test_every_site_is_exact(pgleak, record, needs_bpf):
    s = pgleak.session()
    s.do("select pgleak_hold(1), pgleak_query(1), pgleak_churn(1)")
    r = record("alloc", s.pid, "--json", *FAST)

    def work():
        s.do("select pgleak_query(800)")
        s.do("select pgleak_churn(200)")
        assert "as asked" in s.do("select pgleak_fail(100)")[0]
        s.do("select pgleak_hold(1000)")
        s.do("begin; select pgleak_churn(20); select pgleak_fail(20); rollback")

    truth = grown(s, work)
    result = r.interrupt().json()
    check_complete(result)
    assert truth["policy"] == (800, 800 * 144)
    assert by_function(result, "read_policy") == truth["policy"]
    assert by_function(result, "hold_grown") == truth["held"] and truth["held"][0] == 800
    assert by_function(result, "hold_generation") == truth["generation"]
    assert by_function(result, "hold_slab") == truth["slab"]
    assert by_function(result, "churn") == (0, 0)
    by_path = traced(result)
    held = "TopMemoryContext/pgleak held"
    assert by_path[held] + by_path[held + "/pgleak child"] == truth["held"][1]
    assert by_path[held + "/pgleak generation"] == truth["generation"][1]
    assert by_path[held + "/pgleak slab"] == truth["slab"][1]
    classes = {x["labels"]["context"].rsplit(" ", 1)[1]: x["labels"]["class"] for x in result["stacks"]
               if x["labels"].get("context", "").startswith(held)}
    assert classes == {"held": "AllocSet", "child": "AllocSet", "generation": "Generation", "slab": "Slab"}
    assert result["reallocations"] > 1000 and result["internal_calls"] > 100
    s.close()


def test_a_reset_frees_what_children_hold(pgleak, record, needs_bpf):
    s = pgleak.session()
    s.do("select pgleak_hold(1)")
    r = record("alloc", s.pid, "--json", *FAST)
    s.do("select pgleak_hold(500)")
    s.do("select pgleak_reset()")
    s.do("select pgleak_query(80)")
    result = r.interrupt().json()
    check_complete(result)
    assert not [path for path in traced(result) if "pgleak" in path]
    assert by_function(result, "read_policy") == (80, 80 * 144)
    s.close()


STAP_FRAME = re.compile(r"^ 0x([0-9a-f]+) : (.+)\+0x[0-9a-f]+/0x[0-9a-f]+ \[(.*)\]$")


def stap_stacks(text):
    """[([(function, module), ...], bytes), ...], leaf first."""
    stacks, frames = [], []
    for line in text.splitlines():
        m = STAP_FRAME.match(line)
        if m:
            frames.append((m[2], m[3]))
        elif line.strip():
            stacks.append((frames, int(line)))
            frames = []
    assert not frames
    return stacks


def symbols(path):
    """Names that the file has a symbol for."""
    out = subprocess.run(["nm", "-D", path], capture_output=True, text=True).stdout
    out += subprocess.run(["nm", path], capture_output=True, text=True).stdout
    # the compiler's clones (name.isra.0) go by the name
    return {re.split("[@.]", line.split()[-1])[0] for line in out.splitlines() if line.strip()}


def test_a_replay_process_that_leaks(pgleak, record, needs_bpf):
    """The report's first case: 144 bytes leaked at each redo of a record."""
    standby = pgleak.standbys[0]
    startup = standby.process("startup")
    s = pgleak.session()
    s.do("select pgleak_wal(1, 1)")
    standby.wait_replayed()
    r = record("alloc", startup, "-d", "13s", "--format", "stap", "--no-debuginfod")
    for _ in range(25):
        s.do("select pgleak_wal(2, 50)")
        time.sleep(0.2)
    standby.wait_replayed()
    stacks = stap_stacks(r.wait().out)
    logged = re.findall(r"pgleak truth: pid (\d+) path (\d+) (\d+)", standby.log.read_text())
    assert logged[-1] == (str(startup), "2501", str(2501 * 144))
    leaks = [(frames, held) for frames, held in stacks if ("get_path", f"{pgleak.root}/pgleak.so") in frames]
    assert len(leaks) == 1, stacks
    frames, held = leaks[0]
    assert held == 2500 * 144
    functions = [f for f, _ in frames]
    assert functions[:6] == ["palloc", "psprintf", "get_path", "drop_relation", "replay_truncate", "pgleak_redo"]
    assert "main" in functions and functions[-1] == "_start"
    # no wrong name: each is a symbol of its file, or a plain offset (libc may have
    # a file of debug symbols)
    assert functions[-3:-1] == ["__libc_start_call_main", "__libc_start_main"] or functions[-2] == "main" or \
        "libc" in functions[-2]
    for function, module in frames:
        if "/libc.so" in module:
            continue
        assert re.fullmatch(re.escape(os.path.basename(module)) + r"\+0x[0-9a-f]+", function) or \
            function in symbols(module), (function, module)
    # nothing else was held by the leak's own path; all of it is nearly all there is
    assert held >= 0.95 * sum(size for _, size in stacks)
    assert not conftest.changed_code(startup)


SVG_FRAME = re.compile(r'<title>([^\n<]+)\n[^<]*</title><rect class="[^"]*" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"')


def test_a_leak_of_many_callers_is_one_tower(pgleak, record, needs_bpf, tmp_path):
    """The report's second case: reversed and inverted, the leak of eight callers in
    a noisy backend is the widest, up to the function that all of them reach."""
    s = pgleak.session()
    s.do("select pgleak_query(1), pgleak_churn(1)")
    picture = tmp_path / "tower.svg"
    r = record("alloc", s.pid, "-o", picture, "--reverse", "--inverted", *FAST)
    for i in range(10):
        s.do("select pgleak_query(400)")
        s.do("select relkind, count(*) from pg_class group by 1 order by 1")
        s.do("select pgleak_churn(10)")
        s.do(f"prepare n{i} as select * from pg_class where oid = $1 and relname <> 'x{i}'")
    r.interrupt()
    frames = [(name, float(x), float(y), float(w)) for name, x, y, w in SVG_FRAME.findall(picture.read_text())]
    rows = collections.defaultdict(list)
    for name, x, y, width in frames:
        rows[y].append((width, x, name))
    levels = [sorted(rows[y], reverse=True) for y in sorted(rows)]
    assert levels[0][0][2] == "all"
    # from the root down: the widest of each row, one above the other
    for depth, name in ((1, "palloc"), (2, "psprintf"), (3, "read_policy"), (4, "describe_relation")):
        width, x, widest = levels[depth][0]
        assert widest == name
        assert x >= levels[depth - 1][0][1] - 0.01 and width <= levels[depth - 1][0][0] + 0.01
        assert width > levels[0][0][0] / 2
    # and there it falls apart into its callers
    callers = {name: width for width, _, name in levels[5] if name.startswith("scan_")}
    assert set(callers) == {f"scan_{i}" for i in range(8)}
    assert max(callers.values()) - min(callers.values()) < 1
    assert sum(callers.values()) == pytest.approx(levels[4][0][0], rel=0.01)
    s.close()


def test_startup_and_walsender_of_a_standby(pgleak, record, needs_bpf):
    standby = pgleak.standbys[0]
    s = pgleak.session()
    r = record("alloc", f"pidfile:{standby.data}/postmaster.pid", "--follow", "--json", "--no-debuginfod",
               "--max-slowdown", "1000")
    w = record("alloc", pgleak.process("walsender"), "--json", *FAST)
    s.do("select pgleak_wal(5, 10)")
    standby.wait_replayed()
    result = r.interrupt().json()
    kinds = {x["labels"]["backend_type"] for x in result["stacks"]}
    assert "startup" in kinds
    assert by_function(result, "get_path") == (50, 50 * 144)
    assert w.interrupt().json()["processes"][0]["kind"] == "walsender"
