# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""memwho serve: what a rule captures of a PostgreSQL backend is by memory context."""
import time

import postgres
import pytest
from serving import Serve, until
from test_serve_growth import captures
from test_serve_triggers import trigger

SORTS, ROWS = 5, 20000
SORT = """declare c{n} cursor for
    select g, repeat('x', 300) from generate_series(1, {rows}) g order by 2, 1;
fetch 1 from c{n}"""


@pytest.fixture
def session():
    postgres.need(postgres.DISTRIBUTION)
    with postgres.Server(postgres.DISTRIBUTION, stripped=True) as server:
        yield server.session()


def test_contexts_of_sorts(tmp_path, needs_bpf, session):
    session.do("set work_mem = '512MB'; begin")
    pid = int(session.value("select pg_backend_pid()"))
    with Serve(tmp_path, "budget = none", f"spool = {tmp_path}/spool", '[target "backend"]', f"pid = {pid}",
               "record = always", *trigger("growth 24M in 10m")) as s:
        until(lambda: s.get("/targets/backend").json()["recording"] == "yes", 60)
        until(lambda: captures(s, "baseline"), 60)
        for n in range(SORTS):  # none so long that the recording would give up
            session.do(SORT.format(n=n, rows=ROWS))
            time.sleep(2)
        kept = until(lambda: captures(s, "growth"), 60) and captures(s, "growth")[0]
        assert kept["pid"] == pid and kept["baseline"] == captures(s, "baseline")[0]["id"]
        assert s.get("/targets/backend").json()["recording"] == "yes", s.lines
        stacks = s.get(f"/captures/{kept['id']}?format=json", status=200).json()["stacks"]
        held = sum(x["bytes"] for x in stacks)
        sorts = sum(x["bytes"] for x in stacks if "TupleSort" in x["labels"].get("context", ""))
        assert sorts > 16 << 20 and sorts > 0.8 * held, (sorts, held, stacks[:3])
