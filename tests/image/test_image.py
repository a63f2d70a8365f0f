# SPDX-License-Identifier: GPL-2.0-or-later
"""The container image, used on this machine's processes as on a host of a fleet; and the systemd unit in a
container of it in which systemd is process 1. tests/matrix/image builds both."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(os.environ["MEMWHO_ROOT"])
SOURCE = pathlib.Path(os.environ["SOURCE"])
BUILD = pathlib.Path(os.environ["BUILD"])


@pytest.fixture(scope="module")
def inside():
    """memwho of the image, with the host's /proc and /sys: as a privileged pod with hostPID has them."""
    mounted = [ROOT / "proc", ROOT / "sys"]
    for where in mounted:
        subprocess.run(["mount", "--rbind", "--make-rslave", f"/{where.name}", where], check=True)

    def run(*args):
        return subprocess.run(["chroot", ROOT, "/usr/local/bin/memwho", *map(str, args)], capture_output=True, text=True,
                              timeout=120)
    yield run
    for where in mounted:
        subprocess.run(["umount", "-R", "-l", where], check=True)


@pytest.fixture
def demo():
    p = subprocess.Popen([BUILD / "tests/programs/demo"], stdout=subprocess.DEVNULL)
    time.sleep(1)
    yield p
    assert p.poll() is None
    p.kill()
    p.wait()


def test_version(inside):
    r = inside("version")
    assert r.returncode == 0 and r.stdout.startswith("memwho "), r


def test_ladder(inside, demo):
    r = inside("ladder", demo.pid, "--json")
    assert r.returncode == 0, r.stderr
    assert json.loads(r.stdout)["vm_rss_bytes"] > 100_000


@pytest.mark.parametrize("engine", ["agent", "bpf"])
def test_alloc(inside, demo, engine):
    r = inside("alloc", demo.pid, "-d", "3s", "--engine", engine, "--json", *(["--sample", "4K"] if engine == "agent" else []))
    assert r.returncode == 0, r.stderr
    got = json.loads(r.stdout)
    assert got["engine"] == engine and got["held_bytes"] > 0
    assert any("history_new" in s["frames"] for s in got["stacks"]), got["stacks"][:3]


def wanted_by_boot(unit, text):
    units = ROOT / "etc/systemd/system"
    (units / unit).write_text(text)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit).unlink(missing_ok=True)
    (wants / unit).symlink_to(f"../{unit}")


def test_unit():
    for name in ("memwho.service", "memwho.socket"):
        shutil.copy(SOURCE / "packaging" / name, ROOT / "etc/systemd/system")
    shutil.copy(SOURCE / "packaging/memwho.conf", ROOT / "etc/memwho.conf")
    shutil.copy(BUILD / "tests/programs/demo", ROOT / "usr/bin")
    shutil.copy(SOURCE / "tests/image/unit-inside", ROOT / "usr/bin")
    for name in ("memwho", "memwho-serve"):  # where a package has them
        (ROOT / "usr/bin" / name).unlink(missing_ok=True)
        (ROOT / "usr/bin" / name).symlink_to(f"/usr/local/bin/{name}")
    wanted_by_boot("unit-inside.service", "[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\n"
                   "ExecStart=/usr/bin/unit-inside\nExecStopPost=/bin/systemctl --no-block poweroff\n")
    log = ROOT / "var/log/unit-inside"
    log.unlink(missing_ok=True)
    subprocess.run(["unshare", "-m", "--propagation", "private", "systemd-nspawn", "-q", "--register=no", "--keep-unit", "--capability=all",
                    "--system-call-filter=bpf perf_event_open process_vm_readv process_vm_writev ptrace kcmp",
                    "-D", ROOT, "--boot"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=300)
    # systemd-nspawn leaves the machine's folder of cgroups v1 read-only
    subprocess.run(["mount", "-o", "remount,rw", "/sys/fs/cgroup"], stderr=subprocess.DEVNULL)
    said = [line.split() for line in log.read_text().splitlines()]
    assert said == [
        ["start", "0", "notify", "active", "30s"],
        ["healthz", "200"],
        ["ladder", "200", "1"],
        ["map", "200"],
        ["metrics", "200", said[4][2]],
        ["target", "alive", "0"],
        ["reload", "0", "active", "same"],
        ["killed", "1", "200"],  # on-failure
        ["hangs", "2", "200"],   # the watchdog
        ["stop", "inactive", "success", "0"],
        ["waits", "inactive", "660"],
        ["activated", "200", "active"],
        ["left", "0"],
        ["end"],
    ], said
    assert int(said[4][2]) > 10
