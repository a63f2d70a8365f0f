#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Count single test cases of the last `meson test` in BUILD: "N passed, N failed".

cmocka programs are counted by the cases that they print, pytest files by their
junit file (BUILD/junit/NAME.xml), anything else as one. A program that died is
at least one failure. What was skipped is listed with its reason, and what
passed only when it was run again (tools/test-again.py, BUILD/junit/NAME.again.xml)
with what it said at first.

usage: count-tests.py BUILD          and leave the figures in BUILD/counts.json
       count-tests.py --sum BUILD... the sum of what earlier runs left there
"""
import json
import os
import pathlib
import re
import sys
import xml.etree.ElementTree

FAILED = {"FAIL", "TIMEOUT", "ERROR", "INTERRUPT", "UNEXPECTEDPASS"}


def from_cmocka(out):
    if "[==========]" not in out:
        return None
    passed = len(re.findall(r"^\[       OK \] ", out, re.M))
    skipped = re.findall(r"^\[  SKIPPED \] (\S+)$", out, re.M)
    failed = re.findall(r"^\[  FAILED  \] (\d+) test", out, re.M)
    return passed, int(failed[0]) if failed else 0, [(name, "") for name in sorted(set(skipped))]


def complaint(case):
    """What a failed case said, in short, or None"""
    found = case.find("failure") if case.find("failure") is not None else case.find("error")
    return None if found is None else (found.get("message") or "failed").splitlines()[0][:200]


def cases_of(path):
    return list(xml.etree.ElementTree.parse(path).getroot().iter("testcase")) if path.exists() else []


def from_junit(path, name):
    """(passed, failed, skipped) with failures that the second run took back, or None"""
    passed, failed, skipped = 0, 0, []
    again = {case.get("name") for case in cases_of(path.with_suffix(".again.xml"))
             if complaint(case) is None and case.find("skipped") is None}
    cases = cases_of(path)
    for case in cases:
        bad = complaint(case)
        if bad and case.get("name") in again:
            print(f"unsteady, passed when run again: {name}: {case.get('name')}: {bad}")
        if bad and case.get("name") not in again:
            failed += 1
        elif case.find("skipped") is not None:
            skipped.append((case.get("name"), case.find("skipped").get("message", "")))
        else:
            passed += 1
    return (passed, failed, skipped) if cases else None


def count(test, build):
    out = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    if test["result"] == "SKIP":
        return 0, 0, [(test["name"], out.strip().splitlines()[-1] if out.strip() else "")]
    suites, _, name = test["name"].rpartition(" / ")
    name = name.split(":")[-1]
    found = None
    # a unit test may have the name of an end-to-end test: the file is the latter's
    if not suites or "e2e" in suites.split(":")[-1].split("+"):
        found = from_junit(build / "junit" / (name + ".xml"), name)
    bad = test["result"] in FAILED
    if found and (build / "junit" / (name + ".again.xml")).exists():
        return found
    found = found or from_cmocka(out)
    if not found:
        return (0, 1, []) if bad else (1, 0, [])
    passed, failed, skipped = found
    return passed, max(failed, 1) if bad else failed, skipped


def line(passed, failed, skipped):
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def count_build(build):
    passed, failed, skipped = 0, 0, []
    log = build / "meson-logs" / "testlog.json"
    for text in log.read_text().splitlines():
        p, f, s = count(json.loads(text), build)
        passed, failed, skipped = passed + p, failed + f, skipped + s
    if os.environ.get("CI") == "true" and skipped:
        print("with CI=true nothing may be skipped:")
        failed, passed_over = failed + len(skipped), skipped
        skipped = []
    else:
        passed_over = skipped
    for name, reason in passed_over:
        print(f"skipped: {name}: {reason}")
    if passed + failed == 0:
        print("no test ran")
        failed = 1
    (build / "counts.json").write_text(json.dumps([passed, failed, len(skipped)]))
    return passed, failed, len(skipped)


def counts_of(build):
    path = pathlib.Path(build) / "counts.json"
    if path.exists():
        return json.loads(path.read_text())
    print(f"{build}: ended before it counted anything")
    return [0, 1, 0]


def main():
    if sys.argv[1] == "--sum":
        total = [sum(column) for column in zip(*map(counts_of, sys.argv[2:]))]
    else:
        total = count_build(pathlib.Path(sys.argv[1]))
    print(line(*total))
    return 1 if total[1] else 0


sys.exit(main())
