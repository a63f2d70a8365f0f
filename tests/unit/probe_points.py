#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""probe_points.py PROBE_POINTS FILE...: compare the probe points that memwho
chooses in real binaries with what objdump's disassembly says about them.

For each function: the chosen instruction is one that the kernel emulates, none
before it writes sp, bp or an argument register, and no jump of the function
leads behind its start up to it; and no earlier instruction is emulated. A
function that is single-stepped must have a reason for it.
"""
import os
import re
import subprocess
import sys

# register families, in AT&T spelling
FAMILIES = [("rdi", "edi", "di", "dil"), ("rsi", "esi", "si", "sil"),
            ("rdx", "edx", "dx", "dl", "dh"), ("rcx", "ecx", "cx", "cl", "ch"),
            ("rsp", "esp", "sp", "spl"), ("rbp", "ebp", "bp", "bpl")]
NEEDED = {f"%{name}" for family in FAMILIES for name in family}
READS_ONLY = re.compile(r"(cmp|test|bt|nop|endbr|prefetch|ucomis|comis|vucomis|vcomis|vptest|ptest"
                        r"|data16|cs$|ldmxcsr|fld|mfence|lfence|sfence|kortest|ktest)")
WRITES_UNSEEN = {"mul": 1, "imul": 1, "div": 1, "idiv": 1, "cqto": 0, "cltd": 0, "cwtd": 0,
                 "cpuid": 0, "rdtsc": 0, "rdtscp": 0, "syscall": 0, "xgetbv": 0, "rdpmc": 0}
EMULATED = re.compile(
    r"^(90|5[0-7]|41 5[0-7]|eb ..|7. ..|e8( ..){4}|e9( ..){4}|0f 8.( ..){4})$")
FLOW = re.compile(r"^(bnd |notrack |rep[nz]* |repz |data16 |ds |cs |rex\S* )*"
                  r"(j\w+|call\w*|ret\w*|ud[0-2]|hlt|int3|loop\w*|iret\w*|sysret\w*)\b")
LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*(?:\t(.*))?$")


def disassemble(path):
    """[(address, bytes, text)] in order."""
    out = subprocess.run(["objdump", "-d", "-w", path], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    lines = []
    for line in out.splitlines():
        m = LINE.match(line)
        if m:
            lines.append((int(m[1], 16), m[2].strip(), (m[3] or "").split("#")[0].strip()))
    return lines


def operands(text):
    """Mnemonic and operands; commas inside parentheses belong to one operand."""
    words = text.split(None, 1)
    while len(words) == 2 and re.match(r"(rep\w*|lock|bnd|notrack|data16|cs|ds|es|ss|fs|gs|rex\S*)$",
                                       words[0]):
        words = words[1].split(None, 1)
    if len(words) < 2:
        return words[0] if words else "", []
    parts, depth, part = [], 0, ""
    for c in words[1].split("<")[0].strip():
        depth += (c == "(") - (c == ")")
        if c == "," and not depth:
            parts.append(part.strip())
            part = ""
        else:
            part += c
    return words[0], parts + [part.strip()]


def writes(text):
    """Does it write sp, bp or an argument register, as far as its text says?"""
    mnemonic, args = operands(text)
    if re.match(r"(push|pop|leave|enter)", mnemonic):
        return True
    if READS_ONLY.match(mnemonic) or "nop" in text:
        return False
    for name, count in WRITES_UNSEEN.items():
        if re.match(name + r"[bwlq]?$", mnemonic) and len(args) == count:
            return True
    if re.match(r"(movs|stos|lods|scas|cmps|ins|outs)[bwlq]$", mnemonic) and \
            any("(%rdi)" in a or "(%rsi)" in a for a in args) or text.startswith("rep"):
        return True
    if re.match(r"(xchg|xadd|cmpxchg)", mnemonic):
        return any(a in NEEDED for a in args)
    return bool(args) and args[-1] in NEEDED


def check(address, size, offset, code, index, bad):
    start = index.get(address)
    if start is None:
        return "unknown"
    end = start
    while end < len(code) and code[end][0] < address + size:
        end += 1
    body = code[start:end]
    targets = set()
    for _, _, text in body:
        m = re.match(r"(?:bnd |notrack )?(?:j\w+|loop\w*)\s+([0-9a-f]+)\b", re.sub(r",p[nt]", "", text))
        if m:
            targets.add(int(m[1], 16))
    expected = None
    for at, raw, text in body:
        if EMULATED.match(raw):
            expected = at
            break
        if FLOW.match(text) or "(bad)" in text or writes(text):
            break
    undecoded = any("(bad)" in text for _, _, text in body)
    if expected is not None and expected != address and \
            (undecoded or any(address < t <= expected for t in targets)):
        expected = None
    chosen = None if offset == "-" else address + int(offset)
    if chosen != expected:
        bad.append(f"{address:x}+{size}: chose {chosen and hex(chosen)}, "
                   f"expected {expected and hex(expected)}; begins "
                   + "; ".join(text for _, _, text in body[:6]))
    return "single" if chosen is None else "emulated"


def main():
    checked = {"single": 0, "emulated": 0, "unknown": 0}
    bad = []
    for path in sys.argv[2:]:
        if not os.path.exists(path):
            continue
        code = disassemble(path)
        index = {insn[0]: i for i, insn in enumerate(code)}
        points = subprocess.run([sys.argv[1], path], stdout=subprocess.PIPE, text=True,
                                check=True).stdout
        for line in points.splitlines():
            address, size, offset, *why = line.split()
            if offset == "error":
                bad.append(line)
                continue
            checked[check(int(address, 16), int(size), offset, code, index, bad)] += 1
    print(f"{checked['emulated']} emulated, {checked['single']} single-stepped, "
          f"{checked['unknown']} not disassembled by objdump, {len(bad)} wrong")
    print("\n".join(bad[:40]))
    return 1 if bad or checked["emulated"] < 1000 else 0


sys.exit(main())
