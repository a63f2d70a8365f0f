#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""./dev vm: boot Debian's own kernel under qemu and try memwho there.

Users' kernels are older than a developer's. The machine is emulated (TCG): no
/dev/kvm is needed, and a boot takes some 20 s. Its initramfs holds the build,
its shared libraries, a truth program and tests/vm/init; what that ran comes
back over a serial port and is judged here.

usage: vm.py [--kernel VMLINUZ]     BUILD from the environment
"""
import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

SOURCE = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD", SOURCE / "build")).resolve()
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "memwho-tests"
WORK = BUILD / "vm"
SECONDS = 600

sys.path.insert(0, str(SOURCE / "tests" / "e2e"))


def output(*argv, **kw):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **kw).stdout


def kernel_package():
    """The package behind linux-image-cloud-amd64, or None where apt has none (Ubuntu)."""
    try:
        depends = output("apt-cache", "depends", "linux-image-cloud-amd64")
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None
    found = re.findall(r"Depends: (linux-image-\d\S+)", depends)
    return found[0] if found else None


def fetch_kernel():
    """Path of a vmlinuz, cached; the package is only unpacked, never installed."""
    package = kernel_package()
    cached = sorted(CACHE.glob("vmlinuz-*"))
    if package:
        path = CACHE / ("vmlinuz-" + package.removeprefix("linux-image-"))
        if not path.exists():
            unpacked = CACHE / "unpack"
            shutil.rmtree(unpacked, ignore_errors=True)
            unpacked.mkdir(parents=True)
            subprocess.run(["apt-get", "download", "-q=2", package], cwd=unpacked, check=True)
            subprocess.run(["dpkg", "-x", next(unpacked.glob("*.deb")), unpacked / "root"], check=True)
            shutil.copy(next((unpacked / "root/boot").glob("vmlinuz-*")), path)
            shutil.rmtree(unpacked)
        return path
    if cached:
        return cached[-1]
    print("vm: apt knows no linux-image-cloud-amd64 here (Debian does); name one with --kernel")
    sys.exit(77)


def libraries(program):
    """Absolute paths of the shared libraries and the loader of @program; a static one has none."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def install(root, source, target):
    path = root / str(target).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)


def make_root(root):
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "proc", "sys", "dev", "tmp", "etc"):
        (root / folder).mkdir(parents=True)
    install(root, shutil.which("busybox"), "/bin/busybox")
    for name in output("busybox", "--list").split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    programs = {BUILD / "memwho": "/bin/memwho", BUILD / "memwho-serve": "/bin/memwho-serve", BUILD / "tests/programs/hold": "/bin/hold",
                BUILD / "tests/programs/map_churn": "/bin/map_churn",
                BUILD / "tests/programs/charge": "/bin/charge"}
    needed = set()
    for path, target in programs.items():
        install(root, path, target)
        needed.update(libraries(path))
    for path in needed:
        install(root, path, path)
    install(root, SOURCE / "tests/vm/init", "/init")


def make_initrd(root, to):
    names = subprocess.run(["find", ".", "-print0"], cwd=root, check=True, capture_output=True).stdout
    cpio = subprocess.run(["cpio", "--quiet", "-0", "-o", "-H", "newc", "-R", "0:0"], cwd=root,
                          input=names, check=True, capture_output=True).stdout
    with gzip.open(to, "wb", compresslevel=1) as f:
        f.write(cpio)


