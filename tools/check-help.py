#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Help: at most 80 columns, on stdout only, -h is --help, every option of the
tables is in it; what is unknown goes to stderr with exit code 2.

usage: check-help.py MEMWHO
"""
import json
import subprocess
import sys

import tree

bad = []


def run(*words):
    p = subprocess.run([sys.argv[1], *words], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


def expect(condition, text):
    if not condition:
        bad.append(text)


def check_help(words, both):
    code, out, err = run(*words)
    expect(code == 0 and err == "" and out, f"{words}: exit {code}, stderr {err!r}")
    expect(out == run(*both)[1], f"{words} and {both} differ")
    for line in out.splitlines():
        expect(len(line) <= 80, f"{words}: {len(line)} columns: {line}")
        expect(line == line.rstrip(), f"{words}: blanks at the end of: {line!r}")
    return out


def check_command(command):
    name = command["name"]
    out = check_help([name, "--help"], [name, "-h"])
    letters, names = set(), set()
    for o in command["options"]:
        shown = f"--{o['name']}" + (f" {o['arg']}" if o["arg"] else "")
        expect(any(line.split("  ")[-1].strip() == o["help"] for line in out.splitlines()),
               f"{name}: the help text of --{o['name']} is not in its help")
        expect(shown in out, f"{name}: {shown} is not in its help")
        expect(len(o["help"]) <= 52, f"{name}: help text of --{o['name']} is over 52 columns")
        expect(o["name"] not in names, f"{name}: --{o['name']} is in two tables")
        expect(not o["letter"] or o["letter"] not in letters, f"{name}: -{o['letter']} is in two tables")
        names.add(o["name"])
        letters.add(o["letter"])
    expect({"help", "quiet", "verbose"} <= names, f"{name}: options_common is missing")
    for word in ("--no-such-option", "-Z"):
        code, out, err = run(name, word)
        expect(code == 2 and out == "" and err.startswith("memwho: "),
               f"{name} {word}: exit {code}, stdout {out!r}, stderr {err!r}")


def main():
    overview = check_help(["--help"], ["-h"])
    for command in json.loads(run("--dump-options")[1])["commands"]:
        check_command(command)
        if not command["hidden"]:
            expect(f"  {command['name']} " in overview, f"{command['name']} is not in memwho --help")
    code, out, err = run("no-such-command")
    expect(code == 2 and out == "" and err, "an unknown command is not a usage error")
    return tree.finish(bad)


sys.exit(main())
