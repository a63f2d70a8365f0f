# SPDX-License-Identifier: GPL-2.0-or-later
# meson: timeout=300 parallel
"""The ladder of a cgroup and of containers: rows of the memory cgroup against what
the test allocated, an overlayfs container seen from the host and from inside,
and one made by a real runtime. cgroup v2 is looked at in ./dev vm."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

import cgroups
from conftest import MEMWHO, PROGRAMS, Target
from hold import Hold, compare, stacks_of_json
from test_containers import an_id, child_of, copy_with_libraries

MIB, PAGE, STACK = 1 << 20, os.sysconf("SC_PAGESIZE"), 16 << 10
BATCHES = 64 * PAGE * os.cpu_count()
HERE = pathlib.Path(__file__).parent


def memory_hierarchy():
    """(mount point, is v2), or None."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        where, (kind, _, options) = line.split()[4], line.split(" - ")[1].split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(","):
            found.insert(0, (pathlib.Path(where), False))
        if kind == "cgroup2" and "memory" in (
                pathlib.Path(where) / "cgroup.subtree_control").read_text().split():
            found.append((pathlib.Path(where), True))
    return found[0] if found and os.access(found[0][0], os.W_OK) else None


def memory_cgroup(path):
    """A new cgroup of the memory controller."""
    top = memory_hierarchy()
    if not top:
        pytest.skip("no memory cgroup can be made here")
    return cgroups.made(top[0], path)


@contextlib.contextmanager
def charge(*words):
    t = Target([PROGRAMS / "charge", *words])
    try:
        assert t.line(60) == "ready"
        yield t
    finally:
        t.stop()


def a_name():
    return f"memwho-ladder-{os.getpid()}"


def sizes(ladder):
    return {r["name"]: r["bytes"] for r in ladder["cgroup"]}


def check_sum(ladder, cgroups=1):
    """@cgroups: how many there are with processes, each of which has batches."""
    size = sizes(ladder)
    assert sum(size.values()) == ladder["cgroup_bytes"]
    assert abs(size["not accounted"]) <= BATCHES * cgroups, size
    assert all(r["evidence"] for r in ladder["cgroup"])
    assert all(0 <= r["reclaimable"] <= max(r["bytes"], 0) for r in ladder["cgroup"]), ladder["cgroup"]
    return size


def findings(ladder):
    return {f["key"]: f for f in ladder["findings"]}


@pytest.fixture
def shm_file():
    path = pathlib.Path(f"/dev/shm/{a_name()}")
    yield path
    path.unlink(missing_ok=True)


def test_every_byte_of_the_charge_has_a_row(memwho, tmp_path, shm_file):
    with memory_cgroup(a_name()) as cgroup, \
            charge("cgroup", cgroup, "anon", "60", "file", tmp_path / "file", "100", "file", shm_file,
                   "40", "memfd", "10", "mapped", "30", "threads", "50", "sparse", "1000") as t:
        usage = next(cgroup / n for n in ("memory.current", "memory.usage_in_bytes")
                     if (cgroup / n).exists())
        ladder = memwho("ladder", f"cgroup:/{a_name()}", "--json").json()
        now = int(usage.read_text())
        single = memwho(t.pid, "--json").json()
        text = memwho(f"cgroup:{cgroup}").out
        size = check_sum(ladder)
        assert abs(ladder["cgroup_bytes"] - now) <= BATCHES
        # a page for each page table, and what a small static program has
        assert 0 <= size["anon"] - 60 * MIB - 1000 * PAGE < MIB
        assert 0 <= size["file cache"] - 100 * MIB < 2 * MIB
        assert 0 <= size["shmem"] - 80 * MIB < MIB
        assert size["kernel stacks"] == 51 * STACK
        assert 1000 * PAGE <= size["page tables"] < 1000 * PAGE + MIB
        assert size["other kernel"] >= 0
        rows = {r["name"]: r for r in ladder["cgroup"]}
        assert abs(rows["file cache"]["reclaimable"] - size["file cache"]) < 2 * MIB
        assert ladder["cgroup_unreclaimable_bytes"] == \
            ladder["cgroup_bytes"] - rows["file cache"]["reclaimable"]
        assert ladder["cgroup_processes"] == 1 and ladder["cgroup_threads"] == 51
        assert ladder["cgroup_peak_bytes"] >= ladder["cgroup_bytes"] - BATCHES
        # what no process has: the cache, the tmpfs file and the memfd that isn't mapped
        found = findings(ladder)
        assert abs(found["cgroup-page-cache"]["bytes"] - 100 * MIB) < 2 * MIB
        assert abs(found["cgroup-shmem"]["bytes"] - 50 * MIB) < MIB
        assert "cgroup-anon" not in found and "cgroup-limit" not in found
        # one process of it shows the same cgroup
        assert single["cgroup_path"] == ladder["cgroup_path"] == f"/{a_name()}"
        assert sizes(single).keys() == size.keys()
        assert "file cache" in text and "page cache is charged" in text


