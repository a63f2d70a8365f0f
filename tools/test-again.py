#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the few end-to-end cases once more, alone, that the last `meson test` in BUILD saw fail.

Most of them compare samples, clocks or counters of a busy machine, and ran beside others. What
fails twice has failed. What passes now is counted as passed, and named with what it said at
first: tools/count-tests.py does both, from BUILD/junit/NAME.again.xml. More than LIMIT failures
are no accident: then nothing runs again. Nor does a file that says "# meson: … once", or a case
with "killed" in its name: a target that died in one of 100 runs is dead.

usage: test-again.py BUILD
"""
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree

LIMIT = 5


def failed_cases(junit):
    """Names; nothing where the file says that something else is wrong, or is not there."""
    if not junit.exists():
        return []
    cases = xml.etree.ElementTree.parse(junit).getroot().iter("testcase")
    return [case.get("name") for case in cases
            if case.find("failure") is not None or case.find("error") is not None]


def once(source):
    head = source.read_text().splitlines()[:5]
    return any(line.startswith("# meson:") and "once" in line.split() for line in head)


def is_accident(suites, test, cases):
    """Of the kind that may run again at all"""
    return ("e2e" in suites and test["result"] == "FAIL" and cases and not any("killed" in case for case in cases)
            and not once(pathlib.Path(test["command"][-1])))


def candidates(build):
    """[(what meson recorded, NAME, its failed cases)], or nothing"""
    found = []
    for text in (build / "meson-logs" / "testlog.json").read_text().splitlines():
        test = json.loads(text)
        if test["result"] in ("OK", "SKIP"):
            continue
        suites, _, name = test["name"].rpartition(" / ")
        cases = failed_cases(build / "junit" / (name + ".xml"))
        if not is_accident(suites, test, cases):
            return []  # that one stays a failure, and so does the run
        found.append((test, name, cases))
    return found if sum(len(cases) for _, _, cases in found) <= LIMIT else []


def run_again(build, test, name, cases):
    command = list(test["command"])
    command[command.index("--junitxml") + 1] = str(build / "junit" / (name + ".again.xml"))
    source = command.pop()
    subprocess.run(command + [f"{source}::{case}" for case in cases], env=test["env"], cwd=build, timeout=900)


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    for test, name, cases in candidates(build):
        print(f"once more, alone: {name}: {', '.join(cases)}", flush=True)
        run_again(build, test, name, cases)


main()
