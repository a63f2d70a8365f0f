# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in a pprof file, read by nobody's library (github.com/google/pprof,
proto/profile.proto)."""
import collections
import gzip
import pathlib
import re

Sample = collections.namedtuple("Sample", "frames values labels")


def fields(data):
    """(number, value) of a message: integers, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            assert key & 7 == 2, key
            length = varint()
            yield key >> 3, data[at:at + length]
            at += length


def numbers(value):
    """A repeated integer, packed or not."""
    if isinstance(value, int):
        return [value]
    return [v for _, v in fields(b"".join(b"\x08" + bytes(b) for b in split(value)))]


def split(data):
    """The varints of packed ones."""
    start = 0
    for at, byte in enumerate(data):
        if byte < 0x80:
            yield data[start:at + 1]
            start = at + 1


def read(path):
    """Value types, and samples with (function, file, line) of each frame, the innermost first."""
    top = collections.defaultdict(list)
    for number, value in fields(gzip.decompress(pathlib.Path(path).read_bytes())):
        top[number].append(value)
    texts = [t.decode() for t in top[6]]
    functions, locations, samples = {}, {}, []
    for f in map(dict, map(fields, top[5])):
        # all instances of a generic function are one, as in Go's own tracebacks
        functions[f[1]] = re.sub(r"\[.*\]", "[...]", texts[f.get(2, 0)]), texts[f.get(4, 0)]
    for data in top[4]:
        lines = [dict(fields(v)) for n, v in fields(data) if n == 4]
        locations[dict(fields(data))[1]] = [(*functions[k[1]], k.get(2, 0)) for k in lines]
    for data in top[2]:
        frames, values, labels = [], [], {}
        for n, v in fields(data):
            if n == 1:
                frames += [f for id in numbers(v) for f in locations[id]]
            elif n == 2:
                values += numbers(v)
            elif n == 3:
                label = dict(fields(v))
                labels[texts[label[1]]] = label.get(3, 0)
        samples.append(Sample(tuple(frames), tuple(values), labels))
    types = [texts[dict(fields(v))[1]] for v in top[1]]
    return types, samples


def program(path):
    """The file after which go tool pprof names the whole: that of the first mapping."""
    top = list(fields(gzip.decompress(pathlib.Path(path).read_bytes())))
    texts = [v.decode() for n, v in top if n == 6]
    return texts[dict(fields(next(v for n, v in top if n == 3)))[5]]


def totals(path):
    """Sum of each value type."""
    types, samples = read(path)
    return {t: sum(s.values[i] for s in samples) for i, t in enumerate(types)}