def test_a_cgroup_of_several_is_summed(memwho):
    name = a_name()
    with memory_cgroup(f"{name}/one") as one, memory_cgroup(f"{name}/two") as two, \
            charge("cgroup", one, "anon", "10") as a, charge("cgroup", two, "anon", "20") as b, \
            charge("anon", "40"):
        both = memwho("ladder", f"cgroup:/{name}", "--json").json()
        single = [memwho("ladder", t.pid, "--json").json() for t in (a, b)]
        for key in ("virtual_bytes", "unnamed_bytes"):
            assert both[key] == sum(s[key] for s in single)
        assert {p["pid"] for p in both["parts"]} == {a.pid, b.pid}
        size = check_sum(both, 2)
        assert 0 <= size["anon"] - 30 * MIB < MIB and both["cgroup_processes"] == 2
        assert [s["cgroup_path"] for s in single] == [f"/{name}/one", f"/{name}/two"]
        assert 0 <= sizes(single[0])["anon"] - 10 * MIB < MIB
        # two that have no cgroup in common: no rows
        pair = memwho("ladder", a.pid, b.pid, "--json").json()
        assert "cgroup_bytes" not in pair and not pair.get("cgroup")
        top = memwho("top", f"cgroup:/{name}", "--json").json()
        assert {p["pid"] for p in top["processes"]} == {a.pid, b.pid}
        assert top["cgroup"]["path"] == f"/{name}"


def set_limit(cgroup, size):
    names = [n for n in ("memory.max", "memory.limit_in_bytes") if (cgroup / n).exists()]
    (cgroup / names[0]).write_text(str(size))


def test_the_lowest_limit_above_counts(memwho, tmp_path):
    name = a_name()
    with memory_cgroup(name) as outer, memory_cgroup(f"{name}/inner") as inner:
        set_limit(inner, 200 * MIB)
        set_limit(outer, 100 * MIB)
        with charge("cgroup", inner, "file", tmp_path / "file", "20", "anon", "50") as t:
            ladder = memwho(t.pid, "--json").json()
            assert ladder["cgroup_limit_bytes"] == 100 * MIB
            assert ladder["cgroup_limit_path"] == f"/{name}"
            assert "cgroup-limit" not in findings(ladder)
            # near its end: cache doesn't count, anonymous memory does
            set_limit(inner, 70 * MIB)
            set_limit(outer, 55 * MIB)
            ladder = memwho(t.pid, "--json").json()
            assert "OOM" in findings(ladder)["cgroup-limit"]["text"]
            assert memwho("top", f"cgroup:/{name}", "--json").json()["cgroup"][
                "limit_bytes"] == 55 * MIB


def test_a_container_is_its_cgroup(memwho):
    """With the cgroups that it made for itself inside; the same by id and by prefix."""
    name = an_id("ladder")
    path = f"memwho-{os.getpid()}.slice/docker-{name}.scope"
    with memory_cgroup(path) as cgroup, memory_cgroup(path + "/init") as inner, \
            charge("cgroup", inner, "anon", "15") as t:
        for word in (f"container:{name}", f"container:{name[:12]}"):
            ladder = memwho("ladder", word, "--json").json()
            assert ladder["cgroup_path"] == f"/{path}" and ladder["pid"] == t.pid
            check_sum(ladder)
        top = memwho("top", t.pid, "--json").json()
        assert top["processes"][0]["container"] == name
        assert name[:12] in memwho("top", t.pid).out
        assert cgroup.exists()


