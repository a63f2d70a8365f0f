#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""memwho map against a random churn of the address space, in full size: every
tracked byte against /proc/PID/maps, every page's owner against the program's
own record (tests/programs/map_churn.c).

usage: map_oracle.py [OPERATIONS [THREADS [SEED]]]    (10,000,000, 16, 1)
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("BUILD", SOURCE / "build"))
sys.path.insert(0, str(SOURCE / "tests" / "e2e"))

import mapped  # noqa: E402


def run(folder, operations, threads, seed, ring):
    churn = subprocess.Popen([BUILD / "tests/programs/map_churn", str(threads), str(operations),
                              str(seed), folder / "record"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    assert churn.stdout.readline() == "ready\n"
    ready = folder / f"ready-{ring}"
    with open(folder / "out", "w") as out:
        memwho = subprocess.Popen([BUILD / "memwho", "map", str(churn.pid), "-d", "3600s", "--ranges",
                                   "--json", "-q", "--ring", ring, "--ready-file", ready], stdout=out)
        while not ready.exists():
            time.sleep(0.01)
        begun = time.monotonic()
        churn.stdin.write("\n")
        churn.stdin.flush()
        assert churn.stdout.readline() == "done\n"
        seconds = time.monotonic() - begun
        memwho.send_signal(signal.SIGINT)
        assert memwho.wait() == 0
    result = json.loads((folder / "out").read_text())
    ranges = mapped.Ranges(result, churn.pid)
    missing, extra = mapped.differences(ranges.spans(), mapped.merged(mapped.of_maps(churn.pid)))
    owners = mapped.Owners(ranges, folder / f"record.{churn.pid}")
    churn.kill()
    churn.wait()
    print(f"ring {ring}: {result['calls']} calls in {seconds:.1f} s, {result['lost_events']} events "
          f"lost; {len(ranges.all)} ranges, {missing} bytes missing, {extra} extra; {owners}",
          flush=True)
    return missing == extra == 0 and owners.wrong == 0 and (
        owners.uncertain == 0 or result["lost_events"] > 0)


def main():
    operations, threads, seed = (int(a) for a in (sys.argv[1:] + ["10000000", "16", "1"][len(sys.argv) - 1:]))
    with tempfile.TemporaryDirectory() as folder:
        good = [run(pathlib.Path(folder), operations, threads, seed, ring) for ring in ("512M", "64K")]
    return 0 if all(good) else 1


sys.exit(main())
