#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""go_dwarf_seeds.py FOLDER: seeds for fuzz_go_dwarf: small ELF files whose DWARF 4
and 5 says of a program what Go's linker would."""
import pathlib
import struct
import sys

# attributes and forms, DWARF 5 sections 7.5.4 and 7.5.6; Go's own: cmd/internal/dwarf
NAME, BYTES, LOW, HIGH, LANGUAGE, TYPE, LOCATION, MEMBER, COUNT, VALUE = 3, 11, 17, 18, 19, 0x49, 2, 0x38, 0x37, 0x1c
KIND, ELEM, DESCRIPTOR, CLOSURE, SIBLING = 0x2900, 0x2902, 0x2904, 0x2907, 1
STRING, DATA1, DATA8, REF4, ADDR, BLOCK1 = 8, 11, 7, 0x13, 1, 10
# number -> tag, children?, attributes
ABBREVS = {
    1: (0x11, 1, [(NAME, STRING), (LANGUAGE, DATA1), (LOW, ADDR), (HIGH, DATA8)]),
    2: (0x24, 0, [(NAME, STRING), (BYTES, DATA1), (KIND, DATA1), (DESCRIPTOR, ADDR)]),
    3: (0x13, 1, [(NAME, STRING), (BYTES, DATA1), (KIND, DATA1), (DESCRIPTOR, ADDR)]),
    4: (0x0d, 0, [(NAME, STRING), (MEMBER, DATA1), (TYPE, REF4)]),
    5: (0x0f, 0, [(NAME, STRING), (TYPE, REF4), (KIND, DATA1), (DESCRIPTOR, ADDR)]),
    6: (0x01, 1, [(NAME, STRING), (TYPE, REF4), (BYTES, DATA1), (KIND, DATA1)]),
    7: (0x21, 0, [(TYPE, REF4), (COUNT, DATA1)]),
    8: (0x16, 0, [(NAME, STRING), (TYPE, REF4), (KIND, DATA1), (ELEM, REF4)]),
    9: (0x34, 0, [(NAME, STRING), (TYPE, REF4), (LOCATION, BLOCK1)]),
    10: (0x2e, 1, [(NAME, STRING), (LOW, ADDR), (HIGH, DATA8)]),
    11: (0x05, 0, [(NAME, STRING), (TYPE, REF4), (LOCATION, BLOCK1)]),
    12: (0x0b, 1, [(LOW, ADDR), (HIGH, DATA8)]),
    13: (0x34, 0, [(NAME, STRING), (TYPE, REF4), (CLOSURE, DATA1)]),
    14: (0x27, 0, [(NAME, STRING), (VALUE, DATA1)]),
    15: (0x13, 1, [(SIBLING, REF4), (NAME, STRING), (BYTES, DATA1)]),
}


def leb(n):
    out = b""
    while True:
        out += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return out


def abbrevs(used):
    out = b""
    for number, (tag, children, attributes) in ABBREVS.items():
        if number in used:
            out += leb(number) + leb(tag) + bytes([children])
            out += b"".join(leb(a) + leb(f) for a, f in attributes) + b"\0\0"
    return out + b"\0"


class Unit:
    def __init__(self, version):
        self.version, self.used = version, set()
        self.body = struct.pack("<IHBBI", 0, 5, 1, 8, 0) if version == 5 else struct.pack("<IHIB", 0, 4, 0, 8)

    def add(self, number, *values):
        at = len(self.body)
        self.used.add(number)
        self.body += leb(number)
        for (_, form), v in zip(ABBREVS[number][2], values, strict=True):
            if form == STRING:
                self.body += v.encode() + b"\0"
            elif form == BLOCK1:
                self.body += bytes([len(v)]) + v
            else:
                self.body += struct.pack({DATA1: "<B", DATA8: "<Q", REF4: "<I", ADDR: "<Q"}[form], v)
        return at

    def end(self):
        self.body += b"\0"

    def bytes(self):
        return struct.pack("<I", len(self.body) - 4) + self.body[4:]


def fields(u, *list_of):
    for name, at, to in list_of:
        u.add(4, name, at, to)
    u.end()


