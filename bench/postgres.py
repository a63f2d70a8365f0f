#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What recording costs a PostgreSQL backend: ns a palloc/pfree pair, and CPU
time of ordinary statements, in one backend, without and with the recorder in turn."""
import pathlib
import sys

import common
from common import Heaptrack, Memleak, Memwho, cpu_ns, figure, keep, say, span, table

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "e2e"))

PALLOCS = 20_000 if common.QUICK else 200_000
TURNS = 100 if common.QUICK else 1000
SETUP = """
create table accounts (aid int primary key, bid int, abalance int, filler char(84));
create table tellers (tid int primary key, bid int, tbalance int, filler char(84));
create table branches (bid int primary key, bbalance int, filler char(88));
create table history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
insert into accounts select i, 1, 0, '' from generate_series(1, 100000) i;
insert into tellers select i, 1, 0, '' from generate_series(1, 10) i;
insert into branches values (1, 0, '');
analyze
"""


def statements_select(n):
    return ";\n".join(f"select abalance from accounts where aid = {1 + i * 7919 % 100000}"
                      for i in range(n))


def statements_tpcb(n):
    """pgbench's transaction, as psql sends it."""
    text = []
    for i in range(n):
        aid, tid, delta = 1 + i * 7919 % 100000, 1 + i % 10, i % 1000 - 500
        text.append(f"begin; update accounts set abalance = abalance + {delta} where aid = {aid}; "
                    f"select abalance from accounts where aid = {aid}; "
                    f"update tellers set tbalance = tbalance + {delta} where tid = {tid}; "
                    f"update branches set bbalance = bbalance + {delta} where bid = 1; "
                    f"insert into history (tid, bid, aid, delta, mtime) values "
                    f"({tid}, 1, {aid}, {delta}, current_timestamp); end")
    return ";\n".join(text)


def measures(session):
    select, tpcb = statements_select(TURNS), statements_tpcb(TURNS // 4)

    def timed(sql, n):
        def run():
            before = cpu_ns(session.pid)
            session.do(sql)
            return (cpu_ns(session.pid) - before) / n
        return run

    return {"ns a palloc/pfree pair": timed(f"select pgleak_pairs({PALLOCS})", PALLOCS),
            "ns a select": timed(select, TURNS),
            "ns a tpcb transaction": timed(tpcb, TURNS // 4)}


def all_in_one(session, recorder):
    """Every measure within one attach: attaching is not what is measured here."""
    ways = measures(session)
    rows = {k: [] for k in ways}
    for _ in range(common.PAIRS):
        off = {k: f() for k, f in ways.items()}
        recorder.attach(session.pid)
        on = {k: f() for k, f in ways.items()}
        recorder.detach()
        for k in ways:
            rows[k].append({"off": off[k], "on": on[k], "attach_s": recorder.attach_seconds,
                            "detach_s": recorder.detach_seconds})
    for k, f in ways.items():
        rows[k].append({"after": f()})
    return {k: common.summary(v) for k, v in rows.items()}


def main():
    import postgres as pg
    recorders = [Memwho(name="memwho (contexts)"), Memwho("--no-stacks", name="memwho --no-stacks"),
                 Memwho("--allocator", "libc", name="memwho --allocator libc"),
                 Memwho("--engine", "agent", "--exact", "--allocator", "postgres", name="memwho, agent, exact"),
                 Memwho("--engine", "agent", "--allocator", "postgres", name="memwho, agent, samples")]
    recorders += common.usable([Memleak(), Heaptrack()])
    rows, data = [], {}
    with pg.Server(pg.DISTRIBUTION, extension=True) as server:
        session = server.session()
        session.do(SETUP)
        for recorder in recorders:
            session = server.session()  # heaptrack stays mapped
            for f in measures(session).values():
                f()
            try:
                data[recorder.name] = all_in_one(session, recorder)
            except (RuntimeError, TimeoutError) as e:
                say(f"# {recorder.name}: {e}")
                continue
            finally:
                recorder.kill()
            for k, s in data[recorder.name].items():
                rows.append([recorder.name, k, figure(s["off"]["median"]), figure(s["on"]["median"]),
                             span(s["added"]), figure(s["ratio"]["median"]) + "x", figure(s["after"])])
            session.close()
            recorder.close()
            say(f"# {recorder.name}: done")
    rows.sort(key=lambda r: r[1])
    table(["recorder", "what", "without", "with", "added", "ratio", "after"], rows)
    keep("postgres", data)


if __name__ == "__main__":
    main()
