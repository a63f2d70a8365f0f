#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""embed-agent.py OUT.h SCRIPT INCLUDE SOURCE... -- COMPILER...: the code that runs inside
targets (src/agent) as bytes of a C header: `agent_blob`, and where its entry is in it.

It must run at any address as it is: relocations that are not relative to the
instruction, and symbols that it lacks, are errors."""
import pathlib
import re
import subprocess
import sys
import tempfile

FLAGS = ["-std=gnu17", "-O2", "-ffreestanding", "-nostdlib", "-fno-stack-protector", "-fpie",
         "-fvisibility=hidden", "-mgeneral-regs-only", "-fno-jump-tables", "-fno-builtin",
         "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fcf-protection=none",
         "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror"]
RELATIVE = {"R_X86_64_PC32", "R_X86_64_PLT32"}


def run(*args):
    return subprocess.run(list(map(str, args)), check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    split = sys.argv.index("--")
    (out, script, include, *sources), compiler = sys.argv[1:split], sys.argv[split + 1:]
    with tempfile.TemporaryDirectory() as folder:
        elf, flat = (pathlib.Path(folder) / name for name in ("agent", "agent.bin"))
        objects = [pathlib.Path(folder) / f"{i}.o" for i in range(len(sources))]
        for source, obj in zip(sources, objects):
            run(*compiler, *FLAGS, "-I", include, "-c", source, "-o", obj)
            for line in run("readelf", "-rW", obj).splitlines():
                kind = re.search(r"R_X86_64_\w+", line)
                if kind and kind[0] not in RELATIVE:
                    sys.exit(f"{source}: a relocation that is not relative: {line}")
        run(*compiler, "-nostdlib", "-static", "-no-pie", f"-Wl,-T,{script}", "-Wl,--build-id=none",
            "-Wl,--no-warn-rwx-segments" if "no-warn-rwx" in run("ld", "--help") else "-Wl,-O1",
            *objects, "-o", elf)
        run("objcopy", "-O", "binary", "-j", ".text", elf, flat)
        symbols = {line.split()[-1]: int(line.split()[0], 16) for line in run("nm", elf).splitlines()
                   if len(line.split()) == 3}
        blob = flat.read_bytes()
    lines = ["/* Made by tools/embed-agent.py. */",
             f"enum {{ AGENT_SLOW_AT = {symbols['agent_slow']}, "
             f"AGENT_RETURN_AT = {symbols['agent_return']} }};",
             "static const unsigned char agent_blob[] = {"]
    lines += ["\t" + ", ".join(map(str, blob[i:i + 20])) + "," for i in range(0, len(blob), 20)]
    pathlib.Path(out).write_text("\n".join(lines + ["};"]) + "\n")


main()