def boot(kernel, initrd):
    """Run the machine; its console goes to WORK/console.log, its results to WORK/results."""
    results = WORK / "results.tar"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1500",
            "-display", "none", "-no-reboot", "-nodefaults", "-kernel", kernel, "-initrd", initrd,
            "-append", "console=ttyS0 no_timer_check quiet psi=1 panic=-1 oops=panic",
            "-serial", f"file:{WORK / 'console.log'}", "-serial", f"file:{results}"]
    results.unlink(missing_ok=True)
    try:
        subprocess.run(argv, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        print(f"vm: still running after {SECONDS} s; its console ends so:")
        print("\n".join((WORK / "console.log").read_text(errors="replace").splitlines()[-20:]))
    shutil.rmtree(WORK / "results", ignore_errors=True)
    (WORK / "results").mkdir()
    try:
        with tarfile.open(results) as tar:
            tar.extractall(WORK / "results")
    except (tarfile.TarError, FileNotFoundError) as e:
        print(f"vm: no results came back: {e}")


class Ran:
    """What one `run NAME ...` of tests/vm/init left."""

    def __init__(self, name):
        def read(suffix):
            path = WORK / "results" / (name + suffix)
            return path.read_text(errors="replace") if path.exists() else ""
        self.out, self.err, code = read(".out"), read(".err"), read(".code").strip()
        self.code = int(code) if code else None

    def __repr__(self):
        return f"exit {self.code}\n{self.out[-1500:]}\n{self.err[-1500:]}"


def version_tells_this_kernel():
    v = json.loads(Ran("version").out)
    features = v["kernel_features"]
    print(f"  Linux {v['kernel']}: " + ", ".join(f"{k} {v}" for k, v in features.items()))
    assert features["bpf"] and features["btf"] and features["uprobes"] and features["bpf_loop"]
    if v["kernel"].startswith("6.1."):
        assert not features["uprobe_multi"] and not features["uprobe_session"]
        assert not features["pagemap_scan"] and not features["procmap_query"]


def doctor_finds_the_allocator():
    ran = Ran("doctor")
    checks = {c["name"]: c for c in json.loads(ran.out)["checks"]}
    assert ran.code == 0 and checks["libc"]["state"] in ("ok", "limited"), ran


def a_recording_is_exact():
    import hold  # tests/e2e
    assert Ran("recording").code == 0, Ran("recording")
    stacks = hold.stacks_of_folded(Ran("folded").out)
    truth = json.loads((WORK / "results/truth.json").read_text())
    score = hold.compare(stacks, truth)
    print(f"  {score.true_bytes} bytes held, {score.reported_bytes} reported, "
          f"path error {score.path_error:.4%}")
    assert score.true_bytes > 100000 and score.path_error == 0, score.explain()


def only_what_is_too_deep_is_cut():
    result = json.loads(Ran("json").out)
    cut = {k: v for k, v in result.items() if k.startswith("stacks_") and isinstance(v, int) and v}
    # the truth program's site_18 is deeper than stacks are walked
    assert set(cut) == {"stacks_too_deep"} and result["complete_stacks_percent"] > 98, result
    assert result["lost_events"] == 0 and result["ended_by"] == "signal"


def a_hot_program_is_refused():
    ran = Ran("refused")
    assert ran.code == 1 and "slow" in ran.err, ran


def a_hot_program_is_sampled():
    """What is too dear to be recorded exactly is the agent's, within the default budget."""
    ran = Ran("sampled")
    assert ran.code == 0, ran
    result = json.loads(ran.out)
    assert result["engine"] == "agent" and result["samples"] > 0, result


def a_kernel_thread_is_refused():
    ran = Ran("kernel_thread")
    assert ran.code == 1 and "kernel thread" in ran.err, ran


def nobody_is_told():
    ran = Ran("nobody")
    assert ran.code == 1 and "999999" in ran.err, ran


def missing_features_are_told():
    for name, word in (("no_btf", "BTF"), ("no_bpf_loop", "bpf_loop")):
        assert Ran(name).code == 1 and word in Ran(name).err, Ran(name)


def mappings_are_right(name="mapping", engine="bpf, per call"):
    import mapped  # tests/e2e
    ran = Ran(name)
    assert ran.code == 0, ran
    result = json.loads(ran.out)
    assert result["engine"] == engine and result["lost_events"] == 0, ran.err
    pid = result["ranges"][0]["pid"]
    ranges = mapped.Ranges(result, pid)
    theirs = mapped.merged(mapped.of_maps(pid, WORK / "results" / f"{name}.maps"))
    assert mapped.differences(ranges.spans(), theirs) == (0, 0)
    owners = mapped.Owners(ranges, WORK / "results" / f"{name}.record")
    print(f"  {owners}")
    assert owners.right > 0 and owners.wrong == 0 and owners.uncertain == 0


def so_are_they_without_fentry():
    mappings_are_right("mapping_all", "bpf, all system calls")


MIB = 1 << 20


def every_byte_of_a_v2_cgroup_has_a_row():
    ladder = json.loads(Ran("cgroup").out)
    rows = {r["name"]: r for r in ladder["cgroup"]}
    size = {name: r["bytes"] for name, r in rows.items()}
    print("  " + ", ".join(f"{name} {b / MIB:.2f}" for name, b in size.items()))
    assert sum(size.values()) == ladder["cgroup_bytes"] and ladder["cgroup_version"] == 2
    assert abs(ladder["cgroup_bytes"] - int(Ran("current").out)) < MIB
    # 500 pages far from each other, and what a small static program has
    assert 0 <= size["anon"] - 60 * MIB - 500 * 4096 < MIB, size
    assert 0 <= size["file cache"] - 100 * MIB < 2 * MIB, size
    assert 70 * MIB <= size["shmem"] < 71 * MIB, size
    assert 500 * 4096 <= size["page tables"] < 500 * 4096 + MIB, size
    # that of the first thread was made before it moved here
    assert size["kernel stacks"] in (20 * 16384, 21 * 16384), size
    # 20 pairs of sockets, full, hold some 200 KiB each
    assert size["slab"] > 0 and 3 * MIB < size["slab"] + size["other kernel"] < 12 * MIB, size
    # 64 pages for each of 2 cpus
    assert abs(size["not accounted"]) <= 2 * 64 * 4096, size
    assert ladder["cgroup_limit_bytes"] == 512 * MIB and ladder["cgroup_limit_path"] == "/truth"
    # ramfs is on no list of what can be taken back
    assert rows["file cache"]["reclaimable"] < 4 * MIB
    found = {f["key"]: f for f in ladder["findings"]}
    assert abs(found["cgroup-shmem"]["bytes"] - 40 * MIB) < MIB
    assert abs(found["cgroup-page-cache"]["bytes"] - 100 * MIB) < 2 * MIB


def a_process_of_it_shows_the_same_cgroup():
    ladder, top = json.loads(Ran("cgroup_pid").out), json.loads(Ran("cgroup_top").out)
    assert ladder["cgroup_path"] == "/truth" == top["cgroup"]["path"]
    assert abs(ladder["cgroup_bytes"] - top["cgroup"]["bytes"]) < MIB
    assert [p["name"] for p in top["processes"]] == ["charge"]
    assert top["processes"][0]["threads"] == 21


def rules_see_a_v2_cgroups_limit_pressure_and_kills():
    served = Ran("serve")
    assert served.code == 0, served
    # by its log: a kernel without its module for sock_diag says nobody's name
    captures = re.findall(r"kept \S+-([a-z]+) \((\w+)\)(?:: (.*))?", served.err)
    reasons = {trigger: reason for trigger, _, reason in captures if trigger != "baseline"}
    print("  " + "; ".join(f"{name}: {why}" for name, why in reasons.items()))
    made = sorted(c[0] for c in captures)
    assert made == ["baseline"] * 3 + ["limit", "oom", "pressure"], made
    assert re.search(r"8\d % of its limit of 128\.0 MiB", reasons["limit"]), reasons
    assert float(re.search(r"([\d.]+) % of the last 10 s", reasons["pressure"])[1]) >= 5
    assert "oom_kill 1\n" in Ran("events").out, Ran("events")
    metrics = Ran("metrics").out
    assert f'memwho_cgroup_limit_bytes{{target="inner"}} {128 * MIB}\n' in metrics, metrics
    [used] = re.findall(r'memwho_cgroup_used_bytes{target="inner"} (\d+)', metrics)
    assert 4 * MIB <= int(used) < 12 * MIB, used


def the_kernel_is_well():
    log = Ran("dmesg").out
    assert log and not re.search(r"BUG:|WARNING:|Oops|general protection", log), log[-2000:]


CHECKS = [version_tells_this_kernel, doctor_finds_the_allocator, a_recording_is_exact,
          only_what_is_too_deep_is_cut, a_hot_program_is_refused, a_hot_program_is_sampled,
          a_kernel_thread_is_refused,
          nobody_is_told, missing_features_are_told, mappings_are_right,
          so_are_they_without_fentry, every_byte_of_a_v2_cgroup_has_a_row,
          a_process_of_it_shows_the_same_cgroup, rules_see_a_v2_cgroups_limit_pressure_and_kills, the_kernel_is_well]


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    kernel = sys.argv[2] if sys.argv[1:2] == ["--kernel"] else fetch_kernel()
    make_root(WORK / "root")
    make_initrd(WORK / "root", WORK / "initrd.gz")
    print(f"vm: booting {kernel} (emulated)")
    boot(str(kernel), str(WORK / "initrd.gz"))
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check()
            print(f"ok: {name}")
        except Exception as e:  # a result that is not there is a failure, too
            failed += 1
            print(f"FAILED: {name}: {type(e).__name__}: {e}")
    (WORK / "counts.json").write_text(json.dumps([len(CHECKS) - failed, failed, 0]))
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