def test_named_by_another_controller(memwho):
    """On v1 a path of the pids controller means processes; their memory is elsewhere."""
    pids = pathlib.Path("/sys/fs/cgroup/pids")
    if not os.access(pids, os.W_OK):
        pytest.skip("no cgroup v1 with the pids controller")
    other = pids / f"{a_name()}-pids"
    other.mkdir()
    try:
        with memory_cgroup(a_name()) as cgroup, charge("cgroup", cgroup, "anon", "5") as t:
            (other / "cgroup.procs").write_text(str(t.pid))
            ladder = memwho("ladder", f"cgroup:{other}", "--json").json()
            assert ladder["cgroup_path"] == f"/{a_name()}" and ladder["pid"] == t.pid
            check_sum(ladder)
            (pids / "cgroup.procs").write_text(str(t.pid))
    finally:
        other.rmdir()


# ---- an overlayfs root, no capabilities, read-only, no shell ----

@pytest.fixture
def container():
    """container(*argv) -> the argv that runs them inside; container.lower is the image."""
    try:
        subprocess.run(["unshare", "-mU", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespaces can be made here")
    if os.geteuid() != 0 or "\toverlay\n" not in pathlib.Path("/proc/filesystems").read_text():
        pytest.skip("needs root and overlayfs")
    # not below pytest's own folder, which is closed to other users
    top = pathlib.Path(tempfile.mkdtemp(prefix="memwho-"))
    work, lower = top / "work", top / "lower"
    top.chmod(0o755), work.mkdir(), lower.mkdir()

    def wrap(*argv, first=()):
        inside = [*first, "--", *argv] if first else argv
        return ["python3", HERE / "contain.py", work, lower, *inside]

    wrap.lower = lower
    yield wrap
    shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def held(container):
    """The truth program inside; .inner is its pid on the host."""
    copy_with_libraries(PROGRAMS / "hold", container.lower)
    command = container()
    with Hold("/hold", wrapper=command) as hold:
        hold.inner = child_of(hold.pid)
        text = pathlib.Path(f"/proc/{hold.inner}/status").read_text()
        assert re.search(r"^CapEff:\t0+$", text, re.M) and f"NSpid:\t{hold.inner}\t1\n" in text
        assert os.stat(f"/proc/{hold.inner}/root/hold").st_uid != 0 or "overlay" in pathlib.Path(
            f"/proc/{hold.inner}/mountinfo").read_text()
        yield hold


@pytest.mark.parametrize("without", ["", "map_files"])
def test_the_ladder_of_a_container_from_the_host(memwho, held, without):
    ladder = memwho(held.inner, "--json", env={"MEMWHO_WITHOUT": without}).json()
    assert (ladder["pid"], ladder["ns_pid"]) == (held.inner, 1)
    files = {p["name"]: p for p in ladder["parts"] if p["kind"] == "file"}
    # as the container sees them
    assert files["hold"]["path"] == "/hold"
    assert all(p["path"].startswith("/") and "merged" not in p["path"] for p in files.values())
    assert any(n.startswith("libc.so") for n in files)
    # the libraries were read: glibc's arena is proven
    assert any(p["kind"] == "glibc-arena" and p["in_use_bytes"] > 0 for p in ladder["parts"])
    assert f"({held.inner})" in memwho(held.inner).out


@pytest.mark.parametrize("without", ["", "map_files"])
def test_names_in_a_container_are_right(record, needs_bpf, held, without):
    """st_dev of overlayfs is none that maps shows; build-ids and map_files decide."""
    held.command("warm 5")
    r = record("alloc", held.inner, "--json", "--max-slowdown", "1000",
               env={"MEMWHO_WITHOUT": without})
    held.command("mark")
    held.command("go 3")
    truth = held.truth()
    result = r.interrupt().json()
    score = compare(stacks_of_json(result), truth)
    assert score.path_error == 0 and score.true_bytes > 0, score.explain()
    assert result["lost_events"] == 0 and result["pid"] == held.inner


def test_from_inside_without_capabilities(container):
    """One's own processes, by the container's numbers, with nothing of the host's."""
    copy_with_libraries(PROGRAMS / "hold", container.lower)
    copy_with_libraries(MEMWHO, container.lower, "memwho")
    p = subprocess.run([str(w) for w in container("/memwho", "{pid}", "--json", first=("/hold",))],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    ladder = json.loads(p.stdout)
    assert ladder["pid"] == ladder["ns_pid"] == 2
    assert sum(x["virtual_bytes"] for x in ladder["parts"]) == ladder["virtual_bytes"] \
        == ladder["vm_size_bytes"]
    assert {x["path"] for x in ladder["parts"] if x["kind"] == "file"} >= {"/hold"}
    assert any(x["kind"] == "glibc-arena" for x in ladder["parts"])


def test_top_from_inside(container):
    copy_with_libraries(MEMWHO, container.lower, "memwho")
    shutil.copy(PROGRAMS / "charge", container.lower / "charge")
    p = subprocess.run([str(w) for w in container("/memwho", "top", "--json",
                                                  first=("/charge", "anon", "30"))],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    rows = {r["pid"]: r for r in json.loads(p.stdout)["processes"]}
    assert set(rows) == {1, 2} and rows[2]["name"] == "charge"
    assert rows[2]["unnamed_bytes"] >= 30 * MIB and rows[2]["permitted"] is True


# ---- a real runtime ----

def crun():
    """The words that run crun here. Its cgroup code refuses a v2 hierarchy with controllers
    beside v1; it sees none where that isn't mounted, which is so for crun alone."""
    if os.geteuid() != 0 or not shutil.which("crun"):
        pytest.skip("needs root and crun")
    unified = pathlib.Path("/sys/fs/cgroup/unified")
    if unified.is_mount():
        return ["unshare", "-m", "sh", "-c", f'umount {unified}; exec crun "$@"', "crun"]
    return ["crun"]


@pytest.fixture
def crun_container(tmp_path):
    """A container that crun made: .name, .pid on the host."""
    command, name = crun(), an_id("crun")
    (tmp_path / "rootfs").mkdir()
    shutil.copy(PROGRAMS / "charge", tmp_path / "rootfs/charge")
    subprocess.run(["crun", "spec"], cwd=tmp_path, check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"].update(terminal=False, args=["/charge", "anon", "25", "threads", "7"])
    config["linux"]["cgroupsPath"] = f"/memwho-crun-{os.getpid()}/{name}"
    (tmp_path / "config.json").write_text(json.dumps(config))
    t = Target([*command, "run", "-b", tmp_path, name])
    try:
        try:
            assert t.line(30) == "ready"
        except EOFError:
            pytest.skip("crun can't run a container here")
        t.name = name
        t.inside = json.loads(subprocess.run([*command, "state", name], check=True,
                                             capture_output=True).stdout)["pid"]
        yield t
    finally:
        subprocess.run([*command, "delete", "-f", name], capture_output=True)
        t.stop()
        for top in pathlib.Path("/sys/fs/cgroup").glob(f"*/memwho-crun-{os.getpid()}"):
            with contextlib.suppress(OSError):
                top.rmdir()


def test_a_container_of_crun(memwho, crun_container):
    c = crun_container
    ladder = memwho("ladder", f"container:{c.name[:12]}", "--json").json()
    assert (ladder["pid"], ladder["ns_pid"]) == (c.inside, 1)
    assert {p["path"] for p in ladder["parts"] if p["kind"] == "file"} == {"/charge"}
    assert len([p for p in ladder["parts"] if p["kind"] == "thread-stack"]) == 7
    if memory_hierarchy():
        assert ladder["cgroup_path"].endswith(c.name)
        size = check_sum(ladder)
        # what crun itself touched while it was in there is anonymous, too
        assert 0 <= size["anon"] - 25 * MIB < 4 * MIB
    top = memwho("top", f"container:{c.name[:12]}", "--json").json()
    assert [p["container"] for p in top["processes"]] == [c.name]
    assert f"{c.inside}=1" in memwho("top", f"container:{c.name}").out
