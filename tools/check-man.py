#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/man/memwho-COMMAND.1 against the option tables, both ways.

usage: check-man.py MEMWHO SOURCE
"""
import json
import pathlib
import re
import subprocess
import sys

import tree

bad = []


def plain(text):
    text = re.sub(r'^\.\\".*$', "", text, flags=re.M)
    text = re.sub(r"\\f[BIRP]", "", text)
    return text.replace("\\-", "-").replace("\\(aq", "'")


def options_in(text):
    """What the page's OPTIONS sections define: the lines after .TP."""
    found = {}
    for line in re.findall(r"^\.TP(?: \d+)?\n(.*)$", text, re.M):
        line = plain(re.sub(r"^\.(?:BR|BI|B|IR) ", "", line)).replace('"', "")
        m = re.match(r"(?:-(\w), ?)?\s*--([\w-]+)(?:[ =](\S+))?\s*$", line)
        if m:
            found[m[2]] = (m[1] or "", m[3])
    return found


def check(command, page):
    if not page.exists():
        bad.append(f"{page.name}: no such page")
        return
    documented = options_in(page.read_text())
    for o in command["options"]:
        is_ = documented.pop(o["name"], None)
        if is_ is None:
            bad.append(f"{page.name}: does not document --{o['name']}")
        elif is_ != (o["letter"], o["arg"]):
            bad.append(f"{page.name}: --{o['name']}: page has {is_}, table ({o['letter']!r}, {o['arg']!r})")
    for name in documented:
        bad.append(f"{page.name}: documents --{name}, which is in no table")


def main():
    man = pathlib.Path(sys.argv[2]) / "docs" / "man"
    out = subprocess.run([sys.argv[1], "--dump-options"], capture_output=True, check=True).stdout
    commands = [c for c in json.loads(out)["commands"] if not c["hidden"]]
    overview = plain((man / "memwho.1").read_text())
    for c in commands:
        check(c, man / f"memwho-{c['name']}.1")
        if f"memwho-{c['name']}(1)" not in re.sub(r"\s*\(1\)", "(1)", overview.replace('"', "")):
            bad.append(f"memwho.1: does not name memwho-{c['name']}(1)")
    names = {f"memwho-{c['name']}.1" for c in commands} | {"memwho.1"}
    for page in man.glob("*.1"):
        if page.name not in names:
            bad.append(f"{page.name}: no such command")
    return tree.finish(bad)


sys.exit(main())