def types(u):
    """Numbers, a string, a slice, an array, a channel, a struct of them, the runtime's g."""
    number = u.add(2, "int", 8, 2, 0x403000)
    string = u.add(3, "string", 16, 24, 0x403030)
    fields(u, ("str", 0, number), ("len", 8, number))
    pointer = u.add(5, "*int", number, 22, 0x403060)
    bytes_ = u.add(3, "[]int", 24, 23, 0)
    fields(u, ("array", 0, pointer), ("len", 8, number), ("cap", 16, number))
    array = u.add(6, "[4]*int", pointer, 32, 17)
    u.add(7, number, 4)
    u.end()
    hchan = u.add(3, "hchan<int>", 96, 25, 0)
    fields(u, ("qcount", 0, number), ("buf", 16, pointer))
    to_hchan = u.add(5, "*hchan<int>", hchan, 22, 0)
    channel = u.add(8, "chan int", to_hchan, 18, number)
    face = u.add(3, "runtime.eface", 16, 20, 0)
    fields(u, ("_type", 0, pointer), ("data", 8, pointer))
    all_ = u.add(3, "main.all", 128, 25, 0x403090)
    fields(u, ("s", 0, string), ("b", 16, bytes_), ("a", 40, array), ("c", 72, channel), ("e", 80, face),
           ("next", 96, pointer))
    stack = u.add(3, "runtime.stack", 16, 25, 0)
    fields(u, ("lo", 0, number), ("hi", 8, number))
    u.add(3, "runtime.g", 200, 25, 0)
    fields(u, ("stack", 0, stack), ("m", 48, pointer))
    u.add(14, "runtime._KindSpecialProfile", 2)
    return number, pointer, bytes_, all_


def function(u, number, pointer, bytes_):
    u.add(10, "main.f", 0x401000, 0x40)
    u.add(13, "captured", pointer, 8)
    u.add(11, "p", pointer, b"\x9c")                                # DW_OP_call_frame_cfa
    u.add(9, "s", bytes_, b"\x50\x93\x08\x91\x78\x93\x08\x53\x93\x08")  # reg0, fbreg -8, reg3, each a piece
    u.add(12, 0x401010, 0x10)
    u.add(9, "n", number, b"\x91\x68")
    u.end()
    u.end()


def program(version, extra=None):
    u = Unit(version)
    u.add(1, "main", 0x16, 0x401000, 0x40)
    number, pointer, bytes_, all_ = types(u)
    for k, t in enumerate((all_, bytes_, pointer, number)):
        u.add(9, f"main.v{k}", t, b"\x03" + struct.pack("<Q", 0x402000 + 16 * k))
    function(u, number, pointer, bytes_)
    if extra:
        extra(u, number)
    u.end()
    return elf({".debug_info": u.bytes(), ".debug_abbrev": abbrevs(u.used)})


def elf(sections):
    names, data, headers = b"\0", b"", [bytes(64)]
    for name, body in [*sections.items(), (".shstrtab", None)]:
        at = len(names)
        names += name.encode() + b"\0"
        body = names if body is None else body
        headers.append(struct.pack("<IIQQQQIIQQ", at, 3 if name == ".shstrtab" else 1, 0, 0, 64 + len(data), len(body),
                                   0, 0, 1, 0))
        data += body
    data += bytes(-len(data) % 8)
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 0, 64 + len(data), 0, 64, 56, 0, 64,
                       len(headers), len(headers) - 1)
    return head + data + b"".join(headers)


def wide(u, number):
    """Six structs, each of eight of the one before: 8 ** 6 fields without a pointer."""
    inner = number
    for k in range(6):
        of = u.add(3, f"main.t{k}", 255, 25, 0)
        fields(u, *((f"f{i}", i, inner) for i in range(8)))
        inner = of
    u.add(9, "main.wide", inner, b"\x03" + struct.pack("<Q", 0x402030))


def ring(u, number):
    """Siblings that lead back."""
    at = len(u.body)
    u.add(15, at, "main.ring", 8)
    fields(u, ("a", 0, number))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name, data in {"dwarf4": program(4), "dwarf5": program(5), "wide": program(4, wide),
                       "ring": program(4, ring)}.items():
        (folder / name).write_bytes(data)


main()
